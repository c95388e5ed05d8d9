"""What ``training.reachability`` counted, as evidence and verdicts at any of its false-alarm rates.

A report is a dictionary as in docs/reachability.md. Verdicts follow from its counts alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from explorer.race import LATENT, PIXEL
from explorer.rates import Count, pooled, standardised
from explorer.verdict import (
    HELD_OUT,
    OTHER,
    SCRAMBLED,
    UNTRAINED,
    Evidence,
    Kind,
    Search,
    Verdict,
    corrected_share,
    verdicts,
)

# Names in a report, beside those that races and verdicts have
ORACLE = "oracle"
ATTRIBUTION = ("interpolations", "Gaussian", "Gaussian mixture")
PHOTOGRAPHS, ROUND_TRIPS, CUT = "photographs", "round trips", "cut round trips"
AT_BEST = "what the GAN can at best show"  # what people are told for CUT
GATED = "photographs through the gate"
TRAINING, TRAINING_CUT = "training photographs", "cut training images"  # which the judges have learnt, too
OTHERS = {  # what people are told for these of other classes: false positives
    PHOTOGRAPHS: "photographs of others",
    TRAINING: "training photographs of others",
    ROUND_TRIPS: "round trips of others",
    CUT: "others, remade by the GAN",
    TRAINING_CUT: "training images of others, remade by the GAN",
}
MIXED = {  # and where seen classes are mixed as in the samples of a GAN, which come in one of these forms
    PHOTOGRAPHS: "photographs, in its samples' mix",
    TRAINING: "training photographs, in its samples' mix",
    CUT: "others, remade, in its samples' mix",
    TRAINING_CUT: "training images, remade, in its samples' mix",
}
PERMUTED = "permuted labels"
UNTRAINED_PIXEL = "untrained pixel"  # what UNTRAINED is to a latent GAN
CODEC_SAW = f"{ORACLE}, codec saw it"  # one whose codec and second stage saw the class, too
PIXEL_ORACLE = "pixel oracle"  # what ORACLE is to a latent GAN
CLASS = "class"
STRATA = "strata"  # by the seen class that pictures are most like
SHARED = "shared"  # the second stage of a latent GAN, by all seeds
ALPHA, LEVEL = 0.01, 0.95  # where nobody chose
Report = Mapping[str, Any]


def told(name: str) -> str:
    """What people are told for a report's name of pictures."""
    return AT_BEST if name == CUT else name


def counts(entries: Iterable[Mapping[str, int]]) -> list[Count]:
    """Counts of a report's entries."""
    return [Count(int(e["hits"]), int(e["n"]), _asked(e)) for e in entries]


def counts_by_name(entries: Mapping[str, Mapping[str, int]]) -> dict[str, Count]:
    """Counts of a report's entries that have names."""
    return dict(zip(entries, counts(entries.values()), strict=True))


def _asked(entry: Mapping[str, int]) -> str:
    """What an entry of images that were remade more than once is the worth of, for people."""
    images = entry.get("images")  # 0, of a class without test images, in older reports
    return f"{images:,} images x {entry['pictures'] // images}" if images else ""


def alphas(report: Report) -> list[float]:
    """The false-alarm rates at which thresholds were set, largest first."""
    return sorted((float(a) for a in report["alphas"]), reverse=True)


def pictures_needed(alpha: float) -> int:
    """Calibration pictures that it takes for a threshold at a false-alarm rate: the least n of which a rank
    of ceil((1 - alpha)(n + 1)) is one, as ``training.hits.thresholds`` takes it.
    """
    n = max(1, int((1 - alpha) / alpha))
    while ceil((1 - alpha) * (n + 1)) > n:
        n += 1
    return n


def default_alpha(report: Report) -> float:
    """The rate that is shown at first: ``ALPHA``, or the nearest there is."""
    return min(alphas(report), key=lambda a: abs(a - ALPHA))


def generators(report: Report) -> list[str]:
    """The kinds of GAN that were asked."""
    return [name for name in (LATENT, PIXEL) if name in report["seeds"]]


def held_out(report: Report) -> list[str]:
    """The held-out classes."""
    return [name for name, found in report["classes"].items() if found["held_out"]]


def seen(report: Report) -> list[str]:
    """The classes that the GANs were trained with."""
    return [name for name, found in report["classes"].items() if not found["held_out"]]


def at_level(report: Report, name: str, alpha: float) -> Mapping[str, Any]:
    """What was counted for a class at one false-alarm rate."""
    return report["classes"][name]["levels"][f"{alpha:g}"]


def has_thresholds(report: Report, name: str, alpha: float) -> bool:
    """Whether there were calibration pictures enough for thresholds; without them nothing was asked, and the
    report's counts of no hits are none.
    """
    return None not in at_level(report, name, alpha)["thresholds"]


def untrained(generator: str) -> str:
    """What the untrained generator of a kind of GAN is called."""
    return UNTRAINED_PIXEL if generator == PIXEL else UNTRAINED


def oracle(generator: str) -> str:
    """What the oracle of a kind of GAN is called, one that saw all it could."""
    return PIXEL_ORACLE if generator == PIXEL else ORACLE


def found_of(level: Mapping[str, Any], source: str, kind: str) -> Count:
    """How many targets of a kind were found, in the mean over seeds, of as many as there are.

    Every seed searches for the same images, so more seeds are not more images.
    """
    runs = counts(level["searches"].get(source, {}).get(kind, []))
    whole = pooled(runs)
    return Count(round(whole.hits / max(1, len(runs))), round(whole.n / max(1, len(runs))))


def evidence(report: Report, name: str, generator: str, alpha: float) -> Evidence:
    """The counts of one class and one kind of GAN.

    A true positive is a test image of the class as this GAN could at best show it: from a pixel GAN as a
    photograph, which must pass the gate as its samples must; from a latent GAN through the codec, whole or
    cut to the components of its (first) stage, whichever is recognised less. A seen class needs no oracle:
    the GAN itself was trained with it.
    """
    level = at_level(report, name, alpha)
    photographs, trips, cut = counts(level[k] for k in (PHOTOGRAPHS, ROUND_TRIPS, CUT))
    through = generator != PIXEL
    shown = (ROUND_TRIPS, CUT, TRAINING_CUT) if through else (PHOTOGRAPHS, TRAINING)
    false_positives = level["false_positives"]
    alarms = {OTHERS[k]: false_positives[k] for k in shown if k in false_positives}
    placebo, of_kind = level[PERMUTED], oracle(generator)
    alarms[PERMUTED] = placebo[generator]
    mixed = _mixed(level, shown, generator)
    searches: dict[str, Search] = {}
    for key, source, kind in (
        (HELD_OUT, generator, CLASS),
        (SCRAMBLED, generator, SCRAMBLED),
        (OTHER, generator, OTHER),
        (UNTRAINED, untrained(generator), CLASS),
    ):
        if kind in level["searches"].get(source, {}):
            distance = report["classes"][name]["distances"][source].get(kind)
            searches[key] = Search(found_of(level, source, kind), distance)
    kept_out = report["classes"][name]["held_out"]
    return Evidence(
        name=name,
        originals=photographs,
        round_trips=trips if through else photographs,
        tpr=min(trips, cut, key=lambda c: c.rate) if through else counts([level[GATED]])[0],
        fpr=counts_by_name(alarms) | mixed,
        produced=counts(level["samples"][generator]),
        attribution={k: counts(level["samples"][k]) for k in ATTRIBUTION if k in level["samples"]},
        searches=searches,
        oracle=counts(level["samples"].get(of_kind if kept_out else generator, [])),
        oracle_fpr=(
            {PERMUTED: counts([placebo[of_kind]])[0]} | _mixed(level, shown, of_kind)
            if kept_out and of_kind in placebo
            else {}
        ),
        mixed=bool(mixed),
        blind=counts(level["samples"].get(generator, []) if kept_out else []),
        shared="over one second stage" if through and report.get("detail") == SHARED else "",
        seen=not kept_out,
        codec=through,
        uncalibrated=(
            None if has_thresholds(report, name, alpha) else (level["negatives"], pictures_needed(alpha))
        ),
    )


def _mixed(level: Mapping[str, Any], shown: Sequence[str], source: str) -> dict[str, Count]:
    """False positives of images in the form of a source's samples, with the seen classes mixed as in these;
    none where that was not counted, as in older reports.
    """
    mix = {name: count.n for name, count in sampled_strata(level, source).items()}
    return {
        MIXED[kind]: standardised(counts_by_name(found), mix)
        for kind, found in (level[STRATA]["false_positives"].items() if mix else ())
        if kind in shown
    }


def sampled_strata(level: Mapping[str, Any], source: str) -> dict[str, Count]:
    """Samples of a source, and hits among them, by the seen class that they are most like; empty where that
    was not counted.
    """
    return counts_by_name(level.get(STRATA, {}).get("samples", {}).get(source, {}))


@dataclass(frozen=True)
class SeenShares:
    """The seen classes' shares of samples in sum, corrected as in a verdict.

    total: of the estimates; least: of the lower ends of their intervals. counted: of how many classes, of
    ``of`` that there are; the judges cannot tell the others.
    """

    total: float
    least: float
    counted: int
    of: int


def seen_shares(report: Report, generator: str, alpha: float, level: float = LEVEL) -> SeenShares:
    """What the seen classes make of the samples, so that it can be seen whether it is more than all."""
    shares = [corrected_share(evidence(report, name, generator, alpha), level) for name in seen(report)]
    told = [(pi, low) for pi, low in shares if pi is not None]
    return SeenShares(sum(pi for pi, _ in told), sum(low for _, low in told), len(told), len(shares))


def judged_among(
    report: Report, names: Sequence[str], generator: str, alpha: float, level: float = LEVEL
) -> dict[str, Verdict]:
    """Verdicts on some classes for one kind of GAN, Holm-adjusted over them."""
    given = [evidence(report, name, generator, alpha) for name in names]
    return dict(zip(names, verdicts(given, level), strict=True))


def judged(report: Report, generator: str, alpha: float, level: float = LEVEL) -> dict[str, Verdict]:
    """Verdicts on all classes for one kind of GAN, Holm-adjusted over the held-out ones and over the rest."""
    return judged_among(report, held_out(report), generator, alpha, level) | judged_among(
        report, seen(report), generator, alpha, level
    )


def conclusive(report: Report) -> bool:
    """Whether every held-out class has a verdict for every kind of GAN, at the default rates."""
    alpha = default_alpha(report)
    return all(
        verdict.kind != Kind.INCONCLUSIVE
        for generator in generators(report)
        for verdict in judged_among(report, held_out(report), generator, alpha).values()
    )
