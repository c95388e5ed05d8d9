"""Where photographs come from: folders, ImageWoof, scikit-learn's digits, torchvision's datasets.

A source is named on the command line: ``folder:PATH``, ``imagewoof[:PATH]``, ``digits`` or
``torchvision:NAME``. It lists its images without decoding them.
"""

import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.cli import UserError

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
)
# Pictures that Pillow does not read: HEIC is what a telephone writes.
UNREAD_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".dng", ".cr2", ".nef", ".psd"}
)
VAL_NAMES = ("val", "valid", "validation", "test")

# Synset folders of ImageWoof v2 and the breeds they hold (fast.ai, https://github.com/fastai/imagenette).
IMAGEWOOF_BREEDS = {
    "n02086240": "Shih-Tzu",
    "n02087394": "Rhodesian ridgeback",
    "n02088364": "Beagle",
    "n02089973": "English foxhound",
    "n02093754": "Border terrier",
    "n02096294": "Australian terrier",
    "n02099601": "Golden retriever",
    "n02105641": "Old English sheepdog",
    "n02111889": "Samoyed",
    "n02115641": "Dingo",
}
IMAGEWOOF_PLACES = ("data/imagewoof2-160", "data/imagewoof2-320", "../shared/data/imagewoof-192")
_FASTAI = "https://s3.amazonaws.com/fast-ai-imageclas/"
# Shorter side -> (archive, MD5), from fastai's checks.txt.
IMAGEWOOF_ARCHIVES = {
    160: (_FASTAI + "imagewoof2-160.tgz", "3559b194123981a540b87132dbda412f"),
    320: (_FASTAI + "imagewoof2-320.tgz", "7a1fd92672a559a85de76e4810a20c21"),
}


@dataclass(frozen=True)
class Item:
    """One image: its name relative to the source, class index, split ('train' or 'val') and opener."""

    name: str
    label: int
    split: str
    open: Callable[[], Image.Image] = field(repr=False, compare=False)
    stamp: str = ""  # of files, size in bytes and time of change: part of the cache key


@dataclass(frozen=True)
class Source:
    """A listed dataset. ``subject_boxes`` names the shipped table of boxes, if there is one. ``published``:
    others have the same images, so they stay as they are.
    """

    spec: str
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    description: str
    licence: str
    subject_boxes: str | None = None
    published: bool = False


def open_source(spec: str, image_size: int = 64) -> Source:
    """List the source called ``spec``. Raises UserError when it does not exist or holds no classes.

    image_size: pixels; decides which ImageWoof archive is downloaded (160 px for up to 64, else 320 px).
    """
    kind, _, rest = spec.partition(":")
    if kind == "folder" and rest:
        return _folder(spec, Path(rest).expanduser())
    if kind == "imagewoof":
        return _imagewoof(spec, Path(rest).expanduser() if rest else None, image_size)
    if kind == "digits" and not rest:
        return _digits(spec)
    if kind == "torchvision" and rest:
        return _torchvision(spec, rest)
    raise UserError(f"unknown source {spec!r}: use folder:PATH, imagewoof[:PATH], digits or torchvision:NAME")


def is_here(spec: str) -> bool:
    """Whether a source can be listed without a download."""
    kind, _, rest = spec.partition(":")
    if kind == "imagewoof" and not rest:
        return _imagewoof_folder() is not None
    return kind != "torchvision"


def _split_by_seed(labels: Sequence[int], val_share: float = 0.2, seed: int = 0) -> list[str]:
    """Split each class on its own, by a fixed seed, for sources that come without a validation part."""
    rng = np.random.default_rng(seed)
    splits = np.full(len(labels), "train", dtype=object)
    array = np.asarray(labels)
    for label in np.unique(array):
        members = rng.permutation(np.flatnonzero(array == label))
        splits[members[: round(val_share * len(members))]] = "val"
    return splits.tolist()


def _file_opener(path: Path) -> Callable[[], Image.Image]:
    return lambda: Image.open(path)


def _is_text(path: Path) -> bool:
    """Whether a path can be written down: on Linux a name may be any bytes."""
    return not any("\ud800" <= c <= "\udfff" for c in str(path))


def _class_folders(root: Path) -> list[Path]:
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if odd := [p for p in folders if not _is_text(p)]:
        raise UserError(f"the name of the class folder {os.fsencode(odd[0])!r} is not UTF-8; rename it")
    return folders


def _images(folder: Path) -> list[Path]:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(f"{folder} may not be read; change its permissions, or move it elsewhere")
    found = []
    paths = sorted(folder.rglob("*"))
    if unread := [p for p in paths if p.suffix.lower() in UNREAD_SUFFIXES]:
        log.warning(
            "left out in %s, as %s cannot be read: %d; convert such pictures to JPEG or PNG",
            folder, " and ".join(sorted({p.suffix for p in unread})), len(unread),
        )  # fmt: skip
    for path in (p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES):
        if not _is_text(path):
            log.warning("skipped %r: its name is not UTF-8; rename it", os.fsencode(path))
        elif path.is_file():
            found.append(path)
        elif not path.is_dir():
            log.warning("skipped %s: it leads to no file", path)
    return found


def _item(path: Path, root: Path, label: int, split: str) -> Item:
    found = path.stat()
    stamp = f"{found.st_size} {found.st_mtime_ns}"
    return Item(path.relative_to(root).as_posix(), label, split, _file_opener(path), stamp)


def _list_files(root: Path, names: Callable[[str], str]) -> tuple[tuple[str, ...], list[Item]]:
    """Classes and items of a class-per-folder tree, with or without train/ and val/ above the classes."""
    parts: dict[str, Path] = {}
    if (root / "train").is_dir() and _class_folders(root / "train"):  # else "train" may be a class
        parts["train"] = root / "train"
        val = next((root / v for v in VAL_NAMES if (root / v).is_dir()), None)
        if val is not None:
            parts["val"] = val
    else:
        parts[""] = root
    found: list[tuple[Path, str, str]] = []
    for split, folder in parts.items():
        stray = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
        if stray:
            log.warning("images in no class's folder are left out: %d in %s", len(stray), folder)
        for class_folder in _class_folders(folder):
            images = _images(class_folder)
            if not images:
                log.warning("%s holds no images, so it is no class", class_folder)
            found += [(p, names(class_folder.name), split) for p in images]
    classes = tuple(sorted({name for _, name, _ in found}))
    index = {name: i for i, name in enumerate(classes)}
    labels = [index[name] for _, name, _ in found]
    has_val = any(split == "val" for _, _, split in found)
    splits = [s for _, _, s in found] if has_val else _split_by_seed(labels)
    items = [
        _item(p, root, label, split) for (p, _, _), label, split in zip(found, labels, splits, strict=True)
    ]
    return classes, items


def _folder(spec: str, root: Path) -> Source:
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; give one that holds a folder per class")
    classes, items = _list_files(root, names=lambda folder: folder)
    if not classes:
        raise UserError(
            f"{root} holds no class folders with images in them; "
            "put the images of each class into a folder of its own"
        )
    return Source(spec, classes, tuple(items), f"images in {root.name}/", "the owner's")


def open_class(folder: Path) -> Source:
    """A source of one class: the images in a folder, which is called as the class is.

    Raises UserError when it does not exist or holds no images.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give one that holds photographs of one class")
    root = folder.resolve()
    items = tuple(_item(p, root, 0, "train") for p in _images(root))
    if not items:
        raise UserError(f"{folder} holds no images; give a folder that holds photographs of one class")
    return Source(f"folder:{root}", (root.name,), items, f"images in {root.name}/", "the owner's")


def _imagewoof_folder() -> Path | None:
    return next((Path(p) for p in IMAGEWOOF_PLACES if (Path(p) / "train").is_dir()), None)


def _imagewoof(spec: str, path: Path | None, image_size: int) -> Source:
    if path is None:
        path = _imagewoof_folder()
    if path is None:
        path = _download_imagewoof(160 if image_size <= 64 else 320)
    if not path.is_dir():
        raise UserError(f"there is no folder {path}; give the folder that holds ImageWoof's train/")
    classes, items = _list_files(path, names=lambda folder: IMAGEWOOF_BREEDS.get(folder, folder))
    if not classes:
        raise UserError(f"{path} holds no ImageWoof images; it should hold train/n02086240/ and so on")
    return Source(
        spec,
        classes,
        tuple(items),
        "ImageWoof v2 (fast.ai), ten dog breeds of ImageNet",
        "ImageNet terms: non-commercial research and education",
        subject_boxes="imagewoof",
        published=True,
    )


def _download_imagewoof(shorter_side: int) -> Path:
    """Download fast.ai's archive into data/, checksum verified; returns the unpacked folder.

    It is unpacked under another name and renamed when it is whole.
    """
    from torchvision.datasets.utils import download_url, extract_archive

    url, md5 = IMAGEWOOF_ARCHIVES[shorter_side]
    folder = Path("data") / f"imagewoof2-{shorter_side}"
    unpacking = folder.with_name(f".{folder.name}.tmp{os.getpid()}")
    try:
        download_url(url, "data", md5=md5)
        extract_archive(str(Path("data") / url.rpartition("/")[2]), str(unpacking))
        (unpacking / folder.name).rename(folder)
    except (OSError, RuntimeError, EOFError, HTTPException) as error:  # no network, bad checksum, full disk
        raise UserError(
            f"ImageWoof could not be downloaded from {url} ({error}); "
            "unpack it yourself into data/ or name its folder as imagewoof:PATH"
        ) from None
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)
    return folder


def _array_opener(array: np.ndarray) -> Callable[[], Image.Image]:
    return lambda: Image.fromarray(array)


def _digits(spec: str) -> Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)  # 8x8, 17 grey levels
    labels = [int(t) for t in digits.target]
    items = [
        Item(f"{i:04d}", label, split, _array_opener(image))
        for i, (image, label, split) in enumerate(zip(images, labels, _split_by_seed(labels), strict=True))
    ]
    return Source(
        spec,
        tuple(str(d) for d in range(10)),
        tuple(items),
        "1,797 handwritten digits, 8x8 (scikit-learn, UCI Optical Recognition test set)",
        "CC BY 4.0",
        published=True,
    )


def _torchvision_dataset(name: str, split: str) -> Any:
    """One part ('train' or 'val') of a torchvision dataset, whichever way its constructor names parts."""
    import inspect

    from torchvision import datasets

    dataset: Any = getattr(datasets, name, None)
    if not isinstance(dataset, type):
        raise UserError(f"torchvision has no dataset called {name!r}; see torchvision.datasets")
    parameters = inspect.signature(dataset).parameters
    if "train" in parameters:
        part: dict[str, Any] = {"train": split == "train"}
    elif name == "OxfordIIITPet":
        part = {"split": "trainval" if split == "train" else "test"}
    elif "split" in parameters:
        part = {"split": "train" if split == "train" else "test"}
    else:
        raise UserError(f"torchvision's {name} has no train and test parts; use folder:PATH instead")
    try:
        return dataset(root="data", download=True, **part)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise UserError(
            f"torchvision's {name} could not be loaded or downloaded into data/ ({error})"
        ) from None


def _torchvision(spec: str, name: str) -> Source:
    items: list[Item] = []
    classes: tuple[str, ...] = ()
    for split in ("train", "val"):
        dataset = _torchvision_dataset(name, split)
        targets = next(
            (getattr(dataset, a) for a in ("targets", "_labels", "labels") if hasattr(dataset, a)),
            None,
        )
        if targets is None:
            raise UserError(f"torchvision's {name} is not a classification dataset")
        labels = [int(t) for t in targets]
        named = tuple(getattr(dataset, "classes", ())) or tuple(str(i) for i in range(max(labels) + 1))
        classes = max(classes, named, key=len)
        items += [
            Item(f"{split}/{i:05d}", label, split, lambda d=dataset, i=i: d[i][0])  # type: ignore[misc]
            for i, label in enumerate(labels)
        ]
    # torchvision's class names carry underscores in some datasets; a breed is typed with spaces.
    classes = tuple(re.sub(r"_", " ", c) for c in classes)
    return Source(
        spec, classes, tuple(items), f"torchvision.datasets.{name}", "see torchvision's docs", published=True
    )
