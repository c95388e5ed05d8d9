"""Race a GAN on codes against a GAN on pixels: quality against seconds, on one device, in one process.

    python -m training.race --preset imagewoof64 --hold-out Samoyed "English foxhound" --budget 20

The contestants take turns in slices of a few seconds, always the one that has had least, so that a noisy
machine hits all alike. The latent GANs wait for their codec, whose seconds count into their total. Judging is
off the clock. Writes race.json, race.md and race.html into --out; with --bundle, race.json into that bundle
too. To resume, run the same command again. What the numbers mean: docs/speed.md.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from tqdm import tqdm

from explorer import race as found
from explorer.bundle import BundleError, open_bundle
from explorer.bundle_writing import update_bundle
from explorer.decoding import data_uri, decode, encode, grid
from explorer.measured import RACE
from explorer.networks import Autoencoder
from training import metrics
from training.adversarial import GanTraining, fixed_z
from training.autoencoder import AutoencoderOptions, AutoencoderTraining
from training.autoencoder import load_run as load_autoencoder
from training.cli import UserError, command_line, options_json, preset_options, print_dry_run
from training.codes import training_codes
from training.data.dataset import Dataset, center_crop, open_dataset
from training.detail_phase import DetailPhase, DetailPhaseOptions, open_detail_phase
from training.device import device_name, resolve_device
from training.evaluate import THRESHOLD_PERCENTILE, CachedJudge, Judged
from training.judge import DOG_CLASSES, JUDGE_NAME, JUDGE_SIZE, imagenet_index
from training.latent_gan import LatentGan, LatentGanOptions, codes_path
from training.loop import DivergedError, make_folder, open_run, package_versions, read_json, write_json
from training.pixel_gan import PixelGan, PixelGanOptions, pictures

ENDLESS = 10**12  # images: the budget ends a contestant, not its own length
SHEET = 16  # samples shown at each evaluation
SAME = ("preset", "budget", "evaluations", "samples", "slice_seconds")
CONTESTANTS = (found.LATENT, found.CASCADE, found.PIXEL, "latent-sgd", "pixel-sgd")


@dataclass(frozen=True, kw_only=True)
class RaceOptions:
    """Options of ``python -m training.race``."""

    preset: str = "imagewoof64"
    """Whose data, codec and GANs race (see training/presets.py)."""
    hold_out: tuple[str, ...] = ()
    """Classes that no contestant may see."""
    source: str | None = None
    """Where the photographs are; the preset's source by default."""
    budget: float = 20.0
    """Minutes of training that each contestant has; for those on codes, codec and encoding among them."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One race for each."""
    contestants: tuple[str, ...] = ("latent", "pixel")
    """Of latent, cascade, pixel, latent-sgd and pixel-sgd; latent and pixel always. Those that a finished
    race lacks join it."""
    sgd_lr: float = 0.01
    """Learning rate of the contestants with SGD; its momentum is 0.9."""
    evaluations: int = 8
    """Evaluations after doubling seconds, the last after the whole budget."""
    samples: int = 2048
    """Generated and real pictures that each evaluation compares."""
    slice_seconds: float = 5.0
    """Seconds of a turn."""
    out: Path = Path("runs/race")
    """Folder of the race."""
    bundle: Path | None = None
    """Bundle to write the result into."""
    cache: Path = Path("cache")
    """Where decoded photographs and the judge's answers are kept."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dry_run: bool = False
    """Print the resolved options and stop."""


class Reference:
    """What pictures are compared with: the judge's features of seen validation crops, and the threshold."""

    def __init__(self, dataset: Dataset, options: RaceOptions, device: torch.device) -> None:
        self.ask = CachedJudge(options.cache, device)
        size = dataset.options.image_size
        rng = np.random.default_rng(0)
        parts = {}
        for split in ("val", "train"):
            images = center_crop(dataset.seen(split), size)
            rows = np.sort(rng.choice(len(images), min(options.samples, len(images)), replace=False))
            parts[split] = images[rows].numpy()
        self.n = min(len(p) for p in parts.values())
        self.crops, train = (parts[s][: self.n] for s in ("val", "train"))
        self.real = self.ask("crops", self.crops)
        trained_on = self.ask("training crops", train)
        self.floor = metrics.frechet_distance(self.real.features, trained_on.features)
        seen = [c for c in dataset.classes if c not in dataset.held_out]
        self.has_dogs = all(imagenet_index(c) in DOG_CLASSES for c in seen)
        self.threshold = float(np.percentile(self._dog(trained_on), THRESHOLD_PERCENTILE))

    @staticmethod
    def _dog(judged: Judged) -> np.ndarray:
        return judged.probabilities[:, list(DOG_CLASSES)].sum(1)

    def __call__(self, name: str, made: np.ndarray) -> dict[str, Any]:
        """Frechet distance, and the count called a dog, of pictures uint8 (n, s, s, 3)."""
        judged = self.ask(name, made)
        measured: dict[str, Any] = {"frechet": metrics.frechet_distance(self.real.features, judged.features)}
        if self.has_dogs:
            measured["dogs"] = {"k": int((self._dog(judged) >= self.threshold).sum()), "n": len(made)}
        return measured


@dataclass(frozen=True)
class Stage:
    """A GAN in training, the seconds and images of the stages before it, and whether it is the last."""

    gan: GanTraining
    seconds: float = 0.0
    images: int = 0
    last: bool = True


class Contestant:
    """One way to train a GAN in the race, its clock, and what was measured of it so far, kept in its folder.

    stages: what it trains, one after another; asked for the next when one is finished. before: seconds that
    count into its total, but not into its own: those of codec and encoding.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        stages: Iterator[Stage],
        codec: Autoencoder | None,
        before: float,
        options: RaceOptions,
    ) -> None:
        self.name, self.codec, self.before = name, codec, before
        self._stages, self._stage = stages, next(stages)
        self.path = folder / "contestant.json"
        kept = read_json(self.path) if self.path.is_file() else {}
        self.curve: list[dict[str, Any]] = kept.get("curve", [])
        self.stopped: str | None = kept.get("stopped")
        self.seconds, self.steps = kept.get("seconds", 0.0), kept.get("steps", 0)  # steps: of the last stage
        limit = 60 * options.budget - before
        doubling = 60 * options.budget / 2.0 ** np.arange(options.evaluations)[::-1]
        self.schedule = [0.0, *doubling[doubling < limit].tolist(), limit]
        self._slices = self._train(options.slice_seconds)

    def _train(self, slice_seconds: float) -> Iterator[float]:
        """Train stage after stage, in slices; the seconds of all of them so far."""
        while True:
            for seconds in self._stage.gan.train(slice_seconds, progress_bar=False):
                yield self._stage.seconds + seconds
            self._stage = next(self._stages)  # the last one never ends

    @property
    def clock(self) -> float:
        """Seconds so far, codec and encoding among them."""
        return self.before + self.seconds

    @property
    def done(self) -> bool:
        """Whether the last evaluation was made, or nothing more can come."""
        return self.stopped is not None or len(self.curve) >= len(self.schedule)

    def measure_untrained(self, reference: Reference) -> None:
        """Evaluate it before its first step, unless that was done: what training adds starts there."""
        if not self.curve or self.curve[0]["seconds"] > 0:
            self.curve.insert(0, self._evaluate(reference, seconds=0.0, steps=0))
            self._keep()

    def turn(self, reference: Reference) -> None:
        """Train for a slice, and evaluate where one is due."""
        try:
            self.seconds = next(self._slices)
        except DivergedError:
            self.stopped = "diverged"
        self.steps = int(self._stage.gan.pair.average.n_averaged)
        due = sum(self.seconds >= mark for mark in self.schedule)
        if self.stopped is None and len(self.curve) < due:
            point = self._evaluate(reference, self.seconds, self.steps)
            self.curve += [point] * (due - len(self.curve))  # where a slice passed several marks
        elif self.stopped is None:
            return
        self._keep()

    def _keep(self) -> None:
        keys = ("curve", "stopped", "seconds", "steps")
        write_json(self.path, {key: getattr(self, key) for key in keys})

    def _evaluate(self, reference: Reference, seconds: float, steps: int) -> dict[str, Any]:
        gan = self._stage.gan
        z = fixed_z(gan.options, reference.n, purpose=3)
        if self.codec is None:
            made = pictures(gan.pair.ema, z).numpy()
        else:
            assert isinstance(gan, LatentGan | DetailPhase)
            made = decode(self.codec, gan.codes_of(z).numpy())
        return {
            "seconds": seconds,
            "total": self.before + seconds,
            "images": self._stage.images + steps * gan.options.batch,
            **reference(self.name, made),
            "sheet": data_uri(grid(made[:SHEET], 4), quality=60),  # a race has a hundred of them
        }

    def result(self) -> dict[str, Any]:
        """What race.json says of it: steps and their cost are the last stage's."""
        gan = self._stage.gan
        return {
            "options": options_json(gan.options),
            "batch": gan.options.batch,
            "steps": self.steps,
            "stopped": self.stopped,
            "last_stage": self._stage.last,
            "seconds": self.seconds,
            "seconds_per_step": (self.seconds - self._stage.seconds) / self.steps if self.steps else 0.0,
            "flops_per_step": flops_per_step(gan.step, gan.options.penalty_every),
            "curve": self.curve,
        }


class _FlopCounter(TorchDispatchMode):
    """Counts by torch's own formulas.

    ``FlopCounterMode`` itself cannot: its bookkeeping by module fails where gradients are taken by inputs.
    """

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=output)
        return output


def flops_per_step(step: Callable[[int], object], steps: int) -> float:
    """Floating-point operations of a step, counted over ``steps`` of them.

    Of matrix products and convolutions, a multiply and an add being two; the rest is small.
    """
    with _FlopCounter() as counter:
        for index in range(steps):
            step(index)
    return counter.flops / steps


class Race:
    """The race of one seed."""

    def __init__(
        self, options: RaceOptions, seed: int, dataset: Dataset, reference: Reference, device: torch.device
    ) -> None:
        self.options, self.dataset, self.reference, self.device = options, dataset, reference, device
        self.folder = options.out / f"seed-{seed}"
        self.seed = seed
        self.codec_options = replace(
            data_options(options), seed=seed, device=options.device, out=self.folder / "autoencoder"
        )
        open_run(self.codec_options, device)
        self.codec = AutoencoderTraining(self.codec_options, dataset, device)
        self.codec_seconds = 0.0
        self.contestants: list[Contestant] = []

    def _enter(self, name: str, before: float = 0.0) -> None:
        """Let a contestant begin, or go on from where it was."""
        codec = None if name.startswith("pixel") else load_autoencoder(self.codec_options.out)[0]
        folder = self.folder / name
        contestant = Contestant(name, folder, self._stages(name, folder), codec, before, self.options)
        contestant.measure_untrained(self.reference)
        self.contestants.append(contestant)

    def _stages(self, name: str, folder: Path) -> Iterator[Stage]:
        """What a contestant trains. Of two stages, the first is as long as in the preset."""
        endless: dict[str, Any] = {"images": ENDLESS, "decay": 0.0}
        if name.endswith("-sgd"):
            endless |= {"optimiser": "sgd", "lr": self.options.sgd_lr}
        if name.startswith("pixel"):
            pixel = self._gan_options(PixelGanOptions, "pixel_gan", folder, **endless)
            open_run(pixel, self.device)
            yield Stage(PixelGan(pixel, self.dataset, self.device))
            return
        if name != found.CASCADE:
            latent = self._gan_options(LatentGanOptions, "latent_gan", folder, **endless)
            open_run(latent, self.device)
            yield Stage(LatentGan(latent, self.device))
            return
        first = self._gan_options(LatentGanOptions, "latent_gan", folder / "latent_gan", evaluations=1)
        open_run(first, self.device)
        if not (first.out / "done.json").is_file():
            yield Stage(LatentGan(first, self.device), last=False)
        done = read_json(first.out / "done.json")
        detail = self._gan_options(
            DetailPhaseOptions, "detail_phase", folder / "detail_phase", latent_gan=first.out, **endless
        )
        detail = open_detail_phase(detail, self.device)
        yield Stage(DetailPhase(detail, self.device), done["seconds"], done["images"])

    def _gan_options(self, kind: Any, stage: str, out: Path, **values: Any) -> Any:
        """The preset's options, for this race."""
        return replace(
            preset_options(kind, stage, self.options.preset), seed=self.seed, device=self.options.device,
            autoencoder=self.codec_options.out, out=out, snapshots=0, **values,
        )  # fmt: skip

    def _encode(self) -> dict[str, float]:
        """Encode the training images, once, and return how long that took."""
        path = self.folder / "encoding.json"
        gan_options = preset_options(LatentGanOptions, "latent_gan", self.options.preset)
        codes = codes_path(replace(gan_options, autoencoder=self.codec_options.out))
        if not path.is_file():
            codes.unlink(missing_ok=True)  # of a race that was stopped meanwhile
            codec, data = load_autoencoder(self.codec_options.out)
            start = time.perf_counter()
            encoded = training_codes(
                codec.to(self.device), self.dataset, gan_options.copies, data.seed, self.device,
                gan_options.precision, codes,
            )  # fmt: skip
            seconds = time.perf_counter() - start
            write_json(path, {"seconds": seconds, "images": sum(map(len, encoded.values()))})
        return read_json(path)

    def run(self) -> dict[str, Any]:
        """Run it to the end; returns what race.json says of this seed."""
        budget = 60 * self.options.budget
        for name in self.options.contestants:
            if name.startswith("pixel"):
                self._enter(name)
        encoding: dict[str, float] = {}
        slices: Iterator[float] | None = self.codec.train(self.options.slice_seconds, progress_bar=False)
        progress = tqdm(
            desc=f"race, seed {self.seed}", total=round(budget * len(self.options.contestants)), unit="s"
        )
        while slices is not None or not all(c.done for c in self.contestants):
            progress.n = round(sum(c.seconds for c in self.contestants) + self.codec_seconds)
            progress.refresh()
            waiting = [c for c in self.contestants if not c.done]
            first = min(waiting, key=lambda c: c.clock, default=None)
            if slices is not None and (first is None or self.codec_seconds <= first.clock):
                self.codec_seconds = next(slices, self.codec_seconds)
                finished = (self.codec_options.out / "done.json").is_file()
                if self.codec_seconds > budget:
                    raise UserError(
                        f"the codec alone takes more than --budget {self.options.budget:g} minutes; give more"
                    )
                if finished:
                    slices = None
                    encoding = self._encode()
                    before = self.codec_seconds + encoding["seconds"]
                    if before >= budget:
                        raise UserError(
                            f"codec and encoding took {before / 60:.1f} minutes, all of --budget "
                            f"{self.options.budget:g}; give more"
                        )
                    for name in self.options.contestants:
                        if not name.startswith("pixel"):
                            self._enter(name, before)
            elif first is not None:
                first.turn(self.reference)
        progress.close()
        codec, _ = load_autoencoder(self.codec_options.out)
        ceiling = self.reference("round trips", decode(codec, encode(codec, self.reference.crops)))
        steps = self.codec_options.steps
        return {
            "seed": self.seed,
            "codec": {
                "seconds": self.codec_seconds,
                "images": steps * self.codec_options.batch,
                "batch": self.codec_options.batch,
                "steps": steps,
                "seconds_per_step": self.codec_seconds / steps,
                "flops_per_step": flops_per_step(self.codec.step, 1),
            },
            "encoding": encoding,
            "ceiling": ceiling["frechet"],
            "contestants": {
                c.name: {**c.result(), "beside": list(self.options.contestants)}
                for c in sorted(self.contestants, key=self._order)
            },
        }

    def _order(self, contestant: Contestant) -> int:
        return self.options.contestants.index(contestant.name)


def data_options(options: RaceOptions) -> AutoencoderOptions:
    """The codec's options, whose data all contestants see."""
    preset = preset_options(AutoencoderOptions, "autoencoder", options.preset)
    return replace(
        preset, hold_out=options.hold_out, cache=options.cache, source=options.source or preset.source
    )


def report(race: dict[str, Any]) -> str:
    """Markdown of a race: what was found, quality by seconds, costs."""
    options = race["options"]
    return f"""{found.verdict(race)}

Preset {options["preset"]}, {options["budget"]:g} minutes of training for each contestant and seed; n =
{race["n"]:,} generated against as many seen validation crops; real against real: {race["floor"]:.0f}; through
the codec: {", ".join(f"{s['ceiling']:.0f}" for s in race["seeds"])}.

{found.quality_table(race)}

{found.cost_table(race)}
"""


def check_same_race(options: RaceOptions, seed: int, device: torch.device) -> None:
    """Note what a race's contestants must have in common; raise UserError where it was begun otherwise."""
    same = {
        **{name: getattr(options, name) for name in SAME}, "hold_out": list(options.hold_out),
        "device": device_name(device), "threads": torch.get_num_threads(),
    }  # fmt: skip
    path = options.out / f"seed-{seed}" / "race.json"
    begun = read_json(path) if path.is_file() else same
    if other := [name for name in same if begun.get(name) != same[name]]:
        raise UserError(
            f"{path.parent} was begun with {other[0].replace('_', ' ')} {begun.get(other[0])!r}, not "
            f"{same[other[0]]!r}; give what it was begun with, or another --out"
        )
    make_folder(path.parent)
    write_json(path, same)


def run_race(options: RaceOptions) -> Path:
    """Race all seeds (or go on with them), write the result, and return the race's folder."""
    unknown = sorted(set(options.contestants) - set(CONTESTANTS))
    if unknown or not {found.LATENT, found.PIXEL} <= set(options.contestants):
        raise UserError(f"--contestants are latent, pixel, and others of {', '.join(CONTESTANTS)}")
    if not options.seeds or min(options.seeds) < 0:
        raise UserError("--seeds are numbers from 0 up, at least one")
    if options.budget <= 0 or options.slice_seconds <= 0:
        raise UserError("--budget and --slice-seconds must be positive")
    if options.dry_run:
        print_dry_run(options, codec=data_options(options))
        return options.out
    if options.bundle is not None:
        try:
            open_bundle(options.bundle)  # better now than after hours
        except BundleError as error:
            raise UserError(str(error)) from None
    device = resolve_device(options.device)
    dataset = open_dataset(data_options(options))
    reference = Reference(dataset, options, device)
    seeds = []
    for seed in options.seeds:
        path = options.out / f"seed-{seed}" / "result.json"
        result = read_json(path) if path.is_file() else {"contestants": {}}
        missing = tuple(name for name in options.contestants if name not in result["contestants"])
        if missing:
            check_same_race(options, seed, device)
            more = Race(replace(options, contestants=missing), seed, dataset, reference, device).run()
            result = {**more, "contestants": {**result["contestants"], **more["contestants"]}}
            write_json(path, result)
        seeds.append(result)
    race = {
        "format": 1,
        "command": command_line(),
        "options": options_json(options),
        "versions": package_versions(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "judge": {"name": JUDGE_NAME, "size": JUDGE_SIZE},
        "held_out": list(dataset.held_out),
        "n": reference.n,
        "floor": reference.floor,
        "seeds": seeds,
    }
    write_json(options.out / "race.json", race)
    (options.out / "race.md").write_text(report(race))
    from explorer.race_figure import race_figure  # Plotly: not there where only training is installed

    race_figure(race).write_html(options.out / "race.html")
    print(report(race))
    if options.bundle is not None:
        try:
            update_bundle(options.bundle, {RACE: race})
        except BundleError as error:
            raise UserError(str(error)) from None
    return options.out


if __name__ == "__main__":
    from training.cli import run_script

    run_script(RaceOptions, "race", run_race)
