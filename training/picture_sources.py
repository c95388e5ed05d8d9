"""Everything that makes pictures for the judges of a reachability report: GANs, their oracles, controls.

GANs are trained where they were not, and each source is then known by its name and its seed. Real images as
the GAN could at best show them are made here, too.
"""

import hashlib
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

from explorer.bundle import AnyGenerator, Bundle
from explorer.decoding import decode
from explorer.latent import Standardisation
from explorer.networks import (
    Autoencoder,
    CascadeConfig,
    CascadeGenerator,
    GanConfig,
    Generator,
    PixelGanConfig,
    PixelGenerator,
)
from explorer.reachability import CODEC_SAW, LATENT, ORACLE, PIXEL, PIXEL_ORACLE, UNTRAINED_PIXEL
from explorer.verdict import UNTRAINED
from training.autoencoder import load_run as load_autoencoder
from training.autoencoder import open_images
from training.cli import UserError, options_json, preset_options
from training.codes import weights_digest
from training.controls import CONTROLS
from training.data.dataset import Dataset
from training.detail_phase import DetailPhase, DetailPhaseOptions, run_detail_phase
from training.detail_phase import load_run as load_detail_phase
from training.device import autocast
from training.evaluate import modelled
from training.files import make_folder, save_weights, write_json
from training.latent_gan import LatentGanOptions, run_latent_gan
from training.latent_gan import load_run as load_latent_gan
from training.metrics_log import write_metrics
from training.oracle import (
    OracleDetailPhase,
    OracleOptions,
    PixelOracleOptions,
    SightedAutoencoderOptions,
    SightedDetailPhase,
    SightedOracleOptions,
    run_oracle,
)
from training.pixel_gan import PixelGanOptions, pictures, run_pixel_gan
from training.pixel_gan import load_run as load_pixel_gan
from training.runs import options_from_json


@dataclass(frozen=True)
class PictureSourceOptions:
    """Which bundle it is about, and how long the GANs like its own are trained."""

    bundle: tyro.conf.Positional[Path]
    """The bundle whose codec and whose kind of GAN are asked."""
    images: int | None = None
    """Training length of latent GANs and oracles, in codes; the bundle's own by default."""
    width: int | None = None
    """Hidden units of latent GANs and oracles, in their first stage; the bundle's own by default."""
    detail_images: int | None = None
    """That of their detail phases, where the bundle's GAN has one; its own by default."""
    share_detail: bool = False
    """Put the bundle's own second stage over the first stages of all seeds and oracles, in place of training
    one for each: a tenth of the time. They then differ in the first stage alone, but for those of
    --codec-saw; the verdict says so."""
    pixel_images: int | None = None
    """Training length of pixel GANs and their oracles, in crops; their own by default."""
    pixel_widths: tuple[int, ...] | None = None
    """Their channels at image_size/2, /4, ...; their own by default. Narrower ones see more crops an hour."""
    split_seed: int = 0
    """Seed of the split of images into what judges learn from, are calibrated on and are tested on."""
    autoencoder: Path | None = None
    """A finished autoencoder run to train over, in place of the bundle's own."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""


@dataclass(frozen=True)
class PictureSource:
    """Something that makes pictures: a trained GAN, or a control.

    make: z float32 (n, z_dim) -> codes of the pictures, differentiable, float (n, code_dim). draw: z,
    and perhaps which rows of it -> pictures uint8 (n, s, s, 3). key: changes when what it makes does.
    """

    z_dim: int
    make: Callable[[Tensor], Tensor]
    draw: Callable[..., np.ndarray]
    key: str


@dataclass(frozen=True)
class Remaker:
    """Makes of real images what a GAN would if its first stage were perfect.

    generator: one of two stages, for its second, or one of a single stage. standard: of its first. by: who it
    is, for the names of files.
    """

    generator: AnyGenerator
    standard: Standardisation
    by: str = "the-bundle"

    @property
    def key(self) -> str:
        """Changes when what it makes does."""
        generator = self.generator
        second = weights_digest(generator.detail) if isinstance(generator, CascadeGenerator) else ""
        return digest(self.standard) + second

    def __call__(self, codes: np.ndarray, seed: int) -> np.ndarray:
        """Codes float32 (n, code_dim) cut to the components that the GAN models, with the rest left out or,
        in two stages, generated; seed: of that detail.
        """
        generator, latents = self.generator, self.standard.to_latents(torch.from_numpy(codes))
        if not isinstance(generator, CascadeGenerator):
            return self.standard.to_codes(latents).numpy()
        draw = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(codes), math.prod(generator.config.noise_shape), generator=draw)
        device = generator.mean.device
        parts = zip(latents.split(1024), noise.split(1024), strict=True)
        with torch.inference_mode():
            made = [generator.refine(*(x.to(device) for x in part)).cpu() for part in parts]
        return torch.cat(made).numpy()


class PictureSources:
    """What makes pictures over the codec of one bundle, by name and seed, once it was entered.

    Also how codes are decoded, and real images as the GAN could at best show them. folder: where what is
    trained is kept.
    """

    def __init__(
        self,
        options: PictureSourceOptions,
        bundle: Bundle,
        dataset: Dataset,
        folder: Path,
        device: torch.device,
    ) -> None:
        self.options, self.bundle, self.dataset = options, bundle, dataset
        self.folder, self.device = folder, device
        self.model = bundle.load_autoencoder()
        self.entered: dict[str, dict[int, PictureSource]] = {}
        self.trained_remakers: dict[int, Remaker] = {}

    @property
    def stages(self) -> int:
        """Stages of the bundle's GAN, and so of every latent GAN here: 1 or 2."""
        return 2 if isinstance(self.bundle.gan_config, CascadeConfig) else 1

    def __getitem__(self, name: str) -> dict[int, PictureSource]:
        """The sources of a name, by seed."""
        return self.entered[name]

    def decoded(self, codes: np.ndarray, model: Autoencoder | None = None) -> np.ndarray:
        """Pictures uint8 (n, s, s, 3) of codes float (n, code_dim); by the bundle's codec, if by no other."""
        with autocast(torch.device("cpu")):
            return decode(model or self.model, codes)

    @cached_property
    def generator(self) -> AnyGenerator:
        """The bundle's own generator, to read: whoever moves or changes one loads another."""
        return self.bundle.load_generator()

    @property
    def own_remaker(self) -> Remaker:
        """The bundle's own GAN, to remake images with."""
        return Remaker(self.generator, self.bundle.standardisation)

    @property
    def remakers(self) -> list[Remaker]:
        """What remakes images, in turn: the latent GANs of all seeds, where each was trained with a second
        stage of its own; the bundle's otherwise.
        """
        return [*self.trained_remakers.values()] or [self.own_remaker]

    def at_best(self, codes: np.ndarray, remaker: Remaker, repeat: int = 0) -> np.ndarray:
        """Pictures uint8 (n, s, s, 3) of images as a GAN could at best show them; see ``Remaker``."""
        return self.decoded(remaker(codes, self.options.split_seed + 1_000_003 * repeat))

    @cached_property
    def autoencoder_run(self) -> Path:
        """The autoencoder as a finished run, to train GANs over: the one named, or the bundle's own."""
        if (given := self.options.autoencoder) is not None:
            model, data = load_autoencoder(given)
            same = weights_digest(model.half().encoder) == weights_digest(deepcopy(self.model).half().encoder)
            if not same or not np.array_equal(open_images(given, data).splits, self.dataset.splits):
                raise UserError(
                    f"{given} is not the codec of {self.options.bundle}, or holds out other images; name the "
                    "run that the bundle was made of, or leave out --autoencoder"
                )
            return given
        out = self.folder / "autoencoder"
        saved = self.bundle.manifest["training"]["autoencoder"]
        now = options_json(self.dataset.options)  # with where the photographs are
        make_folder(out)
        write_json(out / "options.json", {"options": {**saved["options"], **now, "out": str(out)}})
        if not (out / "done.json").is_file():
            save_weights(out / "autoencoder.safetensors", self.model)
            write_metrics(out / "metrics.jsonl", self.bundle.curves["autoencoder"])
            write_json(out / "done.json", saved["done"])
        return out

    def enter_own(self, seed: int) -> None:
        """The bundle's own generator, as it is."""
        generator = self.bundle.load_generator()
        assert not isinstance(generator, PixelGenerator)  # the protocol refuses such a bundle
        self._enter_latent(LATENT, seed, generator, self.bundle.standardisation)

    def latent_options(
        self, kind: Any, seed: int, out: Path, autoencoder: Path | None = None, **values: Any
    ) -> Any:
        """Options of a GAN like the bundle's own. It is not watched while it trains: that takes long."""
        o, saved = self.options, self.bundle.manifest["training"]["latent_gan"]["options"]
        return replace(
            options_from_json(kind, {**saved, **values}), seed=seed, out=out,
            autoencoder=autoencoder or self.autoencoder_run, images=o.images or saved["images"],
            width=o.width or saved["width"], device=o.device, snapshots=1, evaluations=1,
        )  # fmt: skip

    def train_latent(self, seed: int) -> None:
        """Train a latent GAN as the bundle's was, with another seed."""
        out = self.folder / LATENT / f"seed-{seed}"
        run_latent_gan(self.latent_options(LatentGanOptions, seed, out))
        self._enter_trained(LATENT, seed, out, DetailPhase)

    def train_oracle(self, dose: float, seed: int) -> None:
        """Train an oracle."""
        out = self.folder / f"oracle-{dose:g}" / f"seed-{seed}"
        split_seed = self.options.split_seed
        run_oracle(self.latent_options(OracleOptions, seed, out, dose=dose, split_seed=split_seed))
        self._enter_trained(oracle_name(dose), seed, out, OracleDetailPhase)

    def train_sighted_oracle(self, seed: int) -> None:
        """Train an oracle whose codec saw the held-out classes, too."""
        out = self.folder / "oracle-codec-saw" / f"seed-{seed}"
        seen = {"dose": 1.0, "split_seed": self.options.split_seed}
        saved = self.bundle.manifest["training"]["autoencoder"]["options"]
        data = options_json(self.dataset.options)
        codec = replace(
            options_from_json(SightedAutoencoderOptions, {**saved, **data, **seen}), seed=seed,
            device=self.options.device,
            out=out.with_name(f"{out.name}-autoencoder"),
        )  # fmt: skip
        model, _ = load_autoencoder(run_oracle(codec), SightedAutoencoderOptions)
        run_oracle(self.latent_options(SightedOracleOptions, seed, out, codec.out, **seen))
        self._enter_trained(CODEC_SAW, seed, out, SightedDetailPhase, model)

    def _enter_trained(
        self,
        name: str,
        seed: int,
        first: Path,
        second: type[DetailPhase],
        codec: Autoencoder | None = None,
    ) -> None:
        """A trained GAN, with a detail phase over it where the bundle's has one.

        first: the run of its first stage. second: the kind of a detail phase over it, which says of what
        kind the first is, too; of a GAN in one stage that alone. codec: its own, if it is not over
        the bundle's; then it cannot share the bundle's second stage.
        """
        if self.stages == 1:
            self._enter_latent(name, seed, *load_latent_gan(first, second.first_kind)[:2], codec)
            return
        if self.options.share_detail and codec is None:
            coarse, standard, _ = load_latent_gan(first, second.first_kind)
            generator = self.bundle.load_generator()
            assert isinstance(generator, CascadeGenerator)
            generator.coarse = coarse
            for part, value in vars(standard).items():
                getattr(generator, part).copy_(value)
            self._enter_latent(name, seed, generator, standard)
            return
        saved = self.bundle.manifest["training"]["detail_phase"]["options"]
        options = replace(
            options_from_json(DetailPhaseOptions, saved), seed=seed, latent_gan=first,
            out=first.with_name(f"{first.name}-detail"), device=self.options.device,
            images=self.options.detail_images or saved["images"], evaluations=1,
        )  # fmt: skip
        run_detail_phase(options, second)
        generator, standard, _ = load_detail_phase(options.out, second)
        if name == LATENT:
            self.trained_remakers[seed] = Remaker(generator, standard, f"seed-{seed}")
        self._enter_latent(name, seed, generator, standard, codec)

    def pixel_options(self, kind: Any, seed: int, out: Path, **values: Any) -> Any:
        """Options of a pixel GAN on the same images, as the bundle's preset has it; not watched either."""
        preset = self.bundle.manifest["training"]["autoencoder"]["options"]["preset"]
        usual = preset_options(kind, "pixel_gan", preset)
        return replace(
            usual, autoencoder=self.autoencoder_run, images=self.options.pixel_images or usual.images,
            widths=self.options.pixel_widths or usual.widths, seed=seed, device=self.options.device, out=out,
            snapshots=1, evaluations=1, **values,
        )  # fmt: skip

    def train_pixel(self, seed: int) -> None:
        """Train a pixel GAN."""
        options = self.pixel_options(PixelGanOptions, seed, self.folder / PIXEL / f"seed-{seed}")
        generator, _ = load_pixel_gan(run_pixel_gan(options))
        self._enter_pixel(PIXEL, seed, generator)
        if UNTRAINED_PIXEL not in self.entered:
            torch.manual_seed(0)
            untrained = PixelGenerator(generator.config)
            self._enter_pixel(UNTRAINED_PIXEL, 0, untrained.eval().requires_grad_(False))

    def train_pixel_oracle(self, seed: int) -> None:
        """Train the oracle of a pixel GAN."""
        out = self.folder / PIXEL_ORACLE.replace(" ", "-") / f"seed-{seed}"
        options = self.pixel_options(PixelOracleOptions, seed, out, split_seed=self.options.split_seed)
        generator, _ = load_pixel_gan(run_oracle(options), PixelOracleOptions)
        self._enter_pixel(PIXEL_ORACLE, seed, generator)

    def _enter_pixel(self, name: str, seed: int, generator: PixelGenerator) -> None:
        encoder = self.bundle.load_autoencoder().encoder
        for network in (generator, encoder):
            network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

        def make(z: Tensor) -> Tensor:
            with autocast(self.device):  # a search takes as long as training otherwise
                return encoder(generator(z.to(self.device)).clamp(-1, 1)).flatten(1).float()

        self.entered.setdefault(name, {})[seed] = PictureSource(
            generator.config.z_dim,
            make,
            lambda z, rows=slice(None): pictures(generator, z[rows]).numpy(),
            weights_digest(generator),
        )

    def _enter_latent(
        self,
        name: str,
        seed: int,
        generator: Generator | CascadeGenerator,
        standard: Standardisation,
        codec: Autoencoder | None = None,
    ) -> None:
        key = weights_digest(generator) + digest(standard) + (weights_digest(codec) if codec else "")
        generator.to(self.device)
        standard = standard.to(self.device)

        def make(z: Tensor) -> Tensor:
            made = generator(z.to(self.device))
            return made if isinstance(generator, CascadeGenerator) else standard.to_codes(made)

        def draw(z: Tensor, rows: Any = slice(None)) -> np.ndarray:
            with torch.inference_mode():
                codes = torch.cat([make(part).cpu() for part in z[rows].split(1024)])
            return self.decoded(codes.numpy(), codec)

        self.entered.setdefault(name, {})[seed] = PictureSource(generator.config.z_dim, make, draw, key)

    def enter_controls(self) -> None:
        """The untrained generator, and what can be drawn from seen codes without a GAN."""
        standard = self.bundle.standardisation
        codes = self.bundle.real_codes[self.bundle.splits == "train"]
        torch.manual_seed(0)
        untrained: Generator | CascadeGenerator
        if isinstance(config := self.bundle.gan_config, GanConfig):
            untrained = Generator(config)
        else:
            assert not isinstance(config, PixelGanConfig)  # the protocol refuses such a bundle
            untrained = CascadeGenerator(config)
            buffers = dict(self.generator.named_buffers())
            untrained.load_state_dict({**untrained.state_dict(), **buffers})
        self._enter_latent(UNTRAINED, 0, untrained.eval().requires_grad_(False), standard)
        standard = modelled(self.bundle)
        # Components of whole codes are computed here, and differ in the last digit from machine to machine.
        of = digest(standard) if self.stages == 1 else "whole codes"
        latents = standard.to_latents(torch.from_numpy(codes)).numpy()
        for name, control in CONTROLS.items():

            def draw(z: Tensor, rows: Any = slice(None), control: Any = control) -> np.ndarray:
                drawn = torch.from_numpy(control(latents, len(z), 0)[rows])
                return self.decoded(standard.to_codes(drawn).numpy())

            key = name + self.bundle.manifest["files"]["codes.safetensors.gz"]["sha256"] + of
            self.entered[name] = {0: PictureSource(1, lambda z: z, draw, key)}


def digest(standard: Standardisation) -> str:
    """SHA-256 of a standardisation, to know it again."""
    arrays = (standard.mean, standard.components, standard.scale)
    return hashlib.sha256(b"".join(a.cpu().numpy().tobytes() for a in arrays)).hexdigest()


def oracle_name(dose: float) -> str:
    """What the oracle of a dose is called in the report."""
    return ORACLE if dose == 1 else f"{ORACLE}, {100 * dose:g}% of the images"
