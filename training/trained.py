"""A finished GAN over a finished autoencoder, opened from the folders of its runs."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from explorer import decoding
from explorer.generation import CascadeGeneration, Generation, LatentGeneration, PixelGeneration
from explorer.latent import Standardisation
from training import autoencoder, detail_phase, image_phase, latent_gan, pixel_gan
from training.adversarial import AdversarialOptions, snapshot_path
from training.cli import UserError, preset_options
from training.data.dataset import Dataset


@dataclass(frozen=True)
class Trained:
    """A finished GAN over a finished autoencoder, in the half precision that ships.

    stage: latent_gan, detail_phase or pixel_gan. options: the GAN's; first: those of the GAN whose training
    the snapshots show, the same one but for a detail phase. folders: of the runs, by stage.
    codes, standard: see ``training.latent_gan.seen_codes``.
    """

    stage: str
    options: AdversarialOptions
    first: AdversarialOptions
    folders: dict[str, Path]
    dataset: Dataset
    generation: Generation
    codes: dict[str, torch.Tensor]
    standard: Standardisation


def open_trained(
    *,
    latent: Path,
    detail: Path | None = None,
    pixel: Path | None = None,
    image: Path | None = None,
    device: torch.device,
) -> Trained:
    """The finished GAN whose run's folder is named: a detail phase, a pixel GAN, or else the latent GAN.

    image: that of an image phase over the latent GAN, whose decoder then takes the autoencoder's place.
    Raises UserError for folders that do not go together, or that hold no finished run.
    """
    if detail is not None:
        if image is not None or pixel is not None:
            raise UserError("a bundle holds a detail phase, an image phase or a pixel GAN; name one of them")
        return _detail_phase(detail, device)
    if pixel is not None:
        if image is not None:
            raise UserError(
                "an image phase goes on from a latent GAN; leave out --image-phase or --pixel-gan"
            )
        return _pixel_gan(pixel, device)
    return _latent_gan(latent, image, device)


def _latent_gan(folder: Path, image: Path | None, device: torch.device) -> Trained:
    generator, standard, gan = latent_gan.load_run(folder)
    model, data = autoencoder.load_run(gan.autoencoder)
    folders = {"autoencoder": gan.autoencoder, "latent_gan": folder}
    dataset = autoencoder.open_images(gan.autoencoder, data)
    codes = latent_gan.seen_codes(gan, model, dataset, data.seed, device)
    if image is not None:  # which has another decoder
        image_phase.load_run(image, model.cpu(), generator)
        folders["image_phase"] = image
    generation = LatentGeneration(model.cpu().half().float(), generator.half().float(), standard)
    return Trained("latent_gan", gan, gan, folders, dataset, generation, codes, standard)


def _detail_phase(folder: Path, device: torch.device) -> Trained:
    generator, standard, detail = detail_phase.load_run(folder)
    first = latent_gan.load_run(detail.latent_gan)[2]
    model, data = autoencoder.load_run(first.autoencoder)
    folders = {"autoencoder": first.autoencoder, "latent_gan": detail.latent_gan, "detail_phase": folder}
    dataset = autoencoder.open_images(first.autoencoder, data)
    codes = latent_gan.seen_codes(first, model, dataset, data.seed, device)
    generation = CascadeGeneration(model.cpu().half().float(), generator.half().float())
    return Trained("detail_phase", detail, first, folders, dataset, generation, codes, standard)


def _pixel_gan(folder: Path, device: torch.device) -> Trained:
    generator, gan = pixel_gan.load_run(folder)
    model, data = autoencoder.load_run(gan.autoencoder)
    dataset = autoencoder.open_images(gan.autoencoder, data)
    autoencoder.check_same_images(folder, dataset)
    # The components that a latent GAN over this autoencoder would model.
    latent = preset_options(latent_gan.LatentGanOptions, "latent_gan", data.preset)
    latent_dim = min(latent.latent_dim, model.config.code_dim)
    latent = replace(latent, autoencoder=gan.autoencoder, latent_dim=latent_dim)
    codes = latent_gan.seen_codes(latent, model, dataset, data.seed, device)
    standard = Standardisation.fit(codes["augmented"], latent_dim)
    generation = PixelGeneration(model.cpu().half().float(), generator.half().float())
    folders = {"autoencoder": gan.autoencoder, "pixel_gan": folder}
    return Trained("pixel_gan", gan, gan, folders, dataset, generation, codes, standard)


def read_snapshots(gan: Trained) -> tuple[np.ndarray, np.ndarray]:
    """Training images seen int64 (s,) and latents float16 (s, r, latent_dim) of all snapshots."""
    images = np.array([step * gan.first.batch for step in gan.first.snapshot_steps], np.int64)
    paths = [snapshot_path(gan.first.out, int(i)) for i in images]

    def read(path: Path) -> dict[str, torch.Tensor]:
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} cannot be read ({error}); train the GAN again") from None

    def latents(kept: dict[str, torch.Tensor]) -> torch.Tensor:
        if "latents" in kept:
            return kept["latents"]
        codes = decoding.encode(gan.generation.autoencoder, kept["pictures"].numpy())
        return gan.standard.to_latents(torch.from_numpy(codes)).half()

    return images, torch.stack([latents(read(p)) for p in paths]).numpy()
