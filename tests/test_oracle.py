"""The oracle sees held-out images, of its dose and of the judges' part alone, and cannot be shipped."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import TINY_AUTOENCODER, TINY_GAN, TINY_PIXEL_GAN, one_sentence, tiny_autoencoder
from training.autoencoder import AutoencoderOptions, AutoencoderTraining, load_run
from training.bundle import BundleOptions, run_bundle
from training.cli import UserError
from training.data.dataset import Dataset, open_dataset
from training.latent_gan import LatentGanOptions, run_latent_gan
from training.latent_gan import load_run as load_gan
from training.oracle import (
    OracleGan,
    OracleOptions,
    PixelOracle,
    PixelOracleOptions,
    SightedAutoencoder,
    SightedAutoencoderOptions,
    SightedOracleOptions,
    dosed_images,
    run_oracle,
)
from training.pixel_gan import PixelGanOptions, run_pixel_gan
from training.pixel_gan import load_run as load_pixel_gan
from training.runs import open_run
from training.splits import LEARN, judging_parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("oracle")
    tiny_autoencoder(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(folder) -> Dataset:
    return open_dataset(load_run(folder / "ae")[1])


def options(folder: Path, out: str, **values) -> OracleOptions:
    return OracleOptions(**{**TINY_GAN, "autoencoder": folder / "ae", "out": folder / out, **values})


def test_a_dose_is_a_share_of_the_images_that_judges_learn_from(dataset):
    parts = judging_parts(dataset.store.labels, dataset.splits, 0)
    learnt = np.flatnonzero((dataset.splits == "held_out") & (parts == LEARN))
    assert set(dosed_images(dataset, 1.0, 0)) == set(learnt)
    doses = [set(dosed_images(dataset, dose, 0)) for dose in (0.001, 0.05, 0.2, 1.0)]
    assert [len(d) for d in doses] == [1, round(0.05 * len(learnt)), round(0.2 * len(learnt)), len(learnt)]
    assert doses[0] < doses[1] < doses[2] < doses[3]


def test_it_is_trained_on_seen_codes_and_those_of_its_dose(folder, dataset):
    (folder / "looked-at").mkdir()
    given = options(folder, "looked-at", dose=0.2)
    codes = OracleGan(given, torch.device("cpu")).codes["augmented"]
    seen = len(dataset.indices("train"))
    assert len(codes) == given.copies * (seen + len(dosed_images(dataset, 0.2, 0)))


def test_it_finishes_and_its_standardisation_knows_the_class(folder):
    out = run_oracle(options(folder, "oracle"))
    _, standard, found = load_gan(out, OracleOptions)
    assert found.dose == 1.0
    blind = run_latent_gan(
        LatentGanOptions(**{**TINY_GAN, "autoencoder": folder / "ae", "out": folder / "blind"})
    )
    assert not torch.equal(standard.mean, load_gan(blind)[1].mean)


def pixel_options(folder: Path, out: str, **values) -> PixelOracleOptions:
    given = {**TINY_PIXEL_GAN, "autoencoder": folder / "ae", "out": folder / out, **values}
    return PixelOracleOptions(**given)


def test_that_of_a_pixel_gan_is_trained_on_seen_images_and_those_of_its_dose(folder, dataset):
    run = PixelOracle(pixel_options(folder, "looked-at", dose=0.2), dataset, torch.device("cpu"))
    wanted = [*dataset.indices("train"), *dosed_images(dataset, 0.2, 0)]
    assert np.array_equal(run.images.numpy(), dataset.store.images[wanted])
    generator, found = load_pixel_gan(run_oracle(pixel_options(folder, "pixel-oracle")), PixelOracleOptions)
    out = found.out
    assert found.dose == 1.0
    blind, _ = load_pixel_gan(
        run_pixel_gan(
            PixelGanOptions(**{**TINY_PIXEL_GAN, "autoencoder": folder / "ae", "out": folder / "pixel-blind"})
        )
    )
    z = torch.randn(4, generator.config.z_dim)
    assert not torch.equal(generator(z), blind(z))  # the same seed, other images
    with pytest.raises(UserError, match="another kind"):
        load_pixel_gan(out, PixelGanOptions)


def sighted_options(folder: Path, **values) -> SightedAutoencoderOptions:
    given = {**TINY_AUTOENCODER, "cache": folder / "cache", "out": folder / "sighted", **values}
    return SightedAutoencoderOptions(**given)


def test_an_autoencoder_that_saw_the_class_is_trained_on_its_dose_and_validated_without(folder, dataset):
    run = SightedAutoencoder(sighted_options(folder, dose=0.2), dataset, torch.device("cpu"))
    wanted = [*dataset.indices("train"), *dosed_images(dataset, 0.2, 0)]
    assert np.array_equal(run.images.numpy(), dataset.store.images[wanted])
    blind = AutoencoderTraining(
        AutoencoderOptions(**{**TINY_AUTOENCODER, "cache": folder / "cache"}), dataset, torch.device("cpu")
    )
    assert torch.equal(run.probe, blind.probe)


def test_only_an_oracle_can_be_trained_over_an_autoencoder_that_saw_the_class(folder):
    codec = run_oracle(sighted_options(folder))
    given = {**TINY_GAN, "autoencoder": codec}
    with pytest.raises(UserError, match="another kind") as caught:
        run_latent_gan(LatentGanOptions(**given, out=folder / "not-blind"))
    assert one_sentence(caught.value)
    with pytest.raises(UserError, match="another kind"):
        run_oracle(OracleOptions(**given, out=folder / "not-blind"))
    out = run_oracle(SightedOracleOptions(**given, out=folder / "sighted-oracle"))
    assert load_gan(out, SightedOracleOptions)[2].autoencoder == codec
    with pytest.raises(UserError, match="another kind"):
        run_bundle(BundleOptions(latent_gan=out, out=folder / "bundle"))
    assert not (folder / "bundle").exists()


def test_an_autoencoder_that_did_not_see_the_class_is_no_codec_that_saw_it(folder):
    given = {**TINY_GAN, "autoencoder": folder / "ae"}
    with pytest.raises(UserError, match="another kind") as caught:
        run_oracle(SightedOracleOptions(**given, out=folder / "blind-after-all"))
    assert one_sentence(caught.value)


@pytest.mark.parametrize("oracle_first", [False, True])
@pytest.mark.parametrize("kind", ["autoencoder", "latent_gan", "pixel_gan"])
def test_a_run_is_not_continued_as_one_that_has_seen_more_or_less(kind, oracle_first, folder, tmp_path):
    """What was begun blind stays blind, and an oracle an oracle, finished or not."""
    over = {"autoencoder": folder / "ae"}
    shared, *kinds = {
        "autoencoder": (
            {**TINY_AUTOENCODER, "cache": folder / "cache"}, AutoencoderOptions, SightedAutoencoderOptions,
        ),
        "latent_gan": ({**TINY_GAN, **over}, LatentGanOptions, OracleOptions),
        "pixel_gan": ({**TINY_PIXEL_GAN, **over}, PixelGanOptions, PixelOracleOptions),
    }[kind]  # fmt: skip
    first, then = (k(**{**shared, "out": tmp_path / "run"}) for k in (kinds[::-1] if oracle_first else kinds))
    open_run(first, torch.device("cpu"))
    open_run(first, torch.device("cpu"))
    with pytest.raises(UserError, match="dose is") as caught:
        open_run(then, torch.device("cpu"))
    assert one_sentence(caught.value)


@pytest.mark.parametrize("kind", ["latent_gan", "pixel_gan"])
def test_no_bundle_is_made_of_it(folder, kind):
    given = options(folder, "oracle") if kind == "latent_gan" else pixel_options(folder, "pixel-oracle")
    out = run_oracle(given)
    with pytest.raises(UserError, match="another kind") as caught:
        run_bundle(BundleOptions(**{kind: out}, out=folder / "bundle"))
    assert one_sentence(caught.value)
    assert not (folder / "bundle").exists()


@pytest.mark.parametrize("dose", [0.0, -1.0, 1.5])
def test_a_dose_that_is_no_share_is_refused(folder, dose):
    with pytest.raises(UserError, match="share above 0"):
        run_oracle(options(folder, "refused", dose=dose))
    assert not (folder / "refused").exists()
