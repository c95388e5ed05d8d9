"""The pickers of a journey's two ends. Choices outlive a visit to another page, and can be swapped."""

from typing import Any, Literal

import numpy as np
import streamlit as st

from explorer.bundle import Bundle
from explorer.latent import class_mean
from explorer.player.journey import End
from explorer.points import NewSamples, Point, class_title, codes_of, label_of, z_of

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


def _times_swapped(bundle: Bundle) -> str:
    return f"journey/{bundle.name}/times swapped"


def _key(bundle: Bundle, side: Side, widget: str) -> str:
    times = st.session_state.get(_times_swapped(bundle), 0)
    return f"journey/{bundle.name}/{side}/{widget}" + (f"/{times}" if times else "")


def swap(bundle: Bundle) -> None:
    """Let A and B change places. A callback: it runs before the widgets are drawn.

    All become other widgets: what a browser that does not know of it yet says of those before is not taken
    for the user's choice.
    """
    sides: dict[Side, Side] = {"A": "B", "B": "A"}
    chosen = {
        (side, widget): st.session_state.pop(_key(bundle, side, widget), None)
        for side in sides
        for widget in _WIDGETS
    }
    times = _times_swapped(bundle)
    st.session_state[times] = st.session_state.get(times, 0) + 1
    for (side, widget), value in chosen.items():
        if value is not None:  # as it is where that side never showed this widget
            st.session_state[_key(bundle, sides[side], widget)] = value


def still_there(new: NewSamples | None) -> list[Point]:
    """The Map's selection, less new samples that are gone."""
    available = len(new.codes) if new else 0
    selected: list[Point] = st.session_state.get("selected") or []
    return [p for p in selected if p.kind != "new" or p.index < available]


def pick_end(bundle: Bundle, side: Side, new: NewSamples | None) -> End:
    """Draw the picker of one end and return what it says.

    The page opens on the first two selected points or, with fewer, on two pictures of different classes.
    """
    selected = still_there(new)
    classes = [i for i in range(len(bundle.classes)) if (bundle.labels == i).any()]
    seen = [i for i in classes if bundle.classes[i] not in bundle.held_out] or classes
    opening = np.random.default_rng(0).permutation(seen)[:2]
    place = 0 if side == "A" else -1

    def kept(widget: str) -> dict[str, Any]:
        return {"key": _key(bundle, side, widget), "persist_state": "session"}

    def class_box() -> int:
        first = classes.index(int(opening[place]))
        return row.selectbox(
            "Class", classes, first, format_func=lambda i: class_title(bundle, i), **kept("class")
        )

    sources = [*([SELECTION] if selected else []), NUMBER, REAL, GENERATED, MEAN]
    row = st.container(horizontal=True, gap="small", vertical_alignment="bottom", key=f"journey end {side}")
    source = row.selectbox(
        f"{side} from",
        sources,
        sources.index(SELECTION if len(selected) > 1 else NUMBER),
        help="Points selected on the Map can be chosen here too.",
        **kept("source"),
    )

    if source == MEAN:
        label = class_box()
        n = int((bundle.labels == label).sum())
        mean = class_mean(bundle.real_codes, bundle.labels, label)
        return End(f"mean of {class_title(bundle, label)}, n = {n:,}", mean)
    if source == SELECTION:
        first = selected.index(selected[:2][place])
        point = Point(*row.selectbox(
            "Point", selected, first, format_func=lambda p: label_of(bundle, Point(*p)), **kept("point")
        ))  # fmt: skip
    elif source == NUMBER:
        members = np.flatnonzero(bundle.labels == class_box())
        n = len(members)
        first = 1 + _opening(bundle, members)
        number = row.number_input(f"No. 1–{n}", 1, n, first, help=NUMBERED, **kept("number"))
        point = Point("real", int(members[number - 1]))
    else:
        first = 0 if side == "A" else 1
        seed = row.number_input("Seed", 0, 2**31 - 1, first, **kept("seed"))
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
