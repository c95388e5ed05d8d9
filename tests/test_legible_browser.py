"""What can be read in Chromium: contrasts in both themes, and words in a narrow window."""

from typing import Any

import pytest
from conftest import JUDGED, App
from playwright.sync_api import Page, expect

from tests.browser import once, open_page, settle

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


def stands_out(page: Page, selector: str) -> float:
    """The lowest contrast, once it is enough: elements fade in."""
    found = page.locator(selector)
    found.first.wait_for()
    return once(page, lambda: float(found.evaluate_all(LOWEST)), lambda lowest: lowest >= ENOUGH)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_in_both_themes(page: Page, app: App, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    open_page(page, app, "journey")
    assert stands_out(page, CAPTIONS) >= ENOUGH
    assert stands_out(page, TICKS) >= ENOUGH
    assert stands_out(page, ".stButtonGroup button[data-selected]:not(:disabled) p") >= ENOUGH
    open_page(page, app, "speed")
    assert stands_out(page, TICKS) >= ENOUGH
    colour = page.locator("h1").first.evaluate("element => getComputedStyle(element).color")
    # The value beside the thumb, on the page's own ground.
    expect(page.locator("[data-testid=stSliderThumbValue] p")).to_have_css("color", colour)


@pytest.mark.parametrize("width", [853, 1440])
def test_pickers_show_their_values_and_their_steppers(page: Page, app: App, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 480})
    open_page(page, app, "journey")
    labels = page.locator("[class*=st-key-journey-end-] [data-testid=stWidgetLabel]")
    expect(labels).to_have_count(6)
    tallest = "labels => Math.max(...labels.map(label => label.getBoundingClientRect().height))"
    assert once(page, lambda: labels.evaluate_all(tallest), lambda height: height < 40) < 40  # one line
    numbers = page.locator("[class*=st-key-journey-end-] .stNumberInput")
    expect(numbers).to_have_count(2)
    for number in numbers.all():
        expect(number.get_by_role("button").last).to_be_visible()


def test_a_narrow_window_says_that_the_ladder_scrolls_and_shows_whole_choices(page: Page, app: App) -> None:
    open_page(page, app, "held_out", JUDGED)
    figure = page.locator("[class*=st-key-scrolls]").first
    expect(figure).to_have_css("container-type", "inline-size")  # so the style sheet is there

    def words() -> str:
        return figure.evaluate("figure => getComputedStyle(figure, '::before').content")

    assert words() == "none"
    page.set_viewport_size({"width": 853, "height": 480})
    assert "scrolls sideways" in once(page, words, lambda content: "scrolls sideways" in content)
    settle(page)
    boxes = page.locator("[data-testid=stColumn] .stSelectbox")
    expect(boxes).to_have_count(3)
    narrowest = "boxes => Math.min(...boxes.map(box => box.getBoundingClientRect().width))"
    assert once(page, lambda: boxes.evaluate_all(narrowest), lambda width: width >= 128) >= 128
    caption = page.get_by_text("compare that column downwards, from class to class, never along a row")
    expect(caption).to_have_count(1)


def test_the_focus_of_a_mode_bars_button_is_seen(page: Page, app: App) -> None:
    page.emulate_media(color_scheme="dark")
    open_page(page, app)
    button = page.locator(".modebar-btn").first
    button.wait_for(state="attached")
    page.keyboard.press("Tab")
    button.evaluate("button => button.focus()")
    expect(button).to_have_css("outline-width", "2px")

    def brightness() -> int:
        colour = button.evaluate("button => getComputedStyle(button).outlineColor")
        return sum(map(int, colour[colour.index("(") + 1 : -1].split(",")[:3]))

    assert once(page, brightness, lambda found: found > 300) > 300
