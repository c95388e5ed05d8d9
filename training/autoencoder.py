"""Train the convolutional autoencoder on the seen classes.

    python -m training.autoencoder --preset imagewoof64 --hold-out Samoyed "English foxhound" --out runs/ae

To resume, run the same command again.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from explorer.networks import (
    Autoencoder,
    AutoencoderConfig,
    parameter_count,
    to_uint8,
    to_unit_range,
)
from training import losses, metrics, parallel
from training.cli import UserError, print_dry_run
from training.data.dataset import (
    DataOptions,
    Dataset,
    augment,
    center_crop,
    open_dataset,
    open_listing,
)
from training.device import autocast, has_fast_bf16, resolve_device
from training.files import load_weights, read_json, save_weights, write_json
from training.loop import average, batch_indices, training_slices
from training.metrics_log import write_metrics
from training.runs import RunOptions, open_run, options_from_json, read_options
from training.transform_coding import fit_linear

log = logging.getLogger(__name__)
SAME_COLOUR = 2  # levels of 255 by which an image's mean may differ where another library decodes it


@dataclass(frozen=True, kw_only=True)
class AutoencoderOptions(DataOptions, RunOptions):
    """Options of ``python -m training.autoencoder``."""

    code_channels: int = 20
    """Channels of the code."""
    code_size: int = 8
    """Side of the code; the code holds code_channels * code_size^2 numbers."""
    network: Literal["residual", "linear"] = "residual"
    """residual: trained convolutions; linear: principal components of squares of image_size / code_size
    pixels, computed and not trained. With all of them codes are the pixels themselves, rotated."""
    widths: tuple[int, ...] = (64, 128, 192)
    """Channels at image_size/2, /4, ... down to code_size."""
    encoder_blocks: tuple[int, ...] = (0, 1, 1)
    """Residual blocks of the encoder at each of these resolutions."""
    decoder_blocks: tuple[int, ...] = (1, 1, 2)
    """Residual blocks of the decoder at each of these resolutions."""
    l2: float = 1.0
    """Weight of the mean squared error."""
    l1: float = 0.2
    """Weight of the mean absolute error."""
    ssim: float = 0.2
    """Weight of 1 - SSIM."""
    code_noise: float = 0.3
    """Standard deviation of Gaussian noise on the code, which makes the decoder smooth."""
    code_penalty: float = 0.005
    """Weight of the code's mean square: with the noise, a Gaussian code of constant variance."""
    images: int = 64_000
    """Training length, in images."""
    batch: int = 64
    """Images a step."""
    lr: float = 1e-3
    """Peak learning rate of AdamW; cosine to zero after a warm-up of 2 %."""
    ema_images: int = 20_000
    """Horizon of the weight average, in images."""
    evaluate_every: int = 64_000
    """Images between evaluations on seen validation images."""

    @property
    def config(self) -> AutoencoderConfig:
        """The network's shape. Raises UserError where it cannot be built."""
        try:
            return AutoencoderConfig(
                self.image_size, self.code_channels, self.code_size,
                self.widths, self.encoder_blocks, self.decoder_blocks, self.network,
            )  # fmt: skip
        except ValueError as error:
            raise UserError(f"this autoencoder cannot be built: {error}") from None

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return -(-self.images // self.batch)


def cosine_rate(step: int, steps: int, warm_up: float = 0.02) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then half a cosine to zero."""
    rising = max(1, round(warm_up * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + float(np.cos(np.pi * (step - rising) / max(1, steps - rising))))


@torch.inference_mode()
def round_trip(
    model: torch.nn.Module,
    images: Tensor,
    device: torch.device,
    precision: str = "fp32",
    batch: int = 256,
) -> Tensor:
    """Encode and decode uint8 images (n, s, s, 3); returns the same shape, on the CPU."""
    parts = []
    for part in images.split(batch):
        with autocast(device, precision):
            parts.append(to_uint8(model(to_unit_range(part.to(device)))).cpu())
    return torch.cat(parts)


class AutoencoderTraining:
    """An autoencoder under training on the seen classes of an opened dataset."""

    def __init__(self, options: AutoencoderOptions, dataset: Dataset, device: torch.device) -> None:
        self.options, self.device = options, device
        torch.manual_seed(options.seed)
        self.model = Autoencoder(options.config)
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema: AveragedModel = average(self.model, options.batch, options.ema_images)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=options.lr, betas=(0.9, 0.99), weight_decay=0.01,
            fused=device.type != "mps",
        )  # fmt: skip
        self.images = self.training_images(dataset).to(device)
        val = center_crop(dataset.seen("val"), options.image_size)
        self.probe = val[torch.linspace(0, len(val) - 1, min(512, len(val))).long()]

    def training_images(self, dataset: Dataset) -> Tensor:
        """Images uint8 (n, stored, stored, 3) to train on: those of the seen classes."""
        return dataset.seen("train")

    def step(self, index: int) -> dict[str, Tensor]:
        """One step of encoder and decoder."""
        o, device = self.options, self.device
        for group in self.optimiser.param_groups:
            group["lr"] = o.lr * cosine_rate(index, o.steps)
        chosen = torch.from_numpy(batch_indices(o.seed, index, o.batch, len(self.images)))
        crops = parallel.share(augment(self.images[chosen.to(device)], o.image_size, o.mirror))
        target = to_unit_range(crops)
        with autocast(device, o.precision):
            codes = self.model.encoder(target).float()
            noisy = codes + o.code_noise * parallel.randn_like(codes)
            output = self.model.decoder(noisy)
        fit = losses.reconstruction(output.float(), target, l2=o.l2, l1=o.l1, ssim=o.ssim)
        penalty = codes.square().mean()
        self.optimiser.zero_grad(set_to_none=True)
        (fit + o.code_penalty * penalty).backward()
        parallel.average_gradients(self.model)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.ema.update_parameters(self.model)
        return {"loss": fit, "code_mean_square": penalty}

    def evaluate(self, _: int) -> dict[str, float]:
        """Fidelity on seen validation images."""
        probe = self.probe
        output = round_trip(self.ema.module, probe, self.device, self.options.precision)
        return {
            "val_psnr": metrics.psnr(output, probe).mean().item(),
            "val_ssim": metrics.ssim(output, probe).mean().item(),
            "val_sharpness": (metrics.sharpness(output).mean() / metrics.sharpness(probe).mean()).item(),
        }

    def train(self, slice_seconds: float = float("inf"), progress_bar: bool = True) -> Iterator[float]:
        """Train to the end, in slices; see ``training_slices``. Then the finished run's files are written."""
        o = self.options
        if o.network == "linear":
            yield self._fit()
            return
        every = max(1, o.evaluate_every // o.batch)
        seconds = 0.0
        for seconds in training_slices(
            o, {"model": self.model, "ema": self.ema, "optimiser": self.optimiser}, self.step,
            steps=o.steps, batch=o.batch, device=self.device, evaluate=self.evaluate,
            evaluate_at=lambda done: done % every == 0 or done == o.steps,
            description="autoencoder", slice_seconds=slice_seconds, progress_bar=progress_bar,
        ):  # fmt: skip
            yield seconds
        self._finish(seconds, o.steps * o.batch)

    def _fit(self) -> float:
        """Compute a linear autoencoder in place of training it; returns the seconds that took."""
        start = time.perf_counter()
        fit_linear(self.model, center_crop(self.images, self.options.image_size), self.options.mirror)
        self.ema.module.load_state_dict(self.model.state_dict())
        seconds = time.perf_counter() - start
        write_metrics(
            self.options.out / "metrics.jsonl",
            [{"step": 0, "images": len(self.images), "seconds": seconds, **self.evaluate(0)}],
        )
        self._finish(seconds, len(self.images))
        return seconds

    def _finish(self, seconds: float, images: int) -> None:
        o = self.options
        save_weights(o.out / "autoencoder.safetensors", self.ema.module)
        fast = has_fast_bf16(self.device) and o.precision == "auto"
        write_json(
            o.out / "done.json",
            {
                "seconds": seconds,
                "images": images,
                "parameters": parameter_count(self.model),
                "bf16": fast or o.precision == "bf16",
            },
        )


def run_autoencoder(
    options: AutoencoderOptions, kind: type[AutoencoderTraining] = AutoencoderTraining
) -> Path:
    """Train (or continue, or find done) and return the run's folder.

    The folder then holds ``autoencoder.safetensors`` (averaged weights, float32) and ``done.json``.
    """
    if options.dry_run:
        source, held_out = open_listing(options)
        seen = [c for c in source.classes if c not in held_out]
        print_dry_run(options, steps=options.steps, seen=seen, held_out=held_out, images=len(source.items))
        return options.out
    device = resolve_device(options.device)
    assert options.config  # what is wrong with it is said before anything is written
    dataset = open_dataset(options)
    dataset.check_enough()
    open_run(options, device)
    check_same_images(options.out, dataset)
    if not (options.out / "done.json").is_file():
        for _ in kind(options, dataset, device).train():
            pass
    return options.out


def check_same_images(folder: Path, dataset: Dataset) -> None:
    """Note in the run of an autoencoder or a pixel GAN which images it is trained on.

    Raises UserError if they, or those held out, are others by now.

    Photographs that are added or taken away are split anew, so that some change sides; others may have come
    under the same names, or into other crops. What was finished before this was noted is not asked.
    """
    path = folder / "images.json"
    if not path.is_file():
        if not (folder / "done.json").is_file():
            write_json(path, {"images": dataset.digest, "colours": dataset.colours.tolist()})
        return
    noted = read_json(path)
    same = noted.get("images") == dataset.digest
    if same and "colours" in noted:  # which runs of an earlier version lack
        before = np.array(noted["colours"], np.int64)
        same = bool((np.abs(before - dataset.colours) <= SAME_COLOUR).all())
    if not same:
        raise UserError(
            f"{folder} was trained on other images, other crops of them or another split than "
            f"{dataset.options.source} holds now; put back what was there, or train everything in another "
            "--out"
        )


def open_images(folder: Path, options: AutoencoderOptions) -> Dataset:
    """The images that the autoencoder of a run was trained on. Raises UserError if they are others by now."""
    dataset = open_dataset(options)
    check_same_images(folder, dataset)
    return dataset


def load_run(
    folder: Path, kind: type[AutoencoderOptions] = AutoencoderOptions
) -> tuple[Autoencoder, AutoencoderOptions]:
    """The trained autoencoder of a finished run, in evaluation mode on the CPU, and its options, of the given
    kind.
    """
    if not (folder / "done.json").is_file():
        raise UserError(
            f"{folder} holds no finished autoencoder; run python -m training.autoencoder first, or name the "
            "folder of a run that is finished"
        )
    options = options_from_json(kind, read_options(folder))
    model = Autoencoder(options.config)
    load_weights(folder / "autoencoder.safetensors", model)
    return model.eval().requires_grad_(False), options


if __name__ == "__main__":
    from training.cli import run_script

    run_script(AutoencoderOptions, "autoencoder", run_autoencoder)
