"""A class that a bundle's data does not have: measured beside its own, kept apart from the bundle, shown."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import JUDGED, ROOT
from PIL import Image
from streamlit.testing.v1 import AppTest

from explorer import job_panel, jobs, session
from explorer.bundle import Bundle, BundleError
from explorer.bundle_reading import open_bundle
from explorer.decoding import encode
from explorer.measured import REACHABILITY
from explorer.new_class import FILE, NewClass, measured_folders, read_measured
from explorer.rates import Count
from explorer.reachability import LATENT, counts, judged
from tests.support import columns, file_names, mixed_as, one_sentence, tiny_reachability
from training import new_class
from training.cli import UserError
from training.codes import weights_digest
from training.data.dataset import DataOptions, open_dataset
from training.data.sources import open_class
from training.new_class import FEWEST, add_new_class
from training.protocol import Reachability, ReachabilityOptions
from training.reachability import run_reachability
from training.subject import Box

CPU = torch.device("cpu")


def photographs(folder: Path, count: int = 40, seed: int = 0) -> Path:
    """A folder of striped pictures that no digit looks like."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        stripes = 127 + 120 * np.sin(np.arange(32) * rng.uniform(0.8, 1.2) + rng.uniform(0, 6))
        pixels = np.broadcast_to(stripes[:, None, None], (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return folder


def options(folder: Path, **values) -> ReachabilityOptions:
    if not (folder / "digits").exists():
        shutil.copytree(ROOT / "pretrained" / "digits", folder / "digits")
    given = {
        "bundle": folder / "digits", "cheap": True, "samples": 60, "targets": 2, "restarts": 1,
        "search_steps": 2, "judge_images": 640, "alphas": (0.05,), "device": "cpu", "out": folder / "run",
        "cache": folder / "cache",
    }  # fmt: skip
    return ReachabilityOptions(**{**given, **values})


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("new")
    given = options(folder, new_class=photographs(folder / "stripes"))
    return folder, run_reachability(given)


# The command


def test_it_is_asked_about_as_a_held_out_class_is(measured):
    _, report = measured
    assert report["new_class"] | {"sha256": ""} == {"name": "stripes", "photographs": 40, "sha256": ""}
    assert [name for name, found in report["classes"].items() if found["held_out"]] == ["7", "stripes"]
    assert report["split"]["counts"]["stripes"] == {"learn": 20, "calibration": 10, "test": 10}
    level = report["classes"]["stripes"]["levels"]["0.05"]
    assert counts([level["photographs"]]) == [Count(10, 10)]  # nothing is easier to tell from digits
    (drawn,) = level["samples"][LATENT]
    assert drawn["n"] == 60
    assert drawn["hits"] < 10  # and digits are drawn, not stripes
    assert judged(report, LATENT, 0.05)["stripes"].sentence


def test_the_bundle_stays_as_it_is_and_the_report_stands_beside(measured):
    folder, report = measured
    original = ROOT / "pretrained" / "digits"
    for name in file_names(original):
        assert (folder / "digits" / name).read_bytes() == (original / name).read_bytes()
    bundle = open_bundle(folder / "digits")
    new, kept = read_measured(folder / "run", bundle)
    assert kept == json.loads(json.dumps(report))
    assert "stripes" in (folder / "run" / "reachability.html").read_text()
    size = bundle.autoencoder_config.image_size
    image = Image.open(folder / "stripes" / new.names[3]).resize((size, size), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(
        new.codes[3], encode(bundle.load_autoencoder(), np.array(image)[None])[0], atol=0.05
    )


def test_beside_the_others_it_comes_last_and_nothing_else_moves(measured):
    folder, report = measured
    bundle = open_bundle(folder / "digits")
    new, _ = read_measured(folder / "run", bundle)
    beside = new.beside(bundle)
    n = len(bundle.labels)
    np.testing.assert_array_equal(beside.real_codes[:n], bundle.real_codes)
    np.testing.assert_array_equal(beside.real_codes[n:], new.codes)
    assert beside.classes == (*bundle.classes, "stripes")
    assert beside.held_out == ("7", "stripes")
    assert set(beside.labels[n:]) == {10}
    assert set(beside.splits[n:]) == {"held_out"}
    for rows in report["classes"]["stripes"]["examples"]["samples"].values():
        assert min(rows["nearest"]) >= n  # its own images, in the order of the codes


def test_other_photographs_under_the_same_name_have_other_judges(tmp_path):
    """In the same folder: what was learnt from some of them must not judge others."""
    paths = (photographs(tmp_path / "stripes"), photographs(tmp_path / "more" / "stripes", 48, seed=1))
    learnt = []
    for path in (*paths, paths[0]):
        run = Reachability(options(tmp_path, new_class=path, judge_images=128))
        run.learn()
        learnt.append((run._key(), weights_digest(run.judges[0].network.model)))
    assert learnt[0] == learnt[2]
    assert learnt[0][0] != learnt[1][0]
    assert learnt[0][1] != learnt[1][1]
    plain = Reachability(options(tmp_path))
    plain.learn()
    assert plain.judges[0].network.model[-1].out_features == 10


def test_photographs_are_cropped_around_the_subject_where_the_datas_own_are(tmp_path, monkeypatch):
    path = photographs(tmp_path / "stripes")
    dataset = open_dataset(DataOptions(source="digits", image_size=16, margin=0, cache=tmp_path / "cache"))
    bundle = open_bundle(ROOT / "pretrained" / "digits")
    boxes = {f"{i:03d}": Box(0.0, 0.25, 0.5, 0.5) for i in range(40)}
    monkeypatch.setattr(new_class, "find_boxes", lambda *_: boxes)
    _, _, both = add_new_class(bundle, replace(dataset, crop="subject"), path, CPU)
    crop = Image.open(path / "000.png").crop((0, 8, 16, 24))
    np.testing.assert_allclose(both.store.images[-40], np.asarray(crop), atol=3)


def test_a_source_of_one_class_lists_its_folders_images(tmp_path):
    path = photographs(tmp_path / "stripes", 3)
    (path / "deeper").mkdir()
    shutil.copy(path / "000.png", path / "deeper" / "more.PNG")
    (path / "notes.txt").write_text("no picture")
    source = open_class(path)
    assert source.classes == ("stripes",)
    assert [item.name for item in source.items] == ["000.png", "001.png", "002.png", "deeper/more.PNG"]


@pytest.mark.parametrize(
    ("folder", "count", "values", "says"),
    [
        ("7", 40, {}, "is a class of this bundle already"),
        ("few", FEWEST - 1, {}, f"at least {FEWEST}"),
        ("none", 0, {}, "holds no images"),
        ("nowhere", None, {}, "there is no folder"),
        ("page", "not a picture", {}, "none of the 20 images"),
        ("fine", 40, {"cheap": False}, "--new-class goes with --cheap"),
    ],
)
def test_what_cannot_be_asked_about_is_one_sentence(tmp_path, folder, count, values, says):
    path = tmp_path / folder
    if isinstance(count, int):
        photographs(path, count)
    elif count is not None:
        path.mkdir()
        for i in range(20):
            (path / f"{i}.jpg").write_text(count)
    with pytest.raises(UserError, match=says) as caught:
        run_reachability(options(tmp_path, new_class=path, **values))
    assert one_sentence(caught.value)


def test_an_unreadable_photograph_is_left_out(tmp_path):
    path = photographs(tmp_path / "stripes", FEWEST + 1)
    (path / "000.png").write_bytes(b"no picture")
    dataset = open_dataset(DataOptions(source="digits", image_size=16, margin=0, cache=tmp_path / "cache"))
    bundle = open_bundle(ROOT / "pretrained" / "digits")
    new, _, both = add_new_class(bundle, dataset, path, CPU)
    assert len(new.names) == len(new.codes) == FEWEST
    assert list(both.store.skipped) == ["000.png"]


def test_the_bundles_own_photographs_under_another_name_are_no_new_class(tmp_path):
    """Networks were trained on them: a card would call them held out."""
    dataset = open_dataset(DataOptions(source="digits", image_size=16, margin=0, cache=tmp_path / "cache"))
    (tmp_path / "sevens").mkdir()
    for i, image in enumerate(dataset.store.images[dataset.store.labels == 7][:30]):
        Image.fromarray(image).save(tmp_path / "sevens" / f"{i}.png")
    with pytest.raises(UserError, match="30 of the 30 photographs") as caught:
        add_new_class(open_bundle(ROOT / "pretrained" / "digits"), dataset, tmp_path / "sevens", CPU)
    assert one_sentence(caught.value)


def test_not_one_of_the_bundles_own_photographs_may_be_among_them(tmp_path):
    dataset = open_dataset(DataOptions(source="digits", image_size=16, margin=0, cache=tmp_path / "cache"))
    (tmp_path / "noise").mkdir()
    rng = np.random.default_rng(0)
    for i in range(29):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(tmp_path / "noise" / f"{i:02d}.png")
    digits = open_bundle(ROOT / "pretrained" / "digits")
    assert len(add_new_class(digits, dataset, tmp_path / "noise", CPU)[0].names) == 29
    Image.fromarray(dataset.store.images[7]).save(tmp_path / "noise" / "own.png")
    with pytest.raises(UserError, match=r"1 of the 30 photographs.*own\.png") as caught:
        add_new_class(digits, dataset, tmp_path / "noise", CPU)
    assert one_sentence(caught.value)


def test_codes_are_rounded_as_the_bundles_own_are(measured):
    """A class must not be known by how its codes are stored."""
    folder, _ = measured
    bundle = open_bundle(folder / "digits")
    new, _ = read_measured(folder / "run", bundle)
    together = np.concatenate([bundle.real_codes, new.codes])
    steps = new.codes / (np.abs(together).max(0) / 63)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


# The page


def keep(bundle: Bundle, runs: Path, monkeypatch: pytest.MonkeyPatch, name: str = "fox") -> Path:
    """What a measurement of a new class leaves behind, without one."""
    monkeypatch.setenv(job_panel.RUNS_VARIABLE, str(runs))
    folder = job_panel.job_folder(bundle) / f"{job_panel._beginning(bundle)}{name}"
    folder.mkdir(parents=True)
    names = tuple(f"{i}.jpg" for i in range(20))
    new = NewClass(name, names, bundle.real_codes[:20].copy())
    (folder / FILE).write_bytes(new.to_bytes())
    report = tiny_reachability(
        new.beside(bundle).classes, ("7", name), {0.05: (8, 12, 9, 11, 7), 0.01: (0,) * 5}
    )
    report["classes"][name]["examples"]["round trips"] = list(
        range(len(bundle.labels), len(bundle.labels) + 8)
    )
    report["new_class"] = {"name": name, "photographs": 20, "sha256": new.digest}
    (folder / REACHABILITY).write_text(json.dumps(report))
    return folder


def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv(session.BUNDLE_DIR_VARIABLE, str(folder))
    at = AppTest.from_file(str(ROOT / "explorer" / "pages" / "held_out.py"), default_timeout=120)
    at.query_params["bundle"] = JUDGED
    at.run()
    assert not at.exception
    return at


def folder_box(at: AppTest):
    return next(box for box in at.text_input if box.label == "Folder of a new class")


def text(at: AppTest) -> str:
    return " ".join(e.value for e in (*at.markdown, *at.caption, *at.subheader, *at.header))


def test_its_card_stands_on_the_page_and_those_of_the_bundle_stay(bundles, tmp_path, monkeypatch):
    bundle = open_bundle(bundles / JUDGED)
    before = text(opened(bundles, monkeypatch))
    folder = keep(bundle, tmp_path, monkeypatch)
    at = opened(bundles, monkeypatch)
    shown = text(at)
    verdict = judged(bundle.reachability, LATENT, 0.01)["7"].sentence
    assert verdict in before
    assert "New classes" not in before
    assert verdict in shown
    report = json.loads((folder / REACHABILITY).read_text())
    assert judged(report, LATENT, 0.01)["fox"].sentence in shown
    assert [h.value for h in at.subheader].count("fox") == 1
    alpha = at.select_slider(key=f"alpha {bundle.name} fox")
    alpha.set_value(0.05).run()
    assert not at.exception
    assert judged(report, LATENT, 0.05)["fox"].sentence in text(at)
    assert verdict in text(at)  # which has its own slider


def test_names_that_are_markdown_are_shown_as_they_are(bundles, tmp_path, monkeypatch):
    name, said = "fox|*a*_b_$c$[d](e)", r"fox|\*a\*\_b\_\$c\$\[d](e)"
    folder = keep(open_bundle(bundles / JUDGED), tmp_path, monkeypatch, name)
    report = mixed_as(json.loads((folder / REACHABILITY).read_text()), name, 0.01, [6_000] * 9)
    report["command"] = "python -m training.reachability digits --new-class 'my_*|fox'"
    # a seen class, too
    (folder / REACHABILITY).write_text(json.dumps(report).replace('"0"', '"zero|_0_"'))
    at = opened(bundles, monkeypatch)
    assert not at.warning
    assert said in [h.value for h in at.subheader]
    assert f"**{said}: " in text(at)
    tables = [e.value for e in at.markdown if e.value.startswith("|")]
    assert len(tables) == 5  # two of each report, and the claims of the bundle's
    for table in tables:
        assert len({columns(line) for line in table.split("\n")}) == 1
    *_, why, scale = tables
    assert r"zero\|\_0\_: 0 of 6,000" in why
    assert r"`python -m training.reachability digits --new-class 'my_*\|fox'`" in why  # code is left alone
    assert r"| zero\|\_0\_ (seen) |" in scale
    assert "| " + said.replace("|", r"\|") + " (held out) |" in scale


def test_what_was_measured_with_another_generator_is_not_shown(bundles, tmp_path, monkeypatch):
    bundle = open_bundle(bundles / JUDGED)
    folder = keep(bundle, tmp_path, monkeypatch)
    assert job_panel.new_class_folders(bundle) == [folder]
    folder.rename(folder.with_name("new-12345678-12345678-fox"))
    assert job_panel.new_class_folders(bundle) == []


def test_the_newest_report_of_a_class_comes_last(tmp_path):
    for name, seconds in (("new-b", 100), ("new-a", 200), ("other", 300)):
        (tmp_path / name).mkdir()
        for file in (FILE, REACHABILITY):
            (tmp_path / name / file).touch()
        os.utime(tmp_path / name / REACHABILITY, (seconds, seconds))
    (tmp_path / "new-unfinished").mkdir()
    (tmp_path / "new-unfinished" / FILE).touch()
    assert [path.name for path in measured_folders(tmp_path, "new-")] == ["new-b", "new-a"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (FILE, b"no tensors"),
        (FILE, NewClass("fox", ("other.jpg",), np.zeros((1, 64), np.float32)).to_bytes()),
        (REACHABILITY, b"{}"),
        (REACHABILITY, b'{"classes": {"fox": {}}}'),
    ],
)
def test_a_damaged_measurement_is_one_sentence_and_the_page_goes_on(
    bundles, tmp_path, monkeypatch, file, content
):
    bundle = open_bundle(bundles / JUDGED)
    folder = keep(bundle, tmp_path, monkeypatch)
    (folder / file).write_bytes(content)
    with pytest.raises(BundleError) as caught:
        read_measured(folder, bundle)
    assert one_sentence(caught.value)
    at = opened(bundles, monkeypatch)
    assert str(caught.value) in at.warning[0].value
    assert "Raw material" in text(at)


def test_a_job_about_a_new_class_is_started_with_its_folder(bundles, tmp_path, monkeypatch):
    monkeypatch.setenv(job_panel.RUNS_VARIABLE, str(tmp_path / "runs"))
    started = []
    monkeypatch.setattr(jobs, "start", lambda *given: started.append(given))
    path = photographs(tmp_path / "fox", 2)
    at = opened(bundles, monkeypatch)
    for nowhere in (str(tmp_path / "nowhere"), "~no-such-user/fox", "x" * 300):
        folder_box(at).set_value(nowhere).run()
        assert not at.exception
        assert "There is no folder" in at.error[0].value
        assert not [b for b in at.button if b.label == "Start"]
    folder_box(at).set_value(str(path)).run()
    start = next(b for b in at.button if b.label == "Start")
    assert not start.disabled  # the bundle's own report stays
    start.click().run()
    ((_, command, progress, _),) = started
    assert command[command.index("--new-class") + 1] == str(path)
    bundle = open_bundle(bundles / JUDGED)
    assert progress.parent.name.startswith(job_panel._beginning(bundle))


def test_a_bundle_without_held_out_classes_can_be_asked_about_a_new_one(bundles, tmp_path, monkeypatch):
    monkeypatch.setenv(job_panel.RUNS_VARIABLE, str(tmp_path))
    everything = replace(open_bundle(bundles / JUDGED), held_out=(), reachability=None)
    monkeypatch.setattr(session, "current_bundle", lambda: everything)
    at = opened(bundles, monkeypatch)
    assert "training saw all of them" in at.info[0].value
    assert next(b for b in at.button if b.label == "Start").disabled
    folder_box(at).set_value(str(photographs(tmp_path / "fox", 2))).run()
    assert not next(b for b in at.button if b.label == "Start").disabled
