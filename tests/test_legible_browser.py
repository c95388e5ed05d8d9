"""What can be read in Chromium: contrasts in both themes, and words in a narrow window."""

from typing import Any

import pytest
from conftest import JUDGED, App
from playwright.sync_api import Page

pytestmark = pytest.mark.browser

ENOUGH = 4.5  # WCAG 2.2, level AA
CAPTIONS = "[data-testid=stCaptionContainer] p"
TICKS = ".xtick text, .ytick text, .xtitle, .ytitle, .annotation-text"
# The lowest contrast of the elements that are meant, with all grounds and opacities between them and white.
LOWEST = """
elements => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
  const context = canvas.getContext('2d', {willReadFrequently: true});
  const over = (colour, ground, opacity) => {
    for (const [style, alpha] of [[`rgb(${ground.join()})`, 1], [colour, opacity]]) {
      context.globalAlpha = alpha;
      context.fillStyle = style;
      context.fillRect(0, 0, 1, 1);
    }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = colour => {
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = colour.map(v => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return Math.min(...elements.map(element => {
    let ground = [255, 255, 255], opacity = 1;
    const chain = [];
    for (let e = element; e; e = e.parentElement) chain.unshift(getComputedStyle(e));
    for (const style of chain) {
      ground = over(style.backgroundColor, ground, 1);
      opacity *= style.opacity;
    }
    const own = chain.at(-1);
    const words = over(element instanceof SVGElement ? own.fill : own.color, ground, opacity);
    const [low, high] = [luminance(words), luminance(ground)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }));
}
"""


def ready(page: Page) -> None:
    page.locator("h1").first.wait_for()
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def stands_out(page: Page, selector: str) -> float:
    """The lowest contrast, once it is enough: elements fade in. After ten seconds, whatever it is."""
    page.locator(selector).first.wait_for()
    for _ in range(40):
        lowest = float(page.locator(selector).evaluate_all(LOWEST))
        if lowest >= ENOUGH:
            break
        page.wait_for_timeout(250)
    return lowest


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_in_both_themes(page: Page, app: App, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(app.link("journey"))
    ready(page)
    assert stands_out(page, CAPTIONS) >= ENOUGH
    assert stands_out(page, TICKS) >= ENOUGH
    assert stands_out(page, ".stButtonGroup button[data-selected]:not(:disabled) p") >= ENOUGH
    page.goto(app.link("speed"))
    ready(page)
    assert stands_out(page, TICKS) >= ENOUGH
    colour = "element => getComputedStyle(element).color"
    value = page.locator("[data-testid=stSliderThumbValue] p")  # beside its thumb, on the page's own ground
    assert value.evaluate(colour) == page.locator("h1").first.evaluate(colour)


@pytest.mark.parametrize("width", [853, 1440])
def test_pickers_show_their_values_and_their_steppers(page: Page, app: App, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 480})
    page.goto(app.link("journey"))
    ready(page)
    for label in page.locator("[class*=st-key-journey-end-] [data-testid=stWidgetLabel]").all():
        box = label.bounding_box()
        assert box
        assert box["height"] < 40  # one line
    for number in page.locator("[class*=st-key-journey-end-] .stNumberInput").all():
        assert number.get_by_role("button").last.is_visible()


def test_a_narrow_window_says_that_the_ladder_scrolls_and_shows_whole_choices(page: Page, app: App) -> None:
    content = "figure => getComputedStyle(figure, '::before').content"
    page.goto(app.link("held_out", JUDGED))
    figure = page.locator("[class*=st-key-scrolls]").first
    figure.wait_for()
    assert figure.evaluate(content) == "none"
    page.set_viewport_size({"width": 853, "height": 480})
    assert "scrolls sideways" in figure.evaluate(content)
    ready(page)
    for box in page.locator("[data-testid=stColumn] .stSelectbox").all():
        bounds = box.bounding_box()
        assert bounds
        assert bounds["width"] >= 128
    caption = page.get_by_text("compare that column downwards, from class to class, never along a row")
    assert caption.count() == 1


def test_the_focus_of_a_mode_bars_button_is_seen(page: Page, app: App) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(app.link())
    ready(page)
    button = page.locator(".modebar-btn").first
    button.wait_for(state="attached")
    page.keyboard.press("Tab")
    button.evaluate("button => button.focus()")
    style = "button => { const s = getComputedStyle(button); return [s.outlineWidth, s.outlineColor] }"
    width, colour = button.evaluate(style)
    assert width == "2px"
    assert sum(map(int, colour[colour.index("(") + 1 : -1].split(",")[:3])) > 300
