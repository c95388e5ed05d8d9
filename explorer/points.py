"""Points a user can pick: real images, shipped samples, and samples generated in this session."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from explorer.bundle import Bundle
from explorer.decoding import decode
from explorer.generation import Generation

Kind = Literal["real", "generated", "new"]


class Point(NamedTuple):
    """One point of the map: its kind and its row among points of that kind."""

    kind: Kind
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls


@dataclass(frozen=True)
class NewSamples:
    """Samples generated in this session. z (n, z_dim), codes (n, code_dim), positions (n, 2): float32."""

    seed: int
    z: np.ndarray
    codes: np.ndarray
    positions: np.ndarray


def codes_of(bundle: Bundle, points: list[Point], new: NewSamples | None = None) -> np.ndarray:
    """Codes float32 (n, code_dim) of points."""
    return _gather(
        points,
        real=bundle.real_codes,
        generated=bundle.generated_codes,
        new=new.codes if new else None,
        width=bundle.autoencoder_config.code_dim,
    )


def z_of(bundle: Bundle, point: Point, new: NewSamples | None = None) -> np.ndarray | None:
    """The z float32 (z_dim,) that a generated point came from; None for a real image, which has none."""
    if point.kind == "generated":
        return bundle.generated_z[point.index].astype(np.float32)
    if point.kind == "new" and new is not None:
        return new.z[point.index].astype(np.float32)
    return None


def pictures_of(
    bundle: Bundle, generation: Generation, points: list[Point], new: NewSamples | None = None
) -> np.ndarray:
    """Pictures uint8 (n, s, s, 3) of points: round trips of real images, samples as they are drawn."""
    codes = codes_of(bundle, points, new)
    z = [z_of(bundle, point, new) for point in points]
    made = np.array([v is not None for v in z], bool)
    size = bundle.autoencoder_config.image_size
    pictures = np.empty((len(points), size, size, 3), np.uint8)
    pictures[~made] = decode(generation.autoencoder, codes[~made])
    if made.any():
        pictures[made] = generation.pictures(np.stack([v for v in z if v is not None]), codes[made])
    return pictures


def class_title(bundle: Bundle, label: int) -> str:
    """What a person calls a class, e.g. 'Samoyed (held out)'."""
    name = bundle.classes[label]
    return f"{name} (held out)" if name in bundle.held_out else name


def label_of(bundle: Bundle, point: Point) -> str:
    """What a person calls the point, e.g. 'Samoyed (held out) #1203' or 'generated #17'."""
    if point.kind == "real":
        return f"{class_title(bundle, bundle.labels[point.index])} #{point.index}"
    return f"{'generated' if point.kind == 'generated' else 'new sample'} #{point.index}"


def _gather(
    points: list[Point],
    *,
    real: np.ndarray,
    generated: np.ndarray,
    new: np.ndarray | None,
    width: int,
) -> np.ndarray:
    arrays = {"real": real, "generated": generated, "new": new}
    rows = np.empty((len(points), width), np.float32)
    for i, (kind, index) in enumerate(points):
        array = arrays[kind]
        if array is None:
            raise ValueError("a new sample was picked, but none was generated in this session")
        rows[i] = array[index]
    return rows
