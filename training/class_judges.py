"""Two judges of different kinds that know every class, held-out ones too: they judge, and train no GAN.

One is a linear head on features of a network that was trained elsewhere; the other a small network trained
from scratch on these images. Both learn from originals, from codec round trips of them and from these as the
GAN could at best show them, so that neither the decoder's blur nor generated detail fools them. See
docs/reachability.md.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from explorer.networks import AutoencoderConfig, Encoder, to_unit_range
from training.autoencoder import cosine_rate
from training.data.dataset import augment
from training.device import autocast
from training.files import load_weights, save_weights, write_json
from training.loop import batch_indices, train
from training.runs import RunOptions, open_run

WIDTHS = (48, 96, 192, 256)  # channels at half the size, a quarter, ... down to about LOWEST pixels
LOWEST = 4
SHIFT = 4  # pixels by which the network's training images are moved at most


@dataclass(frozen=True, kw_only=True)
class NetworkJudgeOptions(RunOptions):
    """How the judge that is trained from scratch is trained."""

    images: int = 160_000
    """Training length, in images."""
    batch: int = 64
    """Images a step."""
    lr: float = 1e-3
    """Peak learning rate of AdamW; cosine to zero after a warm-up of 2 %."""
    mirror: bool = True
    """Whether a mirror image is as good as the original."""
    permuted: bool = False
    """Whether the labels were permuted: a judge that cannot know anything."""

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return -(-self.images // self.batch)


def pixels(pictures: np.ndarray) -> np.ndarray:
    """The plainest features: float32 (n, s * s * 3) in [0, 1] of pictures uint8 (n, s, s, 3)."""
    return pictures.reshape(len(pictures), -1).astype(np.float32) / 255


def classifier(size: int, classes: int) -> nn.Sequential:
    """Images float (n, 3, size, size) in [-1, 1] -> logits (n, classes)."""
    depth = max(1, int(np.log2(size // LOWEST)))
    while depth > 1 and size % 2**depth:  # 72 px can be halved three times only
        depth -= 1
    widths = WIDTHS[:depth]
    blocks = (0, *[1] * (len(widths) - 1))
    config = AutoencoderConfig(size, widths[-1], size // 2 ** len(widths), widths, blocks, blocks)
    return nn.Sequential(
        Encoder(config), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)
    )


class HeadJudge:
    """Multinomial logistic regression on fixed features."""

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Learn from features float32 (n, d) and labels int (n,), of which each class has some."""
        self.model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=200))
        with warnings.catch_warnings():  # 200 iterations are what it is given, whether or not it is done
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(features, labels)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Log-probabilities float32 (n, classes) of features float32 (n, d)."""
        return self.model.predict_log_proba(features).astype(np.float32)


class NetworkJudge:
    """A small residual network trained from scratch; kept in a run's folder.

    The codec's own blocks: a ResNet-18 has half the throughput, and its batch
    norms overflow in bf16 on pictures as small as digits.
    """

    def __init__(self, options: NetworkJudgeOptions, size: int, classes: int, device: torch.device) -> None:
        self.options, self.device = options, device
        torch.manual_seed(options.seed)
        self.model = classifier(size, classes)
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def learn(self, draw: Callable[[], np.ndarray], labels: np.ndarray) -> None:
        """Learn (or continue, or find learnt) from pictures uint8 (n, s, s, 3), which ``draw`` makes if need
        be, and labels int (n,).
        """
        o = self.options
        weights = o.out / "judge.safetensors"
        open_run(o, self.device)
        if (o.out / "done.json").is_file():
            load_weights(weights, self.model)
            return
        pictures = draw()
        size = pictures.shape[1]
        padded = np.pad(pictures, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
        images = torch.from_numpy(padded).to(self.device)
        targets = torch.from_numpy(labels.astype(np.int64)).to(self.device)
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=o.lr, weight_decay=0.05)

        def step(index: int) -> dict[str, Tensor]:
            for group in optimiser.param_groups:
                group["lr"] = o.lr * cosine_rate(index, o.steps)
            chosen = torch.from_numpy(batch_indices(o.seed, index, o.batch, len(images))).to(self.device)
            seen = to_unit_range(augment(images[chosen], size, o.mirror))
            with autocast(self.device, o.precision):
                scores = self.model(seen)
            loss = F.cross_entropy(scores.float(), targets[chosen], label_smoothing=0.1)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            return {"loss": loss}

        self.model.train()
        seconds = train(
            o, {"model": self.model, "optimiser": optimiser}, step, steps=o.steps, batch=o.batch,
            device=self.device, description=f"judge{', permuted labels' if o.permuted else ''}",
        )  # fmt: skip
        save_weights(weights, self.model)
        write_json(o.out / "done.json", {"seconds": seconds, "images": o.steps * o.batch})

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray, batch: int = 32) -> np.ndarray:
        """Log-probabilities float32 (n, classes) of pictures uint8 (n, s, s, 3)."""
        self.model.eval()
        parts = []
        for part in torch.from_numpy(np.ascontiguousarray(pictures)).split(batch):
            with autocast(self.device, self.options.precision):
                scores = self.model(to_unit_range(part.to(self.device)))
            parts.append(scores.float().log_softmax(1).cpu().numpy())
        return np.concatenate(parts)


class Judges:
    """Both judges, after learning.

    permuted: they learnt from labels dealt out to the images at random, and so know nothing: whatever they
    find is a false alarm.
    """

    def __init__(
        self,
        draw: Callable[[], np.ndarray],
        size: int,
        features: np.ndarray,
        labels: np.ndarray,
        options: NetworkJudgeOptions,
        device: torch.device,
    ) -> None:
        """Learn from pictures uint8 (k n, size, size, 3) of n images, once each, then once more each ...,
        which ``draw`` makes if need be, their features float32 (k n, d) and the images' labels int (n,).
        """
        if options.permuted:  # image by image: what two pictures of one have in common is no class
            labels = np.random.default_rng(options.seed).permutation(labels)
        labels = np.tile(labels, len(features) // len(labels))
        self.head = HeadJudge(features, labels)
        self.network = NetworkJudge(options, size, int(labels.max()) + 1, device)
        self.network.learn(draw, labels)

    def __call__(self, pictures: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Log-probabilities float32 (n, 2, classes) of both judges."""
        return np.stack([self.head(features), self.network(pictures)], 1)
