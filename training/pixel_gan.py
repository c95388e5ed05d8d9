"""Train a GAN on pixels: the opponent of the latent GAN, on the same crops with the same hold-out.

    python -m training.pixel_gan --preset modern --autoencoder runs/imagewoof64/autoencoder
    python -m training.pixel_gan --preset dcgan --autoencoder runs/imagewoof64/autoencoder

``modern`` has the latent GAN's loss, penalties, weight average and shifted and mirrored copies, so that the
space is the only difference; ``dcgan`` is Radford et al. 2015 (arXiv 1511.06434). The autoencoder takes no
part in training: its options say which data there are. To resume, run the same command again; for the app,
``python -m training.bundle --pixel-gan RUN``.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from explorer.networks import (
    PixelDiscriminator,
    PixelGanConfig,
    PixelGenerator,
    to_uint8,
    to_unit_range,
)
from training import metrics, parallel
from training.adversarial import (
    AdversarialOptions,
    AdversarialPair,
    GanTraining,
    fixed_z,
    overfit,
    sample,
)
from training.autoencoder import check_same_images, open_images
from training.autoencoder import load_run as load_autoencoder_run
from training.cli import UserError, print_dry_run
from training.data.dataset import Dataset, augment, center_crop
from training.device import resolve_device
from training.files import load_weights
from training.loop import batch_indices
from training.runs import open_run, options_from_json, read_options

PROBE = 256  # images of each kind that the discriminator is asked about while training


@dataclass(frozen=True, kw_only=True)
class PixelGanOptions(AdversarialOptions):
    """Options of ``python -m training.pixel_gan``."""

    preset: str = "modern"
    """modern or dcgan (see training/presets.py); the other options override it."""
    network: Literal["residual", "dcgan"] = "residual"
    """residual: the autoencoder's own blocks; dcgan: Radford et al. 2015."""
    widths: tuple[int, ...] = (64, 128, 192, 256)
    """Channels at image_size/2, /4, ... of both networks."""
    z_dim: int = 128
    """Numbers drawn from the standard normal prior."""
    images: int = 400_000
    """Training length, in crops shown to the discriminator."""
    batch: int = 16
    """Crops a step."""
    lr: float = 5e-4
    """Learning rate of both networks, falling to zero over the last ``decay`` of training."""
    gamma: float = 0.1
    """Weight of R1 + R2, over 2; 0 leaves them out."""
    ema_images: int = 20_000
    """Horizon of the generator's weight average, in images; 1 is no average."""

    def config(self, image_size: int) -> PixelGanConfig:
        """The networks' shape, for images of this size. Raises UserError where they cannot be built."""
        try:
            return PixelGanConfig(self.z_dim, image_size, self.widths, self.network)
        except ValueError as error:
            raise UserError(f"this GAN cannot be built: {error}; change --widths or --network") from None


def pictures(network: torch.nn.Module, z: Tensor) -> Tensor:
    """Pictures uint8 (n, s, s, 3) that a pixel generator makes of z (n, z_dim)."""
    return to_uint8(sample(network, z, batch=256))


class PixelGan(GanTraining):
    """A pixel GAN under training, on the images of an opened dataset."""

    description, made = "pixel GAN", "pictures"

    def __init__(self, options: PixelGanOptions, dataset: Dataset, device: torch.device) -> None:
        self.data, self.options = dataset.options, options
        config = options.config(self.data.image_size)
        self.images = self.training_images(dataset).to(device)
        self.val = center_crop(dataset.seen("val"), self.data.image_size)
        torch.manual_seed(options.seed)
        generator, discriminator = PixelGenerator(config), PixelDiscriminator(config)
        for network in (generator, discriminator):
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(AdversarialPair(generator, discriminator, options, device))

    def training_images(self, dataset: Dataset) -> Tensor:
        """What it is trained on, uint8 (n, stored, stored, 3): seen images; only an oracle has more."""
        return dataset.seen("train")

    def step(self, index: int) -> dict[str, Tensor]:
        """One step of both networks."""
        o, data = self.options, self.data
        chosen = torch.from_numpy(batch_indices(o.seed, index, o.batch, len(self.images)))
        crops = augment(self.images[chosen.to(self.device)], data.image_size, data.mirror)
        return self.pair.step(index, to_unit_range(parallel.share(crops)))

    def make(self, z: Tensor) -> Tensor:
        """Pictures uint8 (n, s, s, 3)."""
        return pictures(self.pair.ema, z)

    def measure(self) -> dict[str, float]:
        """Sharpness over that of photographs, and how the discriminator fares."""
        generated = self.make(fixed_z(self.options, PROBE, purpose=1))
        train = center_crop(self.images[:: max(1, len(self.images) // PROBE)].cpu(), generated.shape[1])
        val = self.val[:: max(1, len(self.val) // PROBE)]
        scores = [
            sample(self.pair.discriminator, to_unit_range(x), batch=256) for x in (train, val, generated)
        ]
        ratio = metrics.sharpness(generated).mean() / metrics.sharpness(val).mean()
        return {"sharpness": ratio.item(), "d_overfit": overfit(*scores)}


def run_pixel_gan(options: PixelGanOptions, kind: type[PixelGan] = PixelGan) -> Path:
    """Train (or continue, or find done) and return the run's folder.

    The folder then holds ``generator.safetensors`` (averaged weights), ``snapshots/`` and ``done.json``.
    """
    if options.dry_run:
        print_dry_run(options, steps=options.steps, snapshot_steps=options.snapshot_steps)
        return options.out
    device = resolve_device(options.device)
    _, data = load_autoencoder_run(options.autoencoder)
    options.config(data.image_size)
    open_run(options, device)
    dataset = open_images(options.autoencoder, data)
    check_same_images(options.out, dataset)
    if not (options.out / "done.json").is_file():
        for _ in kind(options, dataset, device).train():
            pass
    return options.out


def load_run(
    folder: Path, kind: type[PixelGanOptions] = PixelGanOptions
) -> tuple[PixelGenerator, PixelGanOptions]:
    """The averaged generator of a finished run, in evaluation mode, and its options, of this kind."""
    if not (folder / "done.json").is_file():
        raise UserError(f"{folder} holds no finished pixel GAN; run python -m training.pixel_gan first")
    saved = options_from_json(kind, read_options(folder))
    options = replace(saved, out=folder)  # a run's folder may have been moved
    size = load_autoencoder_run(options.autoencoder)[1].image_size
    generator = PixelGenerator(options.config(size))
    load_weights(folder / "generator.safetensors", generator)
    return generator.eval().requires_grad_(False), options


if __name__ == "__main__":
    from training.cli import run_script

    run_script(PixelGanOptions, "pixel_gan", run_pixel_gan)
