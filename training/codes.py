"""Encode images with a trained autoencoder: the dual space in which the GAN is trained."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from explorer.networks import Autoencoder, to_unit_range
from training.data.dataset import Dataset, augment, center_crop
from training.device import autocast
from training.loop import seed_step, write_atomically


@torch.inference_mode()
def encode(
    model: Autoencoder,
    images: Tensor,
    device: torch.device,
    precision: str = "fp32",
    batch: int = 256,
) -> Tensor:
    """Flat codes float32 (n, code_dim), on the CPU, of uint8 images (n, s, s, 3)."""
    parts = []
    for part in images.split(batch):
        with autocast(device, precision):
            parts.append(model.encoder(to_unit_range(part.to(device))).float().flatten(1).cpu())
    return torch.cat(parts)


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
    mirrored at random. Cached at ``path``; held-out images are never encoded here.
    """
    if path.is_file():
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a mapping
    size = dataset.options.image_size
    train = dataset.seen("train")
    codes = {
        "train": encode(model, center_crop(train, size), device, precision),
        "val": encode(model, center_crop(dataset.seen("val"), size), device, precision),
    }
    augmented = []
    for copy in tqdm(range(copies), "encoding augmented copies", unit="copy"):
        seed_step(seed, copy)
        augmented.append(encode(model, augment(train, size), device, precision))
    codes["augmented"] = torch.cat(augmented) if augmented else codes["train"].clone()
    write_atomically(path, lambda temporary: save_file(codes, temporary))
    return codes
