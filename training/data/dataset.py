"""A dataset with a hold-out: what training may see, and what it must never see."""

import difflib
import hashlib
import json
import logging
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from training import parallel
from training.cli import UserError
from training.data.cache import ImageStore, load_boxes, open_store
from training.data.sources import Source, open_source
from training.subject import read_boxes

log = logging.getLogger(__name__)
FEW_IMAGES = 50  # of a class
FEWEST, FEWEST_IN_ALL = 6, 40  # measures have neighbourhoods of 5 in either part, maps of 15 of all


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which images, how cropped, and which classes are held out."""

    source: str = "imagewoof"
    """folder:PATH, imagewoof[:PATH], digits or torchvision:NAME."""
    hold_out: tuple[str, ...] = ()
    """Classes that no training, validation, normalisation or model selection may see."""
    image_size: int = 64
    """Side of the square training images, pixels."""
    crop: Literal["auto", "subject", "center"] = "auto"
    """Crop around the subject (needs boxes) or the central square; auto: subject where boxes ship."""
    boxes: Path | None = None
    """CSV of subject boxes; by default the one that ships for the source."""
    margin: int = 4
    """Pixels kept around each crop, so that training can shift it."""
    mirror: bool = True
    """Whether a mirror image is as good as the original: true of dogs, not of digits."""
    cache: Path = Path("cache")
    """Where decoded images are kept."""


@dataclass(frozen=True)
class Dataset:
    """Images with their classes and splits: 'train' and 'val' of seen classes, or 'held_out'.

    classes: names. held_out: those of them that are held out. splits: str (n,).
    ``store`` may hold every class; training code reads images through ``seen`` alone.
    """

    options: DataOptions
    store: ImageStore
    classes: tuple[str, ...]
    held_out: tuple[str, ...]
    splits: np.ndarray
    description: str
    licence: str
    crop: str  # 'subject' or 'center', whichever 'auto' came to

    def indices(self, split: Literal["train", "val", "held_out"]) -> np.ndarray:
        """Positions int64 of the images of a split."""
        return np.flatnonzero(self.splits == split)

    def seen(self, split: Literal["train", "val"]) -> Tensor:
        """The images of a split of the seen classes, uint8 (n, stored, stored, 3), in memory.

        Raises AssertionError if a held-out image were among them: the last guard of the promise.
        """
        indices = self.indices(split)
        held_out = [self.classes.index(name) for name in self.held_out]
        if split not in ("train", "val") or np.isin(self.store.labels[indices], held_out).any():
            raise AssertionError("a held-out image was about to be yielded")
        return torch.from_numpy(self.store.images[indices])

    @property
    def digest(self) -> str:
        """SHA-256 of which images there are, of which classes, and in which parts."""
        listed = [self.store.names, self.store.labels.tolist(), self.splits.tolist()]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()

    @property
    def colours(self) -> np.ndarray:
        """Mean colour of each image, uint8 (n, 3); see ``ImageStore``."""
        return self.store.colours

    def check_enough(self) -> None:
        """Raise UserError where there are too few images to train and measure anything."""
        check_enough(self.options.source, self.splits)

    def centers(self, indices: np.ndarray) -> Tensor:
        """The central crops of any images, held-out ones too, uint8 (n, size, size, 3).

        For encoding into the bundle and for judging, never for training.
        """
        return center_crop(torch.from_numpy(self.store.images[indices]), self.options.image_size)


def check_enough(source: str, splits: np.ndarray) -> None:
    """Raise UserError where images of these splits, str (n,), are too few to train and measure anything."""
    images, train, val = len(splits), int((splits == "train").sum()), int((splits == "val").sum())
    if min(train, val) < FEWEST or images < FEWEST_IN_ALL:
        raise UserError(
            f"{source} has {images} readable images, {train} for training and {val} for validation of seen "
            f"classes; at least {FEWEST_IN_ALL}, {FEWEST} and {FEWEST} are needed"
        )


def check_seen(
    source: Source, held_out: tuple[str, ...], labels: np.ndarray, splits: np.ndarray, needed: Sequence[str]
) -> None:
    """Raise UserError for a seen class that has no image in a split that is needed.

    It would pass for one that was trained on, or measured. labels int (n,), splits str (n,).
    """
    for label, name in enumerate(source.classes):
        for split in needed:
            if name not in held_out and not (splits[labels == label] == split).any():
                raise UserError(
                    f"{source.spec} has no {split} image of the seen class {name!r}; "
                    "add some, hold it out, or take its folder out, and train everything anew"
                )


def alike(store: ImageStore) -> list[np.ndarray]:
    """Positions of images that are the same to the last pixel, whatever they are called; two or more each."""
    _, which, counts = np.unique(store.colours, axis=0, return_inverse=True, return_counts=True)
    by_pixels: dict[bytes, list[int]] = {}
    for row in np.flatnonzero(counts[which.ravel()] > 1).tolist():  # others cannot be, and reading takes long
        by_pixels.setdefault(hashlib.sha256(store.images[row]).digest(), []).append(row)
    return [np.array(rows) for rows in by_pixels.values() if len(rows) > 1]


def held_out_copies(groups: Iterable[np.ndarray], splits: np.ndarray) -> list[tuple[int, int]]:
    """Of images that are ``alike``: positions of held-out ones, ascending, each with that of a seen one."""
    found = []
    for rows in groups:
        held_out = splits[rows] == "held_out"
        found += [(int(one), int(seen)) for one in rows[held_out] for seen in rows[~held_out][:1]]
    return sorted(found)


def check_copies(source: Source, store: ImageStore, splits: np.ndarray) -> None:
    """Raise UserError where an image of a held-out class stands in a seen one, too: training may see it.

    Of published data, which stay as they are, and of validation images that are trained on, it warns.
    """
    groups = alike(store)
    again = sum(int((splits[rows] == "val").sum()) for rows in groups if "train" in splits[rows])
    if again:
        log.warning("validation images that are training images, too: %d; measures on them flatter", again)
    if not (copies := held_out_copies(groups, splits)):
        return
    one, other = copies[0]
    held_out, seen = (source.classes[store.labels[row]] for row in (one, other))
    told = f"{store.names[one]} of the held-out class {held_out!r} is {store.names[other]} of {seen!r}, too"
    if len(copies) > 1:
        told += f" (the first of {len(copies)})"
    if not source.published:
        raise UserError(f"{told}; delete one of the two, and train everything anew that has seen it")
    log.warning("%s; as these data are published, it stays there", told)


def hold_out(labels: np.ndarray, splits: np.ndarray, held_out: list[int]) -> np.ndarray:
    """Splits str (n,), 'train', 'val' or 'held_out', of images with labels int (n,) and a source's splits."""
    return np.where(np.isin(labels, held_out), "held_out", splits)


def center_crop(images: Tensor, size: int) -> Tensor:
    """Drop the margin: uint8 (n, stored, stored, 3) -> (n, size, size, 3)."""
    margin = (images.shape[1] - size) // 2
    return images[:, margin : margin + size, margin : margin + size]


def augment(images: Tensor, size: int, mirror: bool = True) -> Tensor:
    """A random crop of ``size`` px within the margin; with ``mirror``, about half of them mirrored.

    images: uint8 (n, stored, stored, 3); returns (n, size, size, 3). Draws from torch's global
    generator, which the training loop seeds anew at every step.
    """
    n, stored = images.shape[:2]
    device = images.device
    top, left = torch.randint(stored - size + 1, (2, n, 1), device=device)
    span = torch.arange(size, device=device)
    columns = left + span
    if mirror:
        flip = torch.rand(n, 1, device=device) < 0.5
        columns = torch.where(flip, columns.flip(1), columns)
    rows = top + span
    return images[torch.arange(n, device=device)[:, None, None], rows[:, :, None], columns[:, None]]


def resolve_classes(wanted: tuple[str, ...], classes: tuple[str, ...]) -> tuple[str, ...]:
    """The class names as the source spells them. Case is forgiven; where that leaves several, all are taken.

    Raises UserError for a name that does not exist, with the list of those that do.
    """

    def key(name: str) -> str:  # accents may be typed as one character and stored as two
        return unicodedata.normalize("NFC", name).casefold()

    by_key = {key(c): c for c in classes}
    found: list[str] = []
    for name in map(str.strip, wanted):
        matches = [name] if name in classes else [c for c in classes if key(c) == key(name)]
        if not matches:
            close = difflib.get_close_matches(key(name), by_key, 1)
            hint = f" (did you mean {by_key[close[0]]!r}?)" if close else ""
            raise UserError(f"cannot hold out {name!r}{hint}: the classes are {', '.join(classes)}")
        found += matches
    return tuple(dict.fromkeys(found))


def open_listing(options: DataOptions) -> tuple[Source, tuple[str, ...]]:
    """The source and its held-out classes, checked, with nothing decoded yet.

    Raises UserError for an unknown source or class, and when no class, or nothing of a seen one, is left to
    train on.
    """
    source = open_source(options.source, options.image_size)
    held_out = resolve_classes(options.hold_out, source.classes)
    if len(held_out) == len(source.classes):
        raise UserError("every class is held out, so none is left to train on; hold out fewer")
    labels, splits = (np.array([getattr(item, name) for item in source.items]) for name in ("label", "split"))
    check_seen(source, held_out, labels, splits, ("train",))
    return source, held_out


def open_crops(source: Source, options: DataOptions) -> tuple[ImageStore, str]:
    """The crops of a source's images, decoded or from the cache, and what they are around."""
    boxes = None
    subject = source.subject_boxes or options.boxes
    if options.crop == "subject" or (options.crop == "auto" and subject):
        boxes = read_boxes(options.boxes) if options.boxes else load_boxes(source)
    store = open_store(source, options.image_size, options.margin, boxes, options.cache)
    return store, "center" if boxes is None else "subject"


@parallel.first_alone()
def open_dataset(options: DataOptions) -> Dataset:
    """Open the source, apply the hold-out, decode or open the cache.

    Raises UserError as ``open_listing`` does, when a split of a seen class is empty, and when a held-out
    image stands in another class, too.
    """
    source, held_out = open_listing(options)
    store, crop = open_crops(source, options)
    labels_held_out = [source.classes.index(name) for name in held_out]
    splits = hold_out(store.labels, store.splits, labels_held_out)
    for label, name in enumerate(source.classes):
        count = int((store.labels == label).sum())
        if not count:
            raise UserError(
                f"no image of the class {name!r} can be read; mend its files or take its folder out of "
                f"{options.source}"
            )
        if count < FEW_IMAGES:
            log.warning("class %r has only %d images; results for it mean little", name, count)
    for split in ("train", "val"):
        if not (splits == split).any():
            raise UserError(f"no {split} images are left in the seen classes of {options.source}")
    check_seen(source, held_out, store.labels, splits, ("train", "val"))
    check_copies(source, store, splits)
    return Dataset(options, store, source.classes, held_out, splits, source.description, source.licence, crop)
