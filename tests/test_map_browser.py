"""The Map in Chromium: in narrow windows, in both themes, and without a pointer."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import App
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

PLOT = ".js-plotly-plot"


def open_map(page: "Page", app: "App") -> None:
    page.goto(app.link())
    page.wait_for_selector(f"{PLOT} .legendtext")
    page.get_by_role("button", name="Generate", exact=True).wait_for()
    settle(page)


def settle(page: "Page") -> None:
    """Wait until the script has run to its end and the page stands still."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.wait_for_timeout(500)


@pytest.mark.parametrize("width", [1440, 1100, 853, 390])
def test_the_controls_are_legible_in_a_narrow_window(page, app, width):
    page.set_viewport_size({"width": width, "height": 900})
    open_map(page, app)
    for name in ("Generate", "Random", "Clear", "Add"):
        button = page.get_by_role("button", name=name, exact=True)
        assert button.bounding_box()["height"] < 45, name  # one line
        text = button.locator("p")
        assert text.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), name
    boxes = page.locator("[data-testid=stMain] [data-testid=stNumberInput]")
    assert boxes.count() == page.locator("[data-testid=stNumberInputStepUp]:visible").count() == 3
    plot = page.locator(PLOT).bounding_box()
    assert plot["width"] >= min(430, width - 40)
    beside = page.get_by_role("button", name="Generate", exact=True).bounding_box()["y"] < plot["height"]
    assert beside == (width == 1440)
    assert page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_maps_background_is_the_pages(page, app, scheme):
    """So that a saved picture, which has it, looks like the page."""
    page.emulate_media(color_scheme=scheme)
    open_map(page, app)
    of_page = page.eval_on_selector("[data-testid=stApp]", "e => getComputedStyle(e).backgroundColor")
    of_map = page.eval_on_selector(f"{PLOT} .main-svg", "e => getComputedStyle(e).backgroundColor")
    assert of_map == of_page
    assert of_map.startswith("rgb(")  # no transparency


def test_a_number_that_is_too_large_is_said(page, app):
    open_map(page, app)
    page.get_by_role("spinbutton", name="New samples").fill("5000")
    page.get_by_role("button", name="Generate", exact=True).click()
    page.get_by_text("5,000 new samples cannot be drawn at once").wait_for()
    assert page.get_by_text("Nothing is selected").is_visible()


def test_a_picture_is_selected_without_a_pointer(page, app):
    open_map(page, app)
    page.get_by_role("spinbutton", name="Number, 1").fill("2")
    page.get_by_role("spinbutton", name="Number, 1").press("Enter")
    settle(page)
    page.get_by_role("button", name="Add", exact=True).press("Enter")
    page.wait_for_selector(".dse-card img")
    settle(page)
    assert page.locator(".dse-card").count() == 1
