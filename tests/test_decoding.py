"""Codes to pictures, and pictures to files: every file is read back."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from explorer.decoding import data_uri, decode, encode, gif, grid, png
from explorer.networks import Autoencoder, AutoencoderConfig, to_uint8


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(AutoencoderConfig(8, 2, 2, (6, 6), (1, 1), (1, 1))).eval().requires_grad_(False)


@pytest.fixture
def pictures() -> np.ndarray:
    """Seven pictures of 6x8 pixels, each of its own strong colours."""
    return np.random.default_rng(0).integers(0, 256, (7, 6, 8, 3), dtype=np.uint8)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_decoding_is_the_decoder_in_eight_bits(model):
    codes = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    expected = to_uint8(model.decoder(torch.from_numpy(codes).view(5, 2, 2, 2))).numpy()
    np.testing.assert_array_equal(decode(model, codes), expected)


def test_batches_do_not_show(model):
    codes = np.random.default_rng(0).normal(size=(11, 8)).astype(np.float32)
    whole = decode(model, codes)
    difference = np.abs(decode(model, codes, batch=3).astype(int) - whole.astype(int))
    assert difference.max() <= 1  # one grey level, where rounding was undecided
    np.testing.assert_allclose(encode(model, whole, batch=4), encode(model, whole), rtol=1e-4, atol=1e-5)


def test_half_precision_and_non_contiguous_codes_are_taken(model):
    codes = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float16).T
    np.testing.assert_array_equal(decode(model, codes), decode(model, codes.astype(np.float32).copy()))


def test_nothing_decodes_and_encodes_to_nothing(model):
    assert decode(model, np.empty((0, 8))).shape == (0, 8, 8, 3)
    assert encode(model, np.empty((0, 8, 8, 3), np.uint8)).shape == (0, 8)


def test_a_grid_holds_every_picture_in_its_place(pictures):
    sheet = grid(pictures, columns=3, gap=2, fill=9)
    assert sheet.shape == (3 * 6 + 2 * 2, 3 * 8 + 2 * 2, 3)
    for i, picture in enumerate(pictures):
        top, left = i // 3 * 8, i % 3 * 10
        np.testing.assert_array_equal(sheet[top : top + 6, left : left + 8], picture)
    assert (sheet[6:8] == 9).all()  # the gap
    assert (sheet[16:, 10:] == 9).all()  # the two empty cells


def test_a_png_repeats_pixels_and_loses_nothing(pictures):
    image = opened(png(pictures[0], scale=3))
    assert image.format == "PNG"
    np.testing.assert_array_equal(np.asarray(image)[1::3, 1::3], pictures[0])
    np.testing.assert_array_equal(np.asarray(image)[::3, 2::3], pictures[0])


def test_a_gif_goes_there_and_back_in_the_time_asked(pictures):
    image = opened(gif(pictures, seconds=1.2, scale=2))
    assert image.format == "GIF"
    assert image.info["loop"] == 0  # for ever
    assert image.n_frames == 2 * len(pictures) - 2
    total, frames = 0, []
    for i in range(image.n_frames):
        image.seek(i)
        total += image.info["duration"]
        frames.append(np.asarray(image.convert("RGB"))[::2, ::2].astype(int))
    assert total == pytest.approx(1200, abs=10 * image.n_frames)  # GIF counts hundredths
    assert np.abs(frames[0] - pictures[0]).mean() < 3  # a palette of 256 is enough for 48 pixels
    assert np.abs(frames[6] - pictures[6]).mean() < 3
    assert np.abs(frames[7] - pictures[5]).mean() < 3


@pytest.mark.parametrize("n", [1, 2])
def test_a_gif_of_one_or_two_pictures_opens(pictures, n):
    assert opened(gif(pictures[:n])).n_frames == n


def test_a_data_uri_holds_a_webp_of_nearly_the_picture():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, 16:] = (200, 180, 90)
    head, _, content = data_uri(picture).partition(",")
    assert head == "data:image/webp;base64"
    image = opened(base64.b64decode(content))
    assert image.format == "WEBP"
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - picture).mean() < 8
