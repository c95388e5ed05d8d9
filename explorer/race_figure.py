"""The figure of a race: quality against seconds of training."""

from collections.abc import Mapping
from math import isfinite
from statistics import median
from typing import Any

import plotly.graph_objects as go

from explorer.legible import colour_axes
from explorer.race import CASCADE, LATENT, NAMES, PIXEL, untrained

MARGIN = 110  # pixels: room for the words beside the lines that go across
COLOURS = {
    LATENT: "#0072B2",
    CASCADE: "#009E73",
    PIXEL: "#D55E00",
    "latent-sgd": "#56B4E9",
    "pixel-sgd": "#E69F00",
}


def race_figure(
    race: dict[str, Any], colours: Mapping[str, str] = COLOURS, text: str = "#31333F"
) -> go.Figure:
    """Quality against seconds, both growing in factors; a line for each contestant and seed.

    A GAN on codes has two: alone (dotted), and moved right by the seconds of codec and encoding (solid).
    """
    figure = go.Figure()
    shown: set[str] = set()
    for seed in race["seeds"]:
        for name, contestant in seed["contestants"].items():
            curve = [p for p in contestant["curve"] if p["seconds"] > 0]  # the axis has no zero
            clocks = [("total", "solid", "")]
            if not name.startswith(PIXEL):
                clocks = [("total", "solid", ", codec counted"), ("seconds", "dot", " alone")]
            for clock, dash, words in clocks:
                label = NAMES.get(name, name) + words
                figure.add_scatter(
                    x=[p[clock] for p in curve],
                    y=[p["frechet"] for p in curve],
                    mode="lines+markers",
                    line={"color": colours.get(name, text), "dash": dash, "width": 2},
                    marker={"size": 6},
                    name=label,
                    legendgroup=label,
                    showlegend=label not in shown,
                    hovertemplate=(
                        f"{label}, seed {seed['seed']}<br>%{{x:,.0f}} s<br>%{{y:,.0f}}<extra></extra>"
                    ),
                )
                shown.add(label)
    ceiling = median(seed["ceiling"] for seed in race["seeds"])
    # Right of the curves, below and above their lines: the two can be close.
    marks = [
        (race["floor"], "real<br>photographs", "bottom right"),
        (ceiling, "codec's<br>round trips", "top right"),
    ]
    if isfinite(start := untrained(race, LATENT)):
        marks.append((start, "latent GAN,<br>untrained", "top right"))
    for value, words, position in marks:
        figure.add_hline(
            value, line={"color": text, "dash": "dash", "width": 1},
            annotation={
                "text": f"{words}: {value:,.0f}", "font": {"color": text}, "xanchor": "left", "align": "left",
            },
            annotation_position=position,
        )  # fmt: skip
    figure.update_layout(
        height=430,
        margin={"l": 0, "r": MARGIN, "t": 10, "b": 0},
        xaxis={"title": "seconds of training", "type": "log"},
        yaxis={"title": "Fréchet distance, lower is better", "rangemode": "tozero"},
        legend={"orientation": "h", "y": -0.2},
    )
    colour_axes(figure, text)
    return figure
