"""Pictures with words: HTML cards for ``st.html``, in the page's own colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from explorer.bundle import Bundle
from explorer.decoding import data_uri
from explorer.photographs import Photographs, thumbnail
from explorer.points import Point, label_of

# currentColor follows the theme; nothing here names a colour.
_STYLE = """<style>
.dse-gallery{display:flex;flex-wrap:wrap;gap:.75rem;align-items:flex-start}
.dse-card{border:1px solid color-mix(in srgb,currentColor 20%,transparent);border-radius:.5rem;
padding:.5rem;font-size:.8rem;line-height:1.25}
.dse-card b{display:block;margin-bottom:.35rem}
.dse-card p{margin:.4rem 0 .25rem;font-size:.75rem;opacity:.85}
.dse-row{display:flex;gap:.35rem}
.dse-card figure{margin:0}
.dse-card figcaption{font-size:.72rem;opacity:.85;overflow-wrap:anywhere;white-space:pre-line}
.dse-card img{display:block;object-fit:contain;border-radius:.2rem}
</style>"""


@dataclass(frozen=True)
class Picture:
    """A picture uint8 (h, w, 3), the words under it, and its description for screen readers."""

    pixels: np.ndarray
    caption: str
    alt: str


@dataclass(frozen=True)
class Card:
    """A point: its title, its pictures, its neighbours' pictures and a note."""

    title: str
    pictures: Sequence[Picture]
    neighbours: Sequence[Picture] = ()
    note: str = ""


def real_pictures(
    bundle: Bundle, row: int, round_trip: np.ndarray, photographs: Photographs | None
) -> tuple[list[Picture], str]:
    """A real image as photograph, where it is on disk, and round trip; and a note if it cannot be read.

    round_trip: uint8 (s, s, 3), the decoded code of image ``row``.
    """
    label = label_of(bundle, Point("real", row))
    shown = [Picture(round_trip, "round trip", f"round trip of {label}")]
    path = photographs.find(bundle.names[row]) if photographs else None
    if path is None:
        return shown, ""
    photograph = thumbnail(path)
    if photograph is None:
        return shown, f"The photograph {path.name} cannot be read."
    return [Picture(photograph, "photograph", f"photograph of {label}"), *shown], ""


def _figure(picture: Picture, side: int) -> str:
    # Coarse pictures are shown with their true pixels, finer ones smoothly.
    rendering = "pixelated" if max(picture.pixels.shape[:2]) <= 32 else "auto"
    return (
        f'<figure style="width:{side}px">'
        f'<img src="{data_uri(picture.pixels)}" width="{side}" height="{side}" '
        f'style="image-rendering:{rendering}" alt="{escape(picture.alt)}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _row(pictures: Sequence[Picture], side: int) -> str:
    return '<div class="dse-row">' + "".join(_figure(p, side) for p in pictures) + "</div>"


def gallery(
    cards: Sequence[Card], side: int = 112, neighbour_side: int = 64, neighbours_title: str = ""
) -> str:
    """HTML of cards that wrap to the page's width. Sides in CSS pixels."""
    parts = []
    for card in cards:
        part = f"<b>{escape(card.title)}</b>{_row(card.pictures, side)}"
        if card.note:
            part += f"<p>{escape(card.note)}</p>"
        if card.neighbours:
            part += f"<p>{escape(neighbours_title)}</p>{_row(card.neighbours, neighbour_side)}"
        parts.append(f'<div class="dse-card">{part}</div>')
    return _STYLE + '<div class="dse-gallery">' + "".join(parts) + "</div>"
