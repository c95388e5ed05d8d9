"""Put photographs of a class that a bundle's data does not have beside its own, as one more held out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from explorer.bundle import Bundle
from explorer.bundle_writing import quantise
from explorer.decoding import encode
from explorer.latent import nearest
from explorer.new_class import NewClass
from training.cli import UserError
from training.data.cache import ImageStore, open_store
from training.data.dataset import Dataset
from training.data.sources import open_class
from training.subject import find_boxes

FEWEST = 16  # photographs: half to learn from, a quarter to calibrate on, a quarter to test on
COPY = 0.3  # of the distance to the nearest other image, below which a photograph is one of the bundle's own


def add_new_class(
    bundle: Bundle, dataset: Dataset, photographs: Path, device: torch.device
) -> tuple[NewClass, Bundle, Dataset]:
    """The class in a folder of photographs, and the bundle and its data with that class beside the others.

    Photographs are cropped as the data's own: around the subject, where these were; and their codes rounded
    as those are. Raises UserError where there are too few, or the class or its photographs are there already.
    """
    source = open_class(photographs)
    (name,) = source.classes
    if name.casefold() in (known.casefold() for known in bundle.classes):
        raise UserError(f"{name!r} is a class of this bundle already; leave out --new-class")
    boxes = find_boxes(source, device) if dataset.crop == "subject" else None
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
        np.concatenate([old.colours, store.colours]),
    )
    beside = replace(
        dataset,
        store=both,
        classes=(*dataset.classes, name),
        held_out=(*dataset.held_out, name),
        splits=np.append(dataset.splits, np.full(k, "held_out")),
    )
    n = len(old.labels)
    pictures = beside.centers(np.arange(n, n + k)).numpy()
    codes = encode(bundle.load_autoencoder(), pictures)
    _check_new(codes, store.names, bundle, photographs)
    small, scale = quantise(np.concatenate([bundle.real_codes, codes]))
    new = NewClass(name, store.names, small[n:] * scale)
    return new, new.beside(bundle), beside


def _check_new(codes: np.ndarray, names: Sequence[str], bundle: Bundle, photographs: Path) -> None:
    """Raise UserError where photographs are the bundle's own, under another name: those were trained on."""
    some = bundle.real_codes[:: max(1, len(bundle.real_codes) // 500)]
    apart = np.median(nearest(some, bundle.real_codes, 2)[0][:, 1])
    copies = np.flatnonzero(nearest(codes, bundle.real_codes)[0][:, 0] < COPY * apart)
    if len(copies):
        raise UserError(
            f"{len(copies)} of the {len(codes)} photographs in {photographs} are among those that the bundle "
            f"was made from (the first is {names[copies[0]]}); take them out or, if they are all of them, "
            "ask about one of the bundle's own classes"
        )
