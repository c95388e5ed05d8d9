"""The Speed page: the sentence, the curves, samples at equal seconds, and what it says without a race."""

import shutil
from pathlib import Path

import pytest
from conftest import BUNDLE, ROOT, App
from playwright.sync_api import Page, expect
from streamlit.testing.v1 import AppTest

from explorer import session
from explorer.bundle_writing import update_bundle
from explorer.measured import RACE
from explorer.race import verdict
from tests.browser import PLOT, open_page
from tests.support import tiny_race, visit, write_tiny_bundle

FOUND = tiny_race(latent=[(10, 200), (20, 150)], pixel=[(20, 300), (40, 200), (50, 180)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "pretrained" / "digits", tmp_path / "raced")
    update_bundle(tmp_path / "raced", {RACE: FOUND})
    monkeypatch.setenv(session.BUNDLE_DIR_VARIABLE, str(tmp_path))
    return tmp_path


def opened(bundle: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "explorer" / "pages" / "speed.py"), default_timeout=120)
    at.query_params["bundle"] = bundle
    at.run()
    assert not at.exception
    return at


def text(at: AppTest) -> str:
    return " ".join(e.value for e in (*at.markdown, *at.caption, *at.info))


def test_the_page_says_what_was_found_and_on_which_device(folder):
    shown = text(opened("raced"))
    assert verdict(FOUND) in shown
    assert "test device" in shown
    assert "| latent GAN | 180 | 20 s | 50 s | 50 s | 2 to 5 | 0.8 to 1.2 | 1 |" in shown


def test_samples_of_both_are_those_of_equal_seconds(folder):
    at = opened("raced")
    assert at.select_slider[0].options == ["20 s", "40 s", "50 s"]
    assert "after 50 s" in text(at)
    at.select_slider[0].set_value(20).run()
    shown = text(at)
    assert "Nothing yet: after 20 s the codec" in shown
    assert "after 20 s; 200 images" in shown
    at.select_slider[0].set_value(40).run()
    shown = text(at)
    assert "Nothing yet" not in shown
    assert "after 40 s, codec and encoding counted; 100 images" in shown


def test_who_joined_later_is_said(folder):
    assert "Joined when" not in text(opened("raced"))
    late = tiny_race(latent=[(10, 200)], cascade=[(10, 100)], pixel=[(20, 300)])
    late["seeds"][0]["contestants"]["cascade"]["beside"] = ["cascade"]
    update_bundle(folder / "raced", {RACE: late})
    at = opened("raced")
    assert "Joined when the others were done: latent GAN in two stages." in text(at)
    assert len(at.columns) == 2 + 3  # of samples, one for each


def test_a_pixel_gan_that_diverged_at_once_leaves_no_choice_of_seconds(folder):
    stopped = tiny_race(latent=[(0, 300), (10, 200)], pixel=[(0, 300)])
    update_bundle(folder / "raced", {RACE: stopped})
    at = opened("raced")
    assert not at.select_slider
    assert verdict(stopped) in text(at)


def test_few_images_are_said_to_be_few_and_lines_are_explained(folder):
    shown = text(opened("raced"))
    assert "**100 images on either side are few**" in shown
    assert "A line for each seed" in shown
    assert "SGD" not in shown
    curve = [(10.0, 200.0)]
    update_bundle(folder / "raced", {RACE: {**tiny_race(latent=curve, pixel=curve, **{"pixel-sgd": curve})}})
    assert "*SGD*: the same GAN" in text(opened("raced"))


def test_distances_are_told_from_those_on_the_map(folder):
    assert "on the Map" not in text(opened("raced"))  # which shows none
    shown = text(opened("imagewoof64"))
    assert "a race trains a codec (preset quick) and GANs of its own, and takes 2,048 samples" in shown
    assert "where 3,276 were taken there" in shown
    assert "are few" not in shown


def test_seed_and_seconds_outlive_a_visit_to_another_page(folder):
    two = {**FOUND, "seeds": [*FOUND["seeds"], {**FOUND["seeds"][0], "seed": 1}]}
    update_bundle(folder / "raced", {RACE: two})
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    at.query_params["bundle"] = "raced"
    at.run()
    visit(at, "speed")
    at.selectbox("speed/raced/seed").set_value("seed 1").run()
    at.select_slider[0].set_value(20).run()
    visit(at, "map")
    visit(at, "speed")
    assert (at.selectbox("speed/raced/seed").value, at.select_slider[0].value) == ("seed 1", 20)


def test_without_a_race_the_page_says_how_to_run_one(tmp_path, monkeypatch):
    (tmp_path / "tiny").mkdir()
    bundle = write_tiny_bundle(tmp_path / "tiny" / "plain")
    monkeypatch.setenv(session.BUNDLE_DIR_VARIABLE, str(bundle.path.parent))
    shown = text(opened("plain"))
    assert (
        f"python -m training.race --preset PRESET --source digits --hold-out fox --bundle {bundle.path}"
        in shown
    )


def test_in_the_browser_the_curves_are_drawn_and_the_slider_changes_the_samples(app: App, page: Page):
    open_page(page, app, "speed", BUNDLE)
    expect(page.locator("h1")).to_have_text("Speed")
    page.locator(f"{PLOT} .scatterlayer .trace").first.wait_for()
    captions = page.get_by_text("not picked")
    before = captions.last.text_content()
    assert before
    page.get_by_role("slider").press("Home")
    expect(captions.last).not_to_have_text(before)
    expect(page.get_by_text("Nothing yet")).to_be_visible()
