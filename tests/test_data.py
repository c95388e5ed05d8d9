"""Data: sources, the cache of decoded images, crops, and above all the hold-out."""

import errno
import functools
import hashlib
import http.server
import json
import logging
import os
import shutil
import struct
import sys
import tarfile
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support import (
    TINY_AUTOENCODER,
    TINY_GAN,
    TINY_PIXEL_GAN,
    file_names,
    one_sentence,
    write_classes,
    write_image,
)
from training.autoencoder import AutoencoderOptions, check_same_images, run_autoencoder
from training.cli import UserError
from training.codes import training_codes
from training.data import cache, dataset, sources
from training.data.cache import center_box, crop_square, open_store
from training.data.dataset import DataOptions, augment, center_crop, open_dataset, resolve_classes
from training.data.sources import IMAGEWOOF_BREEDS, open_source
from training.latent_gan import LatentGanOptions, run_latent_gan
from training.pixel_gan import PixelGanOptions, run_pixel_gan
from training.subject import Box, write_boxes
from training.trained import open_trained

RED, GREEN, BLUE, MARK = (200, 40, 40), (40, 200, 40), (40, 40, 200), (254, 1, 254)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder: sources look for data/ where they are started."""
    monkeypatch.chdir(tmp_path)


def options(source: str, **values: Any) -> DataOptions:
    return DataOptions(**{"source": source, "image_size": 16, "margin": 2, "cache": Path("cache"), **values})


# Sources


def test_a_folder_of_classes_is_split_by_seed_class_by_class():
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN}, n=10)
    source = open_source("folder:pets")
    assert source.classes == ("cat", "dog")
    assert len(source.items) == 20
    for label in (0, 1):
        splits = [i.split for i in source.items if i.label == label]
        assert (splits.count("train"), splits.count("val")) == (8, 2)
    assert source == open_source("folder:pets")  # the same split every time


@pytest.mark.parametrize("val", ["val", "valid", "validation", "test"])
def test_a_folder_with_train_and_val_keeps_its_own_split(val):
    write_classes(Path("pets/train"), {"cat": RED, "dog": GREEN}, n=3)
    write_classes(Path("pets") / val, {"cat": RED}, n=2)
    source = open_source("folder:pets")
    assert source.classes == ("cat", "dog")
    assert [i.split for i in source.items] == ["train"] * 6 + ["val"] * 2
    assert source.items[0].name == "train/cat/cat-000.png"
    assert [source.classes[i.label] for i in source.items] == ["cat"] * 3 + ["dog"] * 3 + ["cat"] * 2


def test_a_folder_with_train_alone_gets_a_validation_part():
    write_classes(Path("pets/train"), {"cat": RED}, n=10)
    assert sum(i.split == "val" for i in open_source("folder:pets").items) == 2


def test_files_that_are_no_images_and_hidden_folders_are_no_classes():
    write_classes(Path("pets"), {"cat": RED, ".thumbnails": RED})
    Path("pets/cat/notes.txt").write_text("not a photograph")
    Path("pets/notes").mkdir()
    Path("pets/notes/list.csv").write_text("a,b\n")
    source = open_source("folder:pets")
    assert source.classes == ("cat",)
    assert len(source.items) == 6


def test_train_may_be_a_class_too():
    write_classes(Path("vehicles"), {"train": RED, "car": GREEN}, n=10)
    assert open_source("folder:vehicles").classes == ("car", "train")


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take no such name")
def test_names_that_cannot_be_written_down_are_said_to_be(caplog):
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN}, n=10)
    odd = os.fsdecode(b"\xe9.png")
    shutil.copy("pets/cat/cat-000.png", f"pets/cat/{odd}")
    assert len(open_source("folder:pets").items) == 20
    assert "is not UTF-8; rename it" in caplog.text
    Path("pets/dog").rename(os.fsdecode(b"pets/\xe9"))
    with pytest.raises(UserError, match="is not UTF-8; rename it") as caught:
        open_source("folder:pets")
    str(caught.value).encode()
    assert one_sentence(caught.value)


def test_imagewoof_folders_become_breeds():
    write_classes(Path("woof/train"), dict.fromkeys(IMAGEWOOF_BREEDS, RED), n=1)
    write_classes(Path("woof/val"), {"n02111889": RED}, n=1)
    source = open_source("imagewoof:woof")
    assert source.classes == tuple(sorted(IMAGEWOOF_BREEDS.values()))
    assert len(source.classes) == 10
    samoyeds = [i.name for i in source.items if source.classes[i.label] == "Samoyed"]
    assert samoyeds == ["train/n02111889/n02111889-000.png", "val/n02111889/n02111889-000.png"]
    assert source.subject_boxes == "imagewoof"


def test_digits_need_no_download_and_keep_their_labels():
    from sklearn.datasets import load_digits

    source = open_source("digits")
    assert len(source.items) == 1797
    assert source.classes == tuple("0123456789")
    assert [i.label for i in source.items] == load_digits().target.tolist()
    first = np.asarray(source.items[0].open())
    np.testing.assert_array_equal(first, np.round(load_digits().images[0] * 255 / 16))


class _Pets:
    """Stands for a dataset of torchvision."""

    classes = ("big_dog", "small cat")

    def __init__(self, root: str, split: str = "train", download: bool = False) -> None:
        assert download
        assert split in ("train", "test")
        self._labels = [0, 1, 1] if split == "train" else [1, 0]

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("RGB", (20, 20), (RED, GREEN)[self._labels[index]]), self._labels[index]


class _Offline(_Pets):
    def __init__(self, root: str, split: str = "train", download: bool = False) -> None:
        raise RuntimeError("Error downloading pets.tgz")


def test_torchvision_datasets_are_found_by_name(monkeypatch):
    import torchvision

    monkeypatch.setattr(torchvision.datasets, "Pets", _Pets, raising=False)
    source = open_source("torchvision:Pets")
    assert source.classes == ("big dog", "small cat")  # as one would type them
    assert [(i.name, i.label, i.split) for i in source.items] == [
        ("train/00000", 0, "train"), ("train/00001", 1, "train"), ("train/00002", 1, "train"),
        ("val/00000", 1, "val"), ("val/00001", 0, "val"),
    ]  # fmt: skip
    assert [i.open().getpixel((0, 0)) for i in source.items] == [RED, GREEN, GREEN, GREEN, RED]
    data = open_dataset(options("torchvision:Pets", image_size=8, margin=1))
    assert data.seen("train").shape == (3, 10, 10, 3)


def test_torchvision_without_a_network_is_one_sentence(monkeypatch):
    import torchvision

    monkeypatch.setattr(torchvision.datasets, "Pets", _Offline, raising=False)
    with pytest.raises(UserError, match=r"Pets could not be loaded or downloaded") as caught:
        open_source("torchvision:Pets")
    assert one_sentence(caught.value)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("folder:nowhere", "no folder nowhere"),
        ("folder:empty", "no class folders"),
        ("imagewoof:nowhere", "no folder nowhere"),
        ("imagewoof:empty", "no ImageWoof images"),
        ("folder:", "unknown source"),
        ("digits:7", "unknown source"),
        ("cats", "unknown source"),
        ("", "unknown source"),
        ("torchvision:NoSuch", "no dataset called 'NoSuch'"),
        ("torchvision:FakeData", "no train and test parts"),
    ],
)
def test_a_source_that_cannot_be_is_one_sentence(spec, says):
    Path("empty/inner").mkdir(parents=True)
    with pytest.raises(UserError, match=says) as caught:
        open_source(spec)
    assert one_sentence(caught.value)


# Downloading ImageWoof, from a server on this machine


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small imagewoof2-160.tgz, on a server that takes the place of fast.ai's."""
    tree = tmp_path / "made" / "imagewoof2-160"
    for split in ("train", "val"):
        write_classes(tree / split, {"n02111889": RED, "n02115641": GREEN}, n=2)
    path = tmp_path / "server" / "imagewoof2-160.tgz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tree, "imagewoof2-160")
    monkeypatch.setattr(sources, "IMAGEWOOF_PLACES", ("data/imagewoof2-160", "data/imagewoof2-320"))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(_Quiet, directory=str(path.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/{path.name}"
        monkeypatch.setattr(sources, "IMAGEWOOF_ARCHIVES", {160: (url, md5)})
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield path
        server.shutdown()


def test_imagewoof_is_downloaded_once_and_found_again(archive):
    source = open_source("imagewoof", image_size=64)
    assert source.classes == ("Dingo", "Samoyed")
    assert len(source.items) == 8
    archive.unlink()
    assert open_source("imagewoof", image_size=64) == source
    assert file_names(Path("data")) == ["imagewoof2-160", "imagewoof2-160.tgz"]


def test_a_download_with_a_wrong_checksum_is_refused_in_one_sentence(archive):
    archive.write_bytes(archive.read_bytes() + b"tampered")
    with pytest.raises(UserError, match=r"could not be downloaded") as caught:
        open_source("imagewoof")
    assert one_sentence(caught.value)
    assert not Path("data/imagewoof2-160").exists()


def test_a_download_without_a_network_says_what_to_do_instead(archive):
    archive.unlink()
    with pytest.raises(UserError, match=r"imagewoof:PATH") as caught:
        open_source("imagewoof")
    assert one_sentence(caught.value)


def test_an_archive_that_was_only_half_unpacked_is_not_taken_for_the_data(archive, monkeypatch):
    import torchvision.datasets.utils as utils

    whole = utils.extract_archive

    def full_disk(path: str, target: str) -> None:
        whole(path, target)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(utils, "extract_archive", full_disk)
    with pytest.raises(UserError, match="No space left"):
        open_source("imagewoof")
    assert file_names(Path("data")) == ["imagewoof2-160.tgz"]


# Broken images


def test_broken_images_are_named_counted_and_skipped(caplog):
    root = write_classes(Path("pets"), {"cat": RED, "dog": GREEN}, n=10)
    whole = (root / "cat/cat-000.png").read_bytes()
    (root / "cat/cat-001.png").write_bytes(b"")
    (root / "cat/cat-002.png").write_bytes(b"this is not a picture")
    (root / "dog/dog-003.png").write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        data = open_dataset(options("folder:pets"))
    broken = {"cat/cat-001.png", "cat/cat-002.png", "dog/dog-003.png"}
    assert set(data.store.skipped) == broken
    assert all(name in caplog.text for name in broken)
    assert "3 of 20 images skipped" in caplog.text
    caplog.clear()
    assert set(open_dataset(options("folder:pets")).store.skipped) == broken
    (again,) = (m for m in caplog.messages if "skipped" in m)  # one line, not every name at each stage
    assert again.startswith("3 of 20 images skipped; see ")
    assert broken == set(json.loads(Path(again.rpartition("see ")[2]).read_text())["skipped"])
    assert len(data.store.images) == len(data.store.labels) == len(data.store.names) == 17
    for i, name in enumerate(data.store.names):  # nothing moved when rows were left out
        colour = (RED, GREEN)[data.store.labels[i]]
        np.testing.assert_allclose(data.store.images[i].mean((0, 1)), colour, atol=1)
        assert name.startswith(data.classes[data.store.labels[i]])


def test_images_are_the_same_however_many_are_decoded_ahead(monkeypatch):
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN}, n=10)
    Path("pets/cat/cat-003.png").write_bytes(b"no picture")
    at_once = open_dataset(options("folder:pets")).store
    shutil.rmtree("cache")
    monkeypatch.setattr(cache, "PART", 4)
    in_parts = open_dataset(options("folder:pets")).store
    np.testing.assert_array_equal(in_parts.images, at_once.images)
    assert (in_parts.names, in_parts.skipped) == (at_once.names, at_once.skipped)


def test_a_truncated_jpeg_is_skipped_not_filled_with_grey():
    write_classes(Path("pets"), {"cat": RED}, n=10)
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save("pets/cat/cut.jpg")
    Path("pets/cat/cut.jpg").write_bytes(Path("pets/cat/cut.jpg").read_bytes()[:-700])
    assert "truncated" in open_dataset(options("folder:pets")).store.skipped["cat/cut.jpg"]


def test_where_no_image_can_be_read_the_error_is_one_sentence():
    Path("pets/cat").mkdir(parents=True)
    Path("pets/cat/a.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 1 images") as caught:
        open_dataset(options("folder:pets"))
    assert one_sentence(caught.value)
    assert not any(Path("cache").iterdir())


def test_small_classes_are_warned_about_by_name(caplog):
    write_classes(Path("pets"), {"cat": RED}, n=50)
    write_classes(Path("pets"), {"dog": GREEN}, n=49)
    with caplog.at_level(logging.WARNING):
        open_dataset(options("folder:pets"))
    assert "'dog' has only 49 images" in caplog.text
    assert "'cat'" not in caplog.text


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_grey_values_of_16_bits_keep_their_shades(ending):
    ramp = np.linspace(0, 65_535, 900).astype(np.uint16).reshape(30, 30)
    Path("pets/cat").mkdir(parents=True)
    for i in range(5):
        Image.fromarray(ramp).save(f"pets/cat/{i}.{ending}")
    data = open_dataset(options("folder:pets", image_size=30, margin=0))
    expected = np.repeat((ramp // 257)[..., None], 3, 2)
    np.testing.assert_array_equal(data.store.images[0], expected)


def test_pictures_too_small_to_show_anything_are_skipped():
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN}, n=10)
    write_image(Path("pets/cat/speck.png"), RED, (3, 300))
    write_image(Path("pets/cat/small.png"), RED, (4, 4))  # a quarter of the side
    store = open_dataset(options("folder:pets")).store
    assert store.skipped == {"cat/speck.png": "it has only 3 x 300 pixels"}
    assert len(store.names) == 21


def test_numbers_of_32_bits_are_skipped_and_the_reason_given():
    write_classes(Path("pets"), {"cat": RED}, n=5)
    Image.fromarray(np.linspace(0, 1, 900, dtype=np.float32).reshape(30, 30)).save("pets/cat/float.tif")
    assert "save it with 8 bits" in open_dataset(options("folder:pets")).store.skipped["cat/float.tif"]


def test_damaged_exif_data_are_as_good_as_none(monkeypatch):
    def damaged(*_: object) -> None:
        raise struct.error("required argument is not an integer")

    write_classes(Path("pets"), {"cat": RED}, n=5)
    monkeypatch.setattr("explorer.rgb.ImageOps.exif_transpose", damaged)
    assert not open_dataset(options("folder:pets")).store.skipped


@pytest.mark.skipif(sys.platform == "win32", reason="links take rights there")
def test_a_link_that_leads_nowhere_is_named_and_skipped(caplog):
    write_classes(Path("pets"), {"cat": RED}, n=5)
    Path("pets/cat/dead.png").symlink_to("gone.png")
    Path("pets/cat/loop.png").symlink_to("loop.png")
    with caplog.at_level(logging.WARNING):
        source = open_source("folder:pets")
    assert len(source.items) == 5
    assert "dead.png" in caplog.text
    assert "loop.png" in caplog.text


def test_images_beside_the_class_folders_are_counted_and_left_out(caplog):
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN}, n=5)
    Path("pets/notes.txt").write_text("no picture")
    assert len(open_source("folder:pets").items) == 10
    assert not caplog.messages
    for i in range(3):
        write_image(Path(f"pets/{i}.PNG"), RED)
    assert len(open_source("folder:pets").items) == 10
    assert caplog.messages == ["images in no class's folder are left out: 3 in pets"]


def test_pictures_of_a_kind_that_is_not_read_are_counted_and_a_folder_of_them_is_named(caplog):
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN}, n=5)
    for i in range(3):
        Path(f"pets/cat/more-{i}.avif").write_bytes(b"")
    Path("pets/fox").mkdir()
    for i in range(2):
        Path(f"pets/fox/{i}.HEIC").write_bytes(b"")
    source = open_source("folder:pets")
    assert source.classes == ("cat", "dog")
    assert caplog.messages == [
        "left out in pets/cat, as .avif cannot be read: 3; convert such pictures to JPEG or PNG",
        "left out in pets/fox, as .HEIC cannot be read: 2; convert such pictures to JPEG or PNG",
        "pets/fox holds no images, so it is no class",
    ]


def test_a_class_folder_that_may_not_be_read_is_one_sentence(monkeypatch):
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN}, n=5)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "dog")
    with pytest.raises(UserError, match="pets/dog may not be read") as caught:
        open_source("folder:pets")
    assert one_sentence(caught.value)


def test_a_class_of_which_nothing_can_be_read_is_one_sentence_that_names_it():
    write_classes(Path("pets"), {"cat": RED}, n=5)
    Path("pets/fox").mkdir()
    Path("pets/fox/a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="no image of the class 'fox'") as caught:
        open_dataset(options("folder:pets"))
    assert one_sentence(caught.value)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1", "I;16"])
def test_every_kind_of_picture_becomes_rgb(mode):
    write_classes(Path("pets"), {"cat": RED}, n=5)
    picture = Image.new(mode, (30, 30))
    picture.save(f"pets/cat/odd{'.jpg' if mode == 'CMYK' else '.png'}")
    assert not open_dataset(options("folder:pets")).store.skipped


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "a colour of RGB", "a grey of L"])
def test_what_lies_under_transparent_pixels_is_not_seen(kind):
    """Programs leave anything there; it is white, as on a page."""
    grey, alpha = np.full((30, 30), 90, np.uint8), np.full((30, 30), 255, np.uint8)
    grey[:15], alpha[:15] = 20, 0
    picture = Image.fromarray(np.dstack([grey, grey, grey, alpha]))
    picture, hidden = {
        "RGBA": (picture, None),
        "LA": (picture.convert("LA"), None),
        "P": (Image.fromarray(grey).convert("P"), bytes(0 if i == 20 else 255 for i in range(256))),
        "a colour of RGB": (picture.convert("RGB"), (20, 20, 20)),
        "a grey of L": (Image.fromarray(grey), 20),
    }[kind]
    write_classes(Path("pets"), {"cat": RED}, n=5)
    picture.save("pets/cat/a.png", **({} if hidden is None else {"transparency": hidden}))
    image = open_dataset(options("folder:pets", image_size=30, margin=0)).store.images[0]
    assert image[:12].min() == 255
    assert (image[-12:] == 90).all()


def test_half_transparent_pixels_are_mixed_with_white_and_the_picture_is_turned_upright():
    pixels = np.full((30, 30, 4), (100, 50, 0, 51), np.uint8)
    pixels[:15, :, 3] = 0
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    write_classes(Path("pets"), {"cat": RED}, n=5)
    Image.fromarray(pixels).save("pets/cat/a.png", exif=exif)
    image = open_dataset(options("folder:pets", image_size=30, margin=0)).store.images[0]
    assert (image[-12:] == 255).all()
    np.testing.assert_allclose(image[:12].mean((0, 1)), (224, 214, 204), atol=1)


def test_a_photograph_taken_sideways_is_turned_upright():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:20] = 255  # bright above, as the sensor saw it
    Path("pets/cat").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    for name in ("a", "b", "c", "d", "e"):
        Image.fromarray(picture).save(f"pets/cat/{name}.png", exif=exif)
    image = open_dataset(options("folder:pets")).store.images[0]
    assert image[:8].mean() < 20
    assert image[-8:].mean() > 235


# Crops


@settings(max_examples=150)
@given(st.data())
def test_a_crop_never_leaves_the_image(data):
    """White surrounds would betray it: the image is black, and so must be every crop."""
    width, height = data.draw(st.integers(4, 120)), data.draw(st.integers(4, 120))
    size, margin = data.draw(st.integers(4, 24)), data.draw(st.integers(0, 6))
    side = data.draw(st.floats(0.05, 1)) * min(width, height)
    left, top = (data.draw(st.floats(0, 1)) * (extent - side) for extent in (width, height))
    box = Box(left / width, top / height, side / width, side / height)
    stored = crop_square(Image.new("RGB", (width, height)), box, size, margin)
    assert stored.size == (size + 2 * margin,) * 2
    assert stored.getextrema() == ((0, 0),) * 3


def test_the_margin_lies_around_the_box():
    """On a horizontal ramp the box's own part is the middle of what is stored."""
    ramp = np.arange(200, dtype=np.uint8)[None, :, None].repeat(100, 0).repeat(3, 2)
    stored = np.asarray(crop_square(Image.fromarray(ramp), Box(0.3, 0.3, 0.2, 0.4), 40, 5))
    np.testing.assert_allclose(stored[25, :, 0], 55.5 + np.arange(50) - 0.5, atol=1)
    inner = center_crop(torch.tensor(stored)[None], 40)[0].numpy()
    np.testing.assert_allclose(inner[0, [0, -1], 0], [60, 99], atol=1.5)


@given(st.integers(1, 500), st.integers(1, 500))
def test_the_central_square_is_central_and_as_large_as_can_be(width, height):
    box = center_box(width, height)
    assert box.width * width == pytest.approx(box.height * height) == pytest.approx(min(width, height))
    assert box.left + box.width / 2 == pytest.approx(0.5)
    assert box.top + box.height / 2 == pytest.approx(0.5)


def coordinates(n: int, stored: int) -> torch.Tensor:
    """Images whose pixels say their own row, column and image."""
    y, x = torch.meshgrid(torch.arange(stored), torch.arange(stored), indexing="ij")
    image = torch.stack([y, x, torch.zeros_like(x)], -1).to(torch.uint8).repeat(n, 1, 1, 1)
    image[..., 2] = torch.arange(n, dtype=torch.uint8)[:, None, None]
    return image


def test_center_crop_drops_the_margin_alike_on_all_sides():
    crop = center_crop(coordinates(2, 12), 8)
    assert crop.shape == (2, 8, 8, 3)
    assert crop[0, 0, 0].tolist() == [2, 2, 0]
    assert crop[1, -1, -1].tolist() == [9, 9, 1]


def test_augmented_images_are_whole_crops_shifted_and_every_second_one_mirrored():
    torch.manual_seed(0)
    n, stored, size = 250, 12, 8
    crops = augment(coordinates(n, stored), size).int()
    assert crops.shape == (n, size, size, 3)
    top, left, right = crops[:, 0, 0, 0], crops[:, 0, 0, 1], crops[:, 0, -1, 1]
    mirrored = left > right
    span = torch.arange(size)
    assert torch.equal(crops[..., 0], (top[:, None] + span)[:, :, None].expand(n, size, size))
    columns = torch.where(mirrored[:, None], left[:, None] - span, left[:, None] + span)
    assert torch.equal(crops[..., 1], columns[:, None].expand(n, size, size))
    assert torch.equal(crops[..., 2], torch.arange(n)[:, None, None].expand(n, size, size))
    assert 90 < mirrored.sum() < 160
    assert set(top.tolist()) == set(torch.minimum(left, right).tolist()) == set(range(5))  # the whole margin


def test_augmentation_follows_the_seed():
    images = coordinates(20, 12)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(augment(images, 8))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_crops_follow_the_boxes_and_center_ignores_them(tmp_path):
    """The subject is a green square in the corner of a red image."""
    pixels = np.full((60, 60, 3), RED, np.uint8)
    pixels[:30, :30] = GREEN
    Path("pets/cat").mkdir(parents=True)
    stems = [f"p{i}" for i in range(6)]
    for stem in stems:
        Image.fromarray(pixels).save(f"pets/cat/{stem}.png")
    table = tmp_path / "boxes.csv"
    write_boxes(table, dict.fromkeys(stems[:-1], Box(0, 0, 0.45, 0.45)))
    subject = open_dataset(options("folder:pets", boxes=table, margin=0))
    np.testing.assert_allclose(subject.store.images.mean((0, 1, 2)), GREEN, atol=1)
    assert list(subject.store.skipped) == ["cat/p5.png"]  # it has no box, and is named
    center = open_dataset(options("folder:pets", boxes=table, margin=0, crop="center"))
    assert center.store.images[:, -4:, -4:].mean((0, 1, 2)) == pytest.approx(RED, abs=1)
    with pytest.raises(UserError, match=r"--crop center") as caught:
        open_dataset(options("folder:pets", crop="subject"))
    assert one_sentence(caught.value)


def test_photographs_of_one_name_in_two_folders_have_boxes_of_their_own(tmp_path):
    pixels = np.full((60, 60, 3), RED, np.uint8)
    pixels[:30, :30] = GREEN
    for name in ("cat", "dog"):
        Path("pets", name).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(pixels).save(f"pets/{name}/{i}.png")
    corner, other = Box(0, 0, 0.45, 0.45), Box(0.52, 0.52, 0.45, 0.45)
    table = tmp_path / "boxes.csv"
    boxes = {f"cat/{i}.png": corner for i in range(5)} | {f"dog/{i}.png": other for i in range(5)}
    write_boxes(table, boxes)
    data = open_dataset(options("folder:pets", boxes=table, margin=0))
    for label, colour in enumerate((GREEN, RED)):
        own = data.store.images[data.store.labels == label]
        np.testing.assert_allclose(own.mean((0, 1, 2)), colour, atol=2)


# The cache


def test_a_photograph_in_the_place_of_another_of_its_size_is_seen():
    write_classes(Path("pets"), {"cat": RED})
    for path in Path("pets/cat").iterdir():
        Image.new("RGB", (30, 30), RED).save(path.with_suffix(".bmp"))
        path.unlink()
    open_dataset(options("folder:pets"))
    for path in Path("pets/cat").iterdir():
        before = path.stat()
        Image.new("RGB", (30, 30), GREEN).save(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))
        assert path.stat().st_size == before.st_size
    images = open_dataset(options("folder:pets")).store.images
    np.testing.assert_allclose(images.mean((0, 1, 2)), GREEN, atol=1)


def test_a_cache_from_before_transparent_parts_were_white_is_not_taken_for_one(monkeypatch):
    """Only of one's own pictures that may have such parts: JPEG has none, and nor has what is published."""
    write_classes(Path("pets"), {"cat": RED})
    write_classes(Path("woof/train"), {"n02111889": RED})
    write_classes(Path("photos"), {"cat": RED})
    for path in Path("photos/cat").iterdir():
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"))
        path.unlink()

    def keys() -> list[str]:
        shutil.rmtree("cache", ignore_errors=True)
        for source in ("folder:pets", "folder:photos", "imagewoof:woof"):
            open_dataset(options(source, crop="center"))
        return sorted(p.name for p in Path("cache").iterdir())

    now = keys()
    monkeypatch.setattr(cache, "_may_be_transparent", lambda _: False)
    assert len(set(now) - set(keys())) == 1


def test_the_cache_is_used_again_without_decoding(monkeypatch):
    write_classes(Path("pets"), {"cat": RED})
    first = open_dataset(options("folder:pets"))
    monkeypatch.setattr(cache, "_decode", lambda *_: pytest.fail("decoded again"))
    again = open_dataset(options("folder:pets"))
    np.testing.assert_array_equal(first.store.images, again.store.images)
    assert first.store.names == again.store.names
    assert isinstance(again.store.images, np.memmap)


def test_another_size_crop_or_file_has_a_cache_of_its_own():
    write_classes(Path("pets"), {"cat": RED})
    open_dataset(options("folder:pets"))
    open_dataset(options("folder:pets", image_size=8))
    open_dataset(options("folder:pets", margin=0))
    open_dataset(options("folder:pets", hold_out=()))
    assert len(list(Path("cache").iterdir())) == 3
    write_image(Path("pets/cat/cat-999.png"), GREEN)
    assert len(open_dataset(options("folder:pets")).store.images) == 7


@pytest.mark.parametrize("damage", ["no index", "half an index", "no array", "half an array"])
def test_a_half_written_cache_is_made_anew(damage):
    write_classes(Path("pets"), {"cat": RED})
    expected = np.array(open_dataset(options("folder:pets")).store.images)
    folder = next(Path("cache").iterdir())
    victim = folder / ("index.json" if "index" in damage else "images.npy")
    victim.write_bytes(victim.read_bytes()[: 0 if "no" in damage else victim.stat().st_size // 2])
    if "no" in damage:
        victim.unlink()
    np.testing.assert_array_equal(open_dataset(options("folder:pets")).store.images, expected)


def test_what_a_killed_run_left_behind_is_not_taken_for_the_cache():
    write_classes(Path("pets"), {"cat": RED})
    open_dataset(options("folder:pets"))
    folder = next(Path("cache").iterdir())
    folder.rename(folder.with_name(f"{folder.name}.tmp123"))
    assert len(open_dataset(options("folder:pets")).store.images) == 6


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(monkeypatch):
    write_classes(Path("pets"), {"cat": RED})
    open_dataset(options("folder:pets"))
    before = file_names(Path("cache"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array_header_1_0", full)
        with pytest.raises(UserError, match=r"No space left.*--cache") as caught:
            open_dataset(options("folder:pets", image_size=8))
    assert one_sentence(caught.value)
    assert file_names(Path("cache")) == before
    assert len(open_dataset(options("folder:pets", image_size=8)).store.images) == 6


def test_a_disk_that_fills_while_decoding_is_one_sentence():
    """The real thing: the kernel refuses to let files grow."""
    resource = pytest.importorskip("resource")
    write_classes(Path("pets"), {"cat": RED})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"could not be cached") as caught:
            open_store(open_source("folder:pets"), 100, 0, None, Path("cache"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert one_sentence(caught.value)
    assert not any(Path("cache").iterdir())


# The hold-out


def test_splits_are_disjoint_complete_and_the_same_every_time():
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN, "fox": BLUE}, n=10)
    data = open_dataset(options("folder:pets", hold_out=("dog",)))
    parts = [set(data.indices(s).tolist()) for s in ("train", "val", "held_out")]
    assert [len(p) for p in parts] == [16, 4, 10]
    assert set.union(*parts) == set(range(30))
    again = open_dataset(options("folder:pets", hold_out=("dog",)))
    np.testing.assert_array_equal(data.splits, again.splits)
    other = open_dataset(options("folder:pets", hold_out=("cat",)))
    seen = np.isin(data.store.labels, [2])  # the split of a seen class does not depend on the hold-out
    np.testing.assert_array_equal(data.splits[seen], other.splits[seen])


CLASSES = ("Samoyed", "English foxhound", "Old English sheepdog")


def test_names_are_taken_whatever_their_case():
    assert resolve_classes((" samoyed ", "ENGLISH Foxhound", "Samoyed"), CLASSES) == CLASSES[:2]


def test_an_exact_name_wins_and_an_inexact_one_holds_out_every_spelling():
    assert resolve_classes(("Fox",), ("FOX", "Fox", "fox")) == ("Fox",)
    assert resolve_classes(("fOX",), ("FOX", "Fox", "cat")) == ("FOX", "Fox")


@pytest.mark.parametrize("name", ["Samoyd", "English foxhund", "cat", ""])
def test_a_name_that_does_not_exist_is_refused_with_the_list(name):
    with pytest.raises(UserError) as caught:
        resolve_classes((name,), CLASSES)
    assert one_sentence(caught.value)
    assert repr(name) in str(caught.value)
    assert all(c in str(caught.value) for c in CLASSES)
    assert ("did you mean" in str(caught.value)) == (name in ("Samoyd", "English foxhund"))


def test_accents_are_forgiven_however_they_are_stored():
    composed, apart = unicodedata.normalize("NFC", "Épagneul"), unicodedata.normalize("NFD", "Épagneul")
    assert composed != apart
    assert resolve_classes((composed,), (apart, "Beagle")) == (apart,)
    assert resolve_classes((apart.lower(),), (composed, "Beagle")) == (composed,)


def test_what_was_trained_on_other_images_does_not_go_on():
    """Photographs that are added change the split: validation images would have been trained on."""
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN}, n=30)
    given = AutoencoderOptions(
        **{**TINY_AUTOENCODER, "source": "folder:pets", "hold_out": (), "images": 64, "out": Path("ae")}
    )
    run_autoencoder(given)
    write_image(Path("pets/cat/cat-0005b.png"), RED)
    gan = LatentGanOptions(**{**TINY_GAN, "autoencoder": Path("ae"), "out": Path("gan"), "images": 64})
    for train in (lambda: run_autoencoder(given), lambda: run_latent_gan(gan)):
        with pytest.raises(UserError, match="trained on other images") as caught:
            train()
        assert one_sentence(caught.value)
    Path("pets/cat/cat-0005b.png").unlink()
    run_autoencoder(given)
    run_latent_gan(gan)
    write_image(Path("pets/cat/cat-005.png"), GREEN)  # another photograph under the same name
    bundled = functools.partial(open_trained, latent=Path("gan"), device=torch.device("cpu"))
    for use in (lambda: run_autoencoder(given), bundled):
        with pytest.raises(UserError, match="trained on other images"):
            use()
    write_image(Path("pets/cat/cat-005.png"), RED)
    bundled()


def test_a_colour_that_another_decoder_might_give_is_the_same_colour(tmp_path):
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN}, n=30)
    dataset = open_dataset(options("folder:pets"))
    check_same_images(tmp_path, dataset)
    noted = json.loads((tmp_path / "images.json").read_text())
    (first, *_), colours = noted["colours"], dataset.store.images[0].reshape(-1, 3).mean(0)
    assert first == pytest.approx(colours.tolist(), abs=0.51)
    noted["colours"][0][0] += 2
    (tmp_path / "images.json").write_text(json.dumps(noted))
    check_same_images(tmp_path, dataset)
    noted["colours"][0][0] += 1
    (tmp_path / "images.json").write_text(json.dumps(noted))
    with pytest.raises(UserError, match="trained on other images"):
        check_same_images(tmp_path, dataset)


def test_codes_of_another_precision_are_encoded_anew(tmp_path):
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN}, n=30)
    dataset, path = open_dataset(options("folder:pets")), tmp_path / "codes.safetensors"
    spy = _Spy()
    for precision, times in (("fp32", 1), ("fp32", 1), ("bf16", 2)):
        training_codes(spy, dataset, 0, 0, torch.device("cpu"), precision, path)  # type: ignore[arg-type]
        assert sum(map(len, spy.seen)) == times * 2 * len(dataset.indices("train")) + times * len(
            dataset.indices("val")
        )


def test_too_few_images_are_said_to_be_before_anything_is_trained():
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN}, n=19)
    given = AutoencoderOptions(
        **{**TINY_AUTOENCODER, "source": "folder:pets", "hold_out": (), "out": Path("ae")}
    )
    with pytest.raises(UserError, match="38 readable images, 30 for training and 8 for validation") as caught:
        run_autoencoder(given)
    assert one_sentence(caught.value)
    assert not Path("ae").exists()


def test_with_every_class_held_out_nothing_is_left():
    write_classes(Path("pets"), {"cat": RED, "dog": GREEN})
    with pytest.raises(UserError, match="every class is held out") as caught:
        open_dataset(options("folder:pets", hold_out=("cat", "DOG")))
    assert one_sentence(caught.value)


def test_with_no_validation_image_left_the_error_is_one_sentence():
    write_classes(Path("pets/train"), {"cat": RED, "dog": GREEN})
    write_classes(Path("pets/val"), {"dog": GREEN})
    with pytest.raises(UserError, match="no val images are left") as caught:
        open_dataset(options("folder:pets", hold_out=("dog",)))
    assert one_sentence(caught.value)


@pytest.mark.parametrize(("only_in", "lacks"), [("val", "train"), ("train", "val")])
def test_a_seen_class_that_stands_in_one_part_alone_is_refused_and_a_held_out_one_is_not(only_in, lacks):
    for split in ("train", "val"):
        write_classes(Path("pets") / split, {"cat": RED, "dog": GREEN}, n=24)
    write_classes(Path("pets") / only_in, {"fox": BLUE}, n=24)
    with pytest.raises(UserError, match=f"no {lacks} image of the seen class 'fox'.*hold it out") as caught:
        open_dataset(options("folder:pets"))
    assert one_sentence(caught.value)
    held_out = open_dataset(options("folder:pets", hold_out=("fox",)))
    assert [len(held_out.indices(split)) for split in ("train", "val", "held_out")] == [48, 48, 24]


def test_a_class_that_cannot_be_trained_on_is_refused_before_anything_is_decoded(monkeypatch):
    """And where all its training images turn out not to be readable, afterwards."""
    for split in ("train", "val"):
        write_classes(Path("pets") / split, {"cat": RED, "dog": GREEN}, n=6)
    for path in Path("pets/train/dog").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="no train image of the seen class 'dog'"):
        open_dataset(options("folder:pets"))
    shutil.rmtree("pets/train/dog")
    monkeypatch.setattr(dataset, "open_store", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match="no train image of the seen class 'dog'"):
        open_dataset(options("folder:pets"))


def grainy_classes(root: Path, classes: tuple[str, ...], n: int = 10) -> Path:
    """A class-per-folder tree in which no two photographs are alike; made twice, they are the same."""
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}-{i:03d}.png")
    return root


def test_a_held_out_photograph_that_stands_in_another_class_too_is_refused_whatever_it_is_called(caplog):
    grainy_classes(Path("pets"), ("cat", "dog", "fox"))
    shutil.copy("pets/fox/fox-003.png", "pets/dog/rover.png")
    open_dataset(options("folder:pets"))  # it is held out nowhere
    with Image.open("pets/fox/fox-005.png") as image:
        image.save("pets/cat/cat-011.bmp")  # in another format
    with pytest.raises(UserError, match="delete one of the two") as caught:
        open_dataset(options("folder:pets", hold_out=("fox",)))
    assert one_sentence(caught.value)
    assert "fox/fox-003.png of the held-out class 'fox' is dog/rover.png of 'dog', too" in str(caught.value)
    assert "the first of 2" in str(caught.value)
    Path("pets/dog/rover.png").unlink()
    Path("pets/cat/cat-011.bmp").unlink()
    shutil.copy("pets/fox/fox-003.png", "pets/fox/again.png")  # in the same class it leaks into nothing
    caplog.clear()
    assert len(open_dataset(options("folder:pets", hold_out=("fox",))).indices("held_out")) == 11
    assert ", too" not in caplog.text


def test_copies_in_published_data_are_said_and_nobody_is_asked_to_delete_them(caplog):
    """ImageWoof itself has a foxhound among its ridgebacks."""
    grainy_classes(Path("woof/train"), ("n02087394",))
    grainy_classes(Path("woof/val"), ("n02089973", "n02087394"))
    data = open_dataset(options("imagewoof:woof", crop="center", hold_out=("English foxhound",)))
    first = "val/n02089973/n02089973-000.png of the held-out class 'English foxhound' is "
    assert f"{first}train/n02087394/n02087394-000.png of 'Rhodesian ridgeback', too" in caplog.text
    assert "the first of 10); as these data are published, it stays there" in caplog.text
    assert "delete" not in caplog.text
    assert len(data.indices("held_out")) == 10
    copies = dataset.held_out_copies(dataset.alike(data.store), data.splits)
    names = [tuple(PurePosixPath(data.store.names[row]).stem for row in pair) for pair in copies]
    assert names == [(f"n02089973-{i:03d}", f"n02087394-{i:03d}") for i in range(10)]


def test_validation_pictures_that_were_trained_on_are_counted(caplog):
    for split in ("train", "val"):
        grainy_classes(Path("pets") / split, ("cat", "dog"))
    for i in range(7):
        Path(f"pets/val/cat/cat-{i:03d}.png").unlink()
    open_dataset(options("folder:pets"))
    assert "validation images that are training images, too: 13" in caplog.text
    caplog.clear()
    shutil.rmtree("pets/val/cat")
    shutil.rmtree("pets/val/dog")
    open_dataset(options("folder:pets"))
    assert ", too" not in caplog.text


def marked_tree(root: Path, held_out: tuple[int, int, int] = MARK) -> Path:
    """Two seen classes and one held out, whose photographs bear a colour that no other has."""
    for split, n in (("train", 12), ("val", 6)):
        write_classes(root / split, {"cat": RED, "dog": GREEN, "fox": held_out}, n)
    return root


def has_mark(images: torch.Tensor) -> bool:
    """Whether any pixel is nearer to the mark than the seen colours ever come (uint8, channels last)."""
    return bool(((images.int() - torch.tensor(MARK)).abs().amax(-1) < 40).any())


class _Spy(torch.nn.Module):
    """Stands for an autoencoder; keeps every image it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def encoder(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(((images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1))
        return images.mean((2, 3))


def test_no_held_out_pixel_is_yielded_or_encoded_for_training(tmp_path):
    marked_tree(Path("pets"))
    data = open_dataset(options("folder:pets", hold_out=("Fox",)))
    assert has_mark(data.centers(data.indices("held_out")))  # the test can see them
    for split in ("train", "val"):
        assert not has_mark(data.seen(split))
        assert len(data.seen(split)) == {"train": 24, "val": 12}[split]
    spy = _Spy()
    codes = training_codes(spy, data, 2, 0, torch.device("cpu"), "fp32", tmp_path / "c.safetensors")  # type: ignore[arg-type]
    assert {k: len(v) for k, v in codes.items()} == {"train": 24, "val": 12, "augmented": 48}
    assert sum(len(images) for images in spy.seen) == 24 + 12 + 48
    assert not any(has_mark(images) for images in spy.seen)


def test_the_guard_trips_if_a_held_out_image_were_yielded():
    marked_tree(Path("pets"))
    data = open_dataset(options("folder:pets", hold_out=("fox",)))
    with pytest.raises(AssertionError, match="held-out"):
        data.seen("held_out")  # type: ignore[arg-type]
    data.splits[data.store.labels == 2] = "train"  # a mistake in the making of the splits
    with pytest.raises(AssertionError, match="held-out"):
        data.seen("train")


def train_all(source: str, out: Path, **values: Any) -> dict[str, bytes]:
    """Train a tiny autoencoder and GAN; the bytes of everything that a bundle takes from them."""
    shared = {"source": source, "hold_out": ("fox",), "images": 320, "precision": "fp32", **values}
    run_autoencoder(AutoencoderOptions(**{**TINY_AUTOENCODER, **shared, "out": out / "ae"}))
    gan = {"autoencoder": out / "ae", "out": out / "gan", "images": 640, "precision": "fp32"}
    run_latent_gan(LatentGanOptions(**{**TINY_GAN, **gan}))
    pixels = {"autoencoder": out / "ae", "out": out / "pixels", "precision": "fp32"}
    run_pixel_gan(PixelGanOptions(**{**TINY_PIXEL_GAN, **pixels}))
    files = sorted(p for p in out.rglob("*.safetensors"))
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in files}


def test_the_content_of_held_out_images_changes_not_one_bit_of_what_is_trained():
    """Weights, codes, standardisation and snapshots: byte for byte, whatever the foxes look like."""
    found = []
    for name, colour in (("one", MARK), ("two", (3, 77, 180))):
        root = marked_tree(Path(name) / "pets", colour)
        found.append(train_all(f"folder:{root}", Path(name) / "runs"))
    assert {
        "ae/autoencoder.safetensors",
        "gan/generator.safetensors",
        "gan/standardisation.safetensors",
        "pixels/generator.safetensors",
    } <= set(found[0])
    assert found[0] == found[1]
    # And the test can fail: a seen class that looks different does change them.
    root = marked_tree(Path("three") / "pets")
    write_classes(root / "train", {"cat": BLUE}, 12)
    others = train_all(f"folder:{root}", Path("three") / "runs")
    assert others.keys() == found[0].keys()
    weights = [name for name in others if "snapshots" not in name]
    assert all(others[name] != found[0][name] for name in weights)


@pytest.mark.parametrize("run", [run_latent_gan, run_pixel_gan])
def test_a_finished_gan_is_not_taken_for_one_that_never_saw_what_is_held_out_since(run):
    """The autoencoder is deleted and trained again with a class held out; the GANs saw that class."""
    root, shared = marked_tree(Path("pets")), {"source": "folder:pets", "images": 320}
    assert root.is_dir()
    tiny = TINY_GAN if run is run_latent_gan else TINY_PIXEL_GAN
    kind = LatentGanOptions if run is run_latent_gan else PixelGanOptions
    gan = kind(**{**tiny, "autoencoder": Path("runs/ae"), "out": Path("runs/gan")})
    for hold_out in (("cat",), ("fox",)):
        shutil.rmtree("runs/ae", ignore_errors=True)
        given = {**TINY_AUTOENCODER, **shared, "hold_out": hold_out, "out": Path("runs/ae")}
        run_autoencoder(AutoencoderOptions(**given))
        if hold_out == ("cat",):
            run(gan)
            run(gan)  # done, and the same
    taken = {"latent": gan.out, "pixel": None if run is run_latent_gan else gan.out}
    for take in (lambda: run(gan), lambda: open_trained(**taken, device=torch.device("cpu"))):
        with pytest.raises(UserError, match="another --out") as caught:
            take()
        assert one_sentence(caught.value)


def test_the_index_of_the_cache_holds_no_hold_out():
    """It is storage only: the same array serves every hold-out."""
    marked_tree(Path("pets"))
    open_dataset(options("folder:pets", hold_out=("fox",)))
    open_dataset(options("folder:pets", hold_out=("cat",)))
    (folder,) = Path("cache").iterdir()
    assert set(json.loads((folder / "index.json").read_text())["splits"]) == {"train", "val"}


MODULES_THAT_TRAIN = (
    "adversarial", "autoencoder", "codes", "detail_phase", "image_phase", "latent_gan", "loop", "losses",
    "metrics", "pixel_gan", "transform_coding",
)  # fmt: skip


def test_modules_of_training_read_images_through_the_guard_alone():
    """``store.images`` is for the bundle and for measuring afterwards; training modules do not touch it."""
    package = Path(dataset.__file__).parents[1]
    for name in MODULES_THAT_TRAIN:
        text = (package / f"{name}.py").read_text()
        assert ".store" not in text, name
        assert ".centers(" not in text, name
