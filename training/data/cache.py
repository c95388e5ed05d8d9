"""Decode every image of a source once, cropped, into a memory-mapped uint8 array."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from tqdm import tqdm

from explorer.rgb import BAD_PICTURE, upright_rgb
from training.cli import UserError
from training.data.sources import Item, Source
from training.subject import BOXES_DIR, Box, box_key, read_boxes

log = logging.getLogger(__name__)
PART = 1024  # images that are decoded ahead at most
SMALLEST = 1 / 4  # of the images' side: smaller pictures would be smears
OPAQUE = (".jpg", ".jpeg")  # pictures that cannot have transparent parts


@dataclass(frozen=True)
class ImageStore:
    """Decoded images of a source.

    images: uint8 (n, stored, stored, 3), memory-mapped; ``stored`` = image_size + 2 * margin.
    labels: int64 (n,). splits: str (n,), 'train' or 'val' as the source has them.
    names: file names relative to the source. skipped: names of unreadable files, with the reason.
    colours: uint8 (n, 3), mean of each image, to know it again: what a file is called does not say what is in
    it, nor how it was cropped.
    """

    images: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    names: tuple[str, ...]
    skipped: dict[str, str]
    colours: np.ndarray


def center_box(width: int, height: int) -> Box:
    """The largest central square."""
    side = min(width, height)
    return Box((1 - side / width) / 2, (1 - side / height) / 2, side / width, side / height)


def crop_square(image: Image.Image, box: Box, size: int, margin: int) -> Image.Image:
    """The box at ``size`` px with ``margin`` more pixels on each side, as far as the image reaches.

    The square is shifted to stay inside the image and never exceeds its shorter side, so no border is
    invented: a box at the edge is only a little off its centre.
    """
    width, height = image.size
    side = min(box.width * width * (size + 2 * margin) / size, width, height)
    left = min(max((box.left + box.width / 2) * width - side / 2, 0), width - side)
    top = min(max((box.top + box.height / 2) * height - side / 2, 0), height - side)
    stored = (size + 2 * margin,) * 2
    region = (left, top, left + side, top + side)
    return image.resize(stored, Image.Resampling.BICUBIC, box=region, reducing_gap=3.0)


def load_boxes(source: Source) -> dict[str, Box]:
    """The subject boxes of a source. Raises UserError when none ship for it."""
    if source.subject_boxes is None:
        raise UserError(
            f"there are no subject boxes for {source.spec}; use --crop center, or compute them with "
            f"python -m training.subject --source {source.spec} --out boxes.csv and give --boxes boxes.csv"
        )
    return read_boxes(BOXES_DIR / f"{source.subject_boxes}.csv")


def _decode(
    item: Item, boxes: dict[str, Box] | None, key: Callable[[str], str], size: int, margin: int
) -> np.ndarray | str:
    """The crop, uint8 (stored, stored, 3), or why there is none. key: what ``boxes`` call an item's name."""
    try:
        image = upright_rgb(item.open())
        if min(image.size) < SMALLEST * size:
            return f"it has only {image.width} x {image.height} pixels"
        box = center_box(*image.size) if boxes is None else boxes.get(key(item.name))
        if box is None:
            return "it has no subject box; add one with training.subject"
        return np.asarray(crop_square(image, box, size, margin))
    except BAD_PICTURE as error:
        return str(error) or type(error).__name__


def open_store(
    source: Source,
    size: int,
    margin: int,
    boxes: dict[str, Box] | None,
    cache: Path,
    workers: int | None = None,
) -> ImageStore:
    """Open the cached array of this source, crop and size; decode it first if there is none.

    boxes: subject boxes by ``training.subject.box_key``; None crops the central square.
    Raises UserError when the disk is full or no image can be read. The hold-out is no part of the key:
    the array is only storage, and ``training.data.dataset`` decides what may be read from it.
    """
    listing = [(i.name, i.label, i.split, i.stamp) for i in source.items]
    content = [source.spec, size, margin, listing, sorted(boxes.items()) if boxes else None]
    if _may_be_transparent(source):
        content.append("on white")  # which earlier versions did not put them
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    folder = cache / f"{source.spec.partition(':')[0]}-{size + 2 * margin}px-{key}"
    try:
        if first := not _whole(folder):
            _build(source, size, margin, boxes, folder, workers or os.cpu_count() or 1)
        index = json.loads((folder / "index.json").read_text())
        images = np.load(folder / "images.npy", mmap_mode="r")
    except OSError as error:
        raise UserError(
            f"the decoded images could not be cached in {cache} ({error}); "
            "free some space or choose another folder with --cache"
        ) from None
    if skipped := index["skipped"]:
        for name, reason in skipped.items() if first else ():  # not once a stage
            log.warning("skipped %s: %s", name, reason)
        log.warning("%d of %d images skipped; see %s", len(skipped), len(source.items), folder / "index.json")
    return ImageStore(
        images,
        np.array(index["labels"], np.int64),
        np.array(index["splits"]),
        tuple(index["names"]),
        skipped,
        np.array(index["colours"], np.uint8),
    )


def _may_be_transparent(source: Source) -> bool:
    """Whether there may be transparent parts: in one's own pictures, unless all are JPEG."""
    return not source.published and any(not i.name.lower().endswith(OPAQUE) for i in source.items)


def _whole(folder: Path) -> bool:
    """Whether a cached array can be opened and has a row and a colour for every name."""
    try:
        index = json.loads((folder / "index.json").read_text())
        rows = len(np.load(folder / "images.npy", mmap_mode="r"))
        return rows == len(index["names"]) == len(index["colours"])  # which earlier versions lack
    except (OSError, ValueError, KeyError):
        return False


def _build(
    source: Source,
    size: int,
    margin: int,
    boxes: dict[str, Box] | None,
    folder: Path,
    workers: int,
) -> None:
    """Decode into a temporary folder, then rename: a killed run leaves no half-filled cache."""
    stored = size + 2 * margin

    def write_header(file: BinaryIO, n: int) -> None:  # its length does not depend on n
        shape = (n, stored, stored, 3)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

    temporary = folder.with_name(f"{folder.name}.tmp{os.getpid()}")
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        kept: list[Item] = []
        colours: list[list[int]] = []
        skipped: dict[str, str] = {}
        # Written as a file, not through a memory map, where a full disk would kill the process (SIGBUS).
        with (temporary / "images.npy").open("wb") as file, ThreadPoolExecutor(workers) as pool:
            write_header(file, len(source.items))
            key = box_key([item.name for item in source.items])
            parts = (source.items[i : i + PART] for i in range(0, len(source.items), PART))
            decoded = (
                result
                for part in parts  # behind a slow one not all the others pile up in memory
                for result in pool.map(lambda item: _decode(item, boxes, key, size, margin), part)
            )
            progress = tqdm(decoded, f"decoding at {stored} px", len(source.items), unit="img")
            for item, result in zip(source.items, progress, strict=True):
                if isinstance(result, str):
                    skipped[item.name] = result
                else:
                    file.write(result.tobytes())
                    kept.append(item)
                    colours.append(np.rint(result.mean((0, 1))).astype(int).tolist())
            file.seek(0)
            write_header(file, len(kept))
        if not kept:
            raise UserError(
                f"none of the {len(skipped)} images of {source.spec} could be read "
                f"(the first: {next(iter(skipped.items()))})"
            )
        index = {
            "source": source.spec,
            "names": [i.name for i in kept],
            "labels": [i.label for i in kept],
            "splits": [i.split for i in kept],
            "skipped": skipped,
            "colours": colours,
        }
        (temporary / "index.json").write_text(json.dumps(index))
        if not _whole(folder):  # as it may be by now: several machines can share a cache
            shutil.rmtree(folder, ignore_errors=True)  # half of one, or damaged
            with suppress(OSError):
                temporary.rename(folder)
            if not _whole(folder):
                raise OSError(f"{folder} could not be put in its place")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
