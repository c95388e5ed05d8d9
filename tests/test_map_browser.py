"""The Map in Chromium: in narrow windows, in both themes, and without a pointer."""

import pytest
from playwright.sync_api import Page, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.browser import CARD, PICTURE, PLOT, once, open_map, settle

pytestmark = pytest.mark.browser


def ends_a_run(frame: str | bytes) -> bool:
    """Whether the server says that the script has run to its end."""
    message = ForwardMsg.FromString(frame) if isinstance(frame, bytes) else ForwardMsg()
    ends = message.WhichOneof("type") == "script_finished"
    return ends and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY


def on_one_line(page: Page, name: str) -> bool:
    """Whether a button's words are on one line, and none of them is cut off."""
    button = page.get_by_role("button", name=name, exact=True)
    whole = """button => {
      const words = button.querySelector('p');
      return button.getBoundingClientRect().height < 45 && words.scrollWidth <= words.clientWidth + 1;
    }"""
    return once(page, lambda: button.evaluate(whole), bool)


@pytest.mark.parametrize("width", [1440, 1100, 853, 390])
def test_the_controls_are_legible_in_a_narrow_window(page, app, width):
    page.set_viewport_size({"width": width, "height": 900})
    open_map(page, app)
    for name in ("Generate", "Random", "Clear", "Add"):
        assert on_one_line(page, name), name
    expect(page.locator("[data-testid=stMain] [data-testid=stNumberInput]")).to_have_count(3)
    expect(page.locator("[data-testid=stNumberInputStepUp]:visible")).to_have_count(3)
    room = min(430, width - 40)
    plot = page.locator(PLOT)
    assert once(page, lambda: plot.bounding_box()["width"], lambda wide: wide >= room) >= room

    def beside() -> bool:
        top = page.get_by_role("button", name="Generate", exact=True).bounding_box()["y"]
        return top < plot.bounding_box()["height"]

    assert once(page, beside, lambda found: found == (width == 1440)) == (width == 1440)
    wide = "() => document.querySelector('[data-testid=stMain]').scrollWidth"
    assert once(page, lambda: page.evaluate(wide), lambda found: found <= width) <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_maps_background_is_the_pages(page, app, scheme):
    """So that a saved picture, which has it, looks like the page."""
    page.emulate_media(color_scheme=scheme)
    open_map(page, app)
    ground = "e => getComputedStyle(e).backgroundColor"

    def grounds() -> tuple[str, str]:
        app, plot = page.locator("[data-testid=stApp]"), page.locator(f"{PLOT} .main-svg").first
        return app.evaluate(ground), plot.evaluate(ground)

    of_page, of_map = once(page, grounds, lambda found: found[0] == found[1])
    assert of_map == of_page
    assert of_map.startswith("rgb(")  # no transparency


def test_a_number_that_is_too_large_is_said(page, app):
    with page.expect_websocket() as opened:
        open_map(page, app)
    count = page.get_by_role("spinbutton", name="New samples")
    count.fill("5000")
    count.blur()
    expect(page.get_by_text("5,000 new samples cannot be drawn at once")).to_be_visible()
    settle(page)
    # The click should change nothing, so only the server tells when the script has dealt with it.
    with opened.value.expect_event("framereceived", ends_a_run):
        page.get_by_role("button", name="Generate", exact=True).click()
    settle(page)
    expect(page.get_by_text("5,000 new samples cannot be drawn at once")).to_be_visible()
    expect(page.get_by_text("Nothing is selected")).to_be_visible()
    expect(page.locator(CARD)).to_have_count(0)


def test_a_picture_is_selected_without_a_pointer(page, app):
    open_map(page, app)
    number = page.get_by_role("spinbutton", name="Number, 1")
    number.fill("2")
    number.press("Enter")
    page.get_by_role("button", name="Add", exact=True).press("Enter")
    page.locator(PICTURE).first.wait_for()
    settle(page)
    expect(page.locator(CARD)).to_have_count(1)
