"""The Journey's player in Chromium. The ``page`` fixture fails on console errors and requests that leave."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from conftest import App

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

LAST = 32  # the last frame
# What the player shows; Playwright's locators and this reach into its open shadow root.
SEEN = """
slider => {
  const root = slider.getRootNode(), canvas = root.querySelector('.picture');
  const pixels = name => {
    const canvas = root.querySelector(name);
    return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.join();
  };
  return {
    value: slider.valueAsNumber,
    text: slider.getAttribute('aria-valuetext'),
    picture: pixels('.picture'), a: pixels('.thumbnail.a'), b: pixels('.thumbnail.b'),
    marker: root.querySelector('.marker').getAttribute('transform'),
    startsAt: root.querySelector('.end.a').getAttribute('transform'),
    endsAt: root.querySelector('.end.b').getAttribute('transform'),
    readout: root.querySelector('.readout').textContent,
  };
}
"""


def open_journey(page: "Page", app: App) -> Callable[[], dict[str, Any]]:
    """Open the page; returns what reads the player."""
    page.goto(app.link("journey"))
    page.locator(".slider[aria-valuetext]").wait_for()
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    return lambda: page.locator(".slider").evaluate(SEEN)


def slider_point(page: "Page", t: float) -> tuple[float, float]:
    box = page.locator(".slider").bounding_box()
    assert box
    return box["x"] + t * box["width"], box["y"] + box["height"] / 2


def test_dragging_moves_picture_and_marker(page: "Page", app: App) -> None:
    seen = open_journey(page, app)
    before = seen()
    page.mouse.move(*slider_point(page, 0.5))
    page.mouse.down()
    page.mouse.move(*slider_point(page, 0.707))
    during = seen()
    for what in ("picture", "marker", "readout", "text"):
        assert during[what] != before[what]
    assert during["value"] % 1  # between two frames: a blend
    page.mouse.up()
    after = seen()
    assert after["value"] == round(during["value"])  # on a frame: a true decode
    assert after["picture"] != during["picture"]


def test_keys_go_from_frame_to_frame(page: "Page", app: App) -> None:
    seen = open_journey(page, app)
    page.locator(".slider").focus()
    start = seen()
    page.keyboard.press("ArrowRight")
    next_frame = seen()
    assert next_frame["value"] == start["value"] + 1
    assert next_frame["picture"] != start["picture"]
    page.keyboard.press("End")
    end = seen()
    assert (end["value"], end["picture"], end["marker"]) == (LAST, end["b"], end["endsAt"])
    page.keyboard.press("Home")
    home = seen()
    assert (home["value"], home["picture"], home["marker"]) == (0, home["a"], home["startsAt"])
    assert home["a"] != home["b"]


def test_keys_work_after_a_click_that_moves_nothing(page: "Page", app: App) -> None:
    seen = open_journey(page, app)
    before = seen()["value"]
    page.mouse.move(*slider_point(page, 0.5))
    page.mouse.down()
    page.mouse.up()
    page.keyboard.press("ArrowRight")
    assert seen()["value"] == before + 1


def test_a_new_path_shows_in_place_and_the_slider_stays(page: "Page", app: App) -> None:
    seen = open_journey(page, app)
    page.locator(".slider").focus()
    page.keyboard.press("Home")
    before = seen()
    page.get_by_role("button", name="Swap A and B").click()
    page.wait_for_function(
        "([slider, old]) => slider.getRootNode().querySelector('.end.a').getAttribute('transform') !== old",
        arg=[page.locator(".slider").element_handle(), before["startsAt"]],
    )
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.wait_for_timeout(500)
    after = seen()
    assert (after["value"], after["picture"]) == (0, before["b"])
    assert after["marker"] == before["endsAt"]


def test_downloads(page: "Page", app: App) -> None:
    open_journey(page, app)
    for name, magic in (
        ("Strip", b"\x89PNG"),
        ("Animation", b"GIF89a"),
        ("Codes", b"# bundle: digits-copy; A: "),
    ):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        assert download.value.path().read_bytes().startswith(magic)
        ends = r"\d-\d+-validation-picture"
        assert re.fullmatch(
            rf"digits-copy-journey-{ends}-to-{ends}-straight-through-code-space\.(png|gif|csv)",
            download.value.suggested_filename,
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_path_and_names_stand_out_in_both_themes(page: "Page", app: App, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    open_journey(page, app)
    colours = page.locator(".slider").evaluate(
        "slider => [getComputedStyle(slider.getRootNode().querySelector('.line')).stroke,"
        "getComputedStyle(slider.getRootNode().querySelector('.name')).color,"
        "getComputedStyle(document.querySelector('.stApp')).backgroundColor]"
    )
    line, name, background = (sum(map(int, c[c.index("(") + 1 : -1].split(",")[:3])) / 3 for c in colours)
    assert (background > 200) == (scheme == "light")
    assert abs(line - background) > 128
    assert abs(name - background) > 128
