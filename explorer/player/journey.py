"""A journey between two pictures: its path, its pictures, its place on the map, its distance to the data."""

import io
import re
from typing import NamedTuple

import numpy as np

from explorer import decoding, latent
from explorer.bundle import Bundle
from explorer.generation import Generation
from explorer.points import Point

# Between two frames the player shows a blend of both. With 33 frames that blend is off the true decode by
# 0.25 of 255 grey levels on average (the rounding alone costs as much) and by 2.5 at most, measured on 12
# pairs of dogs at 64 px; 17 frames: at most 5, 65 frames: 1.5.
FRAMES = 33
STRIP = slice(None, None, 4)  # every fourth frame: nine pictures, both ends among them
# Enough for a median, and 0.7 seconds of work where all validation pictures would take seven.
REFERENCE_SAMPLE = 300


class End(NamedTuple):
    """One end of a journey.

    name: what a person calls it. code: float32 (code_dim,). z: float32 (z_dim,), None where there is none.
    point: where it is on the map; None for a mean.
    """

    name: str
    code: np.ndarray
    z: np.ndarray | None = None
    point: Point | None = None


class Route(NamedTuple):
    """The codes along a path, float32 (n, code_dim), and its z, float32 (n, z_dim).

    z: None for a path that does not go through z space; the decoder draws it, whatever the generator.
    """

    codes: np.ndarray
    z: np.ndarray | None = None


class Journey(NamedTuple):
    """What there is to see along a path of n codes.

    pictures: uint8 (n, s, s, 3). positions: map coordinates float32 (n, 2).
    neighbours: int64 (n,), rows of ``bundle.real_codes``: the nearest training picture to each code.
    distances: float32 (n,), how far that is, Euclidean, in code space.
    """

    pictures: np.ndarray
    positions: np.ndarray
    neighbours: np.ndarray
    distances: np.ndarray


def code_path(a: End, b: End, spherical: bool) -> Route:
    """From a to b, evenly spaced in code space; the ends are exact."""
    return Route(latent.path(a.code, b.code, FRAMES, spherical))


def z_path(generation: Generation, a: End, b: End, spherical: bool) -> Route:
    """From a to b, evenly spaced in the GAN's z space."""
    if a.z is None or b.z is None:
        raise ValueError("an end without z has no place in z space")
    z = latent.path(a.z, b.z, FRAMES, spherical)
    codes = generation.codes(z)
    codes[0], codes[-1] = a.code, b.code  # as stored; the generator gives them to the storage's rounding
    return Route(codes, z)


def travel(bundle: Bundle, generation: Generation, route: Route) -> Journey:
    """Draw a path, place it on the map, compare it with the training set."""
    codes, z, model = *route, generation.autoencoder
    pictures = decoding.decode(model, codes) if z is None else generation.pictures(z, codes)
    train = np.flatnonzero(bundle.splits == "train")
    distances, rows = latent.nearest(codes, bundle.real_codes[train])
    return Journey(
        pictures=pictures,
        positions=bundle.place(codes),
        neighbours=train[rows[:, 0]],
        distances=distances[:, 0],
    )


def usual_distance(bundle: Bundle, split: str) -> tuple[float, int]:
    """Median distance in code space from pictures of a split to their nearest training picture, and n.

    Of a fixed random sample where the split is large. NaN and 0 where it is empty.
    """
    members = np.flatnonzero(bundle.splits == split)
    members = np.random.default_rng(0).permutation(members)[:REFERENCE_SAMPLE]
    if not len(members):
        return float("nan"), 0
    distances, _ = latent.nearest(bundle.real_codes[members], bundle.real_codes[bundle.splits == "train"])
    return float(np.median(distances)), len(members)


def file_stem(*words: str) -> str:
    """A file's name, less its ending, from words: letters, digits and single hyphens alone."""
    return "-".join(re.findall(r"\w+", " ".join(words)))


def to_csv(codes: np.ndarray, header: str) -> str:
    """CSV of a path of codes float32 (n, code_dim): a comment, then t from 0 to 1 and the code's numbers."""
    file = io.StringIO()
    columns = ",".join(["t", *(f"c{i}" for i in range(codes.shape[1]))])
    t = np.linspace(0, 1, len(codes))
    # Nine significant digits give back the same float32.
    np.savetxt(file, np.column_stack([t, codes]), "%.9g", ",", header=f"# {header}\n{columns}", comments="")
    return file.getvalue()
