"""A contestant of the race: what it trains, its clock, and what is measured of it on the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from explorer.decoding import data_uri, decode, grid
from explorer.networks import Autoencoder
from training import metrics
from training.adversarial import GanTraining, fixed_z
from training.cli import options_json
from training.data.dataset import Dataset, center_crop
from training.detail_phase import DetailPhase
from training.evaluate import THRESHOLD_PERCENTILE, Answers, CachedJudge
from training.files import read_json, write_json
from training.flops import flops_per_step
from training.imagenet_judge import DOG_CLASSES, imagenet_index
from training.latent_gan import LatentGan
from training.loop import DivergedError
from training.pixel_gan import pictures

SHEET = 16  # samples shown at each evaluation


class Reference:
    """What pictures are compared with: the judge's features of seen validation crops, and the threshold."""

    def __init__(self, dataset: Dataset, samples: int, cache: Path, device: torch.device) -> None:
        self.judge = CachedJudge(cache, device)
        size = dataset.options.image_size
        rng = np.random.default_rng(0)
        seen_images = [dataset.seen(split) for split in ("val", "train")]
        self.n = min(samples, *map(len, seen_images))
        self.crops, train = (
            center_crop(images, size)[np.sort(rng.choice(len(images), self.n, replace=False))].numpy()
            for images in seen_images
        )
        self.real = self.judge("crops", self.crops)
        trained_on = self.judge("training crops", train)
        self.floor = metrics.frechet_distance(self.real.features, trained_on.features)
        seen = [c for c in dataset.classes if c not in dataset.held_out]
        self.has_dogs = all(imagenet_index(c) in DOG_CLASSES for c in seen)
        self.threshold = float(np.percentile(self._dog(trained_on), THRESHOLD_PERCENTILE))

    @staticmethod
    def _dog(judged: Answers) -> np.ndarray:
        return judged.probabilities[:, list(DOG_CLASSES)].sum(1)

    def __call__(self, name: str, made: np.ndarray) -> dict[str, Any]:
        """Frechet distance, and the count called a dog, of pictures uint8 (n, s, s, 3)."""
        judged = self.judge.ask(name, made)
        measured: dict[str, Any] = {"frechet": metrics.frechet_distance(self.real.features, judged.features)}
        if self.has_dogs:
            measured["dogs"] = {"k": int((self._dog(judged) >= self.threshold).sum()), "n": len(made)}
        return measured


@dataclass(frozen=True)
class Stage:
    """A GAN in training, the seconds and images of the stages before it, and whether it is the last."""

    gan: GanTraining
    seconds: float = 0.0
    images: int = 0
    last: bool = True


class Contestant:
    """One way to train a GAN in the race, its clock, and what was measured of it so far, kept in its folder.

    stages: what it trains, one after another; asked for the next when one is finished. before: seconds that
    count into its total, but not into its own: those of codec and encoding. budget: seconds of training in
    all. evaluations: how many, after doubling seconds, the last after the whole budget. slice_seconds: of a
    turn.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        stages: Iterator[Stage],
        codec: Autoencoder | None,
        before: float,
        *,
        budget: float,
        evaluations: int,
        slice_seconds: float,
    ) -> None:
        self.name, self.codec, self.before = name, codec, before
        self._stages, self._stage = stages, next(stages)
        self.path = folder / "contestant.json"
        kept = read_json(self.path) if self.path.is_file() else {}
        self.curve: list[dict[str, Any]] = kept.get("curve", [])
        self.stopped: str | None = kept.get("stopped")
        self.seconds, self.steps = kept.get("seconds", 0.0), kept.get("steps", 0)  # steps: of the last stage
        doubling = budget / 2.0 ** np.arange(evaluations)[::-1]
        limit = budget - before
        self.schedule = [0.0, *doubling[doubling < limit].tolist(), limit]
        self._slices = self._train(slice_seconds)

    def _train(self, slice_seconds: float) -> Iterator[float]:
        """Train stage after stage, in slices; the seconds of all of them so far."""
        while True:
            for seconds in self._stage.gan.train(slice_seconds, progress_bar=False):
                yield self._stage.seconds + seconds
            self._stage = next(self._stages)  # the last one never ends

    @property
    def clock(self) -> float:
        """Seconds so far, codec and encoding among them."""
        return self.before + self.seconds

    @property
    def done(self) -> bool:
        """Whether the last evaluation was made, or nothing more can come."""
        return self.stopped is not None or len(self.curve) >= len(self.schedule)

    def measure_untrained(self, reference: Reference) -> None:
        """Evaluate it before its first step, unless that was done: what training adds starts there."""
        if not self.curve or self.curve[0]["seconds"] > 0:
            self.curve.insert(0, self._evaluate(reference, seconds=0.0, steps=0))
            self._keep()

    def turn(self, reference: Reference) -> None:
        """Train for a slice, and evaluate where one is due."""
        try:
            self.seconds = next(self._slices)
        except DivergedError:
            self.stopped = "diverged"
        self.steps = int(self._stage.gan.pair.average.n_averaged)
        due = sum(self.seconds >= mark for mark in self.schedule)
        if self.stopped is None and len(self.curve) < due:
            point = self._evaluate(reference, self.seconds, self.steps)
            self.curve += [point] * (due - len(self.curve))  # where a slice passed several marks
        elif self.stopped is None:
            return
        self._keep()

    def _keep(self) -> None:
        keys = ("curve", "stopped", "seconds", "steps")
        write_json(self.path, {key: getattr(self, key) for key in keys})

    def _evaluate(self, reference: Reference, seconds: float, steps: int) -> dict[str, Any]:
        gan = self._stage.gan
        z = fixed_z(gan.options, reference.n, purpose=3)
        if self.codec is None:
            made = pictures(gan.pair.ema, z).numpy()
        else:
            assert isinstance(gan, LatentGan | DetailPhase)
            made = decode(self.codec, gan.codes_of(z).numpy())
        return {
            "seconds": seconds,
            "total": self.before + seconds,
            "images": self._stage.images + steps * gan.options.batch,
            **reference(self.name, made),
            "sheet": data_uri(grid(made[:SHEET], 4), quality=60),  # a race has a hundred of them
        }

    def result(self) -> dict[str, Any]:
        """What race.json says of it: steps and their cost are the last stage's."""
        gan = self._stage.gan
        return {
            "options": options_json(gan.options),
            "batch": gan.options.batch,
            "steps": self.steps,
            "stopped": self.stopped,
            "last_stage": self._stage.last,
            "seconds": self.seconds,
            "seconds_per_step": (self.seconds - self._stage.seconds) / self.steps if self.steps else 0.0,
            "flops_per_step": flops_per_step(gan.step, gan.options.penalty_every),
            "curve": self.curve,
        }
