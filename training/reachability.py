"""Ask whether a class that was held out is within reach of a bundle's GAN: the whole protocol, with controls.

    python -m training.reachability pretrained/imagewoof64 --seeds 0-4

Trains the judges, the GANs of every seed, and oracles that have seen the held-out classes; judges their
samples; searches their ranges; writes reachability.json and reachability.html into --out, and the first into
the bundle. To resume, run the same command again: every stage that is done is kept. Exit status 0 if every
held-out class got a verdict, 2 if one is inconclusive. What is measured, and why: docs/reachability.md.
"""

import hashlib
import logging
import math
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor
from tqdm import tqdm

from explorer.bundle import REACHABILITY, Bundle, BundleError, read_manifest, update_bundle
from explorer.decoding import data_uri, decode, encode, grid
from explorer.latent import Standardisation, nearest
from explorer.networks import (
    Autoencoder,
    CascadeGenerator,
    GanConfig,
    Generator,
    PixelGanConfig,
    PixelGenerator,
)
from explorer.new_class import FILE, NewClass
from explorer.reachability import (
    CODEC_SAW,
    CUT,
    LATENT,
    ORACLE,
    PHOTOGRAPHS,
    PIXEL,
    PIXEL_ORACLE,
    ROUND_TRIPS,
    SHARED,
    UNTRAINED_PIXEL,
    conclusive,
    oracle,
)
from explorer.reachability_tables import summary
from explorer.verdict import UNTRAINED
from training.autoencoder import load_run as load_autoencoder
from training.cli import UserError, command_line, options_json, preset_options, print_dry_run
from training.codes import weights_digest
from training.controls import CONTROLS
from training.data.dataset import open_dataset
from training.detail_phase import DetailPhase, DetailPhaseOptions, run_detail_phase
from training.detail_phase import load_run as load_detail_phase
from training.device import autocast, device_name, resolve_device
from training.evaluate import EvaluateOptions, modelled, open_evaluated, scramble_phases
from training.hits import PASSING, Scored, realism
from training.inversion import RATE, search
from training.judge import JUDGE_NAME, Judge
from training.judged import REAL, Judged, Searched
from training.judges import Judges, NetworkJudgeOptions, pixels
from training.latent_gan import LatentGanOptions, run_latent_gan
from training.latent_gan import load_run as load_latent_gan
from training.loop import (
    check_made_of,
    options_from_json,
    package_versions,
    save_weights,
    write_atomically,
    write_json,
)
from training.new_class import add_new_class
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
from training.splits import CALIBRATION, LEARN, TEST, judging_parts

log = logging.getLogger(__name__)
SHOWN = 8  # pictures of a kind in the report
WEIGHTS = ("autoencoder.safetensors", "generator.safetensors")


@dataclass(frozen=True)
class ReachabilityOptions:
    """Options of ``python -m training.reachability``."""

    bundle: tyro.conf.Positional[Path]
    """The bundle whose codec and whose kind of GAN are asked."""
    generators: tuple[str, ...] = (LATENT,)
    """latent, pixel, or both; each with oracles of its own kind."""
    seeds: str = "0-4"
    """Seeds of the GANs and oracles, as 0-4 or 0,1,7; a claim takes five."""
    doses: tuple[float, ...] = (0.01, 0.05, 0.2, 1.0)
    """Shares of the held-out classes' images that oracles see: 1, the positive control, always; smaller ones
    in latent GANs alone."""
    dose_seeds: str = "0"
    """Seeds of the oracles of doses below 1, and of those whose codec saw the classes."""
    codec_saw: bool = False
    """Train oracles whose codec saw the held-out classes, too, and whose second stage, if any, is their own:
    a sign of what a codec that never saw them costs. Each takes as long as the bundle took."""
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
    cheap: bool = False
    """Ask the bundle's own generator alone and train no GAN: too few seeds, and no oracle, for a claim about
    what is produced."""
    train_only: bool = False
    """Train the GANs and oracles of these seeds and stop, so that several processes can share the work: each
    with seeds of its own and the same --out. The same command without this then finds them trained."""
    new_class: Path | None = None
    """Folder of photographs of one more class, called as the folder is, to ask about as if it had been held
    out; with --cheap. Its report stays in --out."""
    samples: int = 10_000
    """Samples drawn from each generator and control."""
    remakes: int = 8
    """How often test images are remade as a GAN in two stages could at best show them, with other detail each
    time; once with --cheap. More say more of the same images."""
    targets: int = 32
    """Images of each class that are searched for."""
    restarts: int = 4
    """Random starts of a search."""
    search_steps: int = 200
    """Gradient steps of a search from each start."""
    search_rate: float = RATE
    """Learning rate of a search, falling to zero."""
    alphas: tuple[float, ...] = (0.05, 0.02, 0.01, 0.005, 0.002)
    """False-alarm rates at which thresholds are set, on calibration pictures."""
    judge_images: int = 160_000
    """Training length of the judge that is trained from scratch."""
    split_seed: int = 0
    """Seed of the split of images into what judges learn from, are calibrated on and are tested on."""
    autoencoder: Path | None = None
    """A finished autoencoder run to train over, in place of the bundle's own."""
    out: Path | None = None
    """Folder of judges, GANs and scores; runs/reachability/<bundle>, of a new class <bundle>-<class>, by
    default."""
    source: str | None = None
    """Where the photographs are, if no longer where the bundle's source says."""
    cache: Path = Path("cache")
    """Where decoded photographs are kept."""
    write: bool = True
    """Whether to put the report into the bundle."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dry_run: bool = False
    """Print the resolved options and stop."""

    @property
    def folder(self) -> Path:
        """Where everything is kept."""
        name = self.bundle.name + (f"-{self.new_class.resolve().name}" if self.new_class else "")
        return self.out or Path("runs/reachability") / name


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds of '0-4' or '0,1,7'. Raises UserError where it is neither."""
    try:
        found: list[int] = []
        for part in text.split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        found = []
    if not found:
        raise UserError(f"--seeds are written as 0-4 or 0,1,7, not {text!r}")
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Source:
    """Something that makes pictures: a trained GAN, or a control.

    make: z float32 (n, z_dim) -> codes of the pictures, differentiable, float (n, code_dim). draw: z,
    and perhaps which rows of it -> pictures uint8 (n, s, s, 3). key: changes when what it makes does.
    """

    z_dim: int
    make: Callable[[Tensor], Tensor]
    draw: Callable[..., np.ndarray]
    key: str


class Reachability:
    """The protocol over one bundle."""

    def __init__(self, options: ReachabilityOptions) -> None:
        o = self.options = options
        self.device = resolve_device(o.device)
        self.folder = o.folder
        self.bundle, self.dataset = open_evaluated(EvaluateOptions(o.bundle, o.source, o.cache, o.device))
        self.new: NewClass | None = None
        given = self.bundle
        if o.new_class is not None:
            self.new, self.bundle, self.dataset = add_new_class(
                self.bundle, self.dataset, o.new_class, self.device
            )
        if not self.bundle.held_out:
            raise UserError(
                f"{o.bundle} holds out no class, so there is nothing to ask; name a --new-class, with --cheap"
            )
        if isinstance(self.bundle.gan_config, PixelGanConfig):
            raise UserError(
                f"{o.bundle} holds a GAN on pixels; name the bundle of a latent GAN over the same data, and "
                "add --generators latent pixel"
            )
        self.gan_config = self.bundle.gan_config
        if o.share_detail and isinstance(self.gan_config, GanConfig):
            raise UserError(
                f"the GAN of {o.bundle} has one stage, so no second to share; leave out --share-detail"
            )
        if o.codec_saw and "image_phase" in given.manifest["training"]:
            raise UserError(
                f"the decoder of {o.bundle} was trained further by an image phase, which another codec would "
                "lack; leave out --codec-saw"
            )
        images = repr((given.names, given.splits.tolist()))
        self.folder.mkdir(parents=True, exist_ok=True)
        check_made_of(
            self.folder / "made_of.json",
            {
                "codec": given.manifest["files"]["autoencoder.safetensors"]["sha256"],
                "held_out": list(given.held_out),
                "images": hashlib.sha256(images.encode()).hexdigest(),
            },
            f"{self.folder} was begun with another codec, other images or another hold-out than "
            f"{given.path} has; use another --out",
        )
        if not any(self.bundle.judge["photo_top1"] != -1):
            self.features: Callable[[np.ndarray], np.ndarray] = pixels
            self.features_name = "pixels"
        else:
            judge = Judge(self.device)
            self.features = lambda shown: judge.embed(shown)[0].numpy()
            self.features_name = JUDGE_NAME
        self.labels = self.dataset.store.labels
        self.parts = judging_parts(self.labels, self.dataset.splits, o.split_seed)
        self.model = self.bundle.load_autoencoder()
        self.judges: list[Judges] = []
        self.real_features = np.empty((0, 0), np.float32)
        self.sources: dict[str, dict[int, Source]] = {}
        self.judged_rows = np.flatnonzero(self.parts != LEARN)
        held_out = [self.dataset.classes.index(name) for name in self.dataset.held_out]
        self.judged = Judged(self.labels[self.judged_rows], self.parts[self.judged_rows], held_out)

    # What pictures are shown to the judges

    def decoded(self, codes: np.ndarray, model: Autoencoder | None = None) -> np.ndarray:
        """Pictures uint8 (n, s, s, 3) of codes float (n, code_dim); by the bundle's codec, if by no other."""
        with autocast(torch.device("cpu")):
            return decode(model or self.model, codes)

    def real(self, kind: str, rows: np.ndarray) -> np.ndarray:
        """Real images as photographs, as round trips, or as the GAN could at best show them: round trips of
        the components that it models, with the rest left out or, in two stages, generated.
        """
        if kind == PHOTOGRAPHS:
            return self.dataset.centers(rows).numpy()
        codes = self.bundle.real_codes[rows]
        return self.decoded(self.remade(codes) if kind == CUT else codes)

    @property
    def remaker(self) -> str:
        """Changes when what ``remade`` makes does."""
        generator = self.bundle.load_generator()
        second = weights_digest(generator.detail) if isinstance(generator, CascadeGenerator) else ""
        return digest(self.bundle.standardisation) + second

    @torch.inference_mode()
    def remade(self, codes: np.ndarray, repeat: int = 0) -> np.ndarray:
        """What the bundle's GAN would make of codes float (n, code_dim) if its first stage were perfect; with
        other detail at each repeat.
        """
        standard, generator = self.bundle.standardisation, self.bundle.load_generator()
        latents = standard.to_latents(torch.from_numpy(codes))
        if not isinstance(generator, CascadeGenerator):
            return standard.to_codes(latents).numpy()
        draw = torch.Generator().manual_seed(self.options.split_seed + 1_000_003 * repeat)
        noise = torch.randn(len(codes), math.prod(generator.config.noise_shape), generator=draw)
        parts = zip(latents.split(1024), noise.split(1024), strict=True)
        return torch.cat([generator.refine(*part) for part in parts]).numpy()

    # Stages; each keeps what it did in a file, by a key of what it depends on

    def kept(
        self, name: str, key: str, compute: Callable[[], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Arrays from ``scores/<name>``, computed where the file is missing, damaged or of another key."""
        path = self.folder / "scores" / f"{name}.safetensors"
        known = {"key": hashlib.sha256(key.encode()).hexdigest()[:16]}
        try:
            with safe_open(path, "numpy") as file:
                if file.metadata() == known:
                    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            pass
        arrays = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda temporary: save_file(arrays, temporary, known))
        return arrays

    def learn(self) -> None:
        """Train the judges, and those with permuted labels."""
        o = self.options
        rows = np.flatnonzero(self.parts == LEARN)

        @cache  # decoding takes a minute, and judges that have learnt need no pictures
        def draw() -> np.ndarray:
            return np.concatenate([self.real(kind, rows) for kind in REAL])

        labels = np.tile(self.labels[rows], len(REAL))
        key = self._key("learn", self.remaker)
        features = self.kept("learn", key, lambda: {"features": self.features(draw())})["features"]
        self.real_features = features.reshape(len(REAL), len(rows), -1)[REAL.index(ROUND_TRIPS)]
        size = self.dataset.options.image_size
        # Judges that learnt from other pictures are others.
        folder = self.folder / f"judges-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        for permuted in (False, True):
            name = "permuted" if permuted else "network"
            network = NetworkJudgeOptions(
                images=o.judge_images, mirror=self.dataset.options.mirror, permuted=permuted,
                out=folder / name, device=o.device, checkpoint_every=200, seed=o.split_seed,
            )  # fmt: skip
            self.judges.append(Judges(draw, size, features, labels, network, self.device))

    def _key(self, *more: Any) -> str:
        """What every score depends on: images, split, codec."""
        made_of = [self.bundle.manifest["files"]["autoencoder.safetensors"]["sha256"], self.features_name]
        if self.new is not None:
            made_of.append(self.new.digest)
        return repr(
            (
                tuple(made_of),
                self.options.split_seed,
                hashlib.sha256(self.labels.tobytes() + self.parts.tobytes()).hexdigest(),
                *more,
            )
        )

    def score(self, name: str, key: str, draw: Callable[[], np.ndarray]) -> Scored:
        """Judge pictures uint8 (n, s, s, 3), once."""

        def compute() -> dict[str, np.ndarray]:
            shown = draw()
            features = self.features(shown)
            true, permuted = (judges(shown, features) for judges in self.judges)
            return {"judges": true, "permuted": permuted, "distance": realism(features, self.real_features)}

        judged = [weights_digest(judges.network.model) for judges in self.judges]
        return Scored(**self.kept(name, self._key(judged, "cosine distance", key), compute))

    def judge_real(self, kind: str) -> None:
        """Judge the calibration and test images, as photographs or through the codec."""
        rows, key = self.judged_rows, kind + (self.remaker if kind == CUT else "")
        name = f"real-{kind.replace(' ', '-')}"
        self.judged.real[kind] = self.score(name, key, lambda: self.real(kind, rows))

    @property
    def remakes(self) -> int:
        """How often test images are remade: once where no detail is generated, or nothing is claimed."""
        one_stage = isinstance(self.gan_config, GanConfig)
        return 1 if one_stage or self.options.cheap else self.options.remakes

    def judge_remade(self, repeat: int) -> None:
        """Judge the same images as the GAN could at best show them once more, with other detail."""
        self.judged.remade.append(
            self.score(
                f"remade-{repeat}",
                f"{CUT} {repeat} {self.remaker}",
                lambda: self.decoded(self.remade(self.bundle.real_codes[self.judged_rows], repeat)),
            )
        )

    def judge_samples(self, name: str, seed: int) -> None:
        """Judge samples of a source."""
        source, count = self.sources[name][seed], self.options.samples
        self.judged.made.setdefault(name, {})[seed] = self.score(
            f"{name.replace(' ', '-')}-{seed}",
            source.key + str(count),
            lambda: source.draw(self.sampled_z(source, seed)),
        )

    def sampled_z(self, source: Source, seed: int) -> Tensor:
        """The z float32 (samples, z_dim) that are drawn from a source, the same at every call."""
        draw = torch.Generator().manual_seed(7000 + seed)
        return torch.randn(self.options.samples, source.z_dim, generator=draw)

    # Generators

    @cached_property
    def autoencoder_run(self) -> Path:
        """The autoencoder as a finished run, to train GANs over: the one named, or the bundle's own."""
        if (given := self.options.autoencoder) is not None:
            model, data = load_autoencoder(given)
            same = weights_digest(model.half().encoder) == weights_digest(deepcopy(self.model).half().encoder)
            if not same or not np.array_equal(open_dataset(data).splits, self.dataset.splits):
                raise UserError(
                    f"{given} is not the codec of {self.options.bundle}, or holds out other images; name the "
                    "run that the bundle was made of, or leave out --autoencoder"
                )
            return given
        out = self.folder / "autoencoder"
        saved = self.bundle.manifest["training"]["autoencoder"]
        now = options_json(self.dataset.options)  # with where the photographs are
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "options.json", {"options": {**saved["options"], **now, "out": str(out)}})
        if not (out / "done.json").is_file():
            save_weights(out / "autoencoder.safetensors", self.model)
            write_json(out / "done.json", saved["done"])
        return out

    def enter_own(self, seed: int) -> None:
        """The bundle's own generator, as it is."""
        generator = self.bundle.load_generator()
        assert not isinstance(generator, PixelGenerator)  # as its configuration said
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
        self._enter_trained(LATENT, seed, out, LatentGanOptions, DetailPhase)

    def train_oracle(self, dose: float, seed: int) -> None:
        """Train an oracle."""
        name = oracle_name(dose)
        out = self.folder / f"oracle-{dose:g}" / f"seed-{seed}"
        split_seed = self.options.split_seed
        run_oracle(self.latent_options(OracleOptions, seed, out, dose=dose, split_seed=split_seed))
        self._enter_trained(name, seed, out, OracleOptions, OracleDetailPhase)

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
        self._enter_trained(CODEC_SAW, seed, out, SightedOracleOptions, SightedDetailPhase, model)

    def _enter_trained(
        self,
        name: str,
        seed: int,
        first: Path,
        kind: Any,
        second: type[DetailPhase],
        codec: Autoencoder | None = None,
    ) -> None:
        """A trained GAN, with a detail phase over it where the bundle's has one.

        codec: its own, if it is not over the bundle's. Then it cannot share the bundle's second stage.
        """
        if isinstance(self.gan_config, GanConfig):
            self._enter_latent(name, seed, *load_latent_gan(first, kind)[:2], codec)
            return
        if self.options.share_detail and codec is None:
            coarse, standard, _ = load_latent_gan(first, kind)
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
        self._enter_latent(name, seed, *load_detail_phase(options.out, second)[:2], codec)

    def pixel_options(self, kind: Any, seed: int, out: Path, **values: Any) -> Any:
        """Options of a pixel GAN on the same images, as the bundle's preset has it; not watched either."""
        preset = self.bundle.manifest["training"]["autoencoder"]["options"]["preset"]
        usual = preset_options(kind, "pixel_gan", preset)
        return replace(
            usual, autoencoder=self.autoencoder_run, images=self.options.pixel_images or usual.images,
            seed=seed, device=self.options.device, out=out, snapshots=1, evaluations=1, **values,
        )  # fmt: skip

    def train_pixel(self, seed: int) -> None:
        """Train a pixel GAN."""
        options = self.pixel_options(PixelGanOptions, seed, self.folder / PIXEL / f"seed-{seed}")
        generator, _ = load_pixel_gan(run_pixel_gan(options))
        self._enter_pixel(PIXEL, seed, generator)
        if UNTRAINED_PIXEL not in self.sources:
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

        self.sources.setdefault(name, {})[seed] = Source(
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

        self.sources.setdefault(name, {})[seed] = Source(generator.config.z_dim, make, draw, key)

    def enter_controls(self) -> None:
        """The untrained generator, and what can be drawn from seen codes without a GAN."""
        standard = self.bundle.standardisation
        codes = self.bundle.real_codes[self.bundle.splits == "train"]
        torch.manual_seed(0)
        untrained: Generator | CascadeGenerator
        if isinstance(self.gan_config, GanConfig):
            untrained = Generator(self.gan_config)
        else:
            untrained = CascadeGenerator(self.gan_config)
            buffers = dict(self.bundle.load_generator().named_buffers())
            untrained.load_state_dict({**untrained.state_dict(), **buffers})
        self._enter_latent(UNTRAINED, 0, untrained.eval().requires_grad_(False), standard)
        standard = modelled(self.bundle)
        # Components of whole codes are computed here, and differ in the last digit from machine to machine.
        of = digest(standard) if isinstance(self.gan_config, GanConfig) else "whole codes"
        latents = standard.to_latents(torch.from_numpy(codes)).numpy()
        for name, control in CONTROLS.items():

            def draw(z: Tensor, rows: Any = slice(None), control: Any = control) -> np.ndarray:
                drawn = torch.from_numpy(control(latents, len(z), 0)[rows])
                return self.decoded(standard.to_codes(drawn).numpy())

            key = name + self.bundle.manifest["files"]["codes.safetensors.gz"]["sha256"] + of
            self.sources[name] = {0: Source(1, lambda z: z, draw, key)}

    # The second rung

    def targets(self, label: int) -> np.ndarray:
        """Positions of the test images of a class that are searched for."""
        rows = np.flatnonzero((self.labels == label) & (self.parts == TEST))
        chosen = np.random.default_rng((self.options.split_seed, label)).permutation(rows)
        return np.sort(chosen[: self.options.targets])

    @cached_property
    def wanted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What every range is searched for: test images of every class, and these with phases scrambled.

        Positions int64 (k,) of the images; codes float32 (2k, code_dim); and the distance float32 (2k,) of
        each code to that of its nearest training image.
        """
        rows = np.concatenate([self.targets(label) for label in range(len(self.dataset.classes))])
        photographs = self.dataset.centers(rows).numpy()
        scrambled = scramble_phases(photographs, self.options.split_seed)
        codes = encode(self.model, np.concatenate([photographs, scrambled]))
        training = self.bundle.real_codes[self.bundle.splits == "train"]
        return rows, codes, nearest(codes, training)[0][:, 0]

    def search_range(self, name: str, seed: int) -> None:
        """Search a generator's range for what is wanted."""
        o, source = self.options, self.sources[name][seed]
        rows, codes, to_training = self.wanted

        def compute() -> dict[str, np.ndarray]:
            goal = torch.from_numpy(codes).to(self.device)
            z, distance = search(
                source.make, goal, source.z_dim, restarts=o.restarts, steps=o.search_steps,
                lr=o.search_rate, seed=seed,
            )  # fmt: skip
            return {"z": z.numpy(), "distance": distance.numpy()}

        slug = f"{name.replace(' ', '-')}-{seed}"
        budget = (o.targets, o.restarts, o.search_steps, o.search_rate)
        found = self.kept(f"search-{slug}", self._key(source.key, budget), compute)
        z = torch.from_numpy(found["z"])
        scored = self.score(f"found-{slug}", source.key + repr(budget), lambda: source.draw(z))
        labels, scrambled = np.tile(self.labels[rows], 2), np.repeat([False, True], len(rows))
        relative = found["distance"] / to_training
        self.judged.searched.setdefault(name, []).append(
            Searched(seed, rows, labels, scrambled, scored, relative, z)
        )

    # The report

    def report(self) -> dict[str, Any]:
        """Count everything; returns what reachability.json holds."""
        o, classes, judged = self.options, self.dataset.classes, self.judged
        found: dict[str, Any] = {}
        for label, name in enumerate(classes):
            found[name] = {
                "held_out": label in judged.held_out,
                "levels": {f"{alpha:g}": judged.level(label, alpha) for alpha in o.alphas},
                "distances": judged.distances(label),
            }
            if label in judged.held_out:
                found[name]["examples"] = self.examples(label)
        return {
            "format": 1,
            "command": command_line(),
            "options": options_json(o),
            "versions": package_versions(),
            "device": device_name(self.device),
            "codec": "blind",
            "detail": self.detail,
            "features": self.features_name,
            "split": {
                "seed": o.split_seed,
                "parts": "".join(part[0] for part in self.parts),
                "counts": {
                    name: {
                        p: int(((self.labels == i) & (self.parts == p)).sum())
                        for p in (LEARN, CALIBRATION, TEST)
                    }
                    for i, name in enumerate(classes)
                },
            },
            "gate": {"share": PASSING, "distance": judged.within, "passed": judged.passed()},
            "judges": judged.right(),
            "alphas": list(o.alphas),
            "seeds": {name: list(by_seed) for name, by_seed in judged.made.items()},
            "samples": o.samples,
            "new_class": self.new
            and {"name": self.new.name, "photographs": len(self.new.names), "sha256": self.new.digest},
            "classes": found,
        }

    @property
    def detail(self) -> str | None:
        """Whose second stage the latent GANs of every seed have: their own, or one that all share."""
        if isinstance(self.gan_config, GanConfig):
            return None
        return SHARED if self.options.share_detail else "own"

    def examples(self, label: int) -> dict[str, Any]:
        """Pictures behind the numbers of a class: best round trips, best finds, highest-scoring samples.

        Round trips are positions of images; the others a picture of ``SHOWN`` side by side.
        """
        judged, rows = self.judged, self.judged_rows
        trips, within = judged.real[ROUND_TRIPS], judged.within
        own = np.flatnonzero((judged.labels == label) & (judged.parts == TEST))
        best = own[np.argsort(-trips.judges[own][:, :, label].min(1))[:SHOWN]]
        shown: dict[str, Any] = {ROUND_TRIPS: rows[best].tolist(), "samples": {}, "searches": {}}
        for name, by_seed in judged.made.items():
            seed, scored = next(iter(by_seed.items()))
            score = np.where(scored.distance <= within, scored.judges[:, :, label].min(1), -np.inf)
            top = np.argsort(-score)[:SHOWN]
            source = self.sources[name][seed]
            drawn = source.draw(self.sampled_z(source, seed), top)
            of_class = self.bundle.real_codes[self.labels == label]
            near = nearest(encode(self.model, drawn), of_class)[1][:, 0]
            shown["samples"][name] = {
                "sheet": data_uri(grid(drawn, SHOWN), quality=80),
                "nearest": np.flatnonzero(self.labels == label)[near].tolist(),
                "probability": [round(float(np.exp(p)), 4) for p in score[top]],
            }
        for name, runs in judged.searched.items():
            found, source = runs[0], self.sources[name][runs[0].seed]
            mine = np.flatnonzero(found.chosen(label, scrambled=False))
            top = mine[np.argsort(found.relative[mine])[:SHOWN]]
            shown["searches"][name] = {
                "sheet": data_uri(grid(source.draw(found.z[top]), SHOWN), quality=80),
                "targets": found.rows[top].tolist(),
                "relative": [round(float(d), 3) for d in found.relative[top]],
            }
        return shown


def digest(standard: Standardisation) -> str:
    """SHA-256 of a standardisation, to know it again."""
    arrays = (standard.mean, standard.components, standard.scale)
    return hashlib.sha256(b"".join(a.cpu().numpy().tobytes() for a in arrays)).hexdigest()


def oracle_name(dose: float) -> str:
    """What the oracle of a dose is called in the report."""
    return ORACLE if dose == 1 else f"{ORACLE}, {100 * dose:g}% of the images"


def run_reachability(options: ReachabilityOptions) -> dict[str, Any]:
    """Run the protocol, or what is left of it; returns the report."""
    unknown = sorted(set(options.generators) - {LATENT, PIXEL})
    if unknown or not options.generators:
        raise UserError(f"--generators are latent and pixel, not {', '.join(unknown) or 'none'}")
    if not all(0 < dose <= 1 for dose in options.doses):
        raise UserError("--doses are shares above 0, up to 1")
    if options.cheap and options.generators != (LATENT,):
        raise UserError("--cheap asks the bundle's own generator alone; leave out --generators")
    if options.cheap and options.share_detail:
        raise UserError("--cheap trains no GAN; leave out --share-detail")
    if options.codec_saw and (options.cheap or LATENT not in options.generators):
        raise UserError(
            "--codec-saw trains oracles of latent GANs; leave it out with --cheap, and where --generators "
            "do not name latent"
        )
    if options.cheap and options.train_only:
        raise UserError("--cheap trains no GAN; leave out --train-only")
    if options.new_class is not None and not options.cheap:
        raise UserError("--new-class goes with --cheap: no oracle has seen such a class")
    if not options.alphas or not all(0 < alpha < 1 for alpha in options.alphas):
        raise UserError("--alphas are rates between 0 and 1")
    seeds, dose_seeds = parse_seeds(options.seeds), parse_seeds(options.dose_seeds)
    if options.train_only:  # a dose is trained by the one process that has its seed
        dose_seeds = tuple(seed for seed in dose_seeds if seed in seeds)
    if options.dry_run:
        print_dry_run(options, seeds=seeds, dose_seeds=dose_seeds)
        return {}
    run = Reachability(options)
    tasks: list[tuple[str, Callable[[], None]]] = []
    if not options.train_only:
        tasks.append(("judges", run.learn))
        tasks += [(f"judging real {kind}", lambda kind=kind: run.judge_real(kind)) for kind in REAL]  # type: ignore[misc]
        for i in range(1, run.remakes):
            tasks.append((f"judging remade images, {i + 1} of {run.remakes}", partial(run.judge_remade, i)))
        tasks.append(("controls", run.enter_controls))

    def add(name: str, seed: int, train: Callable[[], None] | None, searched: bool) -> None:
        words = f"{name}, seed {seed}"
        if train is not None:
            tasks.append((f"training {words}", train))
        if options.train_only:
            return
        tasks.append((f"judging samples of {words}", lambda: run.judge_samples(name, seed)))
        if searched:
            tasks.append((f"searching the range of {words}", lambda: run.search_range(name, seed)))

    for name in (UNTRAINED, *CONTROLS):
        add(name, 0, None, searched=name == UNTRAINED)
    if options.cheap:
        own = run.bundle.manifest["training"]["latent_gan"]["options"]["seed"]
        tasks.append(("the bundle's own generator", lambda: run.enter_own(own)))
        add(LATENT, own, None, searched=True)
        seeds = dose_seeds = ()
    kinds: dict[str, tuple[Callable[[int], None], Callable[[int], None]]] = {
        LATENT: (run.train_latent, lambda seed: run.train_oracle(1.0, seed)),
        PIXEL: (run.train_pixel, run.train_pixel_oracle),
    }
    for seed in seeds:
        for kind in options.generators:
            for name, train in zip((kind, oracle(kind)), kinds[kind], strict=True):
                searched = name != PIXEL_ORACLE  # as long as its training again, for no claim
                add(name, seed, lambda train=train, seed=seed: train(seed), searched)  # type: ignore[misc]
                if name == PIXEL and seed == seeds[0]:
                    add(UNTRAINED_PIXEL, 0, None, searched=True)
    for seed in dose_seeds if options.codec_saw else ():
        add(CODEC_SAW, seed, lambda seed=seed: run.train_sighted_oracle(seed), searched=False)  # type: ignore[misc]
    for dose in sorted({*options.doses} - {1.0}) if LATENT in options.generators else []:
        for seed in dose_seeds:
            add(
                oracle_name(dose), seed,
                lambda dose=dose, seed=seed: run.train_oracle(dose, seed), searched=False,  # type: ignore[misc]
            )  # fmt: skip
    progress = tqdm(tasks, unit="stage")
    for i, (words, task) in enumerate(progress):
        progress.set_description(words)
        write_json(run.folder / "progress.json", {"done": i, "of": len(tasks), "doing": words})
        task()
    if options.train_only:
        return {}
    report = run.report()
    if (new := run.new) is not None:
        write_atomically(run.folder / FILE, lambda temporary: temporary.write_bytes(new.to_bytes()))
    write_json(run.folder / REACHABILITY, report)
    print(summary(report))
    write_html(run.folder / "reachability.html", report, run.bundle)
    if options.write and run.new is None:  # the bundle has no such class
        try:
            check_unchanged(options.bundle, run.bundle, f"the report is in {run.folder}")
            update_bundle(options.bundle, {REACHABILITY: report})
        except BundleError as error:
            raise UserError(str(error)) from None
    write_json(run.folder / "progress.json", {"done": len(tasks), "of": len(tasks), "doing": "done"})
    return report


def check_unchanged(path: Path, before: Bundle, kept: str) -> None:
    """Raise UserError, saying where the report is ``kept``, if a bundle's networks are others by now."""
    now, then = read_manifest(path)["files"], before.manifest["files"]
    if any(now[f]["sha256"] != then[f]["sha256"] for f in WEIGHTS):
        raise UserError(f"{path} was replaced meanwhile, so nothing was put into it; {kept}")


def write_html(path: Path, report: dict[str, Any], bundle: Bundle) -> None:
    """Write the report for people; a warning where what draws its figures is not installed."""
    try:
        from streamlit.logger import set_log_level

        set_log_level("ERROR")  # it warns that no app is running
        from explorer.report import html_report
    except ImportError as error:
        log.warning("%s was not written: %s", path, error)
        return
    page = html_report(report, bundle)
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))


def main(options: ReachabilityOptions) -> None:
    """Run the protocol; exit with 2 where a held-out class got no verdict."""
    report = run_reachability(options)
    if report and not conclusive(report):
        sys.exit(2)


if __name__ == "__main__":
    from training.cli import run_script

    run_script(ReachabilityOptions, "reachability", main)
