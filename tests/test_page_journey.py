"""The Journey page: its path, its pickers and what it sends to the player (no browser)."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from conftest import BUNDLE, DAMAGED, ROOT
from PIL import Image
from streamlit.testing.v1 import AppTest

from explorer.bundle import Bundle
from explorer.bundle_reading import open_bundle
from explorer.decoding import decode
from explorer.generation import load_generation
from explorer.palette import TEXT
from explorer.player import journey as journeys
from explorer.player.journey import (
    FRAMES,
    End,
    Route,
    code_path,
    file_stem,
    to_csv,
    travel,
    usual_distance,
    z_path,
)
from explorer.points import NewSamples, Point
from explorer.sampling import draw_samples

PAGE = ROOT / "explorer" / "pages" / "journey.py"
KEY = f"journey/{BUNDLE}"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle(ROOT / "pretrained" / "digits")


@pytest.fixture
def page(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("DUAL_SPACE_BUNDLES", str(bundles))
    test = AppTest.from_file(str(PAGE), default_timeout=120)
    test.query_params["bundle"] = BUNDLE
    return test


def data(page: AppTest) -> dict[str, Any]:
    """What the page sent to the player."""
    assert not page.exception
    (component,) = page.get("bidi_component")
    return json.loads(component.proto.json)


def frames(page: AppTest) -> np.ndarray:
    """The pictures of the sprite sheet, uint8 (FRAMES, s, s, 3)."""
    sent = data(page)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(sent["sheet"].split(",")[1]))))
    size, columns = sent["size"], sent["columns"]
    cells = [(i // columns * size, i % columns * size) for i in range(len(sent["path"]))]
    return np.stack([sheet[y : y + size, x : x + size] for y, x in cells])


def choose(page: AppTest, side: str, source: str, **widgets: Any) -> None:
    page.selectbox(f"{KEY}/{side}/source").set_value(source).run()
    for name, value in widgets.items():
        box = page.selectbox if name in ("class", "point") else page.number_input
        box(f"{KEY}/{side}/{name}").set_value(value)
    page.run()


def space(page: AppTest) -> Any:
    return next(g for g in page.button_group if g.label == "Through")


def end(bundle: Bundle, kind: str, row: int) -> End:
    if kind == "real":
        return End("a", bundle.real_codes[row].astype(np.float32))
    return End("a", bundle.generated_codes[row], bundle.generated_z[row].astype(np.float32))


@pytest.mark.parametrize("spherical", [False, True])
def test_ends_of_a_path_are_exact(bundle: Bundle, spherical: bool) -> None:
    a, b = end(bundle, "real", 3), end(bundle, "real", 700)
    codes, z = code_path(a, b, spherical)
    assert z is None
    assert codes.shape == (FRAMES, bundle.autoencoder_config.code_dim)
    np.testing.assert_array_equal(codes[[0, -1]], [a.code, b.code])
    assert not np.allclose(codes[FRAMES // 2], a.code)


def test_z_path_goes_through_the_generator(bundle: Bundle) -> None:
    generation = load_generation(bundle)
    new = draw_samples(bundle, generation, 2, seed=0)
    a, b = (End("new", new.codes[i], new.z[i]) for i in range(2))
    codes, z = z_path(generation, a, b, spherical=True)
    np.testing.assert_array_equal(z[[0, -1]], new.z)
    np.testing.assert_array_equal(codes[[0, -1]], [a.code, b.code])
    steps = np.linalg.norm(np.diff(codes, axis=0), axis=1)
    assert steps.max() < 10 * np.median(steps)  # also next to the ends, which are put there
    assert not np.allclose(codes, code_path(a, b, spherical=False).codes, atol=0.1)
    with pytest.raises(ValueError, match="no place in z space"):
        z_path(generation, a, end(bundle, "real", 0), spherical=False)


def test_distances_are_to_training_pictures(bundle: Bundle) -> None:
    train, held_out = (int(np.flatnonzero(bundle.splits == s)[0]) for s in ("train", "held_out"))
    journey = travel(bundle, load_generation(bundle), Route(bundle.real_codes[[train, held_out]]))
    assert set(bundle.splits[journey.neighbours]) == {"train"}
    assert journey.neighbours[0] == train
    assert journey.distances[0] == 0
    assert journey.distances[1] > 0
    np.testing.assert_allclose(journey.positions, bundle.map_real[[train, held_out]], rtol=1e-5)


def test_usual_distance_tells_its_sample(bundle: Bundle) -> None:
    seen, n = usual_distance(bundle, "val")
    held_out, m = usual_distance(bundle, "held_out")
    assert n == min(300, (bundle.splits == "val").sum())
    assert m == min(300, (bundle.splits == "held_out").sum())
    assert 0 < seen < held_out  # a digit that was never seen is farther off
    assert usual_distance(bundle, "no such split")[1] == 0


def test_csv_gives_the_codes_back(bundle: Bundle) -> None:
    codes, _ = code_path(end(bundle, "real", 3), end(bundle, "real", 700), spherical=True)
    text = to_csv(codes, "A: 4 #3; B: 5 #700")
    comment, columns, *_ = text.splitlines()
    assert comment == "# A: 4 #3; B: 5 #700"
    assert columns.startswith("t,c0,c1,")
    table = np.loadtxt(io.StringIO(text), delimiter=",", skiprows=2)
    np.testing.assert_array_equal(table[:, 0], np.linspace(0, 1, FRAMES))
    np.testing.assert_array_equal(table[:, 1:].astype(np.float32), codes)


def test_opens_on_two_seen_classs(page: AppTest, bundle: Bundle) -> None:
    sent = data(page.run())
    assert sent["a"].split()[0] != sent["b"].split()[0]
    assert "held out" not in sent["a"] + sent["b"]
    assert len(sent["path"]) == len(sent["distances"]) == FRAMES
    assert any("round trips" in c.value for c in page.caption)


def test_frames_are_the_decoders_own(page: AppTest, bundle: Bundle) -> None:
    page.run()
    choose(page, "A", "By number", number=5, **{"class": 3})
    choose(page, "B", "Random generated", seed=11)
    row = int(np.flatnonzero(bundle.labels == 3)[4])
    sample = int(np.random.default_rng(11).integers(len(bundle.generated_z)))
    codes, _ = code_path(end(bundle, "real", row), end(bundle, "generated", sample), spherical=False)
    np.testing.assert_array_equal(frames(page), decode(bundle.load_autoencoder(), codes))
    assert data(page)["a"].startswith(f"3 #{row}")
    assert data(page)["b"] == f"generated #{sample}"


def test_z_space_needs_two_generated_ends(page: AppTest) -> None:
    page.run()
    choose(page, "A", "Random generated")
    assert space(page).proto.disabled
    assert any("Both ends need a z" in c.value for c in page.caption)
    choose(page, "B", "Random generated")
    assert not space(page).proto.disabled
    assert not any("Both ends need a z" in c.value for c in page.caption)
    straight = frames(page)
    space(page).set_value("the GAN's z space").run()
    through_z = frames(page)
    np.testing.assert_array_equal(through_z[[0, -1]], straight[[0, -1]])
    assert (through_z != straight).any()
    choose(page, "B", "Class mean")  # back to an end without z
    assert space(page).proto.disabled
    assert not page.exception


def test_swap_turns_the_journey_round(page: AppTest) -> None:
    page.run()
    choose(page, "B", "Class mean", **{"class": 2})
    before, forth = data(page), frames(page)
    next(b for b in page.button if b.label == "Swap A and B").click().run()
    after = data(page)
    assert (after["a"], after["b"]) == (before["b"], before["a"])
    np.testing.assert_array_equal(frames(page)[[0, -1]], forth[[-1, 0]])


def test_swap_takes_a_number_that_was_only_just_typed(page: AppTest, bundle: Bundle) -> None:
    page.run()
    choose(page, "A", "By number", number=5, **{"class": 3})
    page.number_input(f"{KEY}/A/number").set_value(9)
    next(b for b in page.button if b.label == "Swap A and B").click().run()
    assert data(page)["b"].startswith(f"3 #{np.flatnonzero(bundle.labels == 3)[8]}")


def test_held_out_classes_are_marked(page: AppTest) -> None:
    page.run()
    assert "7 (held out)" in page.selectbox(f"{KEY}/A/class").options
    choose(page, "A", "Class mean", **{"class": 7})
    assert data(page)["a"].startswith("mean of 7 (held out), n = ")


def test_opens_on_the_maps_selection(page: AppTest) -> None:
    page.session_state["selected"] = [Point("generated", 4), Point("real", 9)]
    sent = data(page.run())
    assert sent["a"] == "generated #4"
    assert " #9" in sent["b"]


def test_new_samples_that_are_gone_are_not_offered(page: AppTest, bundle: Bundle) -> None:
    one = slice(0, 1)
    page.session_state["new_samples"] = NewSamples(
        seed=0,
        z=bundle.generated_z[one].astype(np.float32),
        codes=bundle.generated_codes[one],
        positions=bundle.map_generated[one],
    )
    page.session_state["selected"] = [Point("new", 0), Point("new", 1)]
    page.run()
    choose(page, "A", "Map selection")
    assert page.selectbox(f"{KEY}/A/point").options == ["new sample #0"]
    assert data(page)["a"] == "new sample #0"


def test_a_damaged_bundle_shows_its_sentence(page: AppTest) -> None:
    page.query_params["bundle"] = DAMAGED
    page.run()
    assert not page.exception
    assert "map.safetensors" in page.error[0].value


@pytest.mark.parametrize("medians", [{"val": 5.0, "held_out": 4.9}, {"val": 4.9, "held_out": 5.0}])
def test_no_medians_line_goes_through_the_label_of_the_other(
    page: AppTest, monkeypatch: pytest.MonkeyPatch, medians: dict[str, float]
) -> None:
    st.cache_data.clear()
    monkeypatch.setattr(journeys, "usual_distance", lambda bundle, split: (medians[split], 300))
    layout = json.loads(page.run().get("plotly_chart")[0].proto.spec)["layout"]
    st.cache_data.clear()
    higher, lower = sorted(layout["annotations"], key=lambda label: -label["y"])
    assert (higher["y"], higher["yanchor"], lower["yanchor"]) == (5, "bottom", "top")
    assert ("held-out" in higher["text"]) == (medians["held_out"] == 5)
    assert {higher["font"]["color"], lower["font"]["color"]} == {TEXT["light"]}
    assert layout["xaxis"]["tickfont"]["color"] == layout["yaxis"]["title"]["font"]["color"] == TEXT["light"]
    assert any("a random sample of 300" in c.value for c in page.caption)


def test_the_strip_names_a_neighbour_first_and_gives_its_distance_a_line_of_its_own(page: AppTest) -> None:
    (strip,) = [h.proto.body for h in page.run().get("html") if "picture at t" in h.proto.body]
    assert re.search(r"<figcaption>\d #\d+\n\d+\.\d</figcaption>", strip)


def test_files_are_named_by_what_is_in_them() -> None:
    assert file_stem("digits", "4 #41", "to", "mean of 7 (held out), n = 1,001") == (
        "digits-4-41-to-mean-of-7-held-out-n-1-001"
    )
    assert file_stem("../a b/Löwe") == "a-b-Löwe"
