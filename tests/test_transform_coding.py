"""The linear autoencoder against principal components from elsewhere, and what it promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn, idctn
from sklearn.decomposition import TruncatedSVD

from explorer.decoding import encode
from explorer.networks import Autoencoder, AutoencoderConfig, to_uint8, to_unit_range
from tests.support import paint_over, tiny_autoencoder
from training import codec_table
from training.autoencoder import load_run, open_images, run_autoencoder
from training.files import read_json
from training.metrics_log import read_metrics
from training.transform_coding import fit_linear

SIDE = 4  # pixels of a square


def smooth_images(n: int = 60, size: int = 16) -> torch.Tensor:
    """Images uint8 (n, size, size, 3) whose neighbouring pixels are alike, as in photographs."""
    rng = np.random.default_rng(0)
    small = rng.uniform(0, 255, (n, size // 4, size // 4, 3))
    large = small.repeat(4, 1).repeat(4, 2) + rng.normal(0, 12, (n, size, size, 3))
    large = (large + np.roll(large, 1, 1) + np.roll(large, 1, 2)) / 3
    return torch.from_numpy(large.clip(0, 255).astype(np.uint8))


def fitted(channels: int, images: torch.Tensor, mirror: bool = False) -> Autoencoder:
    size = images.shape[1]
    model = Autoencoder(AutoencoderConfig(size, channels, size // SIDE, network="linear"))
    fit_linear(model, images, mirror)
    return model.eval().requires_grad_(False)


def squares(pixels: np.ndarray) -> np.ndarray:
    """Pixels float (n, 3, s, s) cut into squares (n * cells, 3, SIDE, SIDE), by slices."""
    steps = range(0, pixels.shape[2], SIDE)
    return np.concatenate([pixels[:, :, y : y + SIDE, x : x + SIDE] for y in steps for x in steps])


def test_round_trips_are_those_of_scikit_learns_components():
    images, channels = smooth_images(), 7
    model = fitted(channels, images)
    pixels = to_unit_range(images)
    cut = squares(pixels.double().numpy())
    rows = cut - cut.mean((0, 2, 3), keepdims=True)
    svd = TruncatedSVD(channels, algorithm="arpack").fit(rows.reshape(len(rows), -1))
    expected = svd.inverse_transform(svd.transform(rows.reshape(len(rows), -1)))
    ours = squares(model(pixels).numpy()) - cut.mean((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(ours.reshape(len(rows), -1), expected, atol=1e-5)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_with_all_components_not_a_grey_level_is_lost(seed, mirror):
    images = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8))
    model = fitted(3 * SIDE**2, images, mirror)
    assert torch.equal(to_uint8(model(to_unit_range(images))), images)


def test_codes_are_as_far_apart_as_the_pictures_they_stand_for():
    """But for one factor; and over what it was fitted on they have a mean square of 1."""
    images = smooth_images()
    for channels in (3, 3 * SIDE**2):
        model = fitted(channels, images)
        codes = model.encoder(to_unit_range(images))
        assert codes.square().mean().item() == pytest.approx(1, rel=1e-4)
        apart = torch.pdist(codes.flatten(1))
        ratio = torch.pdist(model.decoder(codes).flatten(1)) / apart
        torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))


def test_no_other_linear_code_of_that_size_is_nearer_jpegs_cosines_among_them():
    images, kept = smooth_images(), 2
    pixels = to_unit_range(images)
    ours = (fitted(3 * kept**2, images)(pixels) - pixels).square().mean().item()
    frequencies = dctn(squares(pixels.numpy()), axes=(2, 3), norm="ortho")
    frequencies[:, :, kept:, :] = frequencies[:, :, :, kept:] = 0
    cosines = idctn(frequencies, axes=(2, 3), norm="ortho") - squares(pixels.numpy())
    assert ours < np.square(cosines).mean()


def test_mirror_images_are_coded_as_well_as_images_where_they_count():
    images = smooth_images()
    images[:, :, 1::2] = 0  # every second column: the mirror image has the others
    pixels = to_unit_range(images)

    def error(model: Autoencoder, of: torch.Tensor) -> float:
        return (model(of) - of).square().mean().item()

    alone, both = (fitted(4, images, mirror) for mirror in (False, True))
    assert error(alone, pixels.flip(3)) > 1.3 * error(alone, pixels)
    assert error(both, pixels.flip(3)) == pytest.approx(error(both, pixels), rel=0.05)


@pytest.mark.parametrize(
    "change", [{"code_channels": 193}, {"code_size": 7}, {"network": "quadratic"}, {"code_size": 0}]
)
def test_a_linear_code_that_there_is_not_is_refused(change):
    assert AutoencoderConfig(network="linear", code_channels=192).code_dim == 3 * 64 * 64
    with pytest.raises(ValueError, match=r"at least 1|at most 192|side|use residual or linear"):
        AutoencoderConfig(**{"network": "linear", **change})


def test_a_run_ends_in_an_autoencoder_that_others_can_open(tmp_path):
    run = tiny_autoencoder(tmp_path, network="linear", code_channels=6)
    model, options = load_run(run)
    assert model.config.network == options.network == "linear"
    done, lines = read_json(run / "done.json"), read_metrics(run / "metrics.jsonl")
    assert done["images"] == lines[-1]["images"] > 1000
    assert done["parameters"] == 2 * 6 * 48 + 6 + 3
    assert 15 < lines[-1]["val_psnr"] < 60
    before = (run / "autoencoder.safetensors").read_bytes()
    run_autoencoder(options)  # the same command again
    assert (run / "autoencoder.safetensors").read_bytes() == before
    more, _ = load_run(tiny_autoencoder(tmp_path / "more", network="linear", code_channels=12))
    assert read_metrics(tmp_path / "more" / "ae" / "metrics.jsonl")[-1]["val_psnr"] > lines[-1]["val_psnr"]
    assert more.config.code_dim == 2 * model.config.code_dim


def test_held_out_images_are_not_among_those_it_is_fitted_on(tmp_path, monkeypatch):
    def weights(name: str) -> bytes:
        return (tiny_autoencoder(tmp_path / name, network="linear") / "autoencoder.safetensors").read_bytes()

    seen = weights("as they are")
    with monkeypatch.context() as patch:
        paint_over(patch, label=7)  # which tiny_autoencoder holds out
        assert weights("7s painted over") == seen
    with monkeypatch.context() as patch:
        paint_over(patch, label=3)
        assert weights("3s painted over") != seen


def test_noise_on_orthogonal_codes_is_noise_on_pixels(monkeypatch):
    """Of the same power, whatever the components: that is what "with code noise" means for a linear code."""
    monkeypatch.setattr(codec_table, "NOISE", 0.1)
    images = smooth_images(200)
    model = fitted(3 * SIDE**2, images)
    codes = model.encoder(to_unit_range(images))
    deviation = (codes - codes.mean(0)).std()
    power = (0.1 * deviation * model.decoder.layers.weight[0].norm()) ** 2
    noisy = codec_table.noisy_round_trip(model, codes.numpy(), deviation.item())
    noisy = to_unit_range(noisy) - to_unit_range(images)
    assert noisy.square().mean().item() == pytest.approx(power.item(), rel=0.05)


def test_every_part_bears_the_same_noise(tmp_path, monkeypatch):
    """Else a held-out class whose codes differ little would seem to forgive more."""
    folder = tiny_autoencoder(tmp_path / "ae", network="linear")
    model, made = load_run(folder)
    data = open_images(folder, made)
    noise, asked = codec_table.noisy_round_trip, []

    def watched(model, codes, deviation):
        asked.append((len(codes), deviation))
        return noise(model, codes, deviation)

    monkeypatch.setattr(codec_table, "noisy_round_trip", watched)
    found = codec_table.measure(model, data, judged=False)
    codes = encode(model, data.centers(data.indices("val")).numpy())
    deviation = float((codes - codes.mean(0)).std())
    assert asked == [(part["n"], pytest.approx(deviation)) for part in found.values()]
    assert list(found) == ["seen val", "7"]
    assert all(part["psnr_noisy"] < part["psnr"] for part in found.values())
