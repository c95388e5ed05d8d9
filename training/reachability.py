"""Ask whether a class that was held out is within reach of a bundle's GAN: the whole protocol, with controls.

    python -m training.reachability pretrained/imagewoof64 --seeds 0-4

Trains the judges, the GANs of every seed, and oracles that have seen the held-out classes; judges their
samples; searches their ranges; writes reachability.json and reachability.html into --out, and the first into
the bundle. To resume, run the same command again: every stage that is done is kept. Exit status 0 if every
held-out class got a verdict, 2 if one is inconclusive. What is measured, and why: docs/reachability.md.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from explorer.bundle import Bundle, BundleError
from explorer.bundle_reading import read_manifest
from explorer.bundle_writing import check_same_networks, update_bundle
from explorer.measured import REACHABILITY
from explorer.new_class import FILE
from explorer.reachability import (
    CODEC_SAW,
    LATENT,
    PHOTOGRAPHS,
    PIXEL,
    ROUND_TRIPS,
    TRAINING,
    TRAINING_CUT,
    UNTRAINED_PIXEL,
    conclusive,
    generators,
    oracle,
)
from explorer.reachability_tables import summary
from explorer.verdict import UNTRAINED, listed
from training.cli import UserError, print_dry_run
from training.controls import CONTROLS
from training.files import write_atomically, write_json
from training.picture_sources import oracle_name
from training.protocol import Reachability, ReachabilityOptions

log = logging.getLogger(__name__)


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


def check(options: ReachabilityOptions) -> None:
    """Raise UserError for options that do not go together."""
    unknown = sorted(set(options.generators) - {LATENT, PIXEL})
    if unknown or not options.generators:
        raise UserError(f"--generators are latent and pixel, not {', '.join(unknown) or 'none'}")
    if len({*options.generators}) < len(options.generators):
        raise UserError("--generators names one twice; name each once")
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


@dataclass(frozen=True)
class Asked:
    """A source of pictures that is asked about, with one seed.

    train: what makes it, None where nothing must be trained. searched: whether its range is.
    """

    name: str
    seed: int
    train: Callable[[], None] | None = None
    searched: bool = False


def asked(run: Reachability, seeds: Sequence[int], dose_seeds: Sequence[int]) -> Iterator[Asked]:
    """The controls, GANs and oracles that the options name, in the order in which they are asked."""
    options, sources = run.options, run.sources
    for name in (UNTRAINED, *CONTROLS):
        yield Asked(name, 0, searched=name == UNTRAINED)
    if options.cheap:
        own = run.bundle.manifest["training"]["latent_gan"]["options"]["seed"]
        yield Asked(LATENT, own, partial(sources.enter_own, own), searched=True)
        return
    kinds: dict[str, tuple[Callable[[int], None], Callable[[int], None]]] = {
        LATENT: (sources.train_latent, partial(sources.train_oracle, 1.0)),
        PIXEL: (sources.train_pixel, sources.train_pixel_oracle),
    }
    for seed in seeds:
        for kind in options.generators:
            blind, sighted = kinds[kind]
            yield Asked(kind, seed, partial(blind, seed), searched=True)
            if kind == PIXEL and seed == seeds[0]:
                yield Asked(UNTRAINED_PIXEL, 0, searched=True)
            # The range of a pixel GAN's oracle is not: as long as its training again, for no claim.
            yield Asked(oracle(kind), seed, partial(sighted, seed), searched=kind != PIXEL)
    for seed in dose_seeds if options.codec_saw else ():
        yield Asked(CODEC_SAW, seed, partial(sources.train_sighted_oracle, seed))
    for dose in sorted({*options.doses} - {1.0}) if LATENT in options.generators else ():
        for seed in dose_seeds:
            yield Asked(oracle_name(dose), seed, partial(sources.train_oracle, dose, seed))


def stages(
    run: Reachability, seeds: Sequence[int], dose_seeds: Sequence[int]
) -> list[tuple[str, Callable[[], object]]]:
    """What is to be done, in order, and what it is called."""
    options = run.options
    if options.train_only:  # a dose is trained by the one process that has its seed
        dose_seeds = tuple(seed for seed in dose_seeds if seed in seeds)
        every = asked(run, seeds, dose_seeds)
        return [(f"training {a.name}, seed {a.seed}", a.train) for a in every if a.train]
    todo: list[tuple[str, Callable[[], object]]] = [("judges", run.learn)]
    for kind in (PHOTOGRAPHS, ROUND_TRIPS):
        todo.append((f"judging {kind}", partial(run.judge_real, kind)))
    todo.append(("controls", run.sources.enter_controls))
    for a in asked(run, seeds, dose_seeds):
        words = f"{a.name}, seed {a.seed}"
        if a.train is not None:
            todo.append((f"{'opening' if options.cheap else 'training'} {words}", a.train))
        todo.append((f"judging samples of {words}", partial(run.judge_samples, a.name, a.seed)))
        if a.searched:
            todo.append((f"searching the range of {words}", partial(run.search_range, a.name, a.seed)))
    remakes = run.remakes(len(seeds))
    for i in range(remakes):  # last: the GANs remake images
        todo.append((f"judging remade images, {i + 1} of {remakes}", partial(run.judge_remade, i)))
    for kind, of in ((TRAINING_CUT, LATENT), (TRAINING, PIXEL)):
        if of in options.generators:
            todo.append((f"judging {kind}", partial(run.judge_training, kind)))
    return todo


def run_reachability(options: ReachabilityOptions) -> dict[str, Any]:
    """Run the protocol, or what is left of it; returns the report."""
    check(options)
    seeds, dose_seeds = parse_seeds(options.seeds), parse_seeds(options.dose_seeds)
    if options.dry_run:
        print_dry_run(options, seeds=seeds, dose_seeds=dose_seeds)
        return {}
    run = Reachability(options)
    check_not_less(run, seeds)
    todo = stages(run, seeds, dose_seeds)
    progress = tqdm(todo, unit="stage")
    for i, (words, do) in enumerate(progress):
        progress.set_description(words)
        write_json(run.folder / "progress.json", {"done": i, "of": len(todo), "doing": words})
        do()
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
            update_bundle(
                options.bundle, {REACHABILITY: report},
                check=lambda: check_unchanged(options.bundle, run.bundle, f"the report is in {run.folder}"),
            )  # fmt: skip
        except BundleError as error:
            raise UserError(str(error)) from None
    write_json(run.folder / "progress.json", {"done": len(todo), "of": len(todo), "doing": "done"})
    return report


def check_not_less(run: Reachability, seeds: Sequence[int]) -> None:
    """Raise UserError, before hours are spent, where a report would take the place of one that took more."""
    options, report = run.options, run.bundle.reachability
    if report is None or not options.write or options.replace or options.train_only or run.new is not None:
        return
    before, given = report["options"], vars(options)
    if before.get("cheap") and not options.cheap:
        return
    asked = max(len(report["seeds"][generator]) for generator in generators(report))
    less = [
        "GANs trained for it" if options.cheap and not before.get("cheap") else "",
        f"{asked} seeds" if len(seeds) < asked and not options.cheap else "",
        *(
            f"{before[name]:,} {name.replace('_', ' ')}"
            for name in ("samples", "remakes", "targets", "restarts", "search_steps")
            if given[name] < before.get(name, 0)
        ),
        *(f"GANs on {name}" for name in generators(report) if name not in options.generators),
    ]
    if less := list(filter(None, less)):
        raise UserError(
            f"{options.bundle} holds a report with {listed(less)}, and this one, measured with less, would "
            "replace it: give --replace, or --no-write to leave it there"
        )


def check_unchanged(path: Path, before: Bundle, kept: str) -> None:
    """Raise UserError, saying where the report is ``kept``, if a bundle has other networks, or another
    report, by now.
    """
    try:
        check_same_networks(path, before)
    except BundleError as error:
        raise UserError(f"{error}; {kept}") from None
    if read_manifest(path)["files"].get(REACHABILITY) != before.manifest["files"].get(REACHABILITY):
        raise UserError(
            f"another report was put into {path} meanwhile, so this one was not; {kept}: run the same "
            "command again to put it in the other's place"
        )


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
