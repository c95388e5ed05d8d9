"""The Held-out page: verdicts that follow from stored counts, numbers with n, and a job that measures."""

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from conftest import BUNDLE, JUDGED, ROOT, App
from playwright.sync_api import expect
from safetensors.numpy import load_file, save_file
from streamlit.testing.v1 import AppTest

from explorer import job_panel, jobs, session
from explorer.bundle import SPLITS, BundleError
from explorer.bundle_reading import open_bundle
from explorer.bundle_writing import update_bundle, write_bundle
from explorer.comparison import also_seen, class_distances, comparable_classes, judge_calls
from explorer.counts_table import COLUMNS, counts_csv
from explorer.decoding import data_uri, grid
from explorer.examples import tiles
from explorer.ladder import CAPTION
from explorer.measured import REACHABILITY
from explorer.points import NewSamples
from explorer.reachability import judged as verdicts_of
from explorer.report import WORDS, html_report
from explorer.verdict import Kind
from tests.browser import PLOT, open_page, settle, unfold
from tests.support import tiny_parts, write_tiny_bundle

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A copy of the digits whose judge answers at random, and takes nothing for a 7 but photographs."""
    path = tmp_path / "judged"
    shutil.copytree(ROOT / "pretrained" / "digits", path)
    rng = np.random.default_rng(0)
    arrays = load_file(path / "judge.safetensors")
    bundle = open_bundle(path)
    asked = bundle.splits != "train"
    answers = rng.integers(0, 7, len(asked)).astype(np.int16)
    arrays["photo_top1"] = np.where(asked, bundle.labels, -1).astype(np.int16)
    arrays["round_trip_top1"] = np.where(asked, answers, -1).astype(np.int16)
    arrays["generated_top1"] = rng.integers(0, 7, len(arrays["generated_top1"])).astype(np.int16)
    for kind in ("photo", "round_trip", "generated"):
        answered = arrays[f"{kind}_top1"] != -1
        arrays[f"{kind}_confidence"] = np.where(answered, 0.5, -1).astype(np.float16)
    save_file(arrays, path / "judge.safetensors")
    manifest = json.loads((path / "bundle.json").read_text())
    manifest["judge"] = {
        "name": "Test judge",
        "class_index": {c: int(c) for c in bundle.classes},
        "categories": {c: f"category {c}" for c in bundle.classes},
        "size": 224,
    }
    digest = hashlib.sha256((path / "judge.safetensors").read_bytes()).hexdigest()
    manifest["files"]["judge.safetensors"]["sha256"] = digest
    (path / "bundle.json").write_text(json.dumps(manifest))
    return path


def opened(folder: Path, bundle: str, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv(session.BUNDLE_DIR_VARIABLE, str(folder))
    monkeypatch.setenv(job_panel.RUNS_VARIABLE, str(folder / "runs"))
    at = AppTest.from_file(str(ROOT / "explorer" / "pages" / "held_out.py"), default_timeout=120)
    at.query_params["bundle"] = bundle
    at.run()
    assert not at.exception
    return at


def text(at: AppTest) -> str:
    return " ".join(e.value for e in (*at.markdown, *at.caption, *at.info, *at.error, *at.subheader))


def test_every_number_comes_with_n_and_there_is_no_verdict(bundles, monkeypatch):
    at = opened(bundles, BUNDLE, monkeypatch)
    assert "No verdict yet" in text(at)
    assert f"python -m training.reachability {bundles / BUNDLE}" in text(at)
    assert "judge does not know these classes" in text(at)
    codec, distances = (table.value for table in at.table)
    assert codec.loc["7 (held out)", "images, n"] == "179"
    assert codec.loc["all seen classes, validation", "images, n"] == "323"
    assert distances.index.tolist() == ["7 (held out)", "0 (seen)", "1 (seen)"]
    assert all("n = " in cell for cell in distances.to_numpy().ravel())
    assert "12 of its 179 held-out images, as round trips" in text(at)
    cards = "".join(e.proto.body for e in at.get("html")).count('class="dse-card"')
    assert cards == 3 * 2 * 12


def test_other_seen_classes_can_be_chosen(bundles, monkeypatch):
    at = opened(bundles, BUNDLE, monkeypatch)
    at.multiselect[0].set_value(["9"]).run()
    assert not at.exception
    assert at.table[-1].value.index.tolist() == ["7 (held out)", "9 (seen)"]


def test_the_judge_counts_match_the_bundle(judged, monkeypatch):
    at = opened(judged.parent, "judged", monkeypatch)
    table = at.table[1].value
    m = len(open_bundle(judged).generated_z)
    assert "0 of these 12 7" in text(at)
    assert table.loc["7 (held out)", "photographs of it"] == "179 of 179: 100.0% [97.9%, 100.0%]"
    assert table.loc["7 (held out)", "their round trips"].startswith("0 of 179: 0.0%")
    assert table.loc["7 (held out)", "all generated samples"].startswith(f"0 of {m:,}: 0.0%")
    arrays = load_file(judged / "judge.safetensors")
    k = int((arrays["generated_top1"] == 0).sum())
    assert table.loc["0 (seen)", "all generated samples"].startswith(f"{k:,} of {m:,}")
    assert "It errs" in text(at)
    assert "category" in "".join(e.proto.body for e in at.get("html"))


def test_seen_classes_are_counted_on_images_that_training_did_not_use(judged):
    bundle = open_bundle(judged)
    val = (bundle.labels == 3) & (bundle.splits == "val")
    assert judge_calls(bundle, "3")["photo"].n == val.sum()
    assert comparable_classes(bundle) == ["0", "1"]  # all are named on every photograph: the first


def test_distances_are_those_of_their_definition(judged):
    bundle = open_bundle(judged)
    distances = class_distances(bundle, "7")
    codes, sevens = bundle.real_codes.astype(np.float32), bundle.labels == 7
    first = codes[sevens][0]
    to_training = np.linalg.norm(codes[bundle.splits == "train"] - first, axis=1).min()
    to_own = np.sort(np.linalg.norm(codes[sevens] - first, axis=1))[1]
    np.testing.assert_allclose(distances.to_training[0], to_training, rtol=1e-4)
    np.testing.assert_allclose(distances.to_own_class[0], to_own, rtol=1e-4)
    of_sample = np.linalg.norm(codes[sevens] - bundle.generated_codes[5], axis=1).min()
    np.testing.assert_allclose(distances.generated[5], of_sample, rtol=1e-4)


def test_a_class_that_the_judge_has_no_name_for_is_not_said_to_be_missed(judged, monkeypatch):
    manifest = json.loads((judged / "bundle.json").read_text())
    manifest["judge"]["class_index"] |= {"7": None, "0": None}
    (judged / "bundle.json").write_text(json.dumps(manifest))
    bundle = open_bundle(judged)
    assert [count.n for count in judge_calls(bundle, "7").values()] == [0, 0, 0]
    at = opened(judged.parent, "judged", monkeypatch)
    table = at.table[1].value
    assert set(table.loc["7 (held out)"]) == {"no name of ImageNet's"}
    assert table.loc["1 (seen)", "photographs of it"].endswith("]")
    assert "0 of these 12 7" not in text(at)
    manifest["judge"]["class_index"]["7"] = 7
    (judged / "bundle.json").write_text(json.dumps(manifest))
    assert comparable_classes(open_bundle(judged)) == ["1", "2"]  # 0 cannot be compared


def test_a_held_out_class_of_one_image_is_shown(tmp_path, monkeypatch):
    parts = tiny_parts()
    parts["latents"]["real_labels"] = np.array([2, *np.arange(11) % 2])
    parts["latents"]["real_splits"] = np.array([SPLITS.index("held_out"), *np.arange(11) // 2 % 2])
    write_bundle(tmp_path / "tiny", **parts)
    at = opened(tmp_path, "tiny", monkeypatch)
    row = at.table[-1].value.loc["fox (held out)"]
    assert row["its images to the nearest other one of the class"] == "none"
    assert row["its images to the nearest training code"].endswith("n = 1")


def test_where_no_verdict_is_possible_no_hours_are_promised_for_one(tmp_path, bundles, monkeypatch):
    write_tiny_bundle(tmp_path / "tiny")
    assert "are too few for a verdict" in text(opened(tmp_path, "tiny", monkeypatch))
    assert "which takes 99" in text(opened(tmp_path, "tiny", monkeypatch))
    assert "are too few for a verdict" not in text(opened(bundles, BUNDLE, monkeypatch))


def test_a_bundle_that_took_the_place_of_another_is_measured_anew(tmp_path, monkeypatch):
    old = write_tiny_bundle(tmp_path / "tiny", seed=0)
    at = opened(tmp_path, "tiny", monkeypatch)
    at.session_state["new_samples"] = NewSamples(0, old.generated_z, old.generated_codes, old.map_generated)
    at.run()
    assert "new_samples" in at.session_state
    shutil.rmtree(tmp_path / "tiny")
    new = write_tiny_bundle(tmp_path / "tiny", seed=1)
    # A page that opened the first one may still ask about it; that must not become the second one's answer.
    before, after = class_distances(old, "fox"), class_distances(new, "fox")
    assert not np.allclose(before.to_training, after.to_training)
    first, second = (session.generation_of(b).autoencoder.state_dict() for b in (old, new))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    shown = at.table[-1].value
    at.run()
    assert not at.exception
    assert not at.table[-1].value.equals(shown)
    assert "new_samples" not in at.session_state  # they were the first one's


def test_what_is_measured_later_leaves_a_bundle_the_same(judged):
    before = open_bundle(judged)
    (judged / REACHABILITY).unlink()
    manifest = json.loads((judged / "bundle.json").read_text())
    del manifest["files"][REACHABILITY]
    (judged / "bundle.json").write_text(json.dumps(manifest))
    assert open_bundle(judged).reachability is None
    assert open_bundle(judged).key == before.key


def test_a_bundle_without_held_out_classes_says_so(judged, monkeypatch):
    manifest = json.loads((judged / "bundle.json").read_text())
    manifest["held_out"] = []
    latents = load_file(judged / "latents.safetensors")
    latents["real_splits"] = np.minimum(latents["real_splits"], 1)
    save_file(latents, judged / "latents.safetensors")
    digest = hashlib.sha256((judged / "latents.safetensors").read_bytes()).hexdigest()
    manifest["files"]["latents.safetensors"]["sha256"] = digest
    (judged / "bundle.json").write_text(json.dumps(manifest))
    at = opened(judged.parent, "judged", monkeypatch)
    assert "no held-out class" in text(at)
    assert not at.table


def test_the_verdict_follows_alpha_and_the_level(bundles, monkeypatch):
    report = open_bundle(bundles / JUDGED).reachability
    at = opened(bundles, JUDGED, monkeypatch)
    assert "No verdict yet" not in text(at)
    for alpha, level in ((0.01, 95.0), (0.05, 95.0), (0.05, 99.9)):
        at.select_slider[0].set_value(alpha)
        at.slider[0].set_value(level).run()
        assert not at.exception
        verdict = verdicts_of(report, "latent", alpha, level / 100)["7"]
        assert f"**{verdict.sentence}**" in text(at)
        assert f"{level:g} %" in verdict.sentence
    kinds = {alpha: verdicts_of(report, "latent", alpha)["7"].kind.value for alpha in (0.01, 0.05)}
    assert kinds == {0.01: "representable only", 0.05: "produced"}


def test_a_card_shows_pictures_and_why_to_believe_it(bundles, monkeypatch):
    at = opened(bundles, JUDGED, monkeypatch)
    cards = "".join(e.proto.body for e in at.get("html")).count('class="dse-card"')
    assert cards == 3 * 8 + 3 * 2 * 12
    shown = text(at)
    assert "Highest-scoring of 10,000 samples" in shown
    assert "The linear judge names the right class" in shown
    assert "of false alarms on 1,000 calibration pictures of other seen classes" in shown
    assert "| 0 (seen) |" in shown
    sources = next(box for box in at.selectbox if box.label == "Samples of")
    assert sources.options == ["latent", "oracle", "interpolations"]
    sources.set_value("oracle").run()
    assert not at.exception
    assert "GANs that were asked: 5 trained anew" in shown
    next(b for b in at.button if b.label == "How to read this").click().run()
    guide = text(at)
    assert all(f"| {kind.value} |" in guide for kind in Kind)  # every verdict there may be
    assert "pretrained/imagewoof64" not in guide  # and none of what was found
    assert "docs/reachability.md" in guide


def test_the_table_holds_every_count_once(bundles):
    report = open_bundle(bundles / JUDGED).reachability
    rows = list(csv.DictReader(io.StringIO(counts_csv(report))))
    assert tuple(rows[0]) == COLUMNS
    mine = [r for r in rows if (r["class"], r["rung"], r["alpha"]) == ("7", "produced", "0.05")]
    assert [r["hits"] for r in mine if r["source"] == "latent"] == ["100", "130", "90", "110", "120"]
    assert [r["seed"] for r in mine if r["source"] == "latent"] == ["0", "1", "2", "3", "4"]
    assert mine[0]["held_out"] == "True"
    assert float(mine[-1]["low"]) < float(mine[-1]["rate"]) < float(mine[-1]["high"])
    assert mine[0]["method"] == "Clopper-Pearson, 95 %"
    keys = [tuple(r[k] for k in ("class", "rung", "source", "targets", "seed", "alpha")) for r in rows]
    assert len(set(keys)) == len(keys)


def test_a_sheet_is_cut_into_its_pictures():
    pictures = np.repeat(np.array([0, 120, 240], np.uint8), 16 * 16 * 3).reshape(3, 16, 16, 3)
    cut = tiles(data_uri(grid(pictures, 8)), 3)  # with room for eight
    assert cut.shape == (3, 16, 16, 3)
    np.testing.assert_allclose(cut.mean((1, 2, 3)), [0, 120, 240], atol=9)


def test_the_html_report_says_what_the_page_says(bundles):
    bundle = open_bundle(bundles / JUDGED)
    page = html_report(bundle.reachability, bundle, alpha=0.05, level=0.9)
    assert escape(verdicts_of(bundle.reachability, "latent", 0.05, 0.9)["7"].sentence) in page
    assert page.count("Plotly.newPlot(") >= 1
    assert "<script src" not in page
    assert page.count("data:image/webp") == 8 + 2 * 16 + 3 * 16


def test_the_html_report_explains_itself_and_shows_each_gans_own_pictures():
    bundle = open_bundle(ROOT / "pretrained" / "digits")
    latent, pixel = html_report(bundle.reachability, bundle).split("<h2>pixel GAN</h2>")
    assert escape(WORDS) in latent
    for part, kinds in ((latent, ("latent", "untrained", "oracle")), (pixel, ("pixel", "untrained pixel"))):
        assert escape(CAPTION) in part
        shown = set(re.findall("<h5>(.*?)</h5>", part))
        assert shown >= set(kinds)
        assert all(("pixel" in source) == (part is pixel) for source in shown)
        assert "<th>false positives</th>" in part
        assert ("Best round trips" in part) == (part is latent)  # a GAN on pixels has no codec


def test_rates_are_offered_from_the_lowest_up(bundles, monkeypatch):
    at = opened(bundles, JUDGED, monkeypatch)
    assert at.select_slider[0].options == ["1 %", "5 %"]
    assert at.select_slider[0].value == 0.01


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report["classes"]["7"]["levels"]["0.05"].pop("samples"),
        lambda report: report["classes"]["7"]["levels"]["0.05"]["photographs"].update(hits=301),
        lambda report: report.pop("judges"),
    ],
)
def test_an_incomplete_report_is_refused(bundles, tmp_path, change: Callable[[dict], object]):
    shutil.copytree(bundles / BUNDLE, tmp_path / "copy")
    report = json.loads((bundles / JUDGED / REACHABILITY).read_text())
    change(report)
    with pytest.raises(BundleError, match=r"reachability\.json is incomplete"):
        update_bundle(tmp_path / "copy", {REACHABILITY: report})


def test_a_damaged_report_is_a_sentence_on_the_page(bundles, tmp_path, monkeypatch):
    shutil.copytree(bundles / JUDGED, tmp_path / "hurt")
    path = tmp_path / "hurt" / REACHABILITY
    path.write_text(path.read_text()[:-100])
    at = opened(tmp_path, "hurt", monkeypatch)
    assert "reachability.json is damaged" in text(at)


def button(at: AppTest, label: str):
    return next(b for b in at.button if b.label == label)


def test_a_job_is_started_with_the_cheap_rungs_of_this_bundle(bundles, monkeypatch):
    started = []
    monkeypatch.setattr(jobs, "start", lambda *given: started.append(given))
    at = opened(bundles, BUNDLE, monkeypatch)
    at.number_input[0].set_value(500)
    button(at, "Start").click().run()
    ((folder, command, progress, cwd),) = started
    assert command[1:5] == ("-m", "training.reachability", str((bundles / BUNDLE).resolve()), "--cheap")
    assert command[command.index("--samples") + 1] == "500"
    assert progress.parent == Path(command[-1])
    assert folder in progress.parents
    assert (bundles / "runs") in folder.parents
    assert cwd == ROOT


def test_a_report_that_was_measured_with_more_is_not_replaced_unasked(bundles, monkeypatch):
    at = opened(bundles, JUDGED, monkeypatch)
    assert button(at, "Start").disabled
    at.checkbox[0].check().run()
    assert not button(at, "Start").disabled


def test_a_consent_is_for_one_report_of_one_bundle(bundles, tmp_path, monkeypatch):
    for name in ("one", "two"):
        shutil.copytree(bundles / JUDGED, tmp_path / name)
    at = opened(tmp_path, "one", monkeypatch)
    at.checkbox[0].check().run()
    at.number_input[0].set_value(500).run()
    assert not button(at, "Start").disabled  # as long as nothing else is chosen
    at.selectbox(key="bundle").set_value("two").run()
    assert button(at, "Start").disabled
    at.checkbox[0].check().run()
    assert not button(at, "Start").disabled
    report = json.loads((tmp_path / "two" / REACHABILITY).read_text())
    update_bundle(tmp_path / "two", {REACHABILITY: {**report, "device": "another machine"}})
    at.run()
    assert not at.exception
    assert not at.checkbox[0].value
    assert button(at, "Start").disabled


def test_a_click_is_for_the_bundle_that_was_shown(bundles, tmp_path, monkeypatch):
    """The browser may show one bundle still while another was chosen."""
    for name in ("one", "two"):
        shutil.copytree(bundles / BUNDLE, tmp_path / name)
    started = []
    monkeypatch.setattr(jobs, "start", lambda *given: started.append(given))
    at = opened(tmp_path, "one", monkeypatch)
    at.selectbox(key="bundle").set_value("two")
    button(at, "Start").click().run()
    assert not at.exception
    assert not started
    button(at, "Start").click().run()
    assert str((tmp_path / "two").resolve()) in started[0][1]


def test_why_a_job_cannot_be_started_is_said_in_its_own_letters(bundles, monkeypatch):
    def fail(*_: object) -> None:
        raise jobs.JobError("it could not be started (No such file: '/Data/Runs')")

    monkeypatch.setattr(jobs, "start", fail)
    at = opened(bundles, BUNDLE, monkeypatch)
    button(at, "Start").click().run()
    assert [e.value for e in at.error] == ["It could not be started (No such file: '/Data/Runs')."]


def test_the_page_may_replace_its_own_kind_of_report_whatever_its_samples(bundles, tmp_path, monkeypatch):
    """The command asks for --replace where a report of more samples is there; a page has no such option."""
    shutil.copytree(bundles / JUDGED, tmp_path / "cheap")
    report = json.loads((tmp_path / "cheap" / REACHABILITY).read_text())
    report["options"]["cheap"] = True
    update_bundle(tmp_path / "cheap", {REACHABILITY: report})
    started = []
    monkeypatch.setattr(jobs, "start", lambda *given: started.append(given))
    at = opened(tmp_path, "cheap", monkeypatch)
    assert not at.checkbox
    button(at, "Start").click().run()
    assert "--replace" in started[0][1]


def test_what_became_of_a_job_is_said(bundles, monkeypatch):
    at = opened(bundles, BUNDLE, monkeypatch)
    folder = job_panel.job_folder(open_bundle(bundles / BUNDLE))
    code = "import sys; sys.exit('error: the disk is full; free some space')"
    job = jobs.start(folder, [sys.executable, "-c", code], folder / "progress.json", ROOT)
    while jobs.status(job).state == "running":
        pass
    at.run()
    assert "The last measurement failed: the disk is full; free some space." in text(at)
    (folder / jobs.RECORD).write_text(json.dumps({**vars(replace(job, cancelled=True))}))
    at.run()
    assert "The last measurement was cancelled" in text(at)
    shutil.rmtree(folder)


def ended(folder: Path, out: str, cancelled: bool) -> Path:
    """A record of a job that no longer runs; returns the folder of what it made."""
    (folder / out).mkdir(parents=True)
    progress = str(folder / out / "progress.json")
    jobs._save(jobs.Job(str(folder), ("x",), progress, 2**22 + 1, 0.0, 0.0, cancelled))
    return folder / out


def test_what_was_measured_and_deleted_since_did_not_fail(bundles, tmp_path, monkeypatch):
    shutil.copytree(bundles / BUNDLE, tmp_path / "one")
    at = opened(tmp_path, "one", monkeypatch)
    out = ended(job_panel.job_folder(open_bundle(tmp_path / "one")), "new-fox", cancelled=False)
    (out / "progress.json").write_text(json.dumps({"done": 2, "of": 2, "doing": "done"}))
    assert "The last measurement" not in text(at.run())
    shutil.rmtree(out)
    assert "The last measurement" not in text(at.run())
    assert not at.exception
    assert not button(at, "Start").disabled


@pytest.mark.parametrize("new_class", [False, True])
@pytest.mark.parametrize("replaced", [False, True])
def test_only_where_a_cancelled_job_goes_on_it_is_said_to(
    bundles, tmp_path, monkeypatch, replaced, new_class
):
    """What was measured with another codec lies in another folder."""
    shutil.copytree(bundles / BUNDLE, tmp_path / "one")
    started = []
    with monkeypatch.context() as now:
        now.setattr(jobs, "start", lambda *given: started.append(given))
        at = opened(tmp_path, "one", now)
        box = next(box for box in at.text_input if box.label == "Folder of a new class")
        box.set_value(str(tmp_path) if new_class else "")
        button(at, "Start").click().run()
    ((folder, _, progress, _),) = started
    codec = open_bundle(tmp_path / "one").manifest["files"]["autoencoder.safetensors"]["sha256"][:8]
    assert codec in progress.parent.name
    ended(folder, progress.parent.name.replace(codec, "12345678" if replaced else codec), cancelled=True)
    shown = text(opened(tmp_path, "one", monkeypatch))
    assert "The last measurement was cancelled." in shown
    assert ("it goes on from there" in shown) == (not replaced)


def test_a_job_is_not_cancelled_by_a_click_on_another_ones(bundles, tmp_path, monkeypatch):
    cancelled = []
    monkeypatch.setattr(jobs, "status", lambda job: jobs.Status("running", 0, 2, "judges", ""))
    monkeypatch.setattr(jobs, "cancel", lambda job: cancelled.append(job.folder))
    monkeypatch.setenv(job_panel.RUNS_VARIABLE, str(tmp_path / "runs"))
    for name in ("one", "two"):
        shutil.copytree(bundles / BUNDLE, tmp_path / name)
        ended(job_panel.job_folder(open_bundle(tmp_path / name)), "out", cancelled=False)
    at = opened(tmp_path, "one", monkeypatch)
    at.selectbox(key="bundle").set_value("two")
    button(at, "Cancel").click().run()
    assert not at.exception
    assert not cancelled
    button(at, "Cancel").click().run()
    assert cancelled == [str(job_panel.job_folder(open_bundle(tmp_path / "two")))]


def test_that_a_job_of_another_account_cannot_be_stopped_is_said(bundles, tmp_path, monkeypatch):
    shutil.copytree(bundles / BUNDLE, tmp_path / "one")
    at = opened(tmp_path, "one", monkeypatch)
    folder = job_panel.job_folder(open_bundle(tmp_path / "one"))
    code = "import time; time.sleep(300)"
    job = jobs.start(folder, [sys.executable, "-c", code], folder / "progress.json", ROOT)
    try:
        with monkeypatch.context() as other_account:
            other_account.setattr(os, "killpg", refuse)
            button(at.run(), "Cancel").click().run()
            assert not at.exception
            (said,) = [e.value for e in at.error]
            assert "account" in said
            assert [e.value for e in at.run().error] == [said]  # as every two seconds in the browser
        button(at, "Cancel").click().run()
        assert not at.exception
        assert "The last measurement was cancelled" in text(at)
    finally:
        jobs.cancel(job)


def refuse(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_photographs_are_asked_for_where_the_job_needs_them(judged):
    bundle = open_bundle(judged)
    bundle.manifest["data"]["source"] = "folder:/no/such/folder"
    assert job_panel.source_of(bundle, None) is None
    found = job_panel.Photographs(judged)
    assert job_panel.source_of(bundle, found) == ["--source", f"folder:{judged.resolve()}"]


@pytest.mark.browser
def test_in_the_browser_the_verdict_follows_alpha_and_downloads(app: App, page: "Page"):
    open_page(page, app, "held_out", JUDGED)
    page.locator(f"{PLOT} .scatterlayer .trace").first.wait_for()
    sentence = page.locator("[data-testid=stMarkdown] p strong", has_text="7:")
    expect(sentence).to_contain_text("representable only")
    page.get_by_role("slider").first.press("End")  # 5 %, the largest
    expect(sentence).to_contain_text("produced, in")
    settle(page)  # a button that is drawn anew while it is pressed downloads nothing
    for label, start in (("Report (JSON)", '{"'), ("Counts (CSV)", "class,"), ("Report (HTML)", "<!doctype")):
        with page.expect_download() as download:
            page.get_by_role("button", name=label).click()
        assert download.value.path().read_text(encoding="utf-8").startswith(start)


@pytest.mark.browser
def test_in_the_browser_a_job_survives_a_reload_and_is_cancelled(app: App, page: "Page"):
    open_page(page, app, "held_out", BUNDLE)
    unfold(page, "Measure it on this machine")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("Measuring, stage 1 of")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Measuring, stage")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("was cancelled")).to_be_visible()


def test_a_held_out_picture_that_the_data_have_among_the_seen_ones_is_named(tmp_path, monkeypatch):
    parts = tiny_parts(real=40)
    splits = np.array(SPLITS)[parts["latents"]["real_splits"]]
    held_out, seen = np.flatnonzero(splits == "held_out")[2], np.flatnonzero(splits == "train")[1]
    parts["real_codes"][held_out] = parts["real_codes"][seen]
    (tmp_path / "tiny").mkdir()
    bundle = write_bundle(tmp_path / "tiny" / "twice", **parts)
    assert also_seen(bundle) == [(held_out, seen)]
    said = [c.value for c in opened(tmp_path / "tiny", "twice", monkeypatch).caption if "But for" in c.value]
    (n,) = np.bincount(splits == "held_out")[1:]
    assert said[0].startswith(f"But for 1 of {n} held-out pictures")
    assert f"#{held_out} is " in said[0]
    assert said[0].endswith(f" #{seen}.")
    write_bundle(tmp_path / "tiny" / "once", **tiny_parts(real=40))
    assert not any("But for" in c.value for c in opened(tmp_path / "tiny", "once", monkeypatch).caption)


def test_the_shipped_dogs_have_one_such_picture_and_the_card_says_so():
    bundle = open_bundle(ROOT / "pretrained" / "imagewoof64")
    ((one, other),) = also_seen(bundle)
    card = (bundle.path / "README.md").read_text()
    for row in (one, other):
        assert f"`{bundle.names[row]}` ({bundle.classes[bundle.labels[row]]})" in card
