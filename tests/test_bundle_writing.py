"""Bundles: what is written is what is opened, and writing loses nothing."""

import errno
import gzip
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from explorer.bundle import FILES, MANIFEST, NAMES, SPLITS, BundleError
from explorer.bundle_reading import open_bundle
from explorer.bundle_writing import quantise, update_bundle, write_bundle
from explorer.generation import load_generation
from explorer.measured import RACE, REACHABILITY
from tests.damage import change_manifest, fix_hash
from tests.support import (
    file_names,
    one_sentence,
    tiny_parts,
    tiny_pixel_parts,
    tiny_race,
    tiny_reachability,
    write_tiny_bundle,
)


def test_what_is_written_is_what_is_opened(tmp_path):
    parts = tiny_parts()
    write_bundle(tmp_path / "tiny", **parts)
    bundle = open_bundle(tmp_path / "tiny")
    latents, standard = parts["latents"], parts["standardisation"]
    codes, scale = parts["real_codes"], np.abs(parts["real_codes"]).max(0) / 63
    assert bundle.real_codes.dtype == np.float32
    assert (np.abs(bundle.real_codes - codes) <= scale / 2 * (1 + 1e-5)).all()
    for name in ("generated_z", "snapshot_z", "snapshot_latents"):
        found = getattr(bundle, name)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, latents[name].astype(np.float16))
    expected = bundle.codes_of_latents(latents["generated_latents"].astype(np.float16))
    np.testing.assert_array_equal(bundle.generated_codes, expected)
    np.testing.assert_array_equal(bundle.labels, latents["real_labels"])
    np.testing.assert_array_equal(bundle.splits, np.array(SPLITS)[latents["real_splits"]])
    np.testing.assert_array_equal(bundle.snapshot_images, latents["snapshot_images"])
    for name, found in (
        ("real", bundle.map_real),
        ("generated", bundle.map_generated),
        ("snapshots", bundle.map_snapshots),
    ):
        np.testing.assert_array_equal(found, parts["positions"][name])
    for name in ("mean", "components", "scale"):
        assert torch.equal(getattr(bundle.standardisation, name), getattr(standard, name))
    assert bundle.classes == ("ape", "bee", "fox")
    assert bundle.held_out == ("fox",)
    assert bundle.held_out_labels.tolist() == [2]
    assert list(bundle.names) == parts["names"]
    assert bundle.curves == parts["curves"]
    assert bundle.card == parts["card"]
    assert bundle.name == "tiny"
    assert bundle.judge_category(3) == "tiger shark"
    assert bundle.judge_category(4) == "ImageNet class 4"


def test_networks_come_back_with_their_weights_in_half_precision(tmp_path):
    parts = tiny_parts()
    bundle = write_bundle(tmp_path / "tiny", **parts)
    for found, made in (
        (bundle.load_autoencoder(), parts["autoencoder"]),
        (bundle.load_generator(), parts["generator"]),
    ):
        assert found.config == made.config
        assert not found.training
        for name, weights in made.state_dict().items():
            assert torch.equal(found.state_dict()[name], weights.half().float()), name
        assert not any(p.requires_grad for p in found.parameters())


def test_codes_of_latents_are_those_of_the_standardisation(original):
    bundle = open_bundle(original)
    flat = torch.from_numpy(bundle.snapshot_latents.astype(np.float32)).reshape(-1, 4)
    expected = bundle.standardisation.to_codes(flat).reshape(3, 2, 8)
    np.testing.assert_allclose(
        bundle.codes_of_latents(bundle.snapshot_latents), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("network", ["residual", "dcgan"])
def test_a_pixel_generator_comes_back_with_the_codes_of_its_pictures(tmp_path, network):
    parts = tiny_pixel_parts(network)
    for name, count in parts["generator"].named_buffers():
        if name.endswith("num_batches_tracked"):
            count.fill_(100_001)  # more than half precision can hold
    bundle = write_bundle(tmp_path / "pixels", **parts)
    found = bundle.load_generator()
    assert found.config == parts["generator"].config
    for name, weights in parts["generator"].state_dict().items():
        assert torch.equal(found.state_dict()[name], weights), name
    scale = np.abs(parts["generated_codes"]).max(0) / 63
    assert (np.abs(bundle.generated_codes - parts["generated_codes"]) <= scale / 2 * (1 + 1e-5)).all()
    made = load_generation(bundle).codes(bundle.generated_z)
    np.testing.assert_allclose(made, parts["generated_codes"], rtol=1e-3, atol=1e-3)


def test_a_bundle_that_names_no_kind_holds_a_latent_generator(copy, original):
    change_manifest(copy, lambda m: m["networks"].pop("kind"))
    np.testing.assert_array_equal(open_bundle(copy).generated_codes, open_bundle(original).generated_codes)


def test_a_bundle_may_lie_anywhere(original, tmp_path):
    moved = Path(shutil.copytree(original, tmp_path / "a name with spaces, ünd more"))
    assert open_bundle(moved).name == moved.name


def test_writing_again_replaces_the_whole_bundle_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "tiny"
    first = write_tiny_bundle(path, seed=0)
    second = write_tiny_bundle(path, seed=1)
    assert not np.array_equal(first.real_codes, second.real_codes)
    assert file_names(tmp_path) == ["tiny"]
    assert file_names(path) == sorted([*FILES, MANIFEST])


@pytest.mark.parametrize("foreign", ["thesis.txt", "runs"])
def test_a_folder_that_holds_anything_else_is_not_replaced(tmp_path, foreign):
    path = tmp_path / "precious"
    path.mkdir()
    (path / foreign).mkdir() if foreign == "runs" else (path / foreign).write_text("years of work")
    with pytest.raises(BundleError, match=foreign) as caught:
        write_tiny_bundle(path)
    assert one_sentence(caught.value)
    assert "--out" in str(caught.value)
    assert file_names(path) == [foreign]


def test_a_bundle_beside_which_something_lies_is_not_replaced_either(copy):
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"notes\.txt"):
        write_tiny_bundle(copy, seed=1)
    open_bundle(copy)


def test_a_file_in_the_place_of_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "tiny").write_text("mine")
    with pytest.raises(BundleError, match="is a file"):
        write_tiny_bundle(tmp_path / "tiny")


def test_writing_the_same_networks_again_keeps_what_took_long_to_measure(tmp_path, caplog):
    path = tmp_path / "tiny"
    bundle = write_tiny_bundle(path)
    report = tiny_reachability(bundle.classes, bundle.held_out, {0.01: (8, 12, 9, 11, 7)})
    for name in bundle.held_out:  # it has twelve images
        for shown, beside in (("samples", "nearest"), ("searches", "targets")):
            for kind in report["classes"][name]["examples"][shown].values():
                kind[beside] = [0] * 8
    update_bundle(path, {REACHABILITY: report})
    (path / NAMES).write_bytes(gzip.compress(gzip.decompress((path / NAMES).read_bytes()), 1, mtime=0))
    fix_hash(path, NAMES)  # as another version of the library packs it
    assert write_tiny_bundle(path).reachability == report
    with caplog.at_level("WARNING"):
        assert write_tiny_bundle(path, seed=1).reachability is None
    assert f"{REACHABILITY} was measured of other networks" in caplog.text
    assert "training.reachability" in caplog.text


def test_the_same_parts_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_tiny_bundle(tmp_path / name)
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_full_disk_leaves_the_old_bundle_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "tiny"
    old = write_tiny_bundle(path, seed=0)
    write = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if self.name == "map.safetensors":
            write(self, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BundleError, match="No space left") as caught:
        write_tiny_bundle(path, seed=1)
    assert one_sentence(caught.value)
    assert str(path) in str(caught.value)
    assert file_names(tmp_path) == ["tiny"]
    np.testing.assert_array_equal(open_bundle(path).real_codes, old.real_codes)


def test_a_disk_that_really_fills_is_one_sentence(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "tiny"
    write_tiny_bundle(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(BundleError, match="could not be written"):
            write_tiny_bundle(path, seed=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file_names(tmp_path) == ["tiny"]
    open_bundle(path)


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(OSError(errno.EACCES, "Permission denied"), BundleError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_if_the_new_bundle_cannot_take_its_place_the_old_one_comes_back(
    tmp_path, monkeypatch, failure, raised
):
    path = tmp_path / "tiny"
    old = write_tiny_bundle(path, seed=0)
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if ".tmp" in self.name:
            raise failure
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(raised, match=str(failure.args[-1]) if failure.args else None):
        write_tiny_bundle(path, seed=1)
    assert file_names(tmp_path) == ["tiny"]
    np.testing.assert_array_equal(open_bundle(path).real_codes, old.real_codes)


def test_of_a_link_what_it_leads_to_is_replaced(tmp_path):
    write_tiny_bundle(tmp_path / "big" / "tiny", seed=0)
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "tiny").symlink_to(tmp_path / "big" / "tiny")
    new = write_tiny_bundle(tmp_path / "shelf" / "tiny", seed=1)
    assert (tmp_path / "shelf" / "tiny").is_symlink()
    np.testing.assert_array_equal(open_bundle(tmp_path / "big" / "tiny").real_codes, new.real_codes)
    assert file_names(tmp_path / "shelf") == file_names(tmp_path / "big") == ["tiny"]


def test_a_bundle_may_be_named_by_where_one_stands(tmp_path, monkeypatch):
    write_tiny_bundle(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path / "tiny")
    assert open_bundle(Path(".")).name == "tiny"
    update_bundle(Path("."), {RACE: tiny_race(latent=[(5, 300)], pixel=[(20, 300)])})
    assert open_bundle(tmp_path / "tiny").race is not None


def test_two_that_write_into_one_bundle_at_once_lose_nothing(tmp_path, monkeypatch):
    path = write_tiny_bundle(tmp_path / "tiny").path
    copytree = shutil.copytree

    def slow(*args: Any, **kwargs: Any) -> Any:
        copied = copytree(*args, **kwargs)
        time.sleep(0.3)  # long enough for the other to copy, too
        return copied

    monkeypatch.setattr(shutil, "copytree", slow)
    race = tiny_race(latent=[(5, 300)], pixel=[(20, 300)])
    with ThreadPoolExecutor(2) as pool:
        for done in (
            pool.submit(update_bundle, path, {RACE: race}),
            pool.submit(update_bundle, path, {}, "new"),
        ):
            done.result()
    after = open_bundle(path)
    assert (after.race, after.card) == (race, "new")


def test_a_bundle_that_something_else_is_writing_is_one_sentence(tmp_path, monkeypatch):
    path = write_tiny_bundle(tmp_path / "tiny").path
    monkeypatch.setattr("explorer.bundle_writing.PATIENCE", 0.1)
    with FileLock(path.with_name(".tiny.lock")), pytest.raises(BundleError, match="let what else") as caught:
        update_bundle(path, {}, "new")
    assert one_sentence(caught.value)
    assert open_bundle(path).card != "new"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_could_not_be_opened_is_not_written(tmp_path, value):
    path = tmp_path / "tiny"
    write_tiny_bundle(path)
    parts = tiny_parts(seed=1)
    parts["real_codes"][3, 2] = value
    with pytest.raises(BundleError, match="scale"):
        write_bundle(path, **parts)
    assert file_names(tmp_path) == ["tiny"]
    open_bundle(path)


@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=st.floats(-1e4, 1e4, width=32)
    )
)
def test_codes_of_seven_bits_are_off_by_half_a_step_and_do_not_wear_out(codes):
    seven, scale = quantise(codes)
    read = seven * scale
    assert (np.abs(read - codes) <= np.abs(codes).max(0) / 126 * (1 + 1e-5) + 1e-12).all()
    np.testing.assert_array_equal(quantise(read)[0], seven)
