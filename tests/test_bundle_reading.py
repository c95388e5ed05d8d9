"""Bundles: every kind of damage, and how bundles are found."""

import errno
import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from explorer.bundle import FILES, MANIFEST, NAMES, PLAIN_NAMES, SPLITS, BundleError
from explorer.bundle_reading import list_bundles, open_bundle
from explorer.bundle_writing import update_bundle, write_bundle
from tests.damage import change_arrays, change_manifest, fix_hash, refused
from tests.support import one_sentence, tiny_parts, tiny_pixel_parts, write_tiny_bundle


@pytest.fixture
def pixels(tmp_path: Path) -> Path:
    """A bundle of a pixel generator, to damage."""
    return write_bundle(tmp_path / "pixels", **tiny_pixel_parts()).path


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    assert "is missing" in refused(copy, name)


def test_a_missing_folder_is_one_sentence(tmp_path):
    told = refused(tmp_path / "nowhere", "")
    assert told.startswith("there is no bundle")
    (tmp_path / "empty").mkdir()
    assert "is missing" in refused(tmp_path / "empty", MANIFEST)


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


def test_folders_that_may_not_be_looked_into_are_passed_over(tmp_path, monkeypatch):
    """A disk's lost+found, say. Path.is_file raises where it may not look."""
    write_tiny_bundle(tmp_path / "tiny")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "closed").mkdir()
    iterdir, stat = Path.iterdir, os.stat

    def refuse(path: Any, *args: Any, **kwargs: Any) -> Any:
        if "lost+found/" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, *args, **kwargs)

    def closed(path: Path) -> Any:
        if path.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(os, "stat", refuse)
    monkeypatch.setattr(Path, "iterdir", closed)
    assert list(list_bundles(tmp_path, tmp_path / "closed")) == ["tiny"]
