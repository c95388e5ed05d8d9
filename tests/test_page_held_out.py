"""The Held-out page: numbers with n, counts that match the bundle, and no verdict."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import BUNDLE, ROOT
from safetensors.numpy import load_file, save_file
from streamlit.testing.v1 import AppTest

from explorer import session
from explorer.bundle import open_bundle
from explorer.comparison import breed_distances, comparable_breeds, judge_calls


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
    at = AppTest.from_file(str(ROOT / "explorer" / "pages" / "held_out.py"), default_timeout=120)
    at.query_params["bundle"] = bundle
    at.run()
    assert not at.exception
    return at


def text(at: AppTest) -> str:
    return " ".join(e.value for e in (*at.markdown, *at.caption, *at.info, *at.subheader))


def test_every_number_comes_with_n_and_there_is_no_verdict(bundles, monkeypatch):
    at = opened(bundles, BUNDLE, monkeypatch)
    assert "No verdict yet" in text(at)
    assert "judge does not know these classes" in text(at)
    codec, distances = (table.value for table in at.table)
    assert codec.loc["7 (held out)", "images, n"] == "179"
    assert codec.loc["all seen breeds, validation", "images, n"] == "323"
    assert distances.index.tolist() == ["7 (held out)", "0 (seen)", "1 (seen)"]
    assert all("n = " in cell for cell in distances.to_numpy().ravel())
    assert "12 of its 179 held-out images, as round trips" in text(at)
    cards = "".join(e.proto.body for e in at.get("html")).count('class="dse-card"')
    assert cards == 3 * 2 * 12


def test_other_seen_breeds_can_be_chosen(bundles, monkeypatch):
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


def test_seen_breeds_are_counted_on_images_that_training_did_not_use(judged):
    bundle = open_bundle(judged)
    val = (bundle.labels == 3) & (bundle.splits == "val")
    assert judge_calls(bundle, "3")["photo"].n == val.sum()
    assert comparable_breeds(bundle) == ["0", "1"]  # all are named on every photograph: the first


def test_distances_are_those_of_their_definition(judged):
    bundle = open_bundle(judged)
    distances = breed_distances(bundle, "7")
    codes, sevens = bundle.real_codes.astype(np.float32), bundle.labels == 7
    first = codes[sevens][0]
    to_training = np.linalg.norm(codes[bundle.splits == "train"] - first, axis=1).min()
    to_own = np.sort(np.linalg.norm(codes[sevens] - first, axis=1))[1]
    np.testing.assert_allclose(distances.to_training[0], to_training, rtol=1e-4)
    np.testing.assert_allclose(distances.to_own_breed[0], to_own, rtol=1e-4)
    of_sample = np.linalg.norm(codes[sevens] - bundle.generated_codes[5], axis=1).min()
    np.testing.assert_allclose(distances.generated[5], of_sample, rtol=1e-4)


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
