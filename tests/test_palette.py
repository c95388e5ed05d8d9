"""Colours stay apart for colour-blind eyes, and legible on both themes."""

from itertools import combinations

import numpy as np
import pytest

from explorer.palette import CLASSES, class_colours, kind_colours

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISION = {
    "full": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
BACKGROUND = {"light": "#FFFFFF", "dark": "#191814"}  # Streamlit's own


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a: str, b: str) -> float:
    low, high = sorted(float(TO_XYZ[1] @ linear(c)) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", CLASSES)
def test_ten_classes_can_be_told_apart(theme, vision):
    seen = [lab(np.array(VISION[vision]) @ linear(c)) for c in CLASSES[theme]]
    assert len(seen) == 10
    # 2.3 is just noticeable side by side; the closest pair of Okabe and Ito's own has 17.9.
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15


@pytest.mark.parametrize("theme", CLASSES)
def test_colours_are_legible_on_the_page(theme):
    for colour in (*CLASSES[theme], *kind_colours(theme).values()):
        assert contrast(colour, BACKGROUND[theme]) > 2.2, colour


def test_held_out_classes_get_the_strongest_colours_and_every_class_has_one():
    classes = tuple("abcdefghijklmn")
    colours = class_colours(classes, ("d", "k"), "light")
    assert (colours["d"], colours["k"]) == CLASSES["light"][:2]
    assert colours.keys() == set(classes)
