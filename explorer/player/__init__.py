"""The player: a journey's pictures and its marker on the map, drawn in the browser while you drag."""

import base64
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import streamlit as st

from explorer import decoding
from explorer.bundle import Bundle
from explorer.map_figure import GROUP_NAMES, layers
from explorer.palette import Theme, kind_colours
from explorer.player.journey import End, Journey
from explorer.points import NewSamples

_FOLDER = Path(__file__).parent
_COLUMNS = 8  # of the sprite sheet; browsers limit an image's side
_VIEW = np.array([1600, 1000])  # the map's units, as in player.html and player.js
_MARGIN = 40

_component = st.components.v2.component(
    "dual_space_journey",
    html=(_FOLDER / "player.html").read_text(encoding="utf-8"),
    css=(_FOLDER / "player.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "player.js").read_text(encoding="utf-8"),
)


class Background(NamedTuple):
    """The map behind the path. corners: float (2, 2), lowest and highest. groups: for the browser."""

    corners: np.ndarray
    groups: list[dict[str, object]]


def background(bundle: Bundle, new: NewSamples | None, theme: Theme) -> Background:
    """All points of the Map page, coloured by kind."""
    drawn = layers(bundle, new)
    everything = np.concatenate([layer.positions for layer in drawn])
    corners = np.stack([everything.min(0), everything.max(0)])
    colours = kind_colours(theme)
    groups: list[dict[str, object]] = []
    for kind in dict.fromkeys(layer.group for layer in drawn):  # from the bottom up
        positions = np.concatenate([layer.positions for layer in drawn if layer.group == kind])
        units = _to_view(positions, corners).round().astype("<u2")
        groups.append(
            {
                "name": GROUP_NAMES[kind],
                "colour": colours[kind],
                "count": len(positions),
                "points": base64.b64encode(units.tobytes()).decode(),
            }
        )
    return Background(corners, groups)


def player(a: End, b: End, journey: Journey, behind: Background) -> None:
    """Show a journey. The browser gets every frame at once and asks nothing more."""
    # Lossless: WebP at quality 90 is off by up to 19 grey levels, and a frame should be the decoder's own.
    sheet = base64.b64encode(decoding.png(decoding.grid(journey.pictures, _COLUMNS))).decode()
    data = {
        "a": a.name,
        "b": b.name,
        "sheet": f"data:image/png;base64,{sheet}",
        "size": journey.pictures.shape[1],
        "columns": _COLUMNS,
        "path": _to_view(journey.positions, behind.corners).round(1).tolist(),
        "distances": journey.distances.round(2).tolist(),
        "groups": behind.groups,
    }
    identity = hashlib.sha256(json.dumps(data).encode()).hexdigest()
    _component(key="journey_player", data={"id": identity, **data})


def _to_view(positions: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Map coordinates (n, 2) -> the view's units (n, 2), y downwards: equal scales, centred."""
    low, high = corners
    scale = ((_VIEW - 2 * _MARGIN) / np.maximum(high - low, 1e-9)).min()
    return _VIEW / 2 + (positions - (low + high) / 2) * [scale, -scale]
