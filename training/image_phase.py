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
from typing import Literal

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
    generator, standard, gan_options = latent_gan.load_run(options.latent_gan)
    codec, data_options = load_autoencoder_run(gan_options.autoencoder)
    open_run(options, device)
    check_made_of(
        options.out / "made_of.json",
        {"generator": weights_digest(generator), "autoencoder": weights_digest(codec)},
        f"{options.out} was begun over another latent GAN or autoencoder than {options.latent_gan} has now; "
        "run the image phase in another --out",
    )
    if (options.out / "done.json").is_file():
        return options.out
    dataset = open_images(gan_options.autoencoder, data_options)

    size, shape = data_options.image_size, codec.config.code_shape
    generator, standard = generator.to(device), standard.to(device)
    codec.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(options.seed)
    decoder = Decoder(codec.config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    decoder.load_state_dict(codec.decoder.state_dict())
    # Scores of 8 x 8 overlapping patches: an encoder with one channel, from scratch.
    discriminator = Encoder(replace(codec.config, code_channels=1))
    discriminator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average_decoder: AveragedModel = average(decoder, options.batch, options.ema_images)
    ema = average_decoder.module
    optimisers = {
        name: torch.optim.Adam(
            network.parameters(), lr=options.lr, betas=(0.0, 0.99), fused=device.type != "mps"
        )
        for name, network in (("decoder", decoder), ("discriminator", discriminator))
    }
    images = dataset.seen("train").to(device)
    val = center_crop(dataset.seen("val"), size)
    probe = val[torch.linspace(0, len(val) - 1, min(512, len(val))).long()]
    from_prior = round(options.generated_share * options.batch)

    def cut(codes: Tensor) -> Tensor:
        """Codes (n, c, h, w) with the components that the GAN does not model at their mean."""
        return standard.to_codes(standard.to_latents(codes.flatten(1))).view_as(codes)

    @torch.no_grad()
    def generated_codes(z: Tensor) -> Tensor:
        return standard.to_codes(generator(z).float()).view(-1, *shape)

    def score(pictures: Tensor) -> Tensor:
        with autocast(device, options.precision):
            return discriminator(pictures).float()

    def fit(output: Tensor, target: Tensor) -> Tensor:
        o = data_options
        return losses.reconstruction(output, target, l2=o.l2, l1=o.l1, ssim=o.ssim)

    def step(index: int) -> dict[str, Tensor]:
        rate = options.lr * decayed(index, options.steps, 0.5)
        for optimiser in optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate
        chosen = torch.from_numpy(batch_indices(options.seed, index, options.batch, len(images)))
        real = to_unit_range(augment(images[chosen.to(device)], size, data_options.mirror))
        with torch.no_grad(), autocast(device, options.precision):
            codes = codec.encoder(real).float()
            codes += data_options.code_noise * torch.randn_like(codes)
        # Of the real codes one half is decoded whole, the other cut.
        whole = (options.batch - from_prior) // 2
        kept = options.batch - from_prior
        z = torch.randn(from_prior, gan_options.z_dim, device=device)
        with autocast(device, options.precision):
            mixed = torch.cat([codes[:whole], cut(codes[whole:kept]), generated_codes(z)])
            fake = decoder(mixed).float()

        loss_d, report = losses.discriminator_objective(
            score,
            real,
            fake,
            kind="relativistic",
            gamma=options.gamma,
            every=options.penalty_every,
            step=index,
        )
        optimisers["discriminator"].zero_grad(set_to_none=True)
        loss_d.backward()
        optimisers["discriminator"].step()

        discriminator.requires_grad_(False)
        with torch.no_grad():
            scores_real = score(real)
        loss_g = losses.generator_loss(scores_real, score(fake))
        loss = options.adversarial * loss_g
        if whole:
            loss = loss + fit(fake[:whole], real[:whole])
        if kept > whole:
            cut_fit = fit(fake[whole:kept], real[whole:kept])
            loss = loss + options.cut_fit * cut_fit
            report["cut_fit"] = cut_fit
        optimisers["decoder"].zero_grad(set_to_none=True)
        loss.backward()
        optimisers["decoder"].step()
        discriminator.requires_grad_(True)
        average_decoder.update_parameters(decoder)
        return {**report, "loss_g": loss_g}

    @torch.inference_mode()
    def pictures(network: torch.nn.Module, codes: Tensor) -> Tensor:
        with autocast(device, options.precision):
            return torch.cat([to_uint8(network(part)).cpu() for part in codes.split(256)])

    @torch.inference_mode()
    def measure(network: torch.nn.Module) -> dict[str, float]:
        """Fidelity on seen validation images, whole and cut, and sharpness as a ratio to the originals'."""
        codes = encode(codec, probe, device).view(-1, *shape).to(device)
        z = fixed_z(gan_options, len(probe), purpose=1).to(device)
        decoded = {
            "whole": pictures(network, codes), "cut": pictures(network, cut(codes)),
            "generated": pictures(network, generated_codes(z)),
        }  # fmt: skip
        reference = metrics.sharpness(probe).mean()
        values = {
            f"sharpness_{k}": (metrics.sharpness(v).mean() / reference).item() for k, v in decoded.items()
        }
        for name in ("whole", "cut"):
            values[f"psnr_{name}"] = metrics.psnr(decoded[name], probe).mean().item()
        return values

    @torch.inference_mode()
    def evaluate(_: int) -> dict[str, float]:
        seen = center_crop(images[torch.linspace(0, len(images) - 1, len(probe)).long()], size)
        z = fixed_z(gan_options, len(probe), purpose=1).to(device)
        with autocast(device, options.precision):
            codes = generated_codes(z)
            fake = torch.cat([ema(part).float() for part in codes.split(256)])
        seen_fake = (to_unit_range(seen), to_unit_range(probe.to(device)), fake)
        return {**measure(ema), "d_overfit": overfit(*(score(x) for x in seen_fake))}

    before = measure(codec.decoder)
    every = max(1, options.evaluate_every // options.batch)
    seconds = train(
        options,
        {
            "decoder": decoder, "discriminator": discriminator, "average": average_decoder,
            **{f"optimiser_{k}": v for k, v in optimisers.items()},
        },
        step, steps=options.steps, batch=options.batch, device=device, evaluate=evaluate,
        evaluate_at=lambda done: done % every == 0 or done == options.steps,
        description="image phase",
    )  # fmt: skip
    save_weights(options.out / "decoder.safetensors", ema)
    write_json(
        options.out / "done.json",
        {
            "seconds": seconds,
            "images": options.steps * options.batch,
            "parameters": {
                "decoder": parameter_count(decoder), "discriminator": parameter_count(discriminator),
            },
            "before": before,
            "after": measure(ema),
            "n": len(probe),
            "generator": weights_digest(generator),
        },
    )  # fmt: skip
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
