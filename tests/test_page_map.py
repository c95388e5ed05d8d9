"""The Map page and what it is made of: layers, selection, neighbours, photographs, new samples."""

import errno
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import BUNDLE, DAMAGED, ROOT
from PIL import Image
from streamlit.testing.v1 import AppTest

from explorer import session
from explorer.bundle import Bundle
from explorer.bundle_reading import open_bundle
from explorer.generation import load_generation
from explorer.map_figure import MANY, layers, map_figure, selected_points
from explorer.neighbours import nearest_real, selection_table, stratified, training_distances
from explorer.palette import BACKGROUND
from explorer.photographs import Photographs, folder_of, likely_folders, thumbnail
from explorer.points import Point
from explorer.sampling import draw_samples
from tests.support import visit


@pytest.fixture(scope="module")
def digits() -> Bundle:
    return open_bundle(ROOT / "pretrained" / "digits")


@pytest.fixture
def at(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv(session.BUNDLE_DIR_VARIABLE, str(bundles))
    at = AppTest.from_file(str(ROOT / "explorer" / "pages" / "map.py"), default_timeout=120)
    at.query_params["bundle"] = BUNDLE
    return at


def press(at: AppTest, label: str) -> None:
    next(b for b in at.button if b.label == label).click().run()
    assert not at.exception


def html(at: AppTest) -> str:
    return "".join(element.proto.body for element in at.get("html"))


def traces(at: AppTest) -> dict[str, dict]:
    spec = json.loads(at.get("plotly_chart")[0].proto.spec)
    return {trace["name"]: trace for trace in spec["data"]}


def test_opens_and_says_what_it_shows(at, digits):
    at.run()
    assert not at.exception
    text = " ".join(m.value for m in (*at.markdown, *at.caption))
    assert f"1,797 real images and {len(digits.generated_z):,} generated" in text
    assert "no number is computed from it" in text
    assert "n = 1,797" in text
    assert {"7 (held out)", "Generated", "0"} <= traces(at).keys()


def test_generate_adds_the_samples_asked_for_and_shows_them(at):
    at.run()
    at.number_input(key="new_count").set_value(7)
    at.number_input(key="seed").set_value(3)
    next(b for b in at.button if b.label == "Generate").click().run()
    assert not at.exception
    new = at.session_state["new_samples"]
    assert new.seed == 3
    assert new.positions.shape == (7, 2)
    assert at.session_state["selected"] == [Point("new", i) for i in range(7)]
    assert "New samples" in traces(at)
    assert html(at).count('class="dse-card"') == 7
    next(b for b in at.button if b.label == "Clear").click().run()
    assert "New samples" not in traces(at)


@pytest.mark.parametrize("asked", [5000, 0, -3])
def test_a_number_of_samples_that_cannot_be_drawn_is_said_and_none_are(at, asked):
    at.run()
    box = at.number_input(key="new_count")
    assert box.label == "New samples, 1–1,000"
    assert box.help
    box.set_value(asked)
    press(at, "Generate")
    assert at.number_input(key="new_count").value == asked
    assert f"{asked:,} new samples cannot be drawn" in at.error[0].value
    assert "New samples" not in traces(at)
    at.number_input(key="new_count").set_value(1000)
    press(at, "Generate")
    assert not at.error
    assert len(at.session_state["new_samples"].z) == 1000


def test_a_real_picture_is_selected_by_class_and_number(at, digits):
    at.session_state["selected"] = [Point("generated", 4)]
    at.run()
    sevens = np.flatnonzero(digits.labels == 7)
    box = next(b for b in at.selectbox if b.label == "Class")
    box.set_value(7).run()
    assert "7 (held out)" in box.options
    number = next(b for b in at.number_input if b.label == f"Number, 1–{len(sevens)}")
    number.set_value(3)
    press(at, "Add")
    wanted = Point("real", int(sevens[2]))
    assert at.session_state["selected"] == [Point("generated", 4), wanted]
    assert f"7 (held out) #{sevens[2]}" in html(at)
    press(at, "Add")
    assert at.session_state["selected"] == [Point("generated", 4), wanted]
    press(at, "Clear")
    assert at.session_state["selected"] == []
    press(at, "Add")
    assert at.session_state["selected"] == [wanted]


def test_the_moment_of_training_outlives_a_visit_to_another_page(bundles, monkeypatch):
    monkeypatch.setenv(session.BUNDLE_DIR_VARIABLE, str(bundles))
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    at.query_params["bundle"] = BUNDLE
    at.run()
    at.select_slider[0].set_value(2).run()
    for page in ("journey", "map"):
        visit(at, page)
        assert at.sidebar.selectbox[0].value == BUNDLE
        assert at.session_state["bundle_shown"][0].name == BUNDLE
    assert at.select_slider[0].value == 2


def test_the_picture_of_the_map_has_a_name_and_a_background(at, digits):
    at.run()
    options = json.loads(at.get("plotly_chart")[0].proto.config)["toImageButtonOptions"]
    assert options == {"filename": f"{BUNDLE}-map", "scale": 2}
    for theme in ("light", "dark"):
        assert map_figure(layers(digits), digits, "class", theme).layout.paper_bgcolor == BACKGROUND[theme]


def test_random_changes_the_seed_alone(at):
    at.run()
    before = at.number_input(key="seed").value
    next(b for b in at.button if b.label == "Random").click().run()
    assert at.number_input(key="seed").value != before
    assert at.session_state["new_samples"] is None if "new_samples" in at.session_state else True


def test_colour_by_kind_gives_one_legend_entry_a_kind(at):
    at.run()
    at.radio(key="colour_by").set_value("kind").run()
    assert not at.exception
    spec = json.loads(at.get("plotly_chart")[0].proto.spec)
    shown = [trace["name"] for trace in spec["data"] if trace["showlegend"]]
    assert sorted(shown) == ["Generated", "Real, held out", "Real, seen"]


def test_the_training_slider_shows_a_snapshot_that_cannot_be_picked(at, digits):
    at.run()
    at.select_slider[0].set_value(2).run()
    assert not at.exception
    name = f"Generated after {digits.snapshot_images[2]:,} images"
    assert name in traces(at)
    assert "Generated" not in traces(at)
    drawn = layers(digits, snapshot=2)
    curve = next(i for i, layer in enumerate(drawn) if layer.kind is None)
    np.testing.assert_array_equal(drawn[curve].positions, digits.map_snapshots[2])
    assert selected_points({"points": [{"curve_number": curve, "point_index": 0}]}, drawn) == []


def test_a_large_selection_says_that_it_is_cut_and_shows_every_kind(at, digits):
    rows = [int(np.flatnonzero(digits.labels == label)[0]) for label in range(10)]
    points = [Point("generated", i) for i in range(500)] + [Point("real", row) for row in rows]
    at.session_state["selected"] = points
    at.run()
    assert not at.exception
    assert any("510 points are selected; 48 are shown" in w.value for w in at.warning)
    assert html(at).count('class="dse-card"') == 48
    for row in rows:
        assert f"#{row}<" in html(at)


def test_real_pictures_are_round_trips_without_photographs(at):
    at.session_state["selected"] = [Point("real", 0)]
    at.run()
    assert "<figcaption>round trip<" in html(at)
    assert "<figcaption>photograph<" not in html(at)
    assert any("shown as round trips" in c.value for c in at.caption)


def test_photographs_stand_beside_their_round_trips_and_a_broken_one_is_named(at, digits, tmp_path):
    for name in digits.names[:1000]:
        (tmp_path / f"{name}.JPEG").write_bytes(b"not a picture")
    Image.new("RGB", (300, 200), "red").save(tmp_path / f"{digits.names[0]}.JPEG")
    at.session_state["photograph_folder"] = str(tmp_path)
    at.session_state["selected"] = [Point("real", 0), Point("real", 1)]
    at.run()
    assert not at.exception
    assert html(at).count("<figcaption>photograph<") == 1
    assert html(at).count("<figcaption>round trip<") == 2
    assert f"{digits.names[1]}.JPEG cannot be read" in html(at)


def test_a_folder_named_for_one_bundle_does_not_hide_what_another_finds_by_itself(
    at, digits, tmp_path, monkeypatch
):
    for name in digits.names[:1000]:
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.JPEG", "JPEG")
    monkeypatch.setattr("explorer.photographs.likely_folders", lambda source: [tmp_path])
    (tmp_path / "others").mkdir()
    at.session_state["photograph_folder"] = str(tmp_path / "others")
    at.run()
    assert any(f"found in `{tmp_path.name}`" in caption.value for caption in at.sidebar.caption)
    assert not at.sidebar.warning


def test_a_damaged_bundle_shows_one_sentence_and_the_others_still_work(at):
    at.query_params["bundle"] = DAMAGED
    at.run()
    assert not at.exception
    assert len(at.error) == 1
    assert "map.safetensors is damaged" in at.error[0].value
    at.sidebar.selectbox[0].set_value(BUNDLE).run()
    assert not at.error
    assert traces(at)


def test_a_folder_of_bundles_that_is_not_there_is_named(at, tmp_path, monkeypatch):
    monkeypatch.setenv(session.BUNDLE_DIR_VARIABLE, str(tmp_path / "typo"))
    at.query_params["bundle"] = "digits"
    at.run()
    assert not at.exception
    assert any(str(tmp_path / "typo") in warning.value for warning in at.sidebar.warning)


def test_a_folder_of_bundles_that_nobody_may_look_into_is_named(at, tmp_path, monkeypatch):
    def is_dir(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    # As below a folder that may not be entered; root may enter all.
    monkeypatch.setattr(Path, "is_dir", is_dir)
    test_a_folder_of_bundles_that_is_not_there_is_named(at, tmp_path, monkeypatch)


def test_another_bundle_forgets_the_selection(at):
    at.session_state["selected"] = [Point("real", 0)]
    at.run()
    assert at.session_state["selected"]
    at.sidebar.selectbox[0].set_value("digits").run()
    assert "selected" not in at.session_state
    assert not at.exception


def copied(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle that can be taken away, where the app finds it."""
    monkeypatch.setenv(session.BUNDLE_DIR_VARIABLE, str(tmp_path))
    return Path(shutil.copytree(bundles / BUNDLE, tmp_path / "borrowed"))


@pytest.mark.parametrize("button", ["Generate", "Add"])
def test_what_was_clicked_for_a_bundle_that_is_gone_is_not_done_with_another(
    at, bundles, tmp_path, monkeypatch, button
):
    folder = copied(bundles, tmp_path, monkeypatch)
    at.query_params["bundle"] = folder.name
    at.run()
    assert at.sidebar.selectbox[0].value == folder.name
    shutil.rmtree(folder)
    press(at, button)
    assert ["There is no bundle called borrowed any more." in w.value for w in at.warning] == [True]
    assert at.sidebar.selectbox[0].value == session.DEFAULT_BUNDLE
    assert "new_samples" not in at.session_state
    assert "selected" not in at.session_state
    press(at, button)
    assert not at.warning
    assert at.session_state["selected"]


def test_a_bundle_that_went_while_another_page_was_opened_is_named(at, bundles, tmp_path, monkeypatch):
    folder = copied(bundles, tmp_path, monkeypatch)
    at.query_params.clear()
    at.session_state["bundle"] = folder.name
    shutil.rmtree(folder)
    at.run()
    assert not at.exception
    assert "There is no bundle called borrowed any more." in at.warning[0].value


def test_every_choice_of_a_bundle_is_taken(at):
    at.run()
    shown = at.sidebar.selectbox[0].value
    for name in ("digits", "imagewoof64", "digits", shown, "imagewoof64"):
        at.sidebar.selectbox[0].set_value(name).run()
        assert not at.exception
        assert at.sidebar.selectbox[0].value == name
        assert at.query_params["bundle"] in (name, [name])


def test_a_bundle_in_the_address_that_is_not_there_is_named_as_it_is_written(at):
    at.query_params["bundle"] = "[here](https://example.org)"
    at.run()
    assert not at.exception
    assert at.sidebar.warning[0].value == r"There is no bundle called \[here](https://example.org)."


def test_a_bundle_in_the_address_that_is_not_there_is_named(at):
    at.query_params["bundle"] = "nonsense"
    at.run()
    assert not at.exception
    assert [w.value for w in at.sidebar.warning] == ["There is no bundle called nonsense."]
    at.run()
    assert not at.sidebar.warning


def test_every_folder_that_is_typed_is_taken(at, tmp_path):
    at.run()
    for typed in (str(tmp_path), str(tmp_path / "none"), "~no-such-user/x", "x" * 5000, str(tmp_path), ""):
        at.sidebar.text_input[0].set_value(typed).run()
        assert not at.exception
        assert at.sidebar.text_input[0].value == typed
        warned = [w.value for w in at.sidebar.warning]
        if typed == str(tmp_path):
            assert any("None of this bundle's pictures" in w for w in warned)
        elif typed:
            assert any("no such folder" in w for w in warned)


def test_a_bundle_whose_source_nobody_may_look_into_opens(tmp_path, monkeypatch):
    def forbidden(self: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    assert likely_folders("folder:~no-such-user/pets") == []
    (tmp_path / "train").mkdir()
    monkeypatch.setattr(Path, "is_file", forbidden)
    assert Photographs(tmp_path).find("train/1.png") is None
    monkeypatch.setattr(Path, "is_dir", forbidden)
    assert folder_of(str(tmp_path)) is None


def test_the_end_of_one_bundles_training_is_no_moment_of_anothers(at):
    at.run()
    for name in ("imagewoof64", "digits", "imagewoof64"):
        at.select_slider[0].set_value(len(at.select_slider[0].options) - 1)
        at.sidebar.selectbox[0].set_value(name).run()
        assert not at.exception
        assert not [trace for trace in traces(at) if "after" in trace]


def test_clear_gives_up_what_was_drawn_around_on_the_chart(at, digits):
    """The chart keeps a selection of its own, until it is another chart."""
    at.session_state["selected"] = [Point("real", 0)]
    at.run()
    before = at.get("plotly_chart")[0].proto.id
    next(button for button in at.button if button.label == "Random").click().run()
    assert at.get("plotly_chart")[0].proto.id == before
    next(button for button in at.button if button.label == "Clear").click().run()
    assert at.session_state["selected"] == []
    assert at.get("plotly_chart")[0].proto.id != before


def test_the_app_never_imports_umap():
    code = (
        "import sys; from streamlit.testing.v1 import AppTest; "
        "at = AppTest.from_file('explorer/pages/map.py', default_timeout=120).run(); "
        "next(b for b in at.button if b.label == 'Generate').click().run(); "
        "assert not at.exception and len(at.session_state['new_samples'].z) == 24; "
        "sys.exit('umap' in sys.modules or 'training' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_layers_hold_every_point_once_and_a_selection_finds_them(digits):
    new = draw_samples(digits, load_generation(digits), 5, 0)
    drawn = layers(digits, new)
    points = [Point(layer.kind, int(row)) for layer in drawn for row in layer.rows]
    assert len(points) == len(set(points)) == 1797 + len(digits.generated_z) + 5
    hits = [{"curve_number": c, "point_index": 0} for c in range(len(drawn))]
    found = selected_points({"points": [*hits, *hits, {"curve_number": 99, "point_index": 0}]}, drawn)
    assert found == [Point(layer.kind, int(layer.rows[0])) for layer in drawn]


def test_the_figure_shows_the_shipped_coordinates_with_equal_scale(digits):
    figure = map_figure(layers(digits), digits, "class", "light")
    held_out = next(t for t in figure.data if t.name == "7 (held out)")
    np.testing.assert_array_equal(held_out.x, digits.map_real[digits.labels == 7, 0])
    assert figure.layout.yaxis.scaleanchor == "x"
    assert held_out.marker.symbol != figure.data[0].marker.symbol


@pytest.mark.parametrize("colour_by", ["class", "kind"])
def test_the_legends_colours_are_the_maps(digits, colour_by):
    """The legend draws a mark as faint as one is; where many faint ones lie together they are not."""
    for trace in map_figure(layers(digits), digits, colour_by, "light").data:
        assert trace.opacity in (None, 1)
        assert trace.marker.opacity in (None, 1)
        assert trace.marker.color.startswith("#")


def test_many_held_out_points_are_drawn_smaller(digits):
    many = replace(digits, held_out=("1", "7", "8"))
    sizes = []
    for bundle in (digits, many):
        figure = map_figure(layers(bundle), bundle, "class", "light")
        sizes.append(next(t.marker.size for t in figure.data if t.name == "7 (held out)"))
    assert sum((digits.labels == c).sum() for c in (1, 7, 8)) > MANY
    assert sizes[1] < sizes[0]


def test_a_real_image_is_not_its_own_neighbour(digits):
    train = int(np.flatnonzero(digits.splits == "train")[0])
    points = [Point("real", train), Point("generated", 3)]
    distances, rows = nearest_real(digits, points, k=2)
    codes = digits.real_codes.astype(np.float32)
    by_hand = np.linalg.norm(codes - codes[train], axis=1)
    by_hand[train] = np.inf
    assert rows[0].tolist() == np.argsort(by_hand)[:2].tolist()
    np.testing.assert_allclose(distances[0], np.sort(by_hand)[:2], rtol=1e-5)
    to_sample = np.linalg.norm(codes - digits.generated_codes[3], axis=1)
    assert rows[1].tolist() == np.argsort(to_sample)[:2].tolist()
    in_training = np.where(digits.splits == "train", by_hand, np.inf).min()
    np.testing.assert_allclose(training_distances(digits, points)[0], in_training, rtol=1e-5)


def test_the_table_tells_kinds_apart(digits):
    new = draw_samples(digits, load_generation(digits), 2, 9)
    table = selection_table(digits, [Point("real", 7), Point("generated", 1), Point("new", 0)], new)
    assert table["kind"].tolist() == ["real", "generated", "new"]
    assert table["class"].tolist() == ["7", "", ""]
    assert table["split"].tolist() == ["held_out", "", ""]
    assert table["file"].tolist() == [digits.names[7], "", ""]
    assert table["seed"].tolist() == ["", "", 9]
    assert (table["distance_to_training_code"] > 0).all()


def test_stratified_keeps_small_selections_and_shares_large_ones(digits):
    few = [Point("real", i) for i in range(10)]
    assert stratified(digits, few, 10) == few
    many = [Point("generated", i) for i in range(2000)] + [Point("real", 7)]
    chosen = stratified(digits, many, 48)
    assert len(set(chosen)) == 48
    assert Point("real", 7) in chosen


def test_samples_follow_their_seed(digits):
    generation = load_generation(digits)
    few, more = draw_samples(digits, generation, 3, 5), draw_samples(digits, generation, 6, 5)
    np.testing.assert_array_equal(few.z, more.z[:3])
    np.testing.assert_allclose(few.codes, more.codes[:3], rtol=1e-4, atol=1e-5)
    assert not np.array_equal(few.z, draw_samples(digits, generation, 3, 6).z)
    low, high = digits.map_real.min(0), digits.map_real.max(0)
    assert ((more.positions >= low) & (more.positions <= high)).all()


@pytest.mark.parametrize("file", ["train/n01/a.webp", "train/n01/a.JPEG", "n01/a.jpg"])
def test_photographs_fit_other_endings_and_trees_without_split(tmp_path, file):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    Image.new("RGB", (400, 100)).save(path)
    assert Photographs(tmp_path).find("train/n01/a.webp") == path
    assert Photographs(tmp_path).find("train/n02/a.webp") is None
    assert thumbnail(path).shape == (48, 192, 3)


def test_a_bundle_cannot_point_outside_the_folder(tmp_path):
    (tmp_path / "inside").mkdir()
    outside = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(outside)
    assert Photographs(tmp_path / "inside").find("../secret.png") is None
    assert Photographs(tmp_path / "inside").find(str(outside)) is None


def test_likely_folders_follow_the_source(tmp_path):
    assert likely_folders(f"folder:{tmp_path}") == [tmp_path]
    assert likely_folders(f"imagewoof:{tmp_path}") == [tmp_path]
    assert [p.name for p in likely_folders("imagewoof")][:2] == ["imagewoof2-320", "imagewoof2-160"]
    assert likely_folders("digits") == []
