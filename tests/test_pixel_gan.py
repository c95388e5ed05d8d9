"""The pixel GAN and what it shares with the latent GAN: one step, one loss; the presets; what it learns."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from explorer.networks import Discriminator, GanConfig, Generator
from tests.support import TINY_PIXEL_GAN, one_sentence, tiny_autoencoder
from training import pixel_gan
from training.adversarial import AdversarialOptions, AdversarialPair, overfit, sample
from training.autoencoder import load_run as load_autoencoder
from training.cli import UserError, preset_options
from training.data.dataset import open_dataset
from training.latent_gan import LatentGanOptions
from training.metrics_log import read_metrics
from training.pixel_gan import PixelGanOptions, pictures, run_pixel_gan

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pixels")
    tiny_autoencoder(folder)
    return folder


def options(folder: Path, out: str, **values) -> PixelGanOptions:
    return PixelGanOptions(**{**TINY_PIXEL_GAN, "autoencoder": folder / "ae", "out": folder / out, **values})


def test_modern_differs_from_the_latent_gan_in_its_space_alone():
    """Loss, penalties, optimiser, schedule: equal. Sizes and steps are those of the space."""
    ours = asdict(preset_options(PixelGanOptions, "pixel_gan", "modern"))
    theirs = asdict(preset_options(LatentGanOptions, "latent_gan", "imagewoof64"))
    of_the_space = {"z_dim", "network", "images", "batch", "lr", "gamma", "ema_images"}
    of_the_run = {"preset", "out"}
    shared = ours.keys() & theirs.keys() - of_the_space - of_the_run
    assert {"loss", "penalty_every", "optimiser", "beta1", "decay", "autoencoder"} <= shared
    assert {k: ours[k] for k in shared} == {k: theirs[k] for k in shared}


def test_dcgan_is_set_up_as_in_the_paper():
    """Radford et al. 2015, section 4: Adam 2e-4 with beta1 0.5, batches of 128, 100 numbers, no penalty."""
    options = preset_options(PixelGanOptions, "pixel_gan", "dcgan")
    assert (options.network, options.loss, options.optimiser) == ("dcgan", "non-saturating", "adam")
    assert (options.lr, options.beta1, options.batch, options.z_dim) == (2e-4, 0.5, 128, 100)
    assert (options.gamma, options.decay) == (0, 0)


@pytest.mark.parametrize("network", ["residual", "dcgan"])
def test_a_finished_run_gives_pictures_of_its_averaged_generator(folder, network):
    out = run_pixel_gan(options(folder, network, network=network))
    generator, found = pixel_gan.load_run(out)
    assert found.network == network
    z = torch.randn(5, 4)
    made = pictures(generator, z)
    assert (made.shape, made.dtype) == ((5, 16, 16, 3), torch.uint8)
    torch.testing.assert_close(pictures(generator, z[:1]), made[:1])
    last = sorted((out / "snapshots").iterdir())[-1]
    assert load_file(last)["pictures"].shape == (8, 16, 16, 3)


def test_with_time_the_pictures_come_to_look_like_digits(folder):
    """Mean and spread of the pixels approach those of the digits, from far off."""
    out = run_pixel_gan(options(folder, "longer", widths=(16, 32), images=12_800, ema_images=1_000, lr=1e-3))
    dataset = open_dataset(load_autoencoder(folder / "ae")[1])
    run = pixel_gan.PixelGan(options(folder, "untrained", widths=(16, 32)), dataset, CPU)
    trained, _ = pixel_gan.load_run(out)
    z = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    reference = run.val.float()

    def gap(network: torch.nn.Module) -> float:
        return (pictures(network, z).float().mean(0) - reference.mean(0)).abs().mean().item()

    assert gap(trained) < 0.4 * gap(run.pair.ema)
    assert pictures(trained, z).float().std(0).mean() > 10  # not all the same one


def test_what_cannot_be_built_is_one_sentence(folder):
    with pytest.raises(UserError, match="cannot be built") as caught:
        run_pixel_gan(options(folder, "wrong", widths=(8, 8, 8, 8, 8)))
    assert one_sentence(caught.value)
    assert not (folder / "wrong").exists()


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="no finished pixel GAN"):
        pixel_gan.load_run(tmp_path)


# The step that both share


def pair(**values) -> AdversarialPair:
    torch.manual_seed(0)
    config = GanConfig(2, 2, 32, 1)
    given = AdversarialOptions(**{"z_dim": 2, "batch": 64, "images": 64 * 400, "ema_images": 2_000, **values})
    return AdversarialPair(Generator(config), Discriminator(config), given, CPU)


@pytest.mark.parametrize("loss", ["relativistic", "non-saturating"])
@pytest.mark.parametrize(("optimiser", "lr"), [("adam", 2e-3), ("sgd", 1e-2)])
def test_either_loss_and_optimiser_moves_a_gaussian_to_where_the_data_are(loss, optimiser, lr):
    trained = pair(loss=loss, optimiser=optimiser, lr=lr, gamma=1.0, decay=0.2)
    centre = torch.tensor([1.5, -1.0])
    for index in range(trained.options.steps):
        torch.manual_seed(index)
        trained.step(index, centre + 0.5 * torch.randn(64, 2))
    made = sample(trained.ema, torch.randn(2000, 2))
    np.testing.assert_allclose(made.mean(0), centre, atol=0.5)  # 1.8 away at first


def test_the_discriminator_sees_images_as_told():
    """Where it is shown nothing, nothing is learnt."""
    blind = pair(gamma=0.0)
    blind.look = lambda images: 0 * images
    before = [p.clone() for p in blind.generator.parameters()]
    blind.step(0, torch.randn(64, 2))
    assert all(torch.equal(a, b) for a, b in zip(before, blind.generator.parameters(), strict=True))


def test_an_unknown_optimiser_is_refused():
    with pytest.raises(UserError, match="adam or sgd"):
        pair(optimiser="lion")


def test_overfit_runs_from_like_training_images_to_like_generated_ones():
    train, generated = torch.full((4,), 2.0), torch.full((4,), -2.0)
    assert overfit(train, train, generated) == 0
    assert overfit(train, generated, generated) == 1
    assert overfit(train, torch.zeros(4), generated) == 0.5


def test_sampling_leaves_the_mode_and_the_statistics_of_a_network_alone():
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    sample(network, torch.randn(10, 3))
    assert network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_metrics_are_logged_while_training(folder):
    out = run_pixel_gan(options(folder, "logged"))
    lines = read_metrics(out / "metrics.jsonl")
    assert any("loss_g" in line and "r1" in line for line in lines)
    assert np.isfinite([line["sharpness"] for line in lines if "sharpness" in line]).all()
