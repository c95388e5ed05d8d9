"""Race a GAN on codes against a GAN on pixels: quality against seconds, on one device, in one process.

    python -m training.race --preset imagewoof64 --hold-out Samoyed "English foxhound" --budget 20

The contestants take turns in slices of a few seconds, always the one that has had least, so that a noisy
machine hits all alike. The latent GANs wait for their codec, whose seconds count into their total. Judging is
off the clock. Writes race.json, race.md and race.html into --out; with --bundle, race.json into that bundle
too. To resume, run the same command again. What the numbers mean: docs/speed.md.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from explorer import race as found
from explorer.bundle import BundleError
from explorer.bundle_reading import open_bundle
from explorer.bundle_writing import update_bundle
from explorer.decoding import decode, encode
from explorer.measured import RACE
from training.autoencoder import AutoencoderOptions, AutoencoderTraining, check_same_images
from training.autoencoder import load_run as load_autoencoder
from training.cli import UserError, command_line, options_json, preset_options, print_dry_run
from training.codes import training_codes
from training.contestant import Contestant, Reference, Stage
from training.data.dataset import Dataset, open_dataset
from training.detail_phase import DetailPhase, DetailPhaseOptions, open_detail_phase
from training.device import device_name, resolve_device
from training.files import make_folder, read_json, write_json
from training.flops import flops_per_step
from training.imagenet_judge import JUDGE_NAME, JUDGE_SIZE
from training.latent_gan import LatentGan, LatentGanOptions, codes_path
from training.pixel_gan import PixelGan, PixelGanOptions
from training.runs import open_run, package_versions

ENDLESS = 10**12  # images: the budget ends a contestant, not its own length
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
    crop: Literal["auto", "subject", "center"] | None = None
    """Crop around the subject (needs boxes) or the central square; as in the preset by default."""
    boxes: Path | None = None
    """CSV of subject boxes; by default the one that ships for the source."""
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
        contestant = Contestant(
            name, folder, self._stages(name, folder), codec, before, budget=60 * self.options.budget,
            evaluations=self.options.evaluations, slice_seconds=self.options.slice_seconds,
        )  # fmt: skip
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
                        f"the codec alone takes more than --budget {self.options.budget:g} minutes; "
                        "give more, and another --out"
                    )
                if finished:
                    slices = None
                    encoding = self._encode()
                    before = self.codec_seconds + encoding["seconds"]
                    if before >= budget:
                        raise UserError(
                            f"codec and encoding took {before / 60:.1f} minutes, all of --budget "
                            f"{self.options.budget:g}; give more, and another --out"
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
    given = {name: getattr(options, name) for name in ("source", "crop", "boxes")}
    return replace(
        preset, hold_out=options.hold_out, cache=options.cache, **{k: v for k, v in given.items() if v}
    )


def check_bundle(path: Path, dataset: Dataset) -> None:
    """Raise UserError where a race over these images is none of the bundle's."""
    try:
        bundle = open_bundle(path)
    except BundleError as error:
        raise UserError(str(error)) from None
    if (bundle.classes, set(bundle.held_out)) != (tuple(dataset.classes), set(dataset.held_out)):
        raise UserError(
            f"{path} is of other classes, or holds out others, than this race; give the --source and "
            "--hold-out that it was made with, or leave out --bundle"
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


def check_same_race(options: RaceOptions, seed: int, device: torch.device, dataset: Dataset) -> None:
    """Note what a race's contestants must have in common; raise UserError where it was begun otherwise."""
    same = {
        **{name: getattr(options, name) for name in SAME}, "hold_out": list(dataset.held_out),
        "device": device_name(device), "threads": torch.get_num_threads(),
    }  # fmt: skip
    path = options.out / f"seed-{seed}" / "race.json"
    begun = read_json(path) if path.is_file() else same
    if other := [name for name in same if begun.get(name) != same[name]]:
        raise UserError(
            f"{path.parent} was begun with {other[0].replace('_', ' ')} {begun.get(other[0])!r}, not "
            f"{same[other[0]]!r}; give what it was begun with, or another --out"
        )
    codec = path.parent / "autoencoder"
    make_folder(codec)
    write_json(path, same)
    check_same_images(codec, dataset)


def check_same_rate(options: RaceOptions, path: Path, finished: dict[str, Any]) -> None:
    """Raise UserError where a contestant with SGD was finished at another learning rate than is asked for."""
    for name, entry in finished.items():
        rate = entry["options"]["lr"]
        if name in options.contestants and name.endswith("-sgd") and rate != options.sgd_lr:
            raise UserError(
                f"{name} in {path} raced with --sgd-lr {rate:g}, not {options.sgd_lr:g}; give that, or "
                "another --out"
            )


def run_race(options: RaceOptions) -> Path:
    """Race all seeds (or go on with them), write the result, and return the race's folder."""
    unknown = sorted(set(options.contestants) - set(CONTESTANTS))
    if unknown or not {found.LATENT, found.PIXEL} <= set(options.contestants):
        raise UserError(f"--contestants are latent, pixel, and others of {', '.join(CONTESTANTS)}")
    if not options.seeds or min(options.seeds) < 0:
        raise UserError("--seeds are numbers from 0 up, at least one")
    for name, given in (("contestants", options.contestants), ("seeds", options.seeds)):
        if len({*given}) < len(given):
            raise UserError(f"--{name} names one twice; name each once")
    if options.budget <= 0 or options.slice_seconds <= 0:
        raise UserError("--budget and --slice-seconds must be positive")
    if options.samples < 2:
        raise UserError(f"--samples must be at least 2, not {options.samples}: one has no spread to compare")
    if options.dry_run:
        print_dry_run(options, codec=data_options(options))
        return options.out
    device = resolve_device(options.device)
    dataset = open_dataset(data_options(options))
    dataset.check_enough()
    if options.bundle is not None:
        check_bundle(options.bundle, dataset)  # better now than after hours
    reference = Reference(dataset, options.samples, options.cache, device)
    seeds = []
    for seed in options.seeds:
        path = options.out / f"seed-{seed}" / "result.json"
        result = read_json(path) if path.is_file() else {"contestants": {}}
        check_same_race(options, seed, device, dataset)
        check_same_rate(options, path, result["contestants"])
        missing = tuple(name for name in options.contestants if name not in result["contestants"])
        if missing:
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
