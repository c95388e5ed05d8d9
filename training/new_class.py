"""Put photographs of a class that a bundle's data does not have beside its own, as one more held out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from explorer.bundle import Bundle
from explorer.decoding import encode
from explorer.new_class import NewClass, write_new_class
from training.cli import UserError
from training.data.cache import ImageStore, open_store
from training.data.dataset import Dataset
from training.data.sources import open_class
from training.subject import find_boxes, read_boxes, write_boxes

FEWEST = 16  # photographs: half to learn from, a quarter to calibrate on, a quarter to test on


def add_new_class(
    bundle: Bundle, dataset: Dataset, photographs: Path, keep: Path, device: torch.device
) -> tuple[NewClass, Bundle, Dataset]:
    """The class in a folder of photographs, and the bundle and its data with that class beside the others.

    Photographs are cropped as the data's own: around the subject, where these were. keep: the folder where
    the codes and the boxes stay. Raises UserError where there are too few, or the class is there already.
    """
    source = open_class(photographs)
    (name,) = source.classes
    if name.casefold() in (known.casefold() for known in bundle.classes):
        raise UserError(f"{name!r} is a class of this bundle already; leave out --new-class")
    boxes = None
    if dataset.crop == "subject":
        table = keep / "boxes.csv"
        boxes = read_boxes(table) if table.is_file() else {}
        if {Path(item.name).stem for item in source.items} - set(boxes):
            boxes = find_boxes(source, device=device)
            write_boxes(table, boxes)
    options = dataset.options
    store = open_store(source, options.image_size, options.margin, boxes, options.cache)
    k = len(store.names)
    if k < FEWEST:
        raise UserError(f"{photographs} holds {k} readable photographs; it takes at least {FEWEST}")
    old = dataset.store
    both = ImageStore(
        np.concatenate([old.images, store.images]),
        np.append(old.labels, np.full(k, len(dataset.classes))),
        np.append(old.splits, store.splits),
        (*old.names, *store.names),
        {**old.skipped, **store.skipped},
    )
    beside = replace(
        dataset,
        store=both,
        classes=(*dataset.classes, name),
        held_out=(*dataset.held_out, name),
        splits=np.append(dataset.splits, np.full(k, "held_out")),
    )
    codes = encode(
        bundle.load_autoencoder(), beside.centers(np.arange(len(old.labels), len(both.labels))).numpy()
    )
    new = NewClass(name, store.names, codes)
    keep.mkdir(parents=True, exist_ok=True)
    write_new_class(keep, new)
    return new, new.beside(bundle), beside
