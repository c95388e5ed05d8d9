"""The pickers of a journey's two ends. Choices outlive a visit to another page, and can be swapped."""

from collections.abc import Container
from typing import Any, Literal

import numpy as np
import streamlit as st

from explorer.bundle import Bundle
from explorer.latent import class_mean
from explorer.player.journey import End
from explorer.points import NewSamples, Point, codes_of, label_of, z_of

Side = Literal["A", "B"]
SELECTION, NUMBER, REAL, GENERATED, MEAN = (
    "Map selection",
    "By number",
    "Random real",
    "Random generated",
    "Class mean",
)
_WIDGETS = ("source", "point", "class", "number", "seed")
_KEPT = "journey"  # dict of the widgets' values: Streamlit drops a widget's own when another page is shown


def _key(bundle: Bundle, side: Side, widget: str) -> str:
    return f"journey/{bundle.name}/{side}/{widget}"


def _restore(key: str, first: Any, valid: Container[Any]) -> str:
    """Give a widget its value before it is drawn: its own, the one kept, or the first. Returns the key."""
    value = st.session_state.get(key, st.session_state[_KEPT].get(key, first))
    st.session_state[key] = value if value in valid else first
    return key


def _keep(key: str, value: Any) -> Any:
    st.session_state[_KEPT][key] = value
    return value


def swap(bundle: Bundle) -> None:
    """Let A and B change places. A callback: it runs before the widgets are drawn."""
    kept = st.session_state[_KEPT]
    for widget in _WIDGETS:
        a, b = _key(bundle, "A", widget), _key(bundle, "B", widget)
        values = {a: kept.get(b), b: kept.get(a)}
        for key, value in values.items():
            if value is None:  # the other side never showed this widget
                kept.pop(key, None)
                st.session_state.pop(key, None)
            else:
                kept[key] = st.session_state[key] = value


def selected_points(new: NewSamples | None) -> list[Point]:
    """The Map's selection, less new samples that are gone."""
    available = len(new.codes) if new else 0
    selected: list[Point] = st.session_state.get("selected") or []
    return [p for p in selected if p.kind != "new" or p.index < available]


def pick_end(bundle: Bundle, side: Side, new: NewSamples | None) -> End:
    """Draw the picker of one end and return what it says.

    The page opens on the first two selected points or, with fewer, on two pictures of different classes.
    """
    st.session_state.setdefault(_KEPT, {})
    selected = selected_points(new)
    classes = [i for i in range(len(bundle.classes)) if (bundle.labels == i).any()]
    seen = [i for i in classes if bundle.classes[i] not in bundle.held_out] or classes
    opening = np.random.default_rng(0).permutation(seen)[:2]
    place = 0 if side == "A" else -1

    def box(widget: str, first: Any, valid: Container[Any]) -> str:
        return _restore(_key(bundle, side, widget), first, valid)

    def class_box(column: Any) -> int:
        key = box("class", int(opening[place]), classes)
        return _keep(
            key, column.selectbox("Class", classes, format_func=lambda i: _class_name(bundle, i), key=key)
        )

    sources = [*([SELECTION] if selected else []), NUMBER, REAL, GENERATED, MEAN]
    left, middle, right = st.columns([1.3, 1.3, 0.8], gap="small", vertical_alignment="bottom")
    key = box("source", SELECTION if len(selected) > 1 else NUMBER, sources)
    source = left.selectbox(
        f"{side} from", sources, key=key, help="Points selected on the Map can be chosen here too."
    )
    _keep(key, source)

    if source == MEAN:
        label = class_box(middle)
        n = int((bundle.labels == label).sum())
        mean = class_mean(bundle.real_codes, bundle.labels, label)
        return End(f"mean of {_class_name(bundle, label)}, n = {n:,}", mean)
    if source == SELECTION:
        key = box("point", selected[:2][place], selected)
        point = middle.selectbox(
            "Point", selected, format_func=lambda p: label_of(bundle, Point(*p)), key=key
        )
        point = Point(*_keep(key, point))
    elif source == NUMBER:
        members = np.flatnonzero(bundle.labels == class_box(middle))
        n = len(members)
        key = box("number", 1 + _opening(bundle, members), range(1, n + 1))
        number = _keep(key, right.number_input(f"Number, 1–{n}", 1, n, key=key))
        point = Point("real", int(members[number - 1]))
    else:
        key = box("seed", 0 if side == "A" else 1, range(2**31))
        seed = _keep(key, middle.number_input("Seed", 0, 2**31 - 1, key=key))
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


def _class_name(bundle: Bundle, label: int) -> str:
    name = bundle.classes[label]
    return f"{name} (held out)" if name in bundle.held_out else name


def _name(bundle: Bundle, point: Point) -> str:
    """The point's label, and for a picture of a seen class its split."""
    split = bundle.splits[point.index] if point.kind == "real" else "held_out"
    words = {"train": ", training picture", "val": ", validation picture", "held_out": ""}
    return label_of(bundle, point) + words[str(split)]
