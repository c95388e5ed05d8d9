"""The figure of a ladder: three rungs of rates with intervals, the seen classes' range behind each."""

import textwrap
from collections.abc import Sequence
from math import sqrt

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from explorer.ladder import Mark, Rung
from explorer.legible import colour_axes
from explorer.verdict import percent

# Okabe and Ito (2008); symbols differ too, and every mark is named.
COLOURS = {"class": "#D55E00", "oracle": "#009E73"}
SYMBOLS = {"class": "diamond", "oracle": "square", "control": "circle-open"}
BAND = "#56B4E9"
LANE, HEADING = 28, 80  # pixels: room for two lines each
LABEL, MARGIN = 36, 190  # characters a line, and the pixels that it takes: headings begin there
TICKS = (0.25, 0.5, 0.75, 1)
ROOT_TICKS = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1)
NO_BREAK = "\N{NO-BREAK SPACE}"
GRID = "rgba(128, 128, 128, 0.25)"


def ladder_figure(rungs: Sequence[Rung], text: str = "#31333F") -> go.Figure:
    """Rates of a class and of what it is compared with, by rung; each rung has an axis of its own.

    On the last rung rates are tiny and often 0: its axis grows with the square root, on which intervals of
    small and of large rates are about equally wide, and which has a zero.
    """
    lanes = [max(1, len(rung.marks)) for rung in rungs]
    height = LANE * sum(lanes) + HEADING * len(rungs)
    figure = make_subplots(
        rows=len(rungs), cols=1, row_heights=lanes, vertical_spacing=HEADING / height,
        subplot_titles=[_title(rung) for rung in rungs],
    )  # fmt: skip
    figure.update_annotations(
        x=0, xanchor="left", xshift=-MARGIN, align="left", font={"size": 13, "color": text}
    )
    for row, rung in enumerate(rungs, start=1):
        _draw(figure, row, rung, text, rooted=row == len(rungs))
    figure.update_layout(
        height=height + 50, showlegend=False, font={"color": text},
        margin={"l": MARGIN, "r": 150, "t": 50, "b": 0}, dragmode=False,
    )  # fmt: skip
    colour_axes(figure, text)
    return figure


def _title(rung: Rung) -> str:
    seen = ""
    if rung.band is not None:
        low, high = (percent(end) for end in rung.band)
        seen = f"<br><span style='color:{BAND}'>■</span> seen classes: {low.removesuffix(' %')} to {high}"
    return f"<b>{rung.name}</b>: {rung.question}{seen}" + ("" if rung.marks else " (not measured)")


def _label(mark: Mark) -> str:
    """What stands beside a mark, the class's own in bold, in as many lines as it takes."""
    lines = textwrap.wrap(f"{mark.label}, {mark.size.replace(' ', NO_BREAK)}", LABEL, break_long_words=False)
    return "<br>".join(f"<b>{line}</b>" if mark.role == "class" else line for line in lines)


def _draw(figure: go.Figure, row: int, rung: Rung, text: str, rooted: bool) -> None:
    def place(rate: float) -> float:
        return sqrt(rate) if rooted else rate

    shown = [m.high for m in rung.marks] + list(rung.band or ())
    end = 1.0 if not rooted else min(1.0, max(shown, default=1.0)) * 1.05
    for lane, mark in enumerate(rung.marks):
        colour = COLOURS.get(mark.role, text)
        at = place(mark.rate)
        figure.add_scatter(
            x=[at], y=[lane], row=row, col=1, mode="markers", name=mark.label,
            marker={"color": colour, "symbol": SYMBOLS[mark.role], "size": 11 if mark.role == "class" else 8},
            error_x={
                "type": "data", "symmetric": False, "array": [place(mark.high) - at],
                "arrayminus": [at - place(mark.low)], "color": colour, "thickness": 1.5, "width": 4,
            },
            hovertemplate=f"{mark.label}: {mark.text}<br>{mark.size}<extra></extra>",
        )  # fmt: skip
        figure.add_annotation(
            text=mark.text, x=1, xref="x domain" if row == 1 else f"x{row} domain", xanchor="left", xshift=8,
            y=lane, yref="y" if row == 1 else f"y{row}", showarrow=False,
        )  # fmt: skip
    if rung.band is not None and rung.marks:
        figure.add_vrect(
            place(rung.band[0]), place(rung.band[1]), row=row, col=1, fillcolor=BAND, opacity=0.25,
            line={"width": 2, "color": BAND}, layer="below",
        )  # fmt: skip
    ticks = [0.0]
    for tick in reversed(ROOT_TICKS if rooted else TICKS):  # those that leave room for their words
        others = [abs(place(tick) - place(t)) for t in ticks]
        if tick <= end and min(others) > 0.07 * place(end):
            ticks.append(tick)
    figure.update_xaxes(
        row=row, col=1, range=[-0.01 * place(end), place(end) * 1.01], zeroline=False, fixedrange=True,
        gridcolor=GRID, tickangle=0, automargin=True,
        tickvals=[place(t) for t in ticks], ticktext=[percent(t) for t in ticks],
    )  # fmt: skip
    figure.update_yaxes(
        row=row, col=1, range=[max(1, len(rung.marks)) - 0.5, -0.5], showgrid=False, zeroline=False,
        fixedrange=True, automargin=True, tickvals=list(range(len(rung.marks))),
        ticktext=[_label(mark) for mark in rung.marks],
    )  # fmt: skip
