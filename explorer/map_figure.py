"""The map as a Plotly figure: layers of points, their marks, and which points a selection means."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from explorer.bundle import Bundle
from explorer.palette import BACKGROUND, NEUTRAL, TEXT, Theme, class_colours, kind_colours
from explorer.points import Kind, NewSamples, Point

COLOUR_BY = ("class", "kind")
GROUP_NAMES = {
    "seen": "Real, seen",
    "held out": "Real, held out",
    "generated": "Generated",
    "new": "New samples",
}
# Held-out classes lead the legend.
_LEGEND_RANKS = {"held out": 1, "seen": 2, "generated": 3, "new": 4}
# Marks differ in shape and size as well as in colour. They are opaque: faint ones that lie on each other add
# up to a colour that is not the legend's.
_MARKS: dict[str, dict[str, Any]] = {
    "seen": {"symbol": "circle", "size": 3.5},
    "held out": {"symbol": "diamond", "size": 7},
    "generated": {"symbol": "cross-thin", "size": 5},
    "new": {"symbol": "star", "size": 13},
}
MANY = 500  # held-out points, beyond which their diamonds are drawn smaller: they lie on top
SMALL_DIAMOND = 5


@dataclass(frozen=True)
class Layer:
    """One trace of the map: points of a kind that share a name.

    kind: None for points that cannot be picked. group: 'seen', 'held out', 'generated' or 'new'.
    rows: int (n,), rows among points of the kind. positions: float32 (n, 2).
    """

    kind: Kind | None
    group: str
    name: str
    rows: np.ndarray
    positions: np.ndarray


def layers(bundle: Bundle, new: NewSamples | None = None, snapshot: int | None = None) -> list[Layer]:
    """Everything on the map, from the bottom up: generated, seen classes, held-out classes, new samples.

    snapshot: which snapshot of training shows its samples in place of the final ones.
    """

    def real(names: Iterable[str], group: str) -> list[Layer]:
        found = []
        for name in names:
            rows = np.flatnonzero(bundle.labels == bundle.classes.index(name))
            found.append(Layer("real", group, name, rows, bundle.map_real[rows]))
        return found

    if snapshot is None:
        positions = bundle.map_generated
        generated = Layer("generated", "generated", "Generated", np.arange(len(positions)), positions)
    else:
        positions = bundle.map_snapshots[snapshot]
        name = f"Generated after {bundle.snapshot_images[snapshot]:,} images"
        generated = Layer(None, "generated", name, np.arange(len(positions)), positions)
    everything = [
        generated,  # below, lest thousands of crosses hide the classes' colours
        *real((c for c in bundle.classes if c not in bundle.held_out), "seen"),
        *real(bundle.held_out, "held out"),
    ]
    if new is not None:
        everything.append(Layer("new", "new", "New samples", np.arange(len(new.positions)), new.positions))
    return everything


def map_figure(
    drawn: list[Layer], bundle: Bundle, colour_by: str, theme: Theme, height: int = 680
) -> go.Figure:
    """Figure of ``layers``. Hidden axes of equal scale; height in pixels."""
    by_class = class_colours(bundle.classes, bundle.held_out, theme)
    by_kind = kind_colours(theme)
    figure = go.Figure()
    titled: set[str] = set()
    many = sum(len(layer.rows) for layer in drawn if layer.group == "held out") > MANY
    for layer in drawn:
        colour = by_kind[layer.group]
        if colour_by == "class" and layer.kind != "new":
            colour = by_class[layer.name] if layer.kind == "real" else NEUTRAL[theme]
        figure.add_trace(_trace(layer, colour, colour_by, theme, titled, many))
    low, high = bundle.map_real.min(0), bundle.map_real.max(0)
    margin = 0.04 * (high - low)
    hidden = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": "", "title": None}
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        dragmode="lasso",
        uirevision=f"{bundle.name}/{colour_by}",
        paper_bgcolor=BACKGROUND[theme],  # a picture of the map that is saved has it, too
        plot_bgcolor="rgba(0,0,0,0)",
        xaxis={**hidden, "range": [low[0] - margin[0], high[0] + margin[0]]},
        yaxis={
            **hidden,
            "range": [low[1] - margin[1], high[1] + margin[1]],
            "scaleanchor": "x",
            "domain": [0.14, 1],  # the legend's room is kept free, so that a new entry moves nothing
        },
        legend={
            "orientation": "h",
            "x": 0,
            "y": 0.12,
            "yanchor": "top",
            "itemsizing": "constant",
            "font": {"color": TEXT[theme]},
        },
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": NEUTRAL[theme], "activecolor": TEXT[theme]},
        newselection={"line": {"color": TEXT[theme]}},
    )
    return figure


def _trace(
    layer: Layer, colour: str, colour_by: str, theme: Theme, titled: set[str], many: bool
) -> go.Scattergl:
    """One trace. titled: legend groups that have their entry already (with one colour per kind).

    many: whether held-out points are many.
    """
    mark = dict(_MARKS[layer.group])
    if layer.group == "generated":  # thin crosses are drawn by their line alone
        mark["line"] = {"color": colour, "width": 0.7}
    elif layer.group in ("held out", "new"):
        mark["line"] = {"color": TEXT[theme], "width": 0.7}
    if many and layer.group == "held out":
        mark["size"], mark["line"]["width"] = SMALL_DIAMOND, 0.6
    name = layer.name + (" (held out)" if layer.group == "held out" else "")
    legend: dict[str, Any] = {"name": name}
    if colour_by == "kind":
        legend = {
            "name": GROUP_NAMES[layer.group],
            "legendgroup": layer.group,
            "showlegend": layer.group not in titled,
        }
        titled.add(layer.group)
    return go.Scattergl(
        x=layer.positions[:, 0],
        y=layer.positions[:, 1],
        mode="markers",
        marker={**mark, "color": colour},
        customdata=layer.rows.astype(np.int32),
        hovertemplate=f"{_escape(name)} #%{{customdata}}<extra></extra>",
        legendrank=_LEGEND_RANKS[layer.group],
        **legend,
    )


def _escape(text: str) -> str:
    """A class name for Plotly's hover text, which reads some HTML and %{...}."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")


def selected_points(selection: Mapping[str, Any], drawn: list[Layer]) -> list[Point]:
    """The points of a Plotly selection event on a figure of ``drawn``, in the figure's order."""
    points = []
    for hit in selection.get("points", []):
        curve, row = hit["curve_number"], hit["point_index"]
        layer = drawn[curve] if curve < len(drawn) else None
        if layer and layer.kind and row < len(layer.rows):
            points.append(Point(layer.kind, int(layer.rows[row])))
    return list(dict.fromkeys(points))
