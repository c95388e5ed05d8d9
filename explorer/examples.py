"""The pictures behind a class's numbers, each beside what it is compared with, as cards of a gallery."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from explorer.bundle import Bundle
from explorer.decoding import decode
from explorer.gallery import Card, Picture, real_pictures
from explorer.networks import Autoencoder
from explorer.photographs import Photographs
from explorer.points import Point, label_of
from explorer.reachability import PIXEL, ROUND_TRIPS

Examples = Mapping[str, Any]
# What people are told beside each kind
ROUND_TRIPS_SAID = "the test images that the judges recognise best through the codec"
FINDS_SAID = (
    "what the search found, beside the round trip of its target; above, how far from it, where 1 is as far "
    "as the target's nearest training image"
)
SAMPLES_SAID = (
    "picked by the judges, beside the round trip of the nearest image of the class; above, the lower of both "
    "judges' probabilities, 0 % where the gate stops it"
)


def tiles(sheet: str, count: int) -> np.ndarray:
    """The first pictures uint8 (count, s, s, 3) of a sheet: a data URI of square ones in one row."""
    encoded = base64.b64decode(sheet.partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    return np.stack(np.split(pixels, pixels.shape[1] // pixels.shape[0], axis=1)[:count])


def best_round_trips(
    bundle: Bundle, model: Autoencoder, examples: Examples, photographs: Photographs | None = None
) -> list[Card]:
    """The test images that the judges recognise best through the codec, beside photographs where on disk."""
    rows = examples[ROUND_TRIPS]
    cards = []
    for row, picture in zip(rows, decode(model, bundle.real_codes[rows]), strict=True):
        shown, note = real_pictures(bundle, row, picture, photographs)
        cards.append(Card(f"#{row}", shown, note=note))
    return cards


def best_finds(bundle: Bundle, model: Autoencoder, examples: Examples, source: str) -> list[Card]:
    """What a search found nearest to its target, beside the target's round trip."""
    found = examples["searches"][source]
    titles = [f"{distance:.2f}" for distance in found["relative"]]
    return _pairs(bundle, model, found["sheet"], found["targets"], titles, "found", "target")


def best_samples(bundle: Bundle, model: Autoencoder, examples: Examples, source: str) -> list[Card]:
    """The samples that the judges score highest, beside the round trip of the nearest image of the class."""
    found = examples["samples"][source]
    titles = [f"{score:.1%}" for score in found["probability"]]
    return _pairs(bundle, model, found["sheet"], found["nearest"], titles, "sample", "nearest real")


# Of what was made: a report's name of it, what it is called (of so many samples), what is said, its cards.
MADE = (
    ("searches", "Nearest finds", FINDS_SAID, best_finds),
    ("samples", "Highest-scoring of {:,} samples", SAMPLES_SAID, best_samples),
)


def sources_of(examples: Examples, kind: str, generator: str) -> list[str]:
    """Whose pictures of a kind there are: a GAN's of this kind, its oracle's and its untrained one's."""
    return [source for source in examples[kind] if (PIXEL in source) == (generator == PIXEL)]


def _pairs(
    bundle: Bundle,
    model: Autoencoder,
    sheet: str,
    rows: Sequence[int],
    titles: Sequence[str],
    made: str,
    real: str,
) -> list[Card]:
    pictures, trips = tiles(sheet, len(rows)), decode(model, bundle.real_codes[rows])
    cards = []
    for row, picture, trip, title in zip(rows, pictures, trips, titles, strict=True):
        label = label_of(bundle, Point("real", row))
        shown = [
            Picture(picture, made, f"{made}, beside {label}"),
            Picture(trip, f"{real} #{row}", f"round trip of {label}"),
        ]
        cards.append(Card(title, shown))
    return cards
