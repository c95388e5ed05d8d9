"""Train a GAN on the standardised codes of a trained autoencoder.

    python -m training.latent_gan --preset imagewoof64 --autoencoder runs/ae --out runs/gan

The source and the hold-out are those of the autoencoder. To resume, run the same command again.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from explorer.latent import Standardisation
from explorer.networks import Discriminator, FixedBasis, GanConfig, Generator, parameter_count
from training import losses, metrics
from training.autoencoder import load_run as load_autoencoder_run
from training.autoencoder import load_weights, options_from_json, save_weights
from training.cli import UserError, print_dry_run
from training.codes import training_codes, weights_digest
from training.data.dataset import open_dataset
from training.device import autocast, resolve_device
from training.loop import (
    RunOptions,
    average,
    batch_indices,
    open_run,
    read_json,
    train,
    write_atomically,
    write_json,
)


@dataclass(frozen=True, kw_only=True)
class LatentGanOptions(RunOptions):
    """Options of ``python -m training.latent_gan``."""

    phase: Literal["codes"] = "codes"
    """codes: this; image: the decoder goes on against an image discriminator (training/image_phase.py)."""
    autoencoder: Path = Path("runs/autoencoder")
    """Folder of the finished autoencoder run."""
    z_dim: int = 160
    """Numbers drawn from the standard normal prior."""
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
    loss: str = "relativistic"
    """relativistic or non-saturating."""
    gamma: float = 0.15
    """Weight of R1 + R2, over 2."""
    penalty_every: int = 4
    """Steps between gradient penalties; each then counts that many times."""
    code_noise: float = 0.3
    """Standard deviation of fresh Gaussian noise on each real code. Up to the noise that the decoder was
    trained with, pictures hardly change, and the discriminator cannot learn the codes by heart."""
    diffusion: float = 0.0
    """Largest standard deviation of the noise that the discriminator finds on real and on generated codes
    alike, told how strong it is (Diffusion-GAN, arXiv 2206.02262): it judges coarse and fine structure apart,
    and learns less by heart."""
    copies: int = 16
    """Shifted and mirrored copies of every training image to encode."""
    images: int = 6_000_000
    """Training length, in codes shown to the discriminator."""
    batch: int = 256
    """Codes a step."""
    lr: float = 4e-4
    """Learning rate of Adam for both networks, falling to zero over the last ``decay`` of training."""
    decay: float = 0.5
    """Share of training over which the learning rate falls, along half a cosine."""
    ema_images: int = 500_000
    """Horizon of the generator's weight average, in images."""
    snapshots: int = 24
    """Log-spaced snapshots of the averaged generator: the codes of the same z each time."""
    snapshot_samples: int = 256
    """How many z these are."""
    evaluations: int = 20
    """Evenly spaced evaluations besides the snapshots'."""

    def config(self, code_shape: tuple[int, int, int]) -> GanConfig:
        """The networks' shape, over codes of this shape."""
        return GanConfig(self.z_dim, self.latent_dim, self.width, self.blocks, self.network, code_shape)

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return -(-self.images // self.batch)

    @property
    def snapshot_steps(self) -> list[int]:
        """Steps after which a snapshot is taken, the last step among them."""
        spaced = np.geomspace(1, self.steps, self.snapshots * 4)
        distinct = np.unique(np.round(spaced).astype(int))
        picks = np.linspace(0, len(distinct) - 1, min(self.snapshots, len(distinct)))
        return sorted({int(distinct[round(p)]) for p in picks})


def codes_path(options: LatentGanOptions) -> Path:
    """Where the training codes are kept: beside the autoencoder, for every GAN over it."""
    return options.autoencoder / f"codes-{options.copies}.safetensors"


def _check_autoencoder(path: Path, model: torch.nn.Module) -> None:
    """Note in the run's folder which autoencoder it is over; refuse to go on over another one."""
    made_by = {"autoencoder": weights_digest(model)}
    if path.is_file() and read_json(path) != made_by:
        raise UserError(
            f"{path.parent} was begun with another autoencoder than the one there is now; "
            "train the GAN in another --out"
        )
    write_json(path, made_by)


def decayed(step: int, steps: int, decay: float) -> float:
    """Share of the learning rate at a step: 1, then half a cosine to 0 over the last ``decay``."""
    left = (steps - step) / max(1, round(decay * steps))
    return 0.5 - 0.5 * float(np.cos(np.pi * min(1.0, left)))


def snapshot_path(folder: Path, images: int) -> Path:
    """Where the snapshot after this many images is kept."""
    return folder / "snapshots" / f"{images:012d}.safetensors"


def fixed_z(options: LatentGanOptions, n: int, purpose: int) -> Tensor:
    """The same draws of the prior at every call, float32 (n, z_dim); purposes do not share draws."""
    generator = torch.Generator().manual_seed(options.seed * 1009 + purpose)
    return torch.randn(n, options.z_dim, generator=generator)


@torch.inference_mode()
def sample(network: torch.nn.Module, z: Tensor, batch: int = 4096) -> Tensor:
    """Output float32, on the CPU, of a network for z (n, z_dim): latents (n, latent_dim)."""
    device = next(network.parameters()).device
    return torch.cat([network(part.to(device)).float().cpu() for part in z.split(batch)])


class CodeMonitor:
    """Compares generated codes with those of seen validation images, beside the real-vs-real floor.

    ``frechet`` and ``coverage`` are computed in the full code space (``code_dim`` numbers), where the
    components that the GAN does not model count as an error; ``latent_*`` among the whitened components
    that it does model. Equal n on all sides.

    A Frechet distance sees means and covariances alone: a Gaussian with those of the training codes is
    at the floor without showing a dog. Read it beside that Gaussian's values, and look at the pictures.
    """

    def __init__(self, codes: dict[str, Tensor], standard: Standardisation, seed: int) -> None:
        order = torch.randperm(len(codes["train"]), generator=torch.Generator().manual_seed(seed))
        self.n = min(len(codes["val"]), len(codes["train"]))
        self.standard = standard
        self.val = codes["val"][: self.n].numpy()
        train = codes["train"][order[: self.n]]
        self.val_latents = standard.to_latents(codes["val"][: self.n]).numpy()
        self.floor = {
            "frechet_floor": metrics.frechet_distance(train.numpy(), self.val),
            "latent_frechet_floor": metrics.frechet_distance(
                standard.to_latents(train).numpy(), self.val_latents
            ),
            "coverage_floor": metrics.coverage(self.val, train.numpy()),
            "latent_coverage_floor": metrics.coverage(self.val_latents, standard.to_latents(train).numpy()),
        }

    def __call__(self, latents: Tensor) -> dict[str, float]:
        """Metrics of generated latents (n, latent_dim)."""
        codes = self.standard.to_codes(latents).numpy()
        frechet = metrics.frechet_distance(codes, self.val)
        latent_frechet = metrics.frechet_distance(latents.numpy(), self.val_latents)
        return {
            "frechet": frechet,
            "frechet_over_floor": frechet / self.floor["frechet_floor"],
            "latent_frechet": latent_frechet,
            "latent_frechet_over_floor": latent_frechet / self.floor["latent_frechet_floor"],
            "coverage": metrics.coverage(self.val, codes),
            "latent_coverage": metrics.coverage(self.val_latents, latents.numpy()),
            "dead_dimensions": metrics.dead_dimensions(latents.numpy(), self.val_latents),
            **self.floor,
            "n": self.n,
        }


def run_latent_gan(options: LatentGanOptions) -> Path:
    """Train (or continue, or find done) and return the run's folder.

    The folder then holds ``generator.safetensors`` (averaged weights), ``standardisation.safetensors``,
    ``snapshots/`` and ``done.json``.
    """
    if options.loss not in ("relativistic", "non-saturating"):
        raise UserError(f"unknown loss {options.loss!r}; use relativistic or non-saturating")
    if options.dry_run:
        print_dry_run(options, steps=options.steps, snapshot_steps=options.snapshot_steps)
        return options.out
    device = resolve_device(options.device)
    model, data_options = load_autoencoder_run(options.autoencoder)
    code_dim = model.config.code_dim
    if not 1 <= options.latent_dim <= code_dim:
        raise UserError(f"--latent-dim must lie between 1 and {code_dim}, the size of a code")
    try:
        config = options.config(model.config.code_shape)
    except ValueError as error:
        raise UserError(f"this GAN cannot be built: {error}") from None
    open_run(options, device)
    if (options.out / "done.json").is_file():
        return options.out

    dataset = open_dataset(data_options)
    _check_autoencoder(options.out / "autoencoder.json", model)
    codes = training_codes(
        model.to(device), dataset, options.copies, data_options.seed, device, options.precision,
        codes_path(options),
    )  # fmt: skip
    standard = Standardisation.fit(codes["augmented"], options.latent_dim)
    monitor = CodeMonitor(codes, standard, options.seed)
    real_latents = standard.to_latents(codes["augmented"]).to(device)
    val_latents = standard.to_latents(codes["val"])
    white = (1 / standard.scale).to(device)  # in code space, per unit of standard deviation
    emphasis = standard.scale**options.emphasis
    emphasis = (emphasis / emphasis.square().mean().sqrt()).to(device)

    torch.manual_seed(options.seed)
    generator, discriminator = Generator(config).to(device), Discriminator(config).to(device)
    _set_bases(generator, standard, 1 / standard.scale, transpose=True)
    _set_bases(discriminator, standard, standard.scale / emphasis.cpu(), transpose=False)
    ema: AveragedModel = average(generator, options.batch, options.ema_images)
    optimisers = {
        name: torch.optim.Adam(
            network.parameters(), lr=options.lr, betas=(0.0, 0.99), fused=device.type != "mps"
        )
        for name, network in (("g", generator), ("d", discriminator))
    }

    def step(index: int) -> dict[str, Tensor]:
        rate = options.lr * decayed(index, options.steps, options.decay)
        for optimiser in optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate
        chosen = torch.from_numpy(batch_indices(options.seed, index, options.batch, len(real_latents)))
        real = real_latents[chosen.to(device)]
        real = (real + options.code_noise * white * torch.randn_like(real)) * emphasis
        z = torch.randn(options.batch, options.z_dim, device=device)
        with autocast(device, options.precision):
            fake = generator(z).float() * emphasis

        level = torch.rand(options.batch, 1, device=device).square()
        strength = options.diffusion * level * white * emphasis
        # One strength for the two codes of a pair, and one noise for both looks at a generated code.
        real = real + strength * torch.randn_like(real)
        fake = fake + strength * torch.randn_like(fake)

        def score(latents: Tensor) -> Tensor:
            with autocast(device, options.precision):
                return discriminator(latents, level).float()

        loss_d, report = losses.discriminator_objective(
            score, real, fake, kind=options.loss, gamma=options.gamma, every=options.penalty_every, step=index
        )
        optimisers["d"].zero_grad(set_to_none=True)
        loss_d.backward()
        optimisers["d"].step()

        # The same fakes serve the generator: one forward pass less, and the discriminator is newer.
        discriminator.requires_grad_(False)
        scores_fake = score(fake)
        with torch.no_grad():
            scores_real = score(real)
        loss_g = losses.generator_loss(scores_real, scores_fake, options.loss)
        optimisers["g"].zero_grad(set_to_none=True)
        loss_g.backward()
        optimisers["g"].step()
        discriminator.requires_grad_(True)
        ema.update_parameters(generator)
        return {**report, "loss_g": loss_g}

    snapshot_steps = set(options.snapshot_steps)
    z_evaluation = fixed_z(options, monitor.n, purpose=1)
    z_snapshot = fixed_z(options, options.snapshot_samples, purpose=2).half().float()
    every = max(1, options.steps // max(1, options.evaluations))

    def evaluate(done: int) -> dict[str, float]:
        if done in snapshot_steps:
            latents = sample(ema.module, z_snapshot).half()
            path = snapshot_path(options.out, done * options.batch)
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, lambda temporary: save_file({"latents": latents}, temporary))
        latents = sample(ema.module, z_evaluation)
        values = monitor(latents)
        norms = [torch.linalg.matrix_norm(p, 2).item() for p in discriminator.parameters() if p.ndim == 2]
        scores = [
            sample(discriminator, part.to(device) * emphasis).mean().item()
            for part in (real_latents[: monitor.n], val_latents, latents)
        ]
        # 0: validation codes look as real as training codes; 1: as false as generated ones.
        overfit = (scores[0] - scores[1]) / max(abs(scores[0] - scores[2]), 1e-6)
        return {**values, "d_spectral_norm": max(norms), "d_overfit": overfit}

    seconds = train(
        options, {"generator": generator, "discriminator": discriminator, "ema": ema, **optimisers},
        step, steps=options.steps, batch=options.batch, device=device, evaluate=evaluate,
        evaluate_at=lambda done: done in snapshot_steps or done % every == 0 or done == options.steps,
        description="latent GAN",
    )  # fmt: skip
    save_weights(options.out / "generator.safetensors", ema.module)
    tensors = {k: getattr(standard, k).contiguous() for k in ("mean", "components", "scale")}
    write_atomically(
        options.out / "standardisation.safetensors", lambda temporary: save_file(tensors, temporary)
    )
    write_json(
        options.out / "done.json",
        {
            "seconds": seconds,
            "images": options.steps * options.batch,
            "parameters": {
                "generator": parameter_count(generator), "discriminator": parameter_count(discriminator),
            },
            "explained_variance": _explained(codes["augmented"], standard),
            "metrics": monitor(sample(ema.module, z_evaluation)),
        },
    )  # fmt: skip
    return options.out


def _set_bases(network: torch.nn.Module, standard: Standardisation, weight: Tensor, transpose: bool) -> None:
    """Tell a network's fixed bases how components and codes hang together; MLPs have none."""
    basis = standard.components * weight[:, None]  # (latent_dim, code_dim)
    for module in network.modules():
        if isinstance(module, FixedBasis):
            module.matrix.copy_(basis.T if transpose else basis)


def _explained(codes: Tensor, standard: Standardisation) -> float:
    """Share of the codes' variance that the latents carry."""
    return float(standard.to_codes(standard.to_latents(codes)).var(0).sum() / codes.var(0).sum())


def load_run(folder: Path) -> tuple[Generator, Standardisation, LatentGanOptions]:
    """The averaged generator of a finished run, its standardisation and its options."""
    if not (folder / "done.json").is_file():
        raise UserError(f"{folder} holds no finished GAN; run python -m training.latent_gan first")
    saved = options_from_json(LatentGanOptions, read_json(folder / "options.json")["options"])
    options = replace(saved, out=folder)  # a run's folder may have been moved
    model, _ = load_autoencoder_run(options.autoencoder)
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
    from training.image_phase import ImagePhaseOptions, run_image_phase

    if early_choice("phase", "codes") == "image":
        run_script(ImagePhaseOptions, "image_phase", run_image_phase)
    else:
        run_script(LatentGanOptions, "latent_gan", run_latent_gan)
