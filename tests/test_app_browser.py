"""The app in Chromium. The ``page`` fixture also fails on console errors and on requests that leave."""

import re
from typing import TYPE_CHECKING

import pytest
from conftest import BUNDLE, DAMAGED, JUDGED, PIXELS, App

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

PLOT = ".js-plotly-plot"
CARD = ".dse-card img"


def open_map(page: "Page", app: App, bundle: str = BUNDLE) -> None:
    page.goto(app.link(bundle=bundle))
    page.wait_for_selector(f"{PLOT} .nsewdrag")
    settle(page)


def settle(page: "Page") -> None:
    """Wait until the script has run to its end and the page stands still."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.wait_for_timeout(500)


def drag_lasso(page: "Page") -> None:
    """Draw around the middle of the map."""
    box = page.locator(f"{PLOT} .nsewdrag").first.bounding_box()
    corners = [(0.3, 0.3), (0.6, 0.3), (0.6, 0.6), (0.3, 0.6), (0.3, 0.3)]
    x, y = (
        [box[a] + box[b] * c[i] for c in corners]
        for i, (a, b) in enumerate([("x", "width"), ("y", "height")])
    )
    page.mouse.move(x[0], y[0])
    page.mouse.down()
    for to in zip(x[1:], y[1:], strict=True):
        page.mouse.move(*to, steps=8)
    page.mouse.up()


def visible(page: "Page") -> dict[str, bool]:
    """Traces of the map and whether they are drawn."""
    return page.evaluate(
        "() => Object.fromEntries(document.querySelector('.js-plotly-plot')._fullData"
        ".map(t => [t.name, t.visible === true]))"
    )


def channels(colour: str) -> list[float]:
    return [float(v) for v in re.findall(r"[\d.]+", colour)[:3]]


def contrast(a: str, b: str) -> float:
    """WCAG contrast of two CSS colours rgb(...)."""

    def luminance(colour: str) -> float:
        values = [v / 255 for v in channels(colour)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("path", "title"), [("", "Map"), ("journey", "Journey"), ("held_out", "Held-out")])
def test_each_page_opens(page, app, path, title):
    page.goto(app.link(path))
    page.wait_for_selector(f"h1:has-text('{title}')")
    settle(page)
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.locator("[data-testid=stMain]").inner_text().count("\n") > 3


def test_a_lasso_shows_pictures_and_a_double_click_clears(page, app):
    open_map(page, app)
    assert page.locator(CARD).count() == 0
    drag_lasso(page)
    page.wait_for_selector(CARD)
    settle(page)
    assert page.locator(".dse-card").count() == 48
    assert page.get_by_text("points are selected; 48 are shown").is_visible()
    widths = page.eval_on_selector_all(CARD, "images => images.map(i => i.naturalWidth)")
    assert min(widths) > 0
    box = page.locator(f"{PLOT} .nsewdrag").first.bounding_box()
    for _ in range(10):  # on a busy machine two clicks can come too far apart to count as one
        page.mouse.dblclick(box["x"] + 5, box["y"] + 5)
        page.wait_for_timeout(2000)
        if page.get_by_text("Nothing is selected").count():
            return
    pytest.fail("a double click did not clear the selection")


def test_the_selection_downloads_as_a_table(page, app):
    open_map(page, app)
    drag_lasso(page)
    page.wait_for_selector(CARD)
    settle(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Table (CSV)").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0] == "kind,index,class,split,file,seed,distance_to_training_code"
    total = page.get_by_text("points are selected").inner_text().split()[0].replace(",", "")
    assert len(lines) == 1 + int(total)


def test_the_legend_hides_and_shows(page, app):
    open_map(page, app)
    assert visible(page)["Generated"]
    entry = page.locator(f"{PLOT} .legend .traces", has_text="Generated").locator(".legendtoggle")
    entry.click()
    page.wait_for_function(
        "() => document.querySelector('.js-plotly-plot')._fullData.find(t => t.name === 'Generated').visible"
        " === 'legendonly'"
    )
    assert visible(page)["7 (held out)"]


def test_generate_puts_new_samples_on_the_fixed_map(page, app):
    open_map(page, app)
    corner = "() => document.querySelector('.js-plotly-plot')._fullLayout.xaxis.range.map(v => +v.toFixed(3))"
    before = page.evaluate(corner)
    page.get_by_role("button", name="Generate", exact=True).click()
    page.wait_for_selector(CARD)
    settle(page)
    assert visible(page)["New samples"]
    assert page.evaluate(corner) == before
    assert page.locator(".dse-card").count() == 24


def test_a_pixel_gans_samples_are_drawn_on_the_map_too(page, app):
    open_map(page, app, PIXELS)
    assert page.get_by_text("generated pictures are its own").is_visible()
    page.get_by_role("button", name="Generate", exact=True).click()
    page.wait_for_selector(CARD)
    settle(page)
    assert visible(page)["New samples"]
    assert page.locator(".dse-card").count() == 24
    assert min(page.eval_on_selector_all(CARD, "images => images.map(i => i.naturalWidth)")) > 0


def test_a_damaged_bundle_says_so_and_another_can_be_chosen(page, app):
    page.goto(app.link(bundle=DAMAGED))
    alert = page.wait_for_selector("[data-testid=stAlert]:has-text('map.safetensors')")
    assert "is damaged" in alert.inner_text()
    page.locator("[data-testid=stSidebar] [data-testid=stSelectbox] input").click()
    page.get_by_role("option", name=BUNDLE, exact=True).click()
    page.wait_for_selector(f"{PLOT} .nsewdrag")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["", "held_out"])
def test_both_themes_are_legible(page, app, scheme, path):
    page.emulate_media(color_scheme=scheme)
    page.goto(app.link(path))
    page.wait_for_selector(f"{PLOT} .legendtext" if path == "" else CARD)
    settle(page)
    background = page.eval_on_selector("[data-testid=stApp]", "e => getComputedStyle(e).backgroundColor")
    assert (sum(channels(background)) > 382) == (scheme == "light")
    for selector in ("h1", "[data-testid=stMarkdown] p", "[data-testid=stMain] label p:visible"):
        # Streamlit loads the code of some widgets late: wait for each.
        colour = page.wait_for_selector(selector).evaluate("e => getComputedStyle(e).color")
        assert contrast(colour, background) > 4.5, selector
    if path == "":
        fill = page.eval_on_selector(f"{PLOT} .legendtext", "e => getComputedStyle(e).fill")
        assert contrast(fill, background) > 4.5
        marks = page.evaluate(
            "() => document.querySelector('.js-plotly-plot')._fullData.map(t => t.marker.color)"
        )
        for mark in marks:
            rgb = f"rgb({', '.join(str(int(mark[i : i + 2], 16)) for i in (1, 3, 5))})"
            assert contrast(rgb, background) > 2.2, mark
    else:
        colour = page.eval_on_selector(".dse-card b", "e => getComputedStyle(e).color")
        assert contrast(colour, background) > 4.5


def visit(page: "Page", title: str) -> None:
    """Go to another page by the sidebar, as a user does."""
    page.locator("[data-testid=stSidebarNavLink]", has_text=title).click()
    page.wait_for_selector(f"h1:has-text('{title}')")
    settle(page)


def test_what_was_chosen_outlives_a_visit_to_another_page(page, app):
    open_map(page, app)
    page.get_by_role("spinbutton", name="New samples").fill("7")
    page.get_by_label("Seed", exact=True).fill("42")
    page.get_by_label("Seed", exact=True).press("Enter")
    page.locator("[data-testid=stRadio] label", has_text="kind").click()
    settle(page)
    visit(page, "Journey")
    page.get_by_role("radio", name="spherical").click()
    settle(page)
    visit(page, "Map")
    assert page.get_by_role("spinbutton", name="New samples").input_value() == "7"
    assert page.get_by_label("Seed", exact=True).input_value() == "42"
    assert page.get_by_role("radio", name="kind").is_checked()
    visit(page, "Journey")
    assert page.get_by_role("radio", name="spherical").is_checked()


def test_a_false_alarm_rate_outlives_a_visit_to_another_page_and_is_each_bundles_own(page, app):
    page.goto(app.link("held_out", bundle=JUDGED))
    slider = page.get_by_role("slider", name="Judges' false-alarm rate")
    slider.wait_for()
    settle(page)
    other = "Home" if slider.get_attribute("aria-valuetext").startswith("5") else "End"
    slider.press(other)
    settle(page)
    chosen = slider.get_attribute("aria-valuetext")
    visit(page, "Speed")
    visit(page, "Held-out")
    assert slider.get_attribute("aria-valuetext") == chosen
    for bundle, rate in (("digits", "1 %"), (JUDGED, chosen)):  # the shipped one has a report of its own
        page.locator("[data-testid=stSidebar] [data-testid=stSelectbox] input").click()
        page.get_by_role("option", name=bundle, exact=True).click()
        page.wait_for_url(f"**bundle={bundle}")
        settle(page)
        assert slider.get_attribute("aria-valuetext") == rate


def test_back_returns_to_the_bundle_that_was_shown(page, app):
    open_map(page, app)
    box = page.locator("[data-testid=stSidebar] [data-testid=stSelectbox] input")
    box.click()
    page.get_by_role("option", name=PIXELS, exact=True).click()
    page.wait_for_url(f"**bundle={PIXELS}*")
    settle(page)
    page.go_back()
    page.wait_for_url(f"**bundle={BUNDLE}*")
    page.wait_for_function(
        "name => document.querySelector('[data-testid=stSidebar] [data-testid=stSelectbox] input').value"
        " === name || document.querySelector('[data-testid=stSidebar] [data-testid=stSelectbox]')"
        ".innerText.includes(name)",
        arg=BUNDLE,
    )
    settle(page)
    assert page.url.endswith(f"bundle={BUNDLE}")


@pytest.mark.parametrize("path", ["", "journey", "held_out", "speed"])
def test_on_a_telephone_no_page_scrolls_sideways(page, app, path):
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(app.link(path, JUDGED if path == "held_out" else BUNDLE))
    page.wait_for_selector(PLOT if path != "journey" else ".dse-card")
    settle(page)
    wide = page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollWidth")
    assert wide <= 390
    if path == "held_out":  # the ladder has room for its marks, and is scrolled by itself
        room = page.evaluate("() => document.querySelector('.js-plotly-plot')._fullLayout._size.w")
        assert room > 200
