"""Train a GAN on the standardised codes of a trained autoencoder.

    python -m training.latent_gan --preset imagewoof64 --autoencoder runs/ae --out runs/gan

The source and the hold-out are those of the autoencoder. To resume, run the same command again. Then
``--phase detail`` adds the detail that the components leave out.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from explorer.latent import CHUNK, Standardisation
from explorer.networks import Autoencoder, Discriminator, FixedBasis, GanConfig, Generator
from training import metrics
from training.adversarial import (
    AdversarialOptions,
    AdversarialPair,
    GanTraining,
    fixed_z,
    overfit,
    sample,
)
from training.autoencoder import AutoencoderOptions, open_images
from training.autoencoder import load_run as load_autoencoder_run
from training.cli import UserError, print_dry_run
from training.codes import training_codes, weights_digest
from training.data.dataset import Dataset
from training.device import resolve_device
from training.files import load_weights, write_atomically
from training.loop import batch_indices
from training.runs import check_made_of, open_run, options_from_json, read_options


@dataclass(frozen=True, kw_only=True)
class LatentGanOptions(AdversarialOptions):
    """Options of ``python -m training.latent_gan``."""

    phase: Literal["codes"] = "codes"
    """codes: this; detail: a second stage adds what the components leave out (training/detail_phase.py);
    image: the decoder goes on against an image discriminator (training/image_phase.py)."""
    latent_dim: int = 160
    """Leading principal components of the codes that the GAN models; the code's size keeps them all. Fewer
    are learnt sooner, and what they leave out blurs the pictures."""
    emphasis: float = 0.5
    """What the discriminator looks at: it sees each whitened component times its standard deviation to
    this power. 0 weighs all components alike, 1 as in the code itself."""
    network: Literal["mlp", "conv"] = "mlp"
    """mlp: residual MLPs on the components, quick on a CPU; conv: residual convolutions on the code's layout,
    for a GPU (with --width 128 --blocks 2, say)."""
    width: int = 512
    """Width of both networks; channels at the code's resolution where they are convolutions."""
    blocks: int = 4
    """Residual blocks of both (at each of two resolutions where they are convolutions)."""
    code_noise: float = 0.3
    """Standard deviation of fresh Gaussian noise on each real code, so that the discriminator cannot learn
    the codes by heart. About the noise that the decoder was trained with, pictures hardly change."""
    copies: int = 16
    """Shifted and mirrored copies of every training image to encode."""
    codec_kind: ClassVar[type[AutoencoderOptions]] = AutoencoderOptions
    """Options of the run that --autoencoder names."""

    def config(self, code_shape: tuple[int, int, int]) -> GanConfig:
        """The networks' shape, over codes of this shape."""
        return GanConfig(self.z_dim, self.latent_dim, self.width, self.blocks, self.network, code_shape)


def codes_path(options: LatentGanOptions) -> Path:
    """Where the training codes are kept: beside the autoencoder, for every GAN over it."""
    return options.autoencoder / f"codes-{options.copies}.safetensors"


def seen_codes(
    options: LatentGanOptions,
    model: Autoencoder,
    dataset: Dataset,
    seed: int,
    device: torch.device,
    more: Tensor | None = None,
) -> dict[str, Tensor]:
    """Codes of the seen images, see ``training_codes``.

    seed: the autoencoder's, of the shifted and mirrored copies. more: codes (k, code_dim) to count among the
    augmented ones, see ``LatentGan.more_codes``.
    """
    codes = training_codes(
        model.to(device), dataset, options.copies, seed, device, options.precision, codes_path(options)
    )
    if more is not None:
        codes["augmented"] = torch.cat([codes["augmented"], more])
    return codes


class CodeMonitor:
    """Compares generated codes with those of seen validation images, beside the real-vs-real floor.

    ``frechet`` and ``coverage`` are computed in the full code space (``code_dim`` numbers), where the
    components that the GAN does not model count as an error; ``latent_*`` among the whitened components
    that it does model. Equal n on all sides.

    A Frechet distance sees means and covariances alone: a Gaussian with those of the training codes is
    at the floor without showing a dog. Read it beside that Gaussian's values, and look at the pictures.
    """

    def __init__(self, codes: dict[str, Tensor], standard: Standardisation, seed: int) -> None:
        drawn = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(codes["train"]), generator=drawn)
        self.n = min(len(codes["val"]), len(codes["train"]))
        self.standard = standard
        val = codes["val"]
        if len(val) > self.n:  # they lie in the order of classes: the first n would be of a few
            val = val[torch.randperm(len(val), generator=drawn)[: self.n]]
        self.val = val.numpy()
        self.train = codes["train"][order[: self.n]].numpy()
        self.val_latents = standard.to_latents(torch.from_numpy(self.val)).numpy()
        train_latents = standard.to_latents(torch.from_numpy(self.train)).numpy()
        self.floor = {
            "latent_frechet_floor": metrics.frechet_distance(train_latents, self.val_latents),
            "latent_coverage_floor": metrics.coverage(self.val_latents, train_latents),
        }

    def among_latents(self, latents: Tensor) -> dict[str, float]:
        """Metrics of generated latents (n, latent_dim) among the components that the GAN models."""
        frechet = metrics.frechet_distance(latents.numpy(), self.val_latents)
        return {
            "latent_frechet": frechet,
            "latent_frechet_over_floor": frechet / self.floor["latent_frechet_floor"],
            "latent_coverage": metrics.coverage(self.val_latents, latents.numpy()),
            "dead_dimensions": metrics.dead_dimensions(latents.numpy(), self.val_latents),
            **self.floor,
            "n": self.n,
        }

    def __call__(self, codes: Tensor) -> dict[str, float]:
        """All metrics of generated codes (n, code_dim), those among the latents too."""
        whole = codes.numpy()
        frechet, floor = (metrics.frechet_distance(x, self.val) for x in (whole, self.train))
        return {
            "frechet": frechet,
            "frechet_over_floor": frechet / floor,
            "frechet_floor": floor,
            "coverage": metrics.coverage(self.val, whole),
            "coverage_floor": metrics.coverage(self.val, self.train),
            **self.among_latents(self.standard.to_latents(codes)),
        }


class LatentGan(GanTraining):
    """A latent GAN under training, over a finished autoencoder."""

    description, made = "latent GAN", "latents"

    def __init__(self, options: LatentGanOptions, device: torch.device) -> None:
        self.options, self.device = options, device
        model, data_options = load_autoencoder_run(options.autoencoder, options.codec_kind)
        config = _checked_config(options, model.config.code_shape)
        dataset = open_images(options.autoencoder, data_options)
        check_same_autoencoder(options.out, model)
        more = self.more_codes(model.to(device), dataset)
        self.codes = seen_codes(options, model, dataset, data_options.seed, device, more)
        self.standard = Standardisation.fit(self.codes["augmented"], options.latent_dim)
        self.monitor = CodeMonitor(self.codes, self.standard, options.seed)
        self.real = self.standard.to_latents(self.codes["augmented"]).to(device)
        # In code space, per unit of standard deviation.
        self.noise = (options.code_noise / self.standard.scale).to(device)
        emphasis = self.standard.scale**options.emphasis
        emphasis = (emphasis / emphasis.square().mean().sqrt()).to(device)

        torch.manual_seed(options.seed)
        generator, discriminator = Generator(config).to(device), Discriminator(config).to(device)
        _set_bases(generator, self.standard, 1 / self.standard.scale, transpose=True)
        _set_bases(discriminator, self.standard, self.standard.scale / emphasis.cpu(), transpose=False)
        super().__init__(
            AdversarialPair(
                generator, discriminator, options, device, look=lambda latents: latents * emphasis
            )
        )
        self._z_evaluation = fixed_z(options, self.monitor.n, purpose=1)

    def more_codes(self, model: Autoencoder, dataset: Dataset) -> Tensor | None:
        """Codes float32 (k, code_dim) to train on beside those of seen images; only an oracle has any."""
        return None

    def step(self, index: int) -> dict[str, Tensor]:
        """One step of both networks."""
        o = self.options
        chosen = torch.from_numpy(batch_indices(o.seed, index, o.batch, len(self.real)))
        real = self.real[chosen.to(self.device)]
        return self.pair.step(index, real + self.noise * torch.randn_like(real))

    def codes_of(self, z: Tensor) -> Tensor:
        """What the averaged generator makes of z (n, z_dim), as codes float32 (n, code_dim)."""
        return self.standard.to_codes(sample(self.pair.ema, z))

    def make(self, z: Tensor) -> Tensor:
        """Latents float16 (n, latent_dim)."""
        return sample(self.pair.ema, z).half()

    def measure(self) -> dict[str, float]:
        """Distances among the components, and how the discriminator fares."""
        latents = sample(self.pair.ema, self._z_evaluation)
        n, discriminator = self.monitor.n, self.pair.discriminator
        norms = [torch.linalg.matrix_norm(p, 2).item() for p in discriminator.parameters() if p.ndim == 2]
        seen = (self.real[:n].cpu(), self.standard.to_latents(self.codes["val"]), latents)
        scores = [sample(discriminator, self.pair.look(part.to(self.device))) for part in seen]
        return {
            **self.monitor.among_latents(latents),
            "d_spectral_norm": max(norms),
            "d_overfit": overfit(*scores),
        }

    def finish(self) -> dict[str, Any]:
        """Write the standardisation; measure in the full code space."""
        tensors = {k: getattr(self.standard, k).contiguous() for k in ("mean", "components", "scale")}
        path = self.options.out / "standardisation.safetensors"
        write_atomically(path, lambda temporary: save_file(tensors, temporary))
        return {
            "explained_variance": _explained(self.codes["augmented"], self.standard),
            "metrics": self.monitor(self.codes_of(self._z_evaluation)),
        }


def _checked_config(options: LatentGanOptions, code_shape: tuple[int, int, int]) -> GanConfig:
    code_dim = math.prod(code_shape)
    if not 1 <= options.latent_dim <= code_dim:
        raise UserError(f"--latent-dim must lie between 1 and {code_dim}, the size of a code")
    try:
        return options.config(code_shape)
    except ValueError as error:
        raise UserError(f"this GAN cannot be built: {error}") from None


def check_same_autoencoder(folder: Path, model: Autoencoder) -> None:
    """Note in a GAN's run which autoencoder it is over; raise UserError if there is another by now."""
    check_made_of(
        folder / "autoencoder.json", {"autoencoder": weights_digest(model)},
        f"{folder} was begun with another autoencoder than the one there is now; "
        "train the GAN in another --out",
    )  # fmt: skip


def run_latent_gan(options: LatentGanOptions, kind: type[LatentGan] = LatentGan) -> Path:
    """Train (or continue, or find done) and return the run's folder.

    The folder then holds ``generator.safetensors`` (averaged weights), ``standardisation.safetensors``,
    ``snapshots/`` and ``done.json``.
    """
    if options.dry_run:
        print_dry_run(options, steps=options.steps, snapshot_steps=options.snapshot_steps)
        return options.out
    device = resolve_device(options.device)
    model, _ = load_autoencoder_run(options.autoencoder, options.codec_kind)
    _checked_config(options, model.config.code_shape)
    open_run(options, device)
    check_same_autoencoder(options.out, model)
    if not (options.out / "done.json").is_file():
        for _ in kind(options, device).train():
            pass
    return options.out


def _set_bases(network: torch.nn.Module, standard: Standardisation, weight: Tensor, transpose: bool) -> None:
    """Tell a network's fixed bases how components and codes hang together; MLPs have none."""
    basis = standard.components * weight[:, None]  # (latent_dim, code_dim)
    for module in network.modules():
        if isinstance(module, FixedBasis):
            module.matrix.copy_(basis.T if transpose else basis)


def _explained(codes: Tensor, standard: Standardisation) -> float:
    """Share of the codes' variance that the latents carry."""
    kept, whole = 0.0, 0.0
    for part in codes.split(CHUNK):  # not all of them twice in memory
        centred = part - standard.mean
        kept += (centred @ standard.components.T).square().sum().item()
        whole += centred.square().sum().item()
    return kept / whole


def load_run(
    folder: Path, kind: type[LatentGanOptions] = LatentGanOptions
) -> tuple[Generator, Standardisation, LatentGanOptions]:
    """The averaged generator of a finished run, its standardisation and its options, of the given kind."""
    if not (folder / "done.json").is_file():
        raise UserError(f"{folder} holds no finished GAN; run python -m training.latent_gan first")
    saved = options_from_json(kind, read_options(folder))
    options = replace(saved, out=folder)  # a run's folder may have been moved
    model, _ = load_autoencoder_run(options.autoencoder, options.codec_kind)
    check_same_autoencoder(folder, model)  # a bundle vouches for what its GAN never saw
    generator = Generator(options.config(model.config.code_shape))
    load_weights(folder / "generator.safetensors", generator)
    path = folder / "standardisation.safetensors"
    try:
        tensors = load_file(path)
        standard = Standardisation(tensors["mean"], tensors["components"], tensors["scale"])
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete {folder} and train it again") from None
    return generator.eval().requires_grad_(False), standard, options


if __name__ == "__main__":
    from training.cli import early_choice, run_script
    from training.detail_phase import DetailPhaseOptions, run_detail_phase
    from training.image_phase import ImagePhaseOptions, run_image_phase

    match early_choice("phase", "codes"):
        case "detail":
            run_script(DetailPhaseOptions, "detail_phase", run_detail_phase)
        case "image":
            run_script(ImagePhaseOptions, "image_phase", run_image_phase)
        case _:
            run_script(LatentGanOptions, "latent_gan", run_latent_gan)
