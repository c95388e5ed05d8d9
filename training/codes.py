"""Encode images with a trained autoencoder: the dual space in which the GAN is trained."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from explorer.networks import Autoencoder, to_unit_range
from training import parallel
from training.data.dataset import DataOptions, Dataset, augment, center_crop
from training.device import autocast
from training.files import kept
from training.loop import seed_step


@torch.inference_mode()
def encode(
    model: Autoencoder,
    images: Tensor,
    device: torch.device,
    precision: str = "fp32",
    batch: int | None = None,
) -> Tensor:
    """Flat codes float32 (n, code_dim), on the CPU, of uint8 images (n, s, s, 3).

    batch: images at a time; on a CPU few, so that what a layer yields stays in its cache.
    """
    batch = batch or (64 if device.type == "cpu" else 256)
    parts = []
    for part in images.split(batch):
        with autocast(device, precision):
            parts.append(model.encoder(to_unit_range(part.to(device))).float().flatten(1).cpu())
    return torch.cat(parts)


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of a module's weights, to know it again."""
    digest = hashlib.sha256()
    for weights in model.state_dict().values():
        digest.update(weights.cpu().numpy().tobytes())
    return digest.hexdigest()


def augmented_codes(
    model: Autoencoder,
    images: Tensor,
    data: DataOptions,
    copies: int,
    seed: int,
    device: torch.device,
    precision: str,
) -> Tensor:
    """Codes float32 (copies * n, code_dim) of images uint8 (n, stored, stored, 3), each shifted and (where
    the data may be) mirrored ``copies`` times at random; with no copies, of their central crops.
    """
    if not copies:
        return encode(model, center_crop(images, data.image_size), device, precision)
    codes = torch.empty(0)
    for copy in tqdm(range(copies), "encoding augmented copies", unit="copy"):
        seed_step(seed, copy)
        found = encode(model, augment(images, data.image_size, data.mirror), device, precision)
        if not copy:  # all at once: put together in the end they would be held twice
            codes = found.new_empty(copies, *found.shape)
        codes[copy] = found
    return codes.flatten(0, 1)


@parallel.first_alone()
def training_codes(
    model: Autoencoder,
    dataset: Dataset,
    copies: int,
    seed: int,
    device: torch.device,
    precision: str,
    path: Path,
) -> dict[str, Tensor]:
    """Codes of the seen images, float32: 'train' and 'val' central crops, 'augmented' random ones.

    'augmented' is (copies * n_train, code_dim): every training image ``copies`` times, shifted and
    mirrored (where the data may be) at random. Kept at ``path``, and encoded anew when what is there is
    damaged or comes from another autoencoder or precision. Held-out images are never encoded here.
    """

    def compute() -> dict[str, np.ndarray]:
        size, train = dataset.options.image_size, dataset.seen("train")
        codes = {
            "train": encode(model, center_crop(train, size), device, precision),
            "val": encode(model, center_crop(dataset.seen("val"), size), device, precision),
            "augmented": augmented_codes(model, train, dataset.options, copies, seed, device, precision),
        }
        return {name: part.numpy() for name, part in codes.items()}

    found = kept(path, f"{weights_digest(model)} {precision}", compute)
    return {name: torch.from_numpy(part) for name, part in found.items()}
