"""The app in Chromium. The ``page`` fixture also fails on console errors and on requests that leave."""

import re

import pytest
from conftest import BUNDLE, DAMAGED, JUDGED, PIXELS, served
from playwright.sync_api import Page, TimeoutError, expect

from tests.browser import (
    CARD,
    PICKER,
    PICTURE,
    PLOT,
    SlowConnection,
    box_of,
    choose_bundle,
    once,
    open_map,
    open_page,
    settle,
    visit,
)
from tests.support import free_port

pytestmark = pytest.mark.browser

CORNER = "() => document.querySelector('.js-plotly-plot')._fullLayout.xaxis.range.map(v => +v.toFixed(3))"


def drag_lasso(page: Page) -> None:
    """Draw around the middle of the map, and wait for the pictures."""
    box = box_of(page.locator(f"{PLOT} .nsewdrag").first)
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
    page.locator(PICTURE).first.wait_for()
    settle(page)


def generate(page: Page) -> None:
    """Draw new samples, and wait for their pictures and for their points."""
    page.get_by_role("button", name="Generate", exact=True).click()
    page.locator(PICTURE).first.wait_for()
    settle(page)
    assert once(page, lambda: visible(page).get("New samples"), bool)


def expect_cards(page: Page, count: int) -> None:
    """So many cards, and each picture of them is one."""
    expect(page.locator(CARD)).to_have_count(count)
    widths = "images => Math.min(...images.map(image => image.naturalWidth))"
    pictures = page.locator(PICTURE)
    assert once(page, lambda: pictures.evaluate_all(widths), lambda narrowest: narrowest > 0) > 0


def visible(page: Page) -> dict[str, bool]:
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
    open_page(page, app, path)
    expect(page.locator("h1")).to_have_text(title)
    assert page.locator("[data-testid=stMain]").inner_text().count("\n") > 3
    expect(page.locator("[data-testid=stException]")).to_have_count(0)


def test_a_lasso_shows_pictures_and_a_double_click_clears(page, app):
    open_map(page, app)
    expect(page.locator(CARD)).to_have_count(0)
    drag_lasso(page)
    expect_cards(page, 48)
    expect(page.get_by_text("points are selected; 48 are shown")).to_be_visible()
    box = box_of(page.locator(f"{PLOT} .nsewdrag").first)
    for _ in range(10):  # on a busy machine two clicks can come too far apart to count as one
        page.mouse.dblclick(box["x"] + 5, box["y"] + 5)
        try:
            page.get_by_text("Nothing is selected").wait_for(timeout=5000)
        except TimeoutError:
            continue
        break
    else:
        pytest.fail("a double click did not clear the selection")
    expect(page.locator(CARD)).to_have_count(0)


def test_the_selection_downloads_as_a_table(page, app):
    open_map(page, app)
    drag_lasso(page)
    total = page.get_by_text("points are selected").inner_text().split()[0].replace(",", "")
    with page.expect_download() as download:
        page.get_by_role("button", name="Table (CSV)").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0] == "kind,index,class,split,file,seed,distance_to_training_code"
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
    before = page.evaluate(CORNER)
    generate(page)
    expect_cards(page, 24)
    assert once(page, lambda: page.evaluate(CORNER), lambda corner: corner == before) == before


def test_a_pixel_gans_samples_are_drawn_on_the_map_too(page, app):
    open_map(page, app, PIXELS)
    expect(page.get_by_text("generated pictures are its own")).to_be_visible()
    generate(page)
    expect_cards(page, 24)


def test_a_damaged_bundle_says_so_and_another_can_be_chosen(page, app):
    open_page(page, app, bundle=DAMAGED)
    alert = page.locator("[data-testid=stAlert]", has_text="map.safetensors")
    expect(alert).to_contain_text("is damaged")
    choose_bundle(page, BUNDLE)
    page.locator(f"{PLOT} .nsewdrag").wait_for()
    expect(alert).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["", "held_out"])
def test_both_themes_are_legible(page, app, scheme, path):
    page.emulate_media(color_scheme=scheme)
    open_page(page, app, path)
    page.locator(f"{PLOT} .legendtext" if path == "" else PICTURE).first.wait_for()

    def ground() -> str:
        return page.locator("[data-testid=stApp]").evaluate("e => getComputedStyle(e).backgroundColor")

    background = once(page, ground, lambda colour: (sum(channels(colour)) > 382) == (scheme == "light"))
    assert (sum(channels(background)) > 382) == (scheme == "light")

    def stands_out(selector: str, what: str = "color") -> float:
        first = page.locator(selector).first
        first.wait_for()
        style = f"e => getComputedStyle(e).{what}"
        return once(page, lambda: contrast(first.evaluate(style), background), lambda ratio: ratio > 4.5)

    for selector in ("h1", "[data-testid=stMarkdown] p", "[data-testid=stMain] label p:visible"):
        assert stands_out(selector) > 4.5, selector
    if path == "":
        assert stands_out(f"{PLOT} .legendtext", "fill") > 4.5

        def faintest() -> tuple[float, str]:
            marks = page.evaluate(
                "() => document.querySelector('.js-plotly-plot')._fullData.map(t => t.marker.color)"
            )
            rgb = {m: f"rgb({', '.join(str(int(m[i : i + 2], 16)) for i in (1, 3, 5))})" for m in marks}
            return min((contrast(colour, background), mark) for mark, colour in rgb.items())

        ratio, mark = once(page, faintest, lambda found: found[0] > 2.2)
        assert ratio > 2.2, mark
    else:
        assert stands_out(f"{CARD} b") > 4.5


def test_what_was_chosen_outlives_a_visit_to_another_page(page, app):
    open_map(page, app)
    count, seed = page.get_by_role("spinbutton", name="New samples"), page.get_by_label("Seed", exact=True)
    count.fill("7")
    seed.fill("42")
    seed.press("Enter")
    page.locator("[data-testid=stRadio] label", has_text="kind").click()
    # The choices come to the script in their order: it knows them all when it has drawn the last.
    page.locator(f"{PLOT} .legendtext", has_text="Real, seen").wait_for()
    settle(page)
    visit(page, "Journey")
    path = page.locator(".line")
    expect(path).to_have_attribute("points", re.compile(r"\d"))
    straight = path.get_attribute("points")
    page.get_by_role("radio", name="spherical").click()
    expect(path).not_to_have_attribute("points", straight)
    settle(page)
    visit(page, "Map")
    expect(count).to_have_value("7")
    expect(seed).to_have_value("42")
    expect(page.get_by_role("radio", name="kind")).to_be_checked()
    visit(page, "Journey")
    expect(page.get_by_role("radio", name="spherical")).to_be_checked()


def test_what_is_typed_while_an_answer_is_on_its_way_is_kept(page, app):
    """On a slow connection: what one choice caused arrives only after the next."""
    connection = SlowConnection(page)
    open_map(page, app)
    count, seed = page.get_by_role("spinbutton", name="New samples"), page.get_by_label("Seed", exact=True)
    connection.hold()
    count.fill("7")
    seed.fill("42")  # leaves the other box: the page is run
    connection.wait_until_answered()
    seed.press("Enter")
    connection.answer()
    page.locator("[data-testid=stRadio] label", has_text="kind").click()
    connection.release()
    page.locator(f"{PLOT} .legendtext", has_text="Real, seen").wait_for()
    settle(page)
    expect(count).to_have_value("7")
    expect(seed).to_have_value("42")


def test_a_bundle_chosen_on_a_slow_connection_stays(page, app):
    """What is chosen next comes from the address of the bundle before."""
    connection = SlowConnection(page)
    open_map(page, app)
    connection.hold()
    page.locator(PICKER).click()
    page.get_by_role("option", name=PIXELS, exact=True).click()
    connection.wait_until_answered()
    page.locator("[data-testid=stRadio] label", has_text="kind").click()
    connection.release()
    page.locator(f"{PLOT} .legendtext", has_text="Real, seen").wait_for()
    expect(page.get_by_text("generated pictures are its own")).to_be_visible()
    settle(page)
    expect(page.locator(PICKER)).to_have_value(PIXELS)
    expect(page).to_have_url(re.compile(rf"bundle={PIXELS}$"))


def test_a_server_that_was_started_anew_finds_what_was_chosen(chromium, bundles, tmp_path):
    page = chromium.new_page()  # of its own: that it has lost its server is an error on its console
    port = free_port()
    with served(bundles, tmp_path, port) as app:
        open_map(page, app)
        seed = page.get_by_label("Seed", exact=True)
        seed.fill("42")
        seed.press("Enter")
        page.locator("[data-testid=stRadio] label", has_text="kind").click()
        page.locator(f"{PLOT} .legendtext", has_text="Real, seen").wait_for()
        settle(page)
    connected = page.locator("[data-testid=stApp][data-test-connection-state=CONNECTED]")
    expect(connected).to_have_count(0)
    with served(bundles, tmp_path, port):
        expect(connected).to_have_count(1)
        settle(page)
        expect(page.get_by_role("radio", name="kind")).to_be_checked()
        page.get_by_role("button", name="Generate", exact=True).click()
        expect_cards(page, 24)
        expect(seed).to_have_value("42")
        expect(page.get_by_role("radio", name="kind")).to_be_checked()
    page.close()


def test_a_false_alarm_rate_outlives_a_visit_to_another_page_and_is_each_bundles_own(page, app):
    open_page(page, app, "held_out", JUDGED)
    slider = page.get_by_role("slider", name="Judges' false-alarm rate")
    verdict = page.locator("[data-testid=stMarkdown] p strong", has_text="7:")
    before, said = slider.get_attribute("aria-valuetext"), verdict.text_content()
    slider.press("Home" if before.startswith("5") else "End")
    expect(slider).not_to_have_attribute("aria-valuetext", before)
    expect(verdict).not_to_have_text(said)
    settle(page)
    chosen = slider.get_attribute("aria-valuetext")
    visit(page, "Speed")
    visit(page, "Held-out")
    expect(slider).to_have_attribute("aria-valuetext", chosen)
    for bundle, rate in (("digits", "1 %"), (JUDGED, chosen)):  # the shipped one has a report of its own
        choose_bundle(page, bundle)
        expect(slider).to_have_attribute("aria-valuetext", rate)


def test_back_returns_to_the_bundle_that_was_shown(page, app):
    open_map(page, app)
    choose_bundle(page, PIXELS)
    expect(page.get_by_text("generated pictures are its own")).to_be_visible()
    page.go_back()
    expect(page.locator(PICKER)).to_have_value(BUNDLE)  # the script's answer: the address changes before
    expect(page.get_by_text("generated pictures are its own")).to_have_count(0)
    settle(page)
    expect(page).to_have_url(re.compile(rf"bundle={BUNDLE}$"))


@pytest.mark.parametrize("path", ["", "journey", "held_out", "speed"])
def test_on_a_telephone_no_page_scrolls_sideways(page, app, path):
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, app, path, JUDGED if path == "held_out" else BUNDLE)
    page.locator(PLOT).first.wait_for()
    if path == "journey":
        page.locator(".slider[aria-valuetext]").wait_for()
    main = page.locator("[data-testid=stMain]")
    assert once(page, lambda: main.evaluate("e => e.scrollWidth"), lambda wide: wide <= 390) <= 390
    if path == "held_out":  # the ladder has room for its marks, and is scrolled by itself
        room = "() => document.querySelector('.js-plotly-plot')._fullLayout._size.w"
        assert once(page, lambda: page.evaluate(room), lambda width: width > 200) > 200
