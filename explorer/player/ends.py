"""The pickers of a journey's two ends. Choices outlive a visit to another page, and can be swapped."""

from collections.abc import Container
from typing import Any, Literal

import numpy as np
import streamlit as st

from explorer.bundle import Bundle
from explorer.latent import class_mean
from explorer.player.journey import End
from explorer.points import NewSamples, Point, class_title, codes_of, label_of, z_of
from explorer.widgets import chosen, give, keep, restore

Side = Literal["A", "B"]
SELECTION, NUMBER, REAL, GENERATED, MEAN = (
    "Map selection",
    "By number",
    "Random real",
    "Random generated",
    "Class mean",
)
NUMBERED = "Which of the class's pictures. The number after # is its place among those of all classes."
_WIDGETS = ("source", "point", "class", "number", "seed")


def _key(bundle: Bundle, side: Side, widget: str) -> str:
    return f"journey/{bundle.name}/{side}/{widget}"


def swap(bundle: Bundle) -> None:
    """Let A and B change places. A callback: it runs before the widgets are drawn."""
    for widget in _WIDGETS:
        a, b = _key(bundle, "A", widget), _key(bundle, "B", widget)
        at_a, at_b = chosen(a), chosen(b)  # as just typed; None where that side never showed this widget
        give(a, at_b)
        give(b, at_a)


def selected_points(new: NewSamples | None) -> list[Point]:
    """The Map's selection, less new samples that are gone."""
    available = len(new.codes) if new else 0
    selected: list[Point] = st.session_state.get("selected") or []
    return [p for p in selected if p.kind != "new" or p.index < available]


def pick_end(bundle: Bundle, side: Side, new: NewSamples | None) -> End:
    """Draw the picker of one end and return what it says.

    The page opens on the first two selected points or, with fewer, on two pictures of different classes.
    """
    selected = selected_points(new)
    classes = [i for i in range(len(bundle.classes)) if (bundle.labels == i).any()]
    seen = [i for i in classes if bundle.classes[i] not in bundle.held_out] or classes
    opening = np.random.default_rng(0).permutation(seen)[:2]
    place = 0 if side == "A" else -1

    def box(widget: str, first: Any, valid: Container[Any]) -> str:
        return restore(_key(bundle, side, widget), first, valid)

    def class_box() -> int:
        key = box("class", int(opening[place]), classes)
        return keep(
            key, row.selectbox("Class", classes, format_func=lambda i: class_title(bundle, i), key=key)
        )

    sources = [*([SELECTION] if selected else []), NUMBER, REAL, GENERATED, MEAN]
    row = st.container(horizontal=True, gap="small", vertical_alignment="bottom", key=f"journey end {side}")
    key = box("source", SELECTION if len(selected) > 1 else NUMBER, sources)
    source = row.selectbox(
        f"{side} from", sources, key=key, help="Points selected on the Map can be chosen here too."
    )
    keep(key, source)

    if source == MEAN:
        label = class_box()
        n = int((bundle.labels == label).sum())
        mean = class_mean(bundle.real_codes, bundle.labels, label)
        return End(f"mean of {class_title(bundle, label)}, n = {n:,}", mean)
    if source == SELECTION:
        key = box("point", selected[:2][place], selected)
        point = row.selectbox("Point", selected, format_func=lambda p: label_of(bundle, Point(*p)), key=key)
        point = Point(*keep(key, point))
    elif source == NUMBER:
        members = np.flatnonzero(bundle.labels == class_box())
        n = len(members)
        key = box("number", 1 + _opening(bundle, members), range(1, n + 1))
        number = keep(key, row.number_input(f"No. 1–{n}", 1, n, key=key, help=NUMBERED))
        point = Point("real", int(members[number - 1]))
    else:
        key = box("seed", 0 if side == "A" else 1, range(2**31))
        seed = keep(key, row.number_input("Seed", 0, 2**31 - 1, key=key))
        count = len(bundle.labels) if source == REAL else len(bundle.generated_z)
        kind: Literal["real", "generated"] = "real" if source == REAL else "generated"
        point = Point(kind, int(np.random.default_rng(seed).integers(count)))
    return End(
        name=_name(bundle, point),
        code=codes_of(bundle, [point], new)[0],
        z=z_of(bundle, point, new),
        point=point,
    )


def _opening(bundle: Bundle, rows: np.ndarray) -> int:
    """Which of some real pictures opens the page: a validation picture, where there is one.

    Seen in training, it would be its own nearest training picture. Among these the one that the judge
    knows best after its round trip, if it calls the photograph the same; the first if it was not asked.
    """
    judge = bundle.judge
    agreed = judge["round_trip_top1"][rows] == judge["photo_top1"][rows]
    return int(np.argmax((bundle.splits[rows] == "val") + judge["round_trip_confidence"][rows] * agreed))


def _name(bundle: Bundle, point: Point) -> str:
    """The point's label, and for a picture of a seen class its split."""
    split = bundle.splits[point.index] if point.kind == "real" else "held_out"
    words = {"train": ", training picture", "val": ", validation picture", "held_out": ""}
    return label_of(bundle, point) + words[str(split)]
