"""Bundles: written and opened again, every kind of damage, and those that ship."""

import errno
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load, save

from explorer.bundle import FILES, MANIFEST, NAMES, PLAIN_NAMES, SPLITS, Bundle, BundleError
from explorer.bundle_reading import list_bundles, open_bundle
from explorer.bundle_writing import quantise, update_bundle, write_bundle
from explorer.decoding import decode
from explorer.generation import CascadeGeneration, LatentGeneration, load_generation
from explorer.measured import MEASURED, REACHABILITY
from tests.support import (
    SHIPPED,
    file_names,
    one_sentence,
    tiny_parts,
    tiny_pixel_parts,
    tiny_reachability,
    write_tiny_bundle,
)

ARRAYS = [name for name in FILES if ".safetensors" in name]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny").path


@pytest.fixture
def pixels(tmp_path: Path) -> Path:
    """A bundle of a pixel generator, to damage."""
    return write_bundle(tmp_path / "pixels", **tiny_pixel_parts()).path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def change_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    change(manifest)
    (path / MANIFEST).write_text(json.dumps(manifest))


def fix_hash(path: Path, name: str) -> None:
    """Make the manifest agree with a changed file: the damage must then be found in the content."""
    digest = hashlib.sha256((path / name).read_bytes()).hexdigest()
    change_manifest(path, lambda m: m["files"][name].update(sha256=digest))


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    content = path.read_bytes()
    return load(gzip.decompress(content) if path.suffix == ".gz" else content)


def change_arrays(path: Path, name: str, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    arrays = {k: v.copy() for k, v in load_arrays(path / name).items()}
    change(arrays)
    content = save(arrays)
    (path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    fix_hash(path, name)


def refused(path: Path, name: str) -> str:
    """The one sentence with which a bundle is refused; it names the file."""
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    assert one_sentence(caught.value)
    assert str(path / name) in str(caught.value)
    return str(caught.value)


# Round trip


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


# Damage


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    assert "is missing" in refused(copy, name)


def test_a_missing_folder_is_one_sentence(tmp_path):
    refused(tmp_path / "nowhere", MANIFEST)


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(copy, name, share):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: int(len(content) * share)])
    refused(copy, name)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_noticed_and_its_file_named(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    assert "SHA-256" in refused(copy, name)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_the_place_of_a_file_is_named(copy, name):
    (copy / name).unlink()
    (copy / name).mkdir()
    refused(copy, name)


@pytest.mark.parametrize("name", [n for n in FILES if n not in ("README.md",)])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00garbage", b"[" * 100_000, b'{"a": 1}'])
def test_a_file_with_other_content_is_named_even_if_its_hash_is_right(copy, name, content):
    if name == "curves.json" and content == b'{"a": 1}':
        pytest.skip("curves have no fixed shape")
    (copy / name).write_bytes(content)
    fix_hash(copy, name)
    refused(copy, name)


def test_a_card_that_is_no_text_is_named(copy):
    (copy / "README.md").write_bytes(b"\xff\xfe\xfa")
    fix_hash(copy, "README.md")
    refused(copy, "README.md")


def array_names() -> list[tuple[str, str]]:
    """Every array that the format demands, with its file."""
    latents = tiny_parts()["latents"]
    return [
        *(("codes.safetensors.gz", k) for k in ("codes", "scale")),
        *(("latents.safetensors", k) for k in latents),
        *(("map.safetensors", k) for k in ("real", "generated", "snapshots")),
        *(("standardisation.safetensors", k) for k in ("mean", "components", "scale")),
        *(("judge.safetensors", f"{k}_top1") for k in ("photo", "round_trip", "generated")),
        ("autoencoder.safetensors", "encoder.layers.1.weight"),
        ("generator.safetensors", "layers.0.weight"),
    ]


@pytest.mark.parametrize(("name", "key"), array_names())
def test_a_missing_array_is_named(copy, name, key):
    change_arrays(copy, name, lambda arrays: arrays.pop(key))
    assert key in refused(copy, name)


@pytest.mark.parametrize(("name", "key"), array_names())
def test_a_wrong_shape_is_named(copy, name, key):
    change_arrays(copy, name, lambda arrays: arrays.update({key: arrays[key][:-1]}))
    assert key in refused(copy, name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("name", "key"),
    [n for n in array_names() if not n[1].endswith(("codes", "labels", "splits", "images", "top1"))],
)
def test_nan_and_infinity_are_found_wherever_they_are(copy, name, key, value):
    change_arrays(copy, name, lambda arrays: arrays[key].reshape(-1).__setitem__(-1, value))
    assert "NaN or infinite" in refused(copy, name)


@pytest.mark.parametrize(("key", "value"), [("real_labels", 3), ("real_labels", -1), ("real_splits", 3)])
def test_labels_out_of_range_are_found(copy, key, value):
    change_arrays(copy, "latents.safetensors", lambda arrays: arrays[key].__setitem__(0, value))
    assert "out of range" in refused(copy, "latents.safetensors")


@pytest.mark.parametrize(("image", "split"), [(2, "train"), (0, "held_out")])
def test_splits_that_contradict_the_held_out_classes_are_found(copy, image, split):
    """A held-out image that says it was trained on, or a seen one that says it was not."""
    change_arrays(
        copy, "latents.safetensors", lambda a: a["real_splits"].__setitem__(image, SPLITS.index(split))
    )
    assert "contradict" in refused(copy, "latents.safetensors")


@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_another_version_says_which_one_this_program_reads(copy, version):
    change_manifest(copy, lambda m: m.update(version=version))
    assert f"version {version!r}" in refused(copy, MANIFEST)
    assert "reads version 2" in refused(copy, MANIFEST)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"text"', '{"format": "other"}', "\x00"])
def test_a_manifest_that_is_none_is_named(copy, content):
    (copy / MANIFEST).write_text(content)
    refused(copy, MANIFEST)


@pytest.mark.parametrize("key", ["classes", "held_out", "networks", "counts", "files", "metrics", "judge"])
@pytest.mark.parametrize("value", ["absent", None, 3, "text", []])
def test_a_manifest_that_lacks_or_garbles_a_key_is_named(copy, key, value):
    if (key, value) == ("held_out", []):
        pytest.skip("an empty hold-out is one; that it contradicts the splits has its own test")
    change_manifest(copy, lambda m: m.pop(key) if value == "absent" else m.update({key: value}))
    with pytest.raises(BundleError) as caught:
        open_bundle(copy)
    assert one_sentence(caught.value)
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize(
    ("part", "key"), [("map", "components"), ("map", "n"), ("codec", "seen val"), ("codec", "psnr")]
)
def test_a_measurement_that_the_app_shows_must_be_there(copy, part, key):
    def drop(manifest):
        measured = manifest["metrics"][part]
        if key == "psnr":
            del measured["seen val"]["psnr"]
        elif key == "seen val":
            measured["seen val"] = {}
        else:
            del measured[key]

    change_manifest(copy, drop)
    assert "incomplete" in refused(copy, MANIFEST)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("data"),
        lambda m: m["data"].update(source=None),
        lambda m: m["metrics"]["map"].update(trustworthiness=None),
        lambda m: m["metrics"]["codec"]["seen val"].update(n="many"),
        lambda m: m["networks"]["autoencoder"].update(widths=[-4, 8]),
    ],
)
def test_what_the_app_reads_of_a_manifest_must_be_what_it_takes_it_for(copy, change):
    change_manifest(copy, change)
    assert "incomplete or inconsistent" in refused(copy, MANIFEST)


def test_held_out_classes_must_be_among_the_classes(copy):
    change_manifest(copy, lambda m: m.update(held_out=["wolf"]))
    assert "not among its classes" in refused(copy, MANIFEST)


@pytest.mark.parametrize("network", ["autoencoder", "generator"])
def test_weights_that_do_not_fit_the_networks_are_named(copy, network):
    change = {"autoencoder": {"widths": [4, 6]}, "generator": {"width": 16}}[network]
    change_manifest(copy, lambda m: m["networks"][network].update(change))
    assert "does not fit the network" in refused(copy, f"{network}.safetensors")


@pytest.mark.parametrize("change", [{"image_size": 9}, {"colour": "red"}, {"widths": None}])
def test_a_network_that_cannot_be_built_is_one_sentence(copy, change):
    change_manifest(copy, lambda m: m["networks"]["autoencoder"].update(change))
    refused(copy, MANIFEST)


@pytest.mark.parametrize("kind", ["voxel", "", None, 3, [], {}])
def test_an_unknown_kind_of_generator_is_one_sentence(copy, kind):
    change_manifest(copy, lambda m: m["networks"].update(kind=kind))
    refused(copy, MANIFEST)


@pytest.mark.parametrize("fixture", ["copy", "pixels"])
def test_the_wrong_kind_of_generator_is_one_sentence(request, fixture):
    path = request.getfixturevalue(fixture)
    other = {"copy": "pixel", "pixels": "latent"}[fixture]
    change_manifest(path, lambda m: m["networks"].update(kind=other))
    refused(path, MANIFEST)


@pytest.mark.parametrize("key", ["generated", "generated_scale"])
def test_codes_of_a_pixel_generator_must_be_there_and_fit(pixels, key):
    name = "codes.safetensors.gz"
    change_arrays(pixels, name, lambda arrays: arrays.update({key: arrays[key][:-1]}))
    assert key in refused(pixels, name)
    change_arrays(pixels, name, lambda arrays: arrays.pop(key))
    assert key in refused(pixels, name)


def test_a_pixel_generators_weights_must_fit(pixels):
    change_manifest(pixels, lambda m: m["networks"]["generator"].update(z_dim=3, widths=[4, 8]))
    assert "does not fit the network" in refused(pixels, "generator.safetensors")


def test_a_pixel_generators_pictures_must_be_the_codecs_size(pixels):
    change_manifest(pixels, lambda m: m["networks"]["generator"].update(image_size=16))
    assert "16 px" in refused(pixels, MANIFEST)


def test_the_components_beside_a_pixel_generator_must_be_counted(pixels):
    change_manifest(pixels, lambda m: m["counts"].update(components=3))
    refused(pixels, "latents.safetensors")
    change_manifest(pixels, lambda m: m["counts"].pop("components"))
    refused(pixels, MANIFEST)


def test_names_must_be_as_many_as_images(copy):
    (copy / NAMES).write_bytes(gzip.compress(b'{"names": ["one"]}'))
    fix_hash(copy, NAMES)
    assert "names 1 images, not 12" in refused(copy, NAMES)


def test_a_bundle_with_names_as_they_were_kept_before_can_be_opened_and_added_to(copy):
    bundle = open_bundle(copy)
    plain = gzip.decompress((copy / NAMES).read_bytes())
    (copy / NAMES).unlink()
    (copy / PLAIN_NAMES).write_bytes(plain)
    change_manifest(copy, lambda m: m["files"].update({PLAIN_NAMES: m["files"].pop(NAMES)}))
    fix_hash(copy, PLAIN_NAMES)
    assert open_bundle(copy).names == bundle.names
    update_bundle(copy, {}, card="Another card")
    assert open_bundle(copy).names == bundle.names
    (copy / NAMES).write_bytes(gzip.compress(b'{"names": ["a newer one"]}'))  # not of this bundle
    assert open_bundle(copy).names == bundle.names
    (copy / NAMES).unlink()
    (copy / PLAIN_NAMES).write_bytes(plain[:-9])
    assert "SHA-256" in refused(copy, PLAIN_NAMES)


def test_names_that_an_older_bundle_left_in_the_folder_are_not_taken(copy):
    names = open_bundle(copy).names
    (copy / PLAIN_NAMES).write_text(json.dumps({"names": ["another"] * len(names)}))
    assert update_bundle(copy, {}, card="Another card").names == names


# Writing


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


def test_if_the_new_bundle_cannot_take_its_place_the_old_one_comes_back(tmp_path, monkeypatch):
    path = tmp_path / "tiny"
    old = write_tiny_bundle(path, seed=0)
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if ".tmp" in self.name:
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(BundleError, match="Permission denied"):
        write_tiny_bundle(path, seed=1)
    assert file_names(tmp_path) == ["tiny"]
    np.testing.assert_array_equal(open_bundle(path).real_codes, old.real_codes)


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


# Finding bundles


def test_bundles_are_listed_by_name_broken_ones_too_and_unfinished_ones_not(tmp_path):
    write_tiny_bundle(tmp_path / "b")
    write_tiny_bundle(tmp_path / "a")
    (tmp_path / "a" / MANIFEST).unlink()
    shutil.copytree(tmp_path / "b", tmp_path / ".c.tmp123")  # one that is being written, or was when killed
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "README.md").write_text("not a bundle")
    assert list(list_bundles(tmp_path, tmp_path / "nowhere")) == ["a", "b"]
    assert list_bundles(tmp_path / "b") == {"b": tmp_path / "b"}


def test_bundles_of_one_name_in_two_folders_are_both_listed(tmp_path):
    for folder in ("one", "two"):
        write_tiny_bundle(tmp_path / folder / "tiny")
    found = list_bundles(tmp_path / "one", tmp_path / "two")
    assert set(found.values()) == {tmp_path / "one" / "tiny", tmp_path / "two" / "tiny"}


# What ships


@pytest.fixture(scope="module", params=SHIPPED, ids=lambda p: p.name)
def shipped(request: pytest.FixtureRequest) -> Bundle:
    return open_bundle(request.param)


def test_there_is_a_small_bundle_for_the_tests():
    assert "digits" in [p.name for p in SHIPPED]


def test_shipped_bundles_are_small_and_hold_only_known_files(shipped):
    """Neither photographs nor pickles: nothing but the files of the format."""
    listed = shipped.manifest["files"]
    assert set(FILES) <= set(listed) <= {*FILES, *MEASURED}
    assert file_names(shipped.path) == sorted([*listed, MANIFEST])
    assert sum(p.stat().st_size for p in shipped.path.iterdir()) <= 30e6
    size = shipped.autoencoder_config.image_size
    for name in ARRAYS:
        for key, array in load_arrays(shipped.path / name).items():
            assert array.dtype != np.uint8 or key == "real_splits", (name, key)
            assert array.shape[-3:] != (size, size, 3), (name, key)


def test_shipped_samples_are_what_the_shipped_generator_makes_of_their_z(shipped):
    generation = first = load_generation(shipped)
    if isinstance(generation, CascadeGeneration):  # whose snapshots are of its first stage
        first = LatentGeneration(generation.autoencoder, generation.generator.coarse, shipped.standardisation)
    last = shipped.codes_of_latents(shipped.snapshot_latents[-1])
    for maker, z, codes in (
        (generation, shipped.generated_z, shipped.generated_codes), (first, shipped.snapshot_z, last),
    ):  # fmt: skip
        made = maker.codes(z)
        scale = float(np.abs(made).mean())
        assert np.abs(made - codes).max() < 0.02 * scale + 0.01


def test_rounding_to_seven_bits_changes_no_picture_visibly(shipped):
    codes = shipped.real_codes[::50]
    rounding = np.random.default_rng(0).uniform(-0.5, 0.5, codes.shape)
    step = np.abs(shipped.real_codes).max(0) / 63
    model = shipped.load_autoencoder()
    a, b = (decode(model, c).astype(float) for c in (codes, codes + rounding * step))
    assert 0 < np.sqrt(((a - b) ** 2).mean()) < 1.5  # of 255


def test_shipped_splits_say_what_was_held_out(shipped):
    assert shipped.held_out
    held_out = np.isin(shipped.labels, shipped.held_out_labels)
    np.testing.assert_array_equal(shipped.splits == "held_out", held_out)
    for split in ("train", "val"):
        labels = np.unique(shipped.labels[shipped.splits == split])
        assert set(labels) == set(range(len(shipped.classes))) - set(shipped.held_out_labels)
    assert len(set(shipped.names)) == len(shipped.names)


def test_shipped_latents_of_seen_images_have_about_the_scale_of_the_prior(shipped):
    """The standardisation was fitted on shifted and mirrored seen images; the plain ones come close."""
    seen = shipped.real_codes[shipped.splits == "train"].astype(np.float32)
    latents = shipped.standardisation.to_latents(torch.from_numpy(seen))
    assert latents.mean(0).abs().max() < 1
    assert 0.5 < latents.var(0).mean() < 2


def test_shipped_bundles_say_where_they_come_from(shipped):
    manifest = shipped.manifest
    assert manifest["data"]["licence"]
    assert {"autoencoder", "latent_gan"} <= set(manifest["training"])
    assert set(manifest["training"]) <= {"autoencoder", "latent_gan", "detail_phase", "image_phase"}
    for stage in manifest["training"].values():
        assert stage["command"].startswith("python -m training.")
        assert {"options", "versions", "device", "done"} <= stage.keys()
        assert tuple(stage["options"].get("hold_out", shipped.held_out)) == shipped.held_out
    for words in ("Held out", "Not for", *shipped.held_out):
        assert words in shipped.card
    assert all(shipped.curves[stage] for stage in manifest["training"])


def test_shipped_bundles_have_at_least_twenty_log_spaced_snapshots(shipped):
    images = shipped.snapshot_images
    assert len(images) >= 20
    assert (np.diff(images) > 0).all()
    assert len(shipped.snapshot_z) >= 200
    assert np.median(images) < images[-1] / 10
