"""Colours that stay apart for colour-blind eyes, on a light and on a dark page.

The first colours are those of Okabe and Ito (2008) that are legible on the background; the others were
chosen to keep their distance under simulated protanopia and deuteranopia (tests/test_palette.py).
"""

from typing import Literal

import streamlit as st

Theme = Literal["light", "dark"]

TEXT: dict[Theme, str] = {"light": "#31333F", "dark": "#FAFAFA"}
BACKGROUND: dict[Theme, str] = {"light": "#FFFFFF", "dark": "#171614"}  # of the page, as Streamlit draws it
# The two strongest come first: held-out classes get them.
CLASSES: dict[Theme, tuple[str, ...]] = {
    "light": (
        "#D55E00",
        "#0072B2",
        "#E69F00",
        "#56B4E9",
        "#009E73",
        "#CC79A7",
        "#882255",
        "#1F1FF9",
        "#4B2602",
        "#222222",
    ),
    "dark": (
        "#D55E00",
        "#F0E442",
        "#E69F00",
        "#56B4E9",
        "#009E73",
        "#CC79A7",
        "#0072B2",
        "#5151FB",
        "#FDFDB4",
        "#B4FDEB",
    ),
}
# Of generated points while colour means class: they have none.
NEUTRAL: dict[Theme, str] = {"light": "#7A7F87", "dark": "#9AA0A8"}


def current_theme() -> Theme:
    """The theme that the browser shows; light where Streamlit does not know (in tests without one)."""
    return "dark" if st.context.theme.type == "dark" else "light"


def class_colours(classes: tuple[str, ...], held_out: tuple[str, ...], theme: Theme) -> dict[str, str]:
    """Colour '#rrggbb' of every class. Beyond ten classes colours repeat."""
    palette = CLASSES[theme]
    order = [*held_out, *(c for c in classes if c not in held_out)]
    return {name: palette[i % len(palette)] for i, name in enumerate(order)}


def kind_colours(theme: Theme) -> dict[str, str]:
    """Colour '#rrggbb' of the kinds of points: seen, held out, generated, new."""
    vermilion, _, _, sky, green, pink, *_ = CLASSES[theme]
    return {"seen": sky, "held out": vermilion, "generated": pink, "new": green}
