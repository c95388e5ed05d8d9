"""The reachability protocol over one bundle, stage by stage: judges, gate, samples, searches, report.

Each stage keeps what it did in a file, and finds it there. training/reachability.py runs all of them,
training/known_truth.py some; what is measured, and why: docs/reachability.md.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explorer.counts_table import with_intervals
from explorer.decoding import data_uri, encode, grid
from explorer.latent import nearest
from explorer.networks import GanConfig, PixelGanConfig
from explorer.new_class import NewClass
from explorer.reachability import (
    CLASS,
    CUT,
    LATENT,
    LEVEL,
    PHOTOGRAPHS,
    ROUND_TRIPS,
    SHARED,
    TRAINING,
    TRAINING_CUT,
    pictures_needed,
)
from explorer.verdict import listed, percent
from training.class_judges import Judges, NetworkJudgeOptions, pixels
from training.cli import UserError, command_line, options_json
from training.codes import weights_digest
from training.device import device_name, resolve_device
from training.evaluate import EvaluateOptions, open_evaluated, scramble_phases
from training.files import kept, make_folder
from training.hit_counts import REAL, Judged, Searched
from training.hits import PASSING, Scored, realism
from training.imagenet_judge import JUDGE_NAME, Judge
from training.inversion import RATE, search
from training.new_class import add_new_class
from training.picture_sources import PictureSource, PictureSourceOptions, PictureSources
from training.runs import check_made_of, package_versions
from training.splits import CALIBRATION, LEARN, PARTS, TEST, judging_parts

log = logging.getLogger(__name__)
SHOWN = 8  # pictures of a kind in the report


@dataclass(frozen=True)
class ReachabilityOptions(PictureSourceOptions):
    """Options of ``python -m training.reachability``."""

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
    time: rounded up to equally often by each second stage; once with --cheap. More say more of the same
    images."""
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
    out: Path | None = None
    """Folder of judges, GANs and scores; runs/reachability/<bundle>, of a new class <bundle>-<class>, by
    default."""
    source: str | None = None
    """Where the photographs are, if no longer where the bundle's source says."""
    cache: Path = Path("cache")
    """Where decoded photographs are kept."""
    write: bool = True
    """Whether to put the report into the bundle."""
    replace: bool = False
    """Put the report into the bundle also in the place of one that was measured with more."""
    dry_run: bool = False
    """Print the resolved options and stop."""

    @property
    def folder(self) -> Path:
        """Where everything is kept."""
        name = self.bundle.resolve().name + (f"-{self.new_class.resolve().name}" if self.new_class else "")
        return self.out or Path("runs/reachability") / name


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
        if o.share_detail and isinstance(self.bundle.gan_config, GanConfig):
            raise UserError(
                f"the GAN of {o.bundle} has one stage, so no second to share; leave out --share-detail"
            )
        if o.codec_saw and "image_phase" in given.manifest["training"]:
            raise UserError(
                f"the decoder of {o.bundle} was trained further by an image phase, which another codec would "
                "lack; leave out --codec-saw"
            )
        images = repr((given.names, given.splits.tolist()))
        make_folder(self.folder)
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
        held_out = [self.dataset.classes.index(name) for name in self.dataset.held_out]
        self._check_enough(held_out)
        self.judges: list[Judges] = []
        self.real_features = np.empty((0, 0), np.float32)
        self.sources = PictureSources(o, self.bundle, self.dataset, self.folder, self.device)
        self.judged_rows = np.flatnonzero(self.parts != LEARN)
        self.trained_rows = np.flatnonzero(self.dataset.splits == "train")
        self.judged = Judged(
            self.dataset.classes, self.labels[self.judged_rows], self.parts[self.judged_rows], held_out,
            trained_labels=self.labels[self.trained_rows],
        )  # fmt: skip

    def real(self, kind: str, rows: np.ndarray) -> np.ndarray:
        """Real images as photographs, as round trips, or as the bundle's own GAN could at best show them: of
        the components that it models, with the rest left out or, in two stages, generated.
        """
        if kind == PHOTOGRAPHS:
            return self.dataset.centers(rows).numpy()
        codes = self.bundle.real_codes[rows]
        if kind == CUT:
            return self.sources.at_best(codes, self.sources.own_remaker)
        return self.sources.decoded(codes)

    def _check_enough(self, held_out: list[int]) -> None:
        """Raise UserError unless judges can learn every class, and a held-out one can be asked about."""
        for label, name in enumerate(self.dataset.classes):
            of_class = self.parts[self.labels == label]
            needed = PARTS if label in held_out else (LEARN,)
            if lacking := [part for part in needed if part not in of_class]:
                raise UserError(
                    f"{name!r} has {len(of_class)} images, too few for the judges: none is left for "
                    f"{lacking[0]}; add photographs of it, or leave it out, and train anew"
                )
        pictures = int(((self.parts == CALIBRATION) & ~np.isin(self.labels, held_out)).sum())
        too_few = [alpha for alpha in self.options.alphas if pictures < pictures_needed(alpha)]
        if too_few:
            log.warning(
                "%d calibration pictures of seen classes are too few for a verdict at %s: that takes %s",
                pictures,
                listed([percent(alpha) for alpha in too_few]),
                listed([str(pictures_needed(alpha)) for alpha in too_few]),
            )

    # Stages; each keeps what it did in a file, by a key of what it depends on

    def kept(
        self, name: str, key: str, compute: Callable[[], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Arrays from ``scores/<name>``, or computed; see ``training.files.kept``."""
        return kept(self.folder / "scores" / f"{name}.safetensors", key, compute)

    def learn(self) -> None:
        """Train the judges, and those with permuted labels."""
        o = self.options
        rows = np.flatnonzero(self.parts == LEARN)

        @cache  # decoding takes a minute, and judges that have learnt need no pictures
        def draw() -> np.ndarray:
            return np.concatenate([self.real(kind, rows) for kind in REAL])

        key = self._key("learn", self.sources.own_remaker.key)
        features = self.kept("learn", key, lambda: {"features": self.features(draw())})["features"]
        self.real_features = features.reshape(len(REAL), len(rows), -1)[REAL.index(ROUND_TRIPS)]
        size = self.dataset.options.image_size
        # Judges that learnt from other pictures are others.
        folder = self.folder / f"judges-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        for permuted in (False, True):
            # Those of earlier versions, whose labels were permuted picture by picture, lie in "permuted".
            name = "permuted-images" if permuted else "network"
            network = NetworkJudgeOptions(
                images=o.judge_images, mirror=self.dataset.options.mirror, permuted=permuted,
                out=folder / name, device=o.device, checkpoint_every=200, seed=o.split_seed,
            )  # fmt: skip
            self.judges.append(Judges(draw, size, features, self.labels[rows], network, self.device))

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
                hashlib.sha256(self.dataset.colours.tobytes()).hexdigest(),  # others of the same names
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
        name = f"real-{kind.replace(' ', '-')}"
        self.judged.real[kind] = self.score(name, kind, lambda: self.real(kind, self.judged_rows))

    def remakes(self, seeds: int = 1) -> int:
        """How often test images are remade: once where no detail is generated, or nothing is claimed, or else
        as often as asked, and by each of as many second stages as there are seeds equally often.
        """
        o = self.options
        if self.sources.stages == 1 or o.cheap:
            return 1
        turns = 1 if o.share_detail or LATENT not in o.generators else seeds
        return -(-o.remakes // turns) * turns

    def judge_remade(self, repeat: int) -> None:
        """Judge the same images as the GANs could at best show them, each time with other detail.

        Where each seed has its own second stage, they take turns; so all must have been trained.
        """
        remakers = self.sources.remakers
        remaker = remakers[repeat % len(remakers)]
        codes = self.bundle.real_codes[self.judged_rows]
        scored = self.score(
            f"remade-{repeat}-by-{remaker.by}",
            f"{CUT} {repeat} {remaker.key}",
            lambda: self.sources.at_best(codes, remaker, repeat),
        )
        if repeat:
            self.judged.remade.append(scored)
        else:
            self.judged.real[CUT] = scored

    def judge_training(self, kind: str) -> None:
        """Judge the images that codec and GAN were trained on, as photographs or as the GANs could at best
        show them, each by one of them: a GAN descends from these, and the judges have learnt them.
        """
        rows, remakers = self.trained_rows, self.sources.remakers
        name = kind.replace(" ", "-")
        keys: list[str] = []
        if kind == TRAINING_CUT:
            keys = [remaker.key for remaker in remakers]
            name += f"-by-{'-'.join(remaker.by for remaker in remakers)}"

        def draw() -> np.ndarray:
            if kind == TRAINING:
                return self.real(PHOTOGRAPHS, rows)
            codes, size = self.bundle.real_codes[rows], self.dataset.options.image_size
            shown = np.empty((len(rows), size, size, 3), np.uint8)
            for i, remaker in enumerate(remakers):
                shown[i :: len(remakers)] = self.sources.at_best(codes[i :: len(remakers)], remaker)
            return shown

        self.judged.trained[kind] = self.score(name, repr((kind, keys)), draw)

    def judge_samples(self, name: str, seed: int) -> None:
        """Judge samples of a source."""
        source, count = self.sources[name][seed], self.options.samples
        self.judged.made.setdefault(name, {})[seed] = self.score(
            f"{name.replace(' ', '-')}-{seed}",
            source.key + str(count),
            lambda: source.draw(self.sampled_z(source, seed)),
        )

    def sampled_z(self, source: PictureSource, seed: int) -> Tensor:
        """The z float32 (samples, z_dim) that are drawn from a source, the same at every call."""
        draw = torch.Generator().manual_seed(7000 + seed)
        return torch.randn(self.options.samples, source.z_dim, generator=draw)

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
        codes = encode(self.sources.model, np.concatenate([photographs, scrambled]))
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
        report = {
            "format": 1,
            "intervals": {"method": "Clopper-Pearson", "level": LEVEL},
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
        return with_intervals(report)

    @property
    def detail(self) -> str | None:
        """Whose second stage the latent GANs of every seed have: their own, or one that all share."""
        if self.sources.stages == 1:
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
            near = nearest(encode(self.sources.model, drawn), of_class)[1][:, 0]
            shown["samples"][name] = {
                "sheet": data_uri(grid(drawn, SHOWN), quality=80),
                "nearest": np.flatnonzero(self.labels == label)[near].tolist(),
                "probability": [round(float(np.exp(p)), 4) for p in score[top]],
            }
        for name, runs in judged.searched.items():
            found, source = runs[0], self.sources[name][runs[0].seed]
            mine = np.flatnonzero(found.chosen(label, CLASS))
            top = mine[np.argsort(found.relative[mine])[:SHOWN]]
            shown["searches"][name] = {
                "sheet": data_uri(grid(source.draw(found.z[top]), SHOWN), quality=80),
                "targets": found.rows[top].tolist(),
                "relative": [round(float(d), 3) for d in found.relative[top]],
            }
        return shown
