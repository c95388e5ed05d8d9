"""Find the square around the subject of each photograph and write it as a table of boxes.

    python -m training.subject --source imagewoof --out training/boxes/imagewoof.csv

In most photographs of ImageWoof the dog is small. The class-activation map (Zhou et al., arXiv
1512.04150) of an ImageNet classifier for its best dog class shows where the head is; its weighted mean
and standard deviation give a square. Boxes are fractions of width and height, by file stem (by path where
two stems are alike), so one table fits every size of the archive. They ship: training itself then needs no
judge.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from training.cli import UserError

if TYPE_CHECKING:
    import torch

    from training.data.sources import Source

BOXES_DIR = Path(__file__).parent / "boxes"


class Box(NamedTuple):
    """A rectangle as fractions (0-1) of an image's width and height."""

    left: float
    top: float
    width: float
    height: float


def read_boxes(path: Path) -> dict[str, Box]:
    """Boxes by name (see ``box_key``) from a CSV with the columns stem, left, top, width, height.

    Raises UserError when it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {row["stem"]: Box(*(float(row[k]) for k in Box._fields)) for row in csv.DictReader(file)}
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the subject boxes in {path} cannot be read ({type(error).__name__}: {error}); "
            "the file needs the columns stem, left, top, width, height"
        ) from None


def box_key(names: Iterable[str]) -> Callable[[str], str]:
    """What photographs of these names are called in a table of boxes: by the stem of the file or, where
    another has the same, by its path.
    """
    stems = Counter(Path(name).stem for name in names)
    return lambda name: Path(name).stem if stems[Path(name).stem] == 1 else name


def write_boxes(path: Path, boxes: Mapping[str, Box]) -> None:
    """Write boxes as CSV, sorted by name, four decimals (a tenth of a pixel at 1,000 px)."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("stem", *Box._fields))
        for stem, box in sorted(boxes.items()):
            writer.writerow((stem, *(f"{value:.4f}" for value in box)))


def box_from_map(
    evidence: np.ndarray,
    width: int,
    height: int,
    threshold: float = 0.45,
    spread: float = 2.3,
    smallest: float = 0.2,
    largest: float = 0.5,
) -> Box:
    """Square box around the evidence.

    evidence: float (h, w) class-activation map over the whole image of ``width`` x ``height`` pixels.
    threshold: cells below this share of the maximum are ignored.
    spread: half side in units of the larger weighted standard deviation.
    smallest, largest: bounds of the half side, as fractions of the shorter side.
    The box lies inside the image; a map without positive evidence gives the central square.
    """
    shorter = min(width, height)
    weight = np.where(evidence >= threshold * evidence.max(), evidence, 0.0)
    if evidence.max() <= 0:
        cx, cy, half = width / 2, height / 2, largest * shorter
    else:
        rows, cols = evidence.shape
        x = (np.arange(cols) + 0.5) / cols * width
        y = (np.arange(rows) + 0.5) / rows * height
        px, py = weight.sum(0) / weight.sum(), weight.sum(1) / weight.sum()
        cx, cy = float(px @ x), float(py @ y)
        deviation = max(np.sqrt(px @ (x - cx) ** 2), np.sqrt(py @ (y - cy) ** 2))
        half = float(np.clip(spread * deviation, smallest * shorter, largest * shorter))
    left = np.clip(cx - half, 0, width - 2 * half)
    top = np.clip(cy - half, 0, height - 2 * half)
    return Box(left / width, top / height, 2 * half / width, 2 * half / height)


@dataclass(frozen=True)
class Options:
    """Options of ``python -m training.subject``."""

    source: str = "imagewoof"
    """Where the photographs are (see README: sources)."""
    out: Path | None = None
    """The CSV to write; of ImageWoof the one that ships by default."""
    size: int = 288
    """Side in pixels at which the judge looks; its map has size/32 cells a side."""
    batch: int = 32
    """Photographs a batch."""
    device: str = "auto"
    """Where the judge runs."""
    dry_run: bool = False
    """Print the resolved options and stop."""


def find_boxes(
    source: "Source", device: "torch.device", size: int = Options.size, batch: int = Options.batch
) -> dict[str, Box]:
    """Boxes by name (see ``box_key``), one for each readable photograph of a source. size, batch: see
    ``Options``.
    """
    from PIL import Image
    from torch import inference_mode
    from torch.utils.data import DataLoader
    from tqdm import tqdm

    from explorer.rgb import BAD_PICTURE, upright_rgb
    from training.device import autocast
    from training.imagenet_judge import Judge

    key = box_key([item.name for item in source.items])

    def load(index: int) -> tuple[str, int, int, np.ndarray] | None:
        item = source.items[index]
        try:
            image = upright_rgb(item.open())
            side = (size, size)
            return (
                key(item.name),
                *image.size,
                np.asarray(image.resize(side, Image.Resampling.BICUBIC)),
            )
        except BAD_PICTURE as error:
            tqdm.write(f"skipped {item.name}: {error}")
            return None

    judge = Judge(device)
    boxes: dict[str, Box] = {}
    loader: DataLoader = DataLoader(
        range(len(source.items)),  # type: ignore[arg-type]
        batch,
        collate_fn=lambda indices: [entry for i in indices if (entry := load(i))],
    )
    with tqdm(total=len(source.items), unit="img") as bar, inference_mode(), autocast(device):
        for entries in filter(None, loader):
            images = np.stack([image for *_, image in entries])
            maps = judge.activation_maps(images, size)
            for (name, width, height, _), evidence in zip(entries, maps, strict=True):
                boxes[name] = box_from_map(evidence, width, height)
            bar.update(batch)
    return boxes


def main(options: Options) -> None:
    """Compute one box per readable photograph of the source and write the table."""
    from training.cli import print_dry_run
    from training.data.sources import open_source
    from training.device import resolve_device
    from training.files import make_folder, write_atomically

    source = open_source(options.source)
    out = options.out or (source.subject_boxes and BOXES_DIR / f"{source.subject_boxes}.csv")
    if not out:
        raise UserError(f"name the table of boxes to write for {options.source}, as --out boxes.csv")
    if options.dry_run:
        return print_dry_run(options, images=len(source.items), out=out)
    make_folder(out.parent)
    boxes = find_boxes(source, resolve_device(options.device), options.size, options.batch)
    write_atomically(out, lambda temporary: write_boxes(temporary, boxes))
    print(f"{len(boxes)} boxes of {len(source.items)} photographs in {out}")


if __name__ == "__main__":
    from training.cli import run_script

    run_script(Options, "subject", main)
