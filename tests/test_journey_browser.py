"""The Journey's player in Chromium. The ``page`` fixture fails on console errors and requests that leave."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from conftest import App
from playwright.sync_api import Page, expect

from tests.browser import SlowConnection, box_of, once, open_page, settle

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


def open_journey(page: Page, app: App) -> Callable[[], dict[str, Any]]:
    """Open the page; returns what reads the player."""
    open_page(page, app, "journey")
    page.locator(".slider[aria-valuetext]").wait_for()  # which it has when the pictures are decoded
    return lambda: page.locator(".slider").evaluate(SEEN)


def slider_point(page: Page, t: float) -> tuple[float, float]:
    box = box_of(page.locator(".slider"))
    return box["x"] + t * box["width"], box["y"] + box["height"] / 2


def test_dragging_moves_picture_and_marker(page: Page, app: App) -> None:
    seen = open_journey(page, app)
    before = seen()
    start, end = slider_point(page, 0.5), slider_point(page, 0.707)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end)
    expect(page.locator(".slider")).not_to_have_attribute("aria-valuetext", before["text"])
    during = seen()
    for what in ("picture", "marker", "readout", "text"):
        assert during[what] != before[what]
    assert during["value"] % 1  # between two frames: a blend
    page.mouse.up()
    after = once(page, seen, lambda now: not now["value"] % 1)
    assert after["value"] == round(during["value"])  # on a frame: a true decode
    assert after["picture"] != during["picture"]


def test_keys_go_from_frame_to_frame(page: Page, app: App) -> None:
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


def test_keys_work_after_a_click_that_moves_nothing(page: Page, app: App) -> None:
    seen = open_journey(page, app)
    before = seen()["value"]
    page.mouse.move(*slider_point(page, 0.5))
    page.mouse.down()
    page.mouse.up()
    page.keyboard.press("ArrowRight")
    assert seen()["value"] == before + 1


def test_a_new_path_shows_in_place_and_the_slider_stays(page: Page, app: App) -> None:
    seen = open_journey(page, app)
    page.locator(".slider").focus()
    page.keyboard.press("Home")
    before = seen()
    page.get_by_role("button", name="Swap A and B").click()
    page.wait_for_function(
        "([slider, old]) => slider.getRootNode().querySelector('.end.a').getAttribute('transform') !== old",
        arg=[page.locator(".slider").element_handle(), before["startsAt"]],
    )
    settle(page)
    # The path is drawn at once, the pictures when they are decoded.
    after = once(page, seen, lambda now: now["picture"] != before["picture"])
    assert (after["value"], after["picture"]) == (0, before["b"])
    assert after["marker"] == before["endsAt"]


def test_ends_that_were_swapped_are_those_that_are_shown_on_a_slow_connection(page: Page, app: App) -> None:
    """What is chosen before the answer has arrived comes with the ends as they were."""
    connection = SlowConnection(page)
    open_journey(page, app)
    classes = page.get_by_role("combobox", name="Class")
    before = [classes.nth(i).input_value() for i in (0, 1)]
    assert before[0] != before[1]
    connection.hold()
    page.get_by_role("button", name="Swap A and B").click()
    connection.wait_until_answered()
    page.get_by_role("radio", name="spherical").click()
    connection.release()
    expect(page.get_by_role("radio", name="spherical")).to_be_checked()
    settle(page)
    expect(classes.nth(0)).to_have_value(before[1])
    expect(classes.nth(1)).to_have_value(before[0])
    with page.expect_download() as download:
        page.get_by_role("button", name="Codes").click()
    names = re.fullmatch(
        r"digits-copy-journey-(.+)-to-(.+)-spherical-through-code-space\.csv",
        download.value.suggested_filename,
    )
    assert names
    assert [name[0] for name in names.groups()] == [before[1][0], before[0][0]]


def test_downloads(page: Page, app: App) -> None:
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
def test_path_and_names_stand_out_in_both_themes(page: Page, app: App, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    open_journey(page, app)

    def brightnesses() -> tuple[float, ...]:
        colours = page.locator(".slider").evaluate(
            "slider => [getComputedStyle(slider.getRootNode().querySelector('.line')).stroke,"
            "getComputedStyle(slider.getRootNode().querySelector('.name')).color,"
            "getComputedStyle(document.querySelector('.stApp')).backgroundColor]"
        )
        return tuple(sum(map(int, c[c.index("(") + 1 : -1].split(",")[:3])) / 3 for c in colours)

    def apart(found: tuple[float, ...]) -> bool:
        line, name, background = found
        right = (background > 200) == (scheme == "light")
        return right and abs(line - background) > 128 and abs(name - background) > 128

    line, name, background = once(page, brightnesses, apart)
    assert (background > 200) == (scheme == "light")
    assert abs(line - background) > 128
    assert abs(name - background) > 128
