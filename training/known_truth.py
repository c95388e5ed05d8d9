"""Prove the instrument on cases whose answer is known, with the judges, gate and thresholds of a bundle.

    python -m training.known_truth pretrained/imagewoof64

Generators of which a known share of the samples shows a held-out class, generators that cannot show one,
among them random mixes of seen classes, and 200 simulated repeats of the whole count. Prints a table for each
held-out class and writes known_truth.json beside the judges, which it shares with training.reachability. No
GAN is trained: "samples" are images on which no rate is measured, as the bundle's GAN could at best show
them. What this shows, and what not: docs/reachability.md.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from explorer.rates import Count, clopper_pearson
from explorer.rates import share as with_interval
from explorer.reachability import (
    ATTRIBUTION,
    CUT,
    LATENT,
    ORACLE,
    PHOTOGRAPHS,
    ROUND_TRIPS,
    TRAINING_CUT,
    UNTRAINED,
    counts,
    judged_among,
)
from explorer.replication import p_more, seed_interval
from explorer.verdict import Kind, Verdict, percent
from training.cli import UserError, command_line, options_json, print_dry_run
from training.device import device_name
from training.files import write_json
from training.hits import Scored, is_hit, thresholds
from training.protocol import Reachability, ReachabilityOptions
from training.runs import package_versions
from training.splits import CALIBRATION, TEST

SEEDS = 5
LEVEL = 0.95
UNEVEN = 0.3  # of a symmetric Dirichlet distribution: of eight classes two or three make most of a mix
DENIED = (Kind.REPRESENTABLE, Kind.REACHABLE)
MADE = (Kind.PRODUCED, Kind.PRODUCED_NOT_BY_GAN)


@dataclass(frozen=True)
class KnownTruthOptions:
    """Options of ``python -m training.known_truth``."""

    bundle: tyro.conf.Positional[Path]
    """The bundle whose codec, images and held-out classes are used."""
    alpha: float = 0.01
    """False-alarm rate at which thresholds are set."""
    shares: tuple[float, ...] = (0.0, 0.001, 0.01, 0.1)
    """Known shares of the held-out class."""
    oracle_share: float = 0.1
    """Share of the class in the samples of the pretended oracle."""
    samples: int = 10_000
    """Samples of each control; a known generator has a fifth of them in each of its five seeds."""
    repeats: int = 200
    """Simulated repeats for each share."""
    mixes: int = 100
    """Generators that mix the seen classes at random."""
    judge_images: int = 160_000
    """Training length of the judge that is trained from scratch."""
    out: Path | None = None
    """Folder of judges and scores; that of training.reachability by default."""
    source: str | None = None
    """Where the photographs are, if no longer where the bundle's source says."""
    cache: Path = Path("cache")
    """Where decoded photographs are kept."""
    seed: int = 0
    """Seed of mixtures and simulations."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dry_run: bool = False
    """Print the resolved options and stop."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UserError(f"--alpha is a rate between 0 and 1, not {self.alpha:g}")
        if not all(0 <= share <= 1 for share in (*self.shares, self.oracle_share)):
            raise UserError("--shares and --oracle-share lie between 0 and 1")
        if min(self.repeats, self.mixes) < 1 or self.samples < SEEDS:
            raise UserError(f"--repeats and --mixes must be at least 1 and --samples at least {SEEDS}")

    @property
    def reachability(self) -> ReachabilityOptions:
        """The protocol whose judges and controls are proved."""
        return ReachabilityOptions(
            self.bundle, samples=self.samples, alphas=(self.alpha,), judge_images=self.judge_images,
            out=self.out, source=self.source, cache=self.cache, write=False, device=self.device,
        )  # fmt: skip


class KnownTruth:
    """Judged images of one bundle, of which generators with a known answer are made."""

    def __init__(self, options: KnownTruthOptions) -> None:
        self.options = options
        self.run = Reachability(options.reachability)
        self._check_enough()

    def _check_enough(self) -> None:
        """Raise UserError for a seen class that no generator can be made of: its one image is for tests."""
        judged, classes = self.run.judged, self.run.dataset.classes
        for label in self.seen:
            if (n := int((judged.labels == label).sum())) < 2:
                raise UserError(
                    f"the seen class {classes[label]!r} has {n} validation image, and known truth takes at "
                    "least 2 of each; add photographs of it, or leave it out, and train anew"
                )

    def judge(self) -> None:
        """Train the judges and judge real images and controls, or find it done."""
        self.run.learn()
        for kind in (PHOTOGRAPHS, ROUND_TRIPS):
            self.run.judge_real(kind)
        for repeat in range(self.run.remakes()):
            self.run.judge_remade(repeat)
        self.run.sources.enter_controls()
        for name in (UNTRAINED, *ATTRIBUTION):
            self.run.judge_samples(name, 0)
        self.run.judge_training(TRAINING_CUT)
        replayed = self.run.judged.trained[TRAINING_CUT]
        chosen = np.random.default_rng(self.options.seed).permutation(len(replayed))
        self.replayed = replayed[chosen[: self.options.samples]]

    @property
    def samples(self) -> int:
        """Samples of each seed of a known generator."""
        return self.options.samples // SEEDS

    @property
    def seen(self) -> np.ndarray:
        """The seen classes of which there are calibration or test images."""
        return np.setdiff1d(np.unique(self.run.judged.labels), self.run.judged.held_out)

    def errors(self, name: str) -> tuple[Count, Count]:
        """True and false positives of the judges: test images of a class, and of other seen ones, as the GAN
        could at best show them.
        """
        replayed = self.split(self.replayed)
        (level,) = self.report(replayed, replayed)["classes"][name]["levels"].values()
        tpr, fpr = counts((level[CUT], level["false_positives"][CUT]))
        return tpr, fpr

    def mixtures(self, label: int, share: float, purpose: int) -> list[Scored]:
        """Samples by seed of a generator of which each sample shows the class with this probability.

        They are images of the calibration part, of the class or of seen ones, as the GAN could at best show
        them: the rates that correct for the judges' errors are measured on the test part, so none of these is
        among them.
        """
        judged, n, drawn = self.run.judged, self.samples, []
        calibration = judged.parts == CALIBRATION
        own = np.flatnonzero(calibration & (judged.labels == label))
        others = np.flatnonzero(calibration & ~np.isin(judged.labels, judged.held_out))
        for seed in range(SEEDS):
            rng = np.random.default_rng((self.options.seed, purpose, seed))
            drawn.append(
                judged.real[CUT][np.where(rng.random(n) < share, rng.choice(own, n), rng.choice(others, n))]
            )
        return drawn

    def split(self, scored: Scored) -> list[Scored]:
        """One generator's samples, dealt out as if they were those of the five seeds."""
        return [scored[rows] for rows in np.array_split(np.arange(len(scored)), SEEDS)]

    def collapsed(self) -> list[Scored]:
        """Samples by seed of generators that make one training image each."""
        return [self.replayed[np.full(self.samples, seed)] for seed in range(SEEDS)]

    def lookalike(self, label: int) -> tuple[str, list[Scored]]:
        """The seen class whose test images are taken for this one most often, and samples by seed of
        generators that make it alone: its calibration images, as the GAN could at best show them. False
        positives are counted on all seen classes alike.
        """
        judged, alpha = self.run.judged, self.options.alpha
        cut, tested = judged.real[CUT], judged.parts == TEST
        limits = thresholds(judged.negatives(label).judges[:, :, label], alpha)
        taken = is_hit(cut.judges[:, :, label], cut.distance, limits, judged.within)
        alike = max(self.seen, key=lambda c: taken[tested & (judged.labels == c)].mean())
        rows = np.flatnonzero(~tested & (judged.labels == alike))
        draws = (np.random.default_rng((self.options.seed, 99, seed)) for seed in range(SEEDS))
        return self.run.dataset.classes[alike], [cut[rng.choice(rows, self.samples)] for rng in draws]

    def uneven(self, draw: int) -> list[Scored]:
        """Samples by seed of a generator of seen classes alone, in shares drawn at random: their calibration
        images, each as the GAN could at best show it on one of the occasions.
        """
        judged, n, made = self.run.judged, self.samples, []
        rng = np.random.default_rng((self.options.seed, 98, draw))
        shares = rng.dirichlet(np.full(len(self.seen), UNEVEN))
        shown = [judged.real[CUT], *judged.remade]
        rows = [np.flatnonzero((judged.parts == CALIBRATION) & (judged.labels == c)) for c in self.seen]
        for _ in range(SEEDS):
            drawn = np.concatenate(
                [rng.choice(of, k) for of, k in zip(rows, rng.multinomial(n, shares), strict=True)]
            )
            turns = np.array_split(rng.permutation(drawn), len(shown))
            parts = [scored[chosen] for scored, chosen in zip(shown, turns, strict=True)]
            made.append(Scored.joined(parts))
        return made

    def false_claims(self, label: int) -> dict[str, int]:
        """How many ``uneven`` generators are said to produce a class, and n."""
        o = self.options
        oracle = self.mixtures(label, o.oracle_share, purpose=0)
        said = [self.verdict(label, self.uneven(draw), oracle).kind in MADE for draw in range(o.mixes)]
        return {"hits": sum(said), "n": len(said)}

    def report(self, made: Sequence[Scored], oracle: Sequence[Scored]) -> dict[str, Any]:
        """What a report holds of the held-out classes, for a generator's and an oracle's samples by seed."""
        judged, alpha = self.run.judged, self.options.alpha
        known = {LATENT: dict(enumerate(made)), ORACLE: dict(enumerate(oracle))}
        asked = replace(judged, made=judged.made | known)
        levels = {self.run.dataset.classes[label]: asked.level(label, alpha) for label in judged.held_out}
        return {"classes": {n: {"held_out": True, "levels": {f"{alpha:g}": c}} for n, c in levels.items()}}

    def verdict(self, label: int, made: Sequence[Scored], oracle: Sequence[Scored]) -> Verdict:
        """What the instrument says of a class in these samples by seed."""
        dataset = self.run.dataset
        found = judged_among(self.report(made, oracle), dataset.held_out, LATENT, self.options.alpha, LEVEL)
        return found[dataset.classes[label]]

    def cases(self, label: int) -> list[dict[str, Any]]:
        """Every known generator, with whether it got what it deserves."""
        o = self.options
        oracle = self.mixtures(label, o.oracle_share, purpose=0)
        replayed = self.split(self.replayed)
        found = []

        def case(
            name: str, made: list[Scored], deserved: Sequence[Kind], share: float | None = None,
            oracle: list[Scored] = oracle,
        ) -> None:  # fmt: skip
            verdict = self.verdict(label, made, oracle)
            right = verdict.kind in deserved and (share is None or verdict.low <= share <= verdict.high)
            if verdict.kind in DENIED:  # a bound above what the oracle truly makes denies nothing
                right &= verdict.high < o.oracle_share
            values = {**asdict(verdict), "kind": verdict.kind.value}
            found.append({"generator": name, "share": share, "right": right, **values})

        for i, share in enumerate(o.shares):
            # Of a rare class it may say either, as long as its interval holds the share.
            deserved = (*MADE, *DENIED) if share < o.oracle_share else MADE
            case(
                f"{percent(share)} of its samples show the class",
                self.mixtures(label, share, purpose=1 + i), deserved if share else DENIED, share,
            )  # fmt: skip
        case("replays training images", replayed, DENIED, 0.0)
        alike, made = self.lookalike(label)
        # It may be too like it for a bound, but must not pass for it.
        case(f"makes {alike} alone, which is taken for it most", made, (*DENIED, Kind.INCONCLUSIVE), 0.0)
        case("makes one training image alone", self.collapsed(), DENIED, 0.0)
        case("untrained", self.split(self.run.judged.made[UNTRAINED][0]), DENIED)
        case("replays training images, as its oracle does", replayed, (Kind.INCONCLUSIVE,), oracle=replayed)
        return found


def simulate(
    share: float, tpr: Count, fpr: Count, samples: int, repeats: int, seed: int
) -> dict[str, dict[str, int]]:
    """Repeat the count with the share known: how often its interval covers it, and more than 0 is claimed.

    tpr, fpr: as measured; in each repeat they are drawn anew at these rates and of these n, and so are the
    hits in ``samples`` samples of five seeds. Returns hits and n of 'covered' and 'claimed'.
    """
    rng = np.random.default_rng((seed, round(1e6 * share)))
    covered = claimed = 0
    for _ in range(repeats):
        true, false = (Count(int(rng.binomial(c.n, c.rate)), c.n) for c in (tpr, fpr))
        showing = rng.binomial(samples, share, SEEDS)
        hits = rng.binomial(showing, tpr.rate) + rng.binomial(samples - showing, fpr.rate)
        seeds = [Count(int(k), samples) for k in hits]
        low, high = seed_interval(seeds, true, false, LEVEL)
        covered += low <= share <= high
        claimed += p_more(seeds, [false]) <= (1 - LEVEL) / 2
    return {name: {"hits": int(k), "n": repeats} for name, k in (("covered", covered), ("claimed", claimed))}


def tables(found: dict[str, Any]) -> str:
    """Markdown: for each held-out class the known generators and what was said, and the simulations."""
    lines = []
    for name, proof in found["classes"].items():
        lines += [
            f"## {name}", "", "| generator | verdict | share, with its 95 % interval | deserved |",
            "| --- | --- | --- | --- |",
        ]  # fmt: skip
        for case in proof["cases"]:
            interval = "-"
            if case["pi"] is not None and case["kind"] != Kind.INCONCLUSIVE.value:
                low, high = percent(case["low"], "down"), percent(case["high"], "up")
                interval = f"{percent(case['pi'])} [{low}, {high}]"
            right = "yes" if case["right"] else "**no**"
            lines.append(f"| {case['generator']} | {case['kind']} | {interval} | {right} |")
        lines += ["", "| known share | interval covers it | more than 0 is claimed |", "| --- | --- | --- |"]
        for row in proof["simulations"]:
            cells = (with_interval(row[k]["hits"], row[k]["n"]) for k in ("covered", "claimed"))
            lines.append(f"| {percent(row['share'])} | {' | '.join(cells)} |")
        mixes = proof["mixes"]
        lines += [
            "",
            f"Said to be produced by random mixes of seen classes: {mixes['hits']} of {mixes['n']}.",
            "",
        ]
    return "\n".join(lines)


def run_known_truth(options: KnownTruthOptions) -> dict[str, Any]:
    """Judge, prove, print; returns what known_truth.json holds."""
    if options.dry_run:
        print_dry_run(options)
        return {}
    known = KnownTruth(options)
    known.judge()
    dataset, found = known.run.dataset, {}
    for name in dataset.held_out:
        label = dataset.classes.index(name)
        tpr, fpr = known.errors(name)
        simulations = [
            {"share": share, **simulate(share, tpr, fpr, known.samples, options.repeats, options.seed)}
            for share in options.shares
        ]
        found[name] = {
            "tpr": asdict(tpr), "fpr": asdict(fpr), "samples": known.samples, "cases": known.cases(label),
            "simulations": simulations, "mixes": known.false_claims(label),
        }  # fmt: skip
    report = {
        "command": command_line(),
        "options": options_json(options),
        "versions": package_versions(),
        "device": device_name(known.run.device),
        "classes": found,
    }
    write_json(known.run.folder / "known_truth.json", report)
    print(tables(report))
    return report


def main(options: KnownTruthOptions) -> None:
    """Prove; exit with 2 where a known generator did not get its due, or too many claims are false."""
    proofs = run_known_truth(options).get("classes", {}).values()
    cases = all(case["right"] for proof in proofs for case in proof["cases"])
    false = [Count(**proof["mixes"]) for proof in proofs]
    if not cases or any(clopper_pearson(c.hits, c.n)[0] > (1 - LEVEL) / 2 for c in false):
        sys.exit(2)


if __name__ == "__main__":
    from training.cli import run_script

    run_script(KnownTruthOptions, "known_truth", main)
