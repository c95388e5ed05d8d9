"""The second stage of a latent GAN: it adds the detail that its components leave out, on the code's layout.

    python -m training.latent_gan --phase detail --latent-gan runs/gan --out runs/detail

A GAN over the leading components of the codes learns the coarse picture in minutes, but nothing except
those components can be in its samples. Here a second generator, on the code's own layout, adds the rest to
that coarse code, and mends it; a discriminator on whole codes judges the sum: a Laplacian pyramid of GANs
(Denton et al. 2015, arXiv 1506.05751) in the components of a code. Part of the coarse codes are those of
real images, so that detail is learnt for right shapes too. The first stage's weights stay as they are.
To resume, run the same command again.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
import tyro
from torch import Tensor

from explorer.latent import Standardisation
from explorer.networks import (
    Autoencoder,
    CascadeConfig,
    CascadeGenerator,
    CodeDiscriminator,
    GanConfig,
)
from training import latent_gan, parallel
from training.adversarial import (
    AdversarialOptions,
    AdversarialPair,
    GanTraining,
    fixed_z,
    overfit,
    sample,
)
from training.autoencoder import load_run as load_autoencoder_run
from training.autoencoder import open_images
from training.cli import UserError, print_dry_run
from training.codes import weights_digest
from training.data.dataset import Dataset
from training.device import resolve_device
from training.files import load_weights
from training.loop import batch_indices
from training.runs import check_made_of, open_run, options_from_json, read_options


@dataclass(frozen=True, kw_only=True)
class DetailPhaseOptions(AdversarialOptions):
    """Options of ``python -m training.latent_gan --phase detail``."""

    phase: Literal["detail"] = "detail"
    """codes: the latent GAN itself; detail: this; image: the decoder goes on (training/image_phase.py)."""
    latent_gan: Path = Path("runs/latent_gan")
    """Folder of the finished latent GAN, the first stage."""
    autoencoder: Annotated[Path, tyro.conf.SuppressFixed] = Path()
    """That of the first stage; not to be given."""
    z_dim: Annotated[int, tyro.conf.SuppressFixed] = 1
    """The first stage's and the noise; not to be given."""
    noise_channels: int = 2
    """Channels of the noise on the code's layout that detail is drawn from."""
    width: int = 96
    """Channels of the generator."""
    blocks: int = 3
    """Residual blocks of the generator."""
    discriminator_width: int = 96
    """Channels of the discriminator at the code's resolution; twice as many at half of it."""
    discriminator_blocks: int = 1
    """Residual blocks of the discriminator at each of the two resolutions."""
    attention: int = 0
    """Blocks of attention among patches of 2 x 2 cells, in either network; 0 for convolutions alone. With it
    convolutions are normalised, widths must be even, residual blocks come before and, in the generator, as
    many after, and the discriminator has its own at the full resolution only."""
    real_share: float = 0.25
    """Share of the coarse codes that are real images', not the first stage's."""
    code_noise: float = 0.1
    """Standard deviation of fresh Gaussian noise on each real code."""
    images: int = 1_200_000
    """Training length, in codes shown to the discriminator."""
    batch: int = 32
    """Codes a step."""
    lr: float = 5e-4
    """Learning rate of the discriminator, falling to zero over the last ``decay`` of training."""
    generator_rate: float = 2.0
    """Learning rate of the generator, over the discriminator's, once warmed up."""
    warmup_images: int = 300_000
    """Codes over which the generator's rate rises there from the discriminator's; at once, it runs away."""
    decay: float = 0.3
    """Share of training over which the learning rate falls, along half a cosine."""
    ema_images: int = 20_000
    """Horizon of the generator's weight average, in codes."""
    snapshots: int = 1
    """The map's timeline shows those of the first stage."""
    evaluations: int = 8
    """Evenly spaced evaluations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.real_share < 1:
            raise UserError(f"--real-share is a share, from 0 to below 1, not {self.real_share}")

    def config(self, coarse: GanConfig) -> CascadeConfig:
        """The networks' shape over this first stage. Raises UserError where they cannot be built."""
        try:
            return CascadeConfig(
                coarse, self.noise_channels, self.width, self.blocks, self.discriminator_width,
                self.discriminator_blocks, self.attention,
            )  # fmt: skip
        except ValueError as error:
            raise UserError(f"this detail phase cannot be built: {error}") from None


class DetailPhase(GanTraining):
    """The second stage under training, over a finished latent GAN."""

    description, made = "detail phase", "latents"
    first_kind: ClassVar[type[latent_gan.LatentGanOptions]] = latent_gan.LatentGanOptions
    """Options of the first stage's run."""

    def __init__(self, options: DetailPhaseOptions, device: torch.device) -> None:
        coarse, standard, first = latent_gan.load_run(options.latent_gan, self.first_kind)
        config = options.config(coarse.config)
        model, data = load_autoencoder_run(first.autoencoder, first.codec_kind)
        dataset = open_images(first.autoencoder, data)
        more = self.more_codes(first, model.to(device), dataset, device)
        codes = latent_gan.seen_codes(first, model, dataset, data.seed, device, more)
        self.codes, self.standard = codes, standard
        self.monitor = latent_gan.CodeMonitor(codes, standard, options.seed)
        self.real = codes["augmented"].to(device)
        self.on_device = standard.to(device)

        torch.manual_seed(options.seed)
        generator, discriminator = CascadeGenerator(config), CodeDiscriminator(config)
        generator.coarse.load_state_dict(coarse.state_dict())
        generator.coarse.requires_grad_(False)
        deviation = (codes["augmented"] - standard.mean).square().mean().sqrt()
        for name, value in (*vars(standard).items(), ("deviation", deviation)):
            getattr(generator, name).copy_(value)
        for network in (generator, discriminator):
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.generator = generator
        super().__init__(AdversarialPair(generator, discriminator, options, device, self.look))
        self._z_evaluation = fixed_z(options, self.monitor.n, purpose=1)

    def more_codes(
        self, first: Any, model: Autoencoder, dataset: Dataset, device: torch.device
    ) -> Tensor | None:
        """Codes float32 (k, code_dim) beside those of seen images; only an oracle has any. first: the options
        of the first stage.
        """
        return None

    def look(self, codes: Tensor) -> Tensor:
        """What the discriminator sees of codes (n, code_dim)."""
        return (codes - self.generator.mean) / self.generator.deviation

    def step(self, index: int) -> dict[str, Tensor]:
        """One step of both networks."""
        o = self.options
        assert isinstance(o, DetailPhaseOptions)
        # Two batches: what the discriminator is shown as real, and where coarse codes are taken from.
        chosen = torch.from_numpy(batch_indices(o.seed, index, 2 * o.batch, len(self.real)))
        real, others = map(parallel.share, self.real[chosen.to(self.device)].split(o.batch))
        from_real = int((parallel.share(torch.arange(o.batch)) < round(o.real_share * o.batch)).sum())
        latents = self.on_device.to_latents(others[:from_real])
        first_z = self.generator.config.coarse.z_dim

        def make(z: Tensor) -> Tensor:
            made = self.generator.coarse(z[from_real:, :first_z])
            return self.generator.refine(torch.cat([latents, made.float()]), z[:, first_z:])

        self.pair.rates["g"] = 1 + (o.generator_rate - 1) * min(1, index * o.batch / o.warmup_images)
        return self.pair.step(index, real + o.code_noise * parallel.randn_like(real), make)

    def codes_of(self, z: Tensor) -> Tensor:
        """What the averaged generator makes of z (n, z_dim): codes float32 (n, code_dim)."""
        return sample(self.pair.ema, z)

    def make(self, z: Tensor) -> Tensor:
        """The first stage's components of the codes, float16 (n, latent_dim)."""
        return self.standard.to_latents(self.codes_of(z)).half()

    def measure(self) -> dict[str, float]:
        """Distances in the whole code space, and how the discriminator fares."""
        codes = self.codes_of(self._z_evaluation)
        n = self.monitor.n
        scores = [
            sample(self.pair.discriminator, self.look(part.to(self.device)).cpu(), batch=512)
            for part in (self.real[:n], self.codes["val"], codes)
        ]
        return {**self.monitor(codes), "d_overfit": overfit(*scores)}

    def finish(self) -> dict[str, Any]:
        """What the finished run was trained over."""
        return {"metrics": self.measure(), "first_stage": weights_digest(self.generator.coarse)}


def open_detail_phase(
    options: DetailPhaseOptions, device: torch.device, kind: type[DetailPhase] = DetailPhase
) -> DetailPhaseOptions:
    """Open the run's folder, or find it begun over the same first stage; its options as they resolve."""
    coarse, _, first = latent_gan.load_run(options.latent_gan, kind.first_kind)
    options = replace(options, autoencoder=first.autoencoder, z_dim=options.config(coarse.config).z_dim)
    open_run(options, device)
    check_made_of(
        options.out / "first_stage.json", {"first_stage": weights_digest(coarse)},
        f"{options.out} was begun over another latent GAN than {options.latent_gan} holds now; "
        "train the detail phase in another --out",
    )  # fmt: skip
    return options


def run_detail_phase(options: DetailPhaseOptions, kind: type[DetailPhase] = DetailPhase) -> Path:
    """Train (or continue, or find done) and return the run's folder.

    The folder then holds ``generator.safetensors`` (averaged weights of both stages) and ``done.json``.
    """
    if options.dry_run:
        print_dry_run(options, steps=options.steps)
        return options.out
    device = resolve_device(options.device)
    options = open_detail_phase(options, device, kind)
    if not (options.out / "done.json").is_file():
        for _ in kind(options, device).train():
            pass
    return options.out


def load_run(
    folder: Path, kind: type[DetailPhase] = DetailPhase
) -> tuple[CascadeGenerator, Standardisation, DetailPhaseOptions]:
    """The averaged generator of a finished run, the standardisation in it, and its options."""
    if not (folder / "done.json").is_file():
        raise UserError(
            f"{folder} holds no finished detail phase; run python -m training.latent_gan --phase detail first"
        )
    saved = options_from_json(DetailPhaseOptions, read_options(folder))
    options = replace(saved, out=folder)  # a run's folder may have been moved
    coarse, _, _ = latent_gan.load_run(options.latent_gan, kind.first_kind)
    generator = CascadeGenerator(options.config(coarse.config))
    load_weights(folder / "generator.safetensors", generator)
    # Over other codes, with other classes held out perhaps: the run would pass for what it is not.
    if weights_digest(generator.coarse) != weights_digest(coarse):
        raise UserError(
            f"{folder} was trained over another latent GAN than {options.latent_gan} holds now; "
            "train the detail phase in another --out"
        )
    standard = Standardisation(*(b.clone() for b in (generator.mean, generator.components, generator.scale)))
    return generator.eval().requires_grad_(False), standard, options
