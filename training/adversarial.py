"""What GANs over codes and GANs over pixels share: options, optimisers, the step, the run.

So that a comparison of the two compares the spaces, not the training.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from explorer.networks import parameter_count
from training import losses, parallel
from training.cli import UserError
from training.device import autocast
from training.files import make_folder, save_weights, write_atomically, write_json
from training.loop import Stateful, average, training_slices
from training.runs import RunOptions


@dataclass(frozen=True, kw_only=True)
class AdversarialOptions(RunOptions):
    """Options that every GAN has. An image is a code or a crop, whatever the discriminator sees."""

    autoencoder: Path = Path("runs/autoencoder")
    """Folder of the finished autoencoder run. The data and the hold-out are its own."""
    z_dim: int = 160
    """Numbers drawn from the standard normal prior."""
    loss: Literal["relativistic", "non-saturating"] = "relativistic"
    """Pairs of real and generated (R3GAN, arXiv 2501.05441), or each alone (Goodfellow et al. 2014)."""
    gamma: float = 0.15
    """Weight of R1 + R2, over 2; 0 leaves them out."""
    penalty_every: int = 4
    """Steps between gradient penalties; each then counts that many times."""
    images: int = 4_000_000
    """Training length, in images shown to the discriminator."""
    batch: int = 256
    """Images a step."""
    optimiser: Literal["adam", "sgd"] = "adam"
    """adam, or sgd with a momentum of 0.9; either for both networks."""
    lr: float = 4e-4
    """Learning rate of both networks, falling to zero over the last ``decay`` of training."""
    beta1: float = 0.0
    """Adam's decay of the gradient's mean."""
    decay: float = 0.5
    """Share of training over which the learning rate falls, along half a cosine."""
    ema_images: int = 500_000
    """Horizon of the generator's weight average, in images."""
    snapshots: int = 24
    """Log-spaced snapshots of the averaged generator: what it makes of the same z each time."""
    snapshot_samples: int = 256
    """How many z these are."""
    evaluations: int = 20
    """Evenly spaced evaluations besides the snapshots'."""

    def __post_init__(self) -> None:
        for name, known in (
            ("loss", ("relativistic", "non-saturating")), ("optimiser", ("adam", "sgd")),
        ):  # fmt: skip
            if (given := getattr(self, name)) not in known:
                raise UserError(f"unknown {name} {given!r}; use {' or '.join(known)}")

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return -(-self.images // self.batch)

    @cached_property
    def snapshot_steps(self) -> list[int]:
        """Steps after which a snapshot is taken, the last step among them."""
        spaced = np.geomspace(1, self.steps, self.snapshots * 4)
        distinct = np.unique(np.round(spaced).astype(int))
        if self.snapshots == 1:
            return [self.steps]
        picks = np.linspace(0, len(distinct) - 1, min(self.snapshots, len(distinct)))
        return sorted({int(distinct[round(p)]) for p in picks})

    def evaluates_at(self, done: int) -> bool:
        """Whether to evaluate after ``done`` steps."""
        every = max(1, self.steps // max(1, self.evaluations))
        return done % every == 0 or done == self.steps or done in self.snapshot_steps


def decayed(step: int, steps: int, decay: float) -> float:
    """Share of the learning rate at a step: 1, then half a cosine to 0 over the last ``decay``."""
    if not decay:
        return 1.0
    left = (steps - step) / max(1, round(decay * steps))
    return 0.5 - 0.5 * float(np.cos(np.pi * min(1.0, left)))


def snapshot_path(folder: Path, images: int) -> Path:
    """Where the snapshot after this many images is kept."""
    return folder / "snapshots" / f"{images:012d}.safetensors"


def fixed_z(options: AdversarialOptions, n: int, purpose: int) -> Tensor:
    """The same draws of the prior at every call, float32 (n, z_dim); purposes do not share draws."""
    generator = torch.Generator().manual_seed(options.seed * 1009 + purpose)
    return torch.randn(n, options.z_dim, generator=generator)


@torch.inference_mode()
def sample(network: nn.Module, z: Tensor, batch: int = 4096) -> Tensor:
    """Output float32, on the CPU, of a network in evaluation mode, e.g. latents (n, latent_dim) for z."""
    device, mode = next(network.parameters()).device, network.training
    network.eval()
    output = torch.cat([network(part.to(device)).float().cpu() for part in z.split(batch)])
    network.train(mode)
    return output


def overfit(of_train: Tensor, of_val: Tensor, of_generated: Tensor) -> float:
    """From a discriminator's scores: 0 when validation images look as real as training images, 1 when they
    look as false as generated ones.
    """
    train, val, generated = (scores.mean().item() for scores in (of_train, of_val, of_generated))
    return (train - val) / max(abs(train - generated), 1e-6)


class AdversarialPair:
    """A generator and a discriminator under training, with their optimisers and the generator's average.

    look: what the discriminator sees of an image, real or generated, differentiable. rates: learning rates by
    network over that of the options, at the next step.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        options: AdversarialOptions,
        device: torch.device,
        look: Callable[[Tensor], Tensor] = lambda images: images,
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.options, self.device, self.look = options, device, look
        self.rates = {"g": 1.0, "d": 1.0}
        self.average = average(generator, options.batch, options.ema_images)
        self.optimisers = {k: self._optimiser(n) for k, n in (("g", generator), ("d", discriminator))}

    def _optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        o, fused = self.options, self.device.type != "mps"
        if o.optimiser == "sgd":
            return torch.optim.SGD(network.parameters(), lr=o.lr, momentum=0.9, fused=fused)
        return torch.optim.Adam(network.parameters(), lr=o.lr, betas=(o.beta1, 0.99), fused=fused)

    @property
    def ema(self) -> nn.Module:
        """The averaged generator."""
        return self.average.module

    @property
    def state(self) -> dict[str, Stateful]:
        """Everything that a step changes."""
        return {
            "generator": self.generator, "discriminator": self.discriminator, "ema": self.average,
            **self.optimisers,
        }  # fmt: skip

    def score(self, seen: Tensor) -> Tensor:
        """The discriminator's scores float32 (n,)."""
        with autocast(self.device, self.options.precision):
            return self.discriminator(seen).float()

    def step(
        self, index: int, real: Tensor, make: Callable[[Tensor], Tensor] | None = None
    ) -> dict[str, Tensor]:
        """One step of both networks on this process's share of the real images; returns what to log.

        make: how the generator makes images of z float (n, z_dim), if not by a plain call.
        """
        o = self.options
        rate = o.lr * decayed(index, o.steps, o.decay)
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = rate * self.rates[name]
        real = self.look(real)
        z = parallel.share(torch.randn(len(real) * parallel.world(), o.z_dim, device=self.device))
        with autocast(self.device, o.precision):
            made = (make or self.generator)(z).float()
        fake = self.look(made)
        loss_d, report = losses.discriminator_objective(
            self.score, real, fake, kind=o.loss, gamma=o.gamma, every=o.penalty_every, step=index
        )
        self.optimisers["d"].zero_grad(set_to_none=True)
        loss_d.backward()
        parallel.average_gradients(self.discriminator)
        self.optimisers["d"].step()

        # The same fakes serve the generator: one forward pass less, and the discriminator is newer.
        self.discriminator.requires_grad_(False)
        scores_fake = self.score(fake)
        with torch.no_grad():
            # The non-saturating generator does not look at the real ones.
            scores_real = self.score(real) if o.loss == "relativistic" else scores_fake
        loss_g = losses.generator_loss(scores_real, scores_fake, o.loss)
        self.optimisers["g"].zero_grad(set_to_none=True)
        loss_g.backward()
        parallel.average_gradients(self.generator)
        self.optimisers["g"].step()
        self.discriminator.requires_grad_(True)
        self.average.update_parameters(self.generator)
        return {**report, "loss_g": loss_g}


class GanTraining:
    """A GAN under training. What it is over, codes or pixels, is the subclass's."""

    description: ClassVar[str]
    made: ClassVar[str]
    """What the generator makes, as a snapshot names it: latents or pictures."""

    def __init__(self, pair: AdversarialPair) -> None:
        self.pair, self.options, self.device = pair, pair.options, pair.device
        self._z_snapshot = fixed_z(self.options, self.options.snapshot_samples, purpose=2).half().float()

    def step(self, index: int) -> dict[str, Tensor]:
        """One step of both networks."""
        raise NotImplementedError

    def make(self, z: Tensor) -> Tensor:
        """What the averaged generator makes of z float32 (n, z_dim), as it is kept: float16 or uint8."""
        raise NotImplementedError

    def measure(self) -> dict[str, float]:
        """What to log of the averaged generator while it trains."""
        raise NotImplementedError

    def finish(self) -> dict[str, Any]:
        """Write what else belongs to a finished run; returns what else its done.json says."""
        return {}

    def evaluate(self, done: int) -> dict[str, float]:
        """Measure the averaged generator after ``done`` steps, and take a snapshot where one is due."""
        if done in self.options.snapshot_steps:
            path = snapshot_path(self.options.out, done * self.options.batch)
            make_folder(path.parent)
            kept = {self.made: self.make(self._z_snapshot).contiguous()}
            write_atomically(path, lambda temporary: save_file(kept, temporary))
        return self.measure()

    def train(self, slice_seconds: float = float("inf"), progress_bar: bool = True) -> Iterator[float]:
        """Train to the end, in slices; see ``training_slices``. Then the finished run's files are written."""
        o = self.options
        seconds = 0.0
        for seconds in training_slices(
            o, self.pair.state, self.step, steps=o.steps, batch=o.batch, device=self.device,
            evaluate=self.evaluate, evaluate_at=o.evaluates_at, description=self.description,
            slice_seconds=slice_seconds, progress_bar=progress_bar,
        ):  # fmt: skip
            yield seconds
        save_weights(o.out / "generator.safetensors", self.pair.ema)
        more = self.finish()
        write_json(
            o.out / "done.json",
            {
                "seconds": seconds,
                "images": o.steps * o.batch,
                "parameters": {
                    "generator": parameter_count(self.pair.generator),
                    "discriminator": parameter_count(self.pair.discriminator),
                },
                **more,
            },
        )
