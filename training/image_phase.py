"""The second phase of Express Construction: the decoder continues as a generator of images.

    python -m training.latent_gan --phase image --latent-gan runs/gan --out runs/image

Zhirov et al. (Appl. Sci. 2022, 12, 3910) train two generator-discriminator couples: the first yields codes,
the second turns codes into images. Here the second generator is the trained decoder. An image discriminator,
trained from scratch on seen crops, drives it on generated codes and on real ones cut to the components that
the latent GAN models; a reconstruction loss on whole and on cut real codes ties it to the encoder. Encoder
and latent generator stay as they are. To resume, run the same command again.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from explorer.networks import (
    Autoencoder,
    Decoder,
    Encoder,
    Generator,
    parameter_count,
    to_uint8,
    to_unit_range,
)
from training import latent_gan, losses, metrics
from training.adversarial import decayed, fixed_z, overfit
from training.autoencoder import load_run as load_autoencoder_run
from training.autoencoder import open_images
from training.cli import UserError, print_dry_run
from training.codes import encode, weights_digest
from training.data.dataset import augment, center_crop
from training.device import autocast, resolve_device
from training.files import load_weights, read_json, save_weights, write_json
from training.loop import average, batch_indices, train
from training.runs import RunOptions, check_made_of, open_run

PROBE = 512  # seen validation images that are looked at while training


@dataclass(frozen=True, kw_only=True)
class ImagePhaseOptions(RunOptions):
    """Options of ``python -m training.latent_gan --phase image``."""

    phase: Literal["image"] = "image"
    """codes: the latent GAN itself; image: this."""
    latent_gan: Path = Path("runs/latent_gan")
    """Folder of the finished latent GAN."""
    images: int = 48_000
    """Training length, in crops shown to the discriminator."""
    batch: int = 32
    """Crops a step, and as many decoded pictures."""
    generated_share: float = 0.5
    """Share of the decoded pictures that come from generated codes; the others from cut real codes."""
    adversarial: float = 0.02
    """Weight of the adversarial loss beside the reconstruction loss."""
    cut_fit: float = 0.5
    """Weight of the reconstruction loss on cut codes, where detail is to be invented, not averaged."""
    gamma: float = 0.1
    """Weight of R1 + R2, over 2."""
    penalty_every: int = 8
    """Steps between gradient penalties; each then counts that many times."""
    lr: float = 2e-4
    """Learning rate of Adam for both networks, falling to zero over the last half of training."""
    ema_images: int = 10_000
    """Horizon of the decoder's weight average, in images."""
    evaluate_every: int = 10_000
    """Images between evaluations on seen validation images."""

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return -(-self.images // self.batch)


class ImagePhase:
    """The decoder under training, against an image discriminator."""

    def __init__(self, options: ImagePhaseOptions, device: torch.device) -> None:
        self.options, self.device = options, device
        generator, standard, self.gan_options = latent_gan.load_run(options.latent_gan)
        self.generator, self.standard = generator.to(device), standard.to(device)
        codec, self.data = load_autoencoder_run(self.gan_options.autoencoder)
        dataset = open_images(self.gan_options.autoencoder, self.data)

        def placed(network: Any) -> Any:
            return network.to(device, memory_format=torch.channels_last)

        self.codec = placed(codec)
        torch.manual_seed(options.seed)
        self.decoder = placed(Decoder(codec.config))
        self.decoder.load_state_dict(codec.decoder.state_dict())
        # Scores of 8 x 8 overlapping patches: an encoder with one channel, from scratch.
        self.discriminator = placed(Encoder(replace(codec.config, code_channels=1)))
        self.average: AveragedModel = average(self.decoder, options.batch, options.ema_images)
        self.optimisers = {
            name: torch.optim.Adam(
                network.parameters(), lr=options.lr, betas=(0.0, 0.99), fused=device.type != "mps"
            )
            for name, network in (("decoder", self.decoder), ("discriminator", self.discriminator))
        }
        self.images = dataset.seen("train").to(device)
        self.probe = evenly(center_crop(dataset.seen("val"), self.data.image_size), PROBE)

    @property
    def ema(self) -> torch.nn.Module:
        """The averaged decoder."""
        return self.average.module

    def cut(self, codes: Tensor) -> Tensor:
        """Codes (n, c, h, w) with the components that the GAN does not model at their mean."""
        return self.standard.to_codes(self.standard.to_latents(codes.flatten(1))).view_as(codes)

    @torch.no_grad()
    def generated_codes(self, z: Tensor) -> Tensor:
        """Codes (n, c, h, w) that the latent GAN makes of z (n, z_dim)."""
        made = self.standard.to_codes(self.generator(z).float())
        return made.view(-1, *self.codec.config.code_shape)

    def score(self, pictures: Tensor) -> Tensor:
        """The discriminator's scores (n, 1, 8, 8) of pictures (n, 3, s, s)."""
        with autocast(self.device, self.options.precision):
            return self.discriminator(pictures).float()

    def fit(self, output: Tensor, target: Tensor) -> Tensor:
        """The autoencoder's own loss, without that of the code."""
        o = self.data
        return losses.reconstruction(output, target, l2=o.l2, l1=o.l1, ssim=o.ssim)

    def step(self, index: int) -> dict[str, Tensor]:
        """One step of both networks."""
        o, optimisers = self.options, self.optimisers
        rate = o.lr * decayed(index, o.steps, 0.5)
        for optimiser in optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate
        chosen = torch.from_numpy(batch_indices(o.seed, index, o.batch, len(self.images)))
        crops = augment(self.images[chosen.to(self.device)], self.data.image_size, self.data.mirror)
        real = to_unit_range(crops)
        with torch.no_grad(), autocast(self.device, o.precision):
            codes = self.codec.encoder(real).float()
            codes += self.data.code_noise * torch.randn_like(codes)
        # Of the real codes one half is decoded whole, the other cut.
        from_prior = round(o.generated_share * o.batch)
        kept = o.batch - from_prior
        whole = kept // 2
        z = torch.randn(from_prior, self.gan_options.z_dim, device=self.device)
        with autocast(self.device, o.precision):
            mixed = torch.cat([codes[:whole], self.cut(codes[whole:kept]), self.generated_codes(z)])
            fake = self.decoder(mixed).float()

        loss_d, report = losses.discriminator_objective(
            self.score, real, fake, kind="relativistic", gamma=o.gamma, every=o.penalty_every, step=index
        )
        optimisers["discriminator"].zero_grad(set_to_none=True)
        loss_d.backward()
        optimisers["discriminator"].step()

        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            scores_real = self.score(real)
        loss_g = losses.generator_loss(scores_real, self.score(fake))
        loss = o.adversarial * loss_g
        if whole:
            loss = loss + self.fit(fake[:whole], real[:whole])
        if kept > whole:
            report["cut_fit"] = self.fit(fake[whole:kept], real[whole:kept])
            loss = loss + o.cut_fit * report["cut_fit"]
        optimisers["decoder"].zero_grad(set_to_none=True)
        loss.backward()
        optimisers["decoder"].step()
        self.discriminator.requires_grad_(True)
        self.average.update_parameters(self.decoder)
        return {**report, "loss_g": loss_g}

    @torch.inference_mode()
    def pictures(self, decoder: torch.nn.Module, codes: Tensor) -> Tensor:
        """Pictures uint8 (n, s, s, 3), on the CPU, that a decoder makes of codes (n, c, h, w)."""
        with autocast(self.device, self.options.precision):
            return torch.cat([to_uint8(decoder(part)).cpu() for part in codes.split(256)])

    @torch.inference_mode()
    def measure(self, decoder: torch.nn.Module) -> dict[str, float]:
        """Fidelity on seen validation images, whole and cut, and sharpness as a ratio to the originals'."""
        codes = encode(self.codec, self.probe, self.device).view(-1, *self.codec.config.code_shape)
        codes = codes.to(self.device)
        decoded = {
            "whole": self.pictures(decoder, codes), "cut": self.pictures(decoder, self.cut(codes)),
            "generated": self.pictures(decoder, self.generated_codes(self._fixed_z())),
        }  # fmt: skip
        reference = metrics.sharpness(self.probe).mean()
        values = {
            f"sharpness_{k}": (metrics.sharpness(v).mean() / reference).item() for k, v in decoded.items()
        }
        for name in ("whole", "cut"):
            values[f"psnr_{name}"] = metrics.psnr(decoded[name], self.probe).mean().item()
        return values

    def _fixed_z(self) -> Tensor:
        return fixed_z(self.gan_options, len(self.probe), purpose=1).to(self.device)

    @torch.inference_mode()
    def evaluate(self, _: int) -> dict[str, float]:
        """Measure the averaged decoder, and how the discriminator fares."""
        seen = center_crop(evenly(self.images, len(self.probe)), self.data.image_size)
        with autocast(self.device, self.options.precision):
            codes = self.generated_codes(self._fixed_z())
            fake = torch.cat([self.ema(part).float() for part in codes.split(256)])
        shown = (to_unit_range(seen), to_unit_range(self.probe.to(self.device)), fake)
        return {**self.measure(self.ema), "d_overfit": overfit(*(self.score(x) for x in shown))}

    def train(self) -> None:
        """Train to the end, or go on, and write the finished run's files."""
        o = self.options
        before = self.measure(self.codec.decoder)
        every = max(1, o.evaluate_every // o.batch)
        seconds = train(
            o,
            {
                "decoder": self.decoder, "discriminator": self.discriminator, "average": self.average,
                **{f"optimiser_{k}": v for k, v in self.optimisers.items()},
            },
            self.step, steps=o.steps, batch=o.batch, device=self.device, evaluate=self.evaluate,
            evaluate_at=lambda done: done % every == 0 or done == o.steps, description="image phase",
        )  # fmt: skip
        save_weights(o.out / "decoder.safetensors", self.ema)
        write_json(
            o.out / "done.json",
            {
                "seconds": seconds,
                "images": o.steps * o.batch,
                "parameters": {
                    "decoder": parameter_count(self.decoder),
                    "discriminator": parameter_count(self.discriminator),
                },
                "before": before,
                "after": self.measure(self.ema),
                "n": len(self.probe),
                "generator": weights_digest(self.generator),
            },
        )


def evenly(images: Tensor, count: int) -> Tensor:
    """At most so many of the images (n, ...), evenly spread."""
    return images[torch.linspace(0, len(images) - 1, min(count, len(images))).long()]


def run_image_phase(options: ImagePhaseOptions) -> Path:
    """Train (or continue, or find done) and return the run's folder.

    The folder then holds ``decoder.safetensors`` (averaged weights, float32) and ``done.json``.
    """
    if options.dry_run:
        print_dry_run(options, steps=options.steps)
        return options.out
    if not 0 <= options.generated_share <= 1:
        raise UserError(f"--generated-share is a share, between 0 and 1, not {options.generated_share}")
    device = resolve_device(options.device)
    generator, _, gan_options = latent_gan.load_run(options.latent_gan)
    codec, _ = load_autoencoder_run(gan_options.autoencoder)
    open_run(options, device)
    check_made_of(
        options.out / "made_of.json",
        {"generator": weights_digest(generator), "autoencoder": weights_digest(codec)},
        f"{options.out} was begun over another latent GAN or autoencoder than {options.latent_gan} has now; "
        "run the image phase in another --out",
    )
    if not (options.out / "done.json").is_file():
        ImagePhase(options, device).train()
    return options.out


def load_run(folder: Path, codec: Autoencoder, generator: Generator) -> None:
    """Put the decoder of a finished run into ``codec``.

    Raises UserError when the run is not finished, or was made for another generator than this one.
    """
    if not (folder / "done.json").is_file():
        raise UserError(
            f"{folder} holds no finished image phase; run python -m training.latent_gan --phase image first"
        )
    if read_json(folder / "done.json")["generator"] != weights_digest(generator):
        raise UserError(
            f"{folder} was trained for another latent GAN than the one given; run the image phase again"
        )
    load_weights(folder / "decoder.safetensors", codec.decoder)
