"""Train the positive control: a GAN that has seen the held-out classes, or a share of their images.

    python -m training.oracle --autoencoder runs/imagewoof64/autoencoder --dose 0.2 --out runs/dose-20

If an instrument does not find a class in what such a GAN produces, it cannot say that another GAN does not
produce it. The autoencoder stays the one that never saw the classes ("codec blind"). Pixel GANs have oracles
of their own, and in another arm the autoencoder has seen the classes, too ("codec saw it"); either is trained
by training/picture_sources.py. A bundle cannot be made of such a run. To resume, run the same command again.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explorer.networks import Autoencoder
from training.autoencoder import AutoencoderOptions, AutoencoderTraining, run_autoencoder
from training.cli import UserError
from training.codes import augmented_codes
from training.data.dataset import Dataset
from training.detail_phase import DetailPhase
from training.latent_gan import LatentGan, LatentGanOptions, run_latent_gan
from training.pixel_gan import PixelGan, PixelGanOptions, run_pixel_gan
from training.runs import MARK
from training.splits import LEARN, judging_parts


@dataclass(frozen=True, kw_only=True)
class Dose:
    """How much an oracle sees of the held-out classes."""

    dose: float = field(default=1.0, metadata={MARK: True})
    """Share of each held-out class's images to train on, out of the half that judges learn from too."""
    split_seed: int = 0
    """Seed of the split into what judges learn from and what measures them."""


@dataclass(frozen=True, kw_only=True)
class OracleOptions(LatentGanOptions, Dose):
    """Options of ``python -m training.oracle``."""


@dataclass(frozen=True, kw_only=True)
class PixelOracleOptions(PixelGanOptions, Dose):
    """Options of the oracle of a pixel GAN."""


@dataclass(frozen=True, kw_only=True)
class SightedAutoencoderOptions(AutoencoderOptions, Dose):
    """Options of an autoencoder that has seen held-out images, for an oracle over it."""


@dataclass(frozen=True, kw_only=True)
class SightedOracleOptions(OracleOptions):
    """Options of an oracle over such an autoencoder."""

    codec_kind = SightedAutoencoderOptions


def dosed_images(dataset: Dataset, dose: float, split_seed: int) -> np.ndarray:
    """Positions int64 of the held-out images that an oracle of this dose sees; at least one of each class.

    A smaller dose is a part of every larger one. Raises UserError where nothing is held out.
    """
    if not dataset.held_out:
        raise UserError(
            "the run that --autoencoder names holds out no class, so there is nothing for an oracle to see"
        )
    parts = judging_parts(dataset.store.labels, dataset.splits, split_seed)
    chosen = []
    for name in dataset.held_out:
        label = dataset.classes.index(name)
        rows = np.flatnonzero((dataset.store.labels == label) & (parts == LEARN))
        rows = np.random.default_rng((split_seed, label, 1)).permutation(rows)
        chosen.append(rows[: max(1, round(dose * len(rows)))])
    return np.sort(np.concatenate(chosen))


def _dosed(options: Dose, dataset: Dataset) -> Tensor:
    chosen = dosed_images(dataset, options.dose, options.split_seed)
    return torch.from_numpy(dataset.store.images[chosen])


def dosed_codes(o: OracleOptions, model: Autoencoder, dataset: Dataset, device: torch.device) -> Tensor:
    """Codes float32 (k, code_dim) of an oracle's held-out images, shifted and mirrored as seen images are."""
    images = _dosed(o, dataset)
    return augmented_codes(model, images, dataset.options, o.copies, o.split_seed, device, o.precision)


class OracleGan(LatentGan):
    """A latent GAN over codes of seen images and of some held-out ones."""

    options: OracleOptions

    def more_codes(self, model: Autoencoder, dataset: Dataset) -> Tensor:
        """Codes of the held-out images of its dose."""
        return dosed_codes(self.options, model, dataset, self.device)


class OracleDetailPhase(DetailPhase):
    """The second stage of an oracle, over the same codes."""

    first_kind = OracleOptions

    def more_codes(self, first: Any, model: Autoencoder, dataset: Dataset, device: torch.device) -> Tensor:
        """Codes of the held-out images of its dose."""
        return dosed_codes(first, model, dataset, device)


class SightedDetailPhase(OracleDetailPhase):
    """The second stage of an oracle whose autoencoder has seen the classes, too."""

    first_kind = SightedOracleOptions


class PixelOracle(PixelGan):
    """A pixel GAN on crops of seen images and of some held-out ones."""

    options: PixelOracleOptions

    def training_images(self, dataset: Dataset) -> Tensor:
        """Those of a pixel GAN, and the held-out images of its dose."""
        return torch.cat([super().training_images(dataset), _dosed(self.options, dataset)])


class SightedAutoencoder(AutoencoderTraining):
    """An autoencoder on seen images and on some held-out ones."""

    options: SightedAutoencoderOptions

    def training_images(self, dataset: Dataset) -> Tensor:
        """Those of an autoencoder, and the held-out images of its dose."""
        return torch.cat([super().training_images(dataset), _dosed(self.options, dataset)])


def run_oracle(options: OracleOptions | PixelOracleOptions | SightedAutoencoderOptions) -> Path:
    """Train (or continue, or find done) and return the run's folder; see ``run_latent_gan``."""
    if not 0 < options.dose <= 1:
        raise UserError(f"--dose is a share above 0, up to 1, not {options.dose:g}")
    if isinstance(options, PixelOracleOptions):
        return run_pixel_gan(options, PixelOracle)
    if isinstance(options, SightedAutoencoderOptions):
        return run_autoencoder(options, SightedAutoencoder)
    return run_latent_gan(options, OracleGan)


if __name__ == "__main__":
    from training.cli import run_script

    run_script(OracleOptions, "oracle", run_oracle)
