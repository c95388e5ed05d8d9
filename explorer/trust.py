"""Why a verdict may be believed, or not: hits, thresholds, the judges' errors and the gate, in words."""

from collections.abc import Mapping
from math import exp

from explorer.rates import Count, clopper_pearson, pooled, with_interval
from explorer.reachability import (
    CODEC_SAW,
    LATENT,
    LEVEL,
    PIXEL,
    SHARED,
    Report,
    SeenShares,
    at_level,
    counts,
    evidence,
    held_out,
    sampled_strata,
    seen_shares,
    told,
)
from explorer.robustness import other_intervals, robustness
from explorer.verdict import Evidence, Kind, Verdict, percent

JUDGES = {"head": "linear judge", "network": "network judge"}


def reasons(
    report: Report, name: str, generator: str, alpha: float, verdict: Verdict, level: float = LEVEL
) -> dict[str, str]:
    """What the verdict on one class rests on, by heading; with intervals of this level."""
    at, found = at_level(report, name, alpha), evidence(report, name, generator, alpha)
    limits, gate = at["thresholds"], report["gate"]
    split = report["split"]["counts"][name]
    if None in limits:
        few = f"{at['negatives']:,} calibration pictures"
        hit = f"nothing: {few} are too few for thresholds at {percent(alpha)}"
    else:
        both = " and ".join(percent(exp(limit)) for limit in limits)
        hit = (
            f"the judges give the class more than {both}, and the picture is as near to real round trips as "
            f"{percent(gate['share'])} of them are. These thresholds were set for {percent(alpha)} of false "
            f"alarms on {at['negatives']:,} calibration pictures of other seen classes; what was measured on "
            "test pictures stands below"
        )
    rows = {"What counts as a hit": hit}
    if None not in limits:
        rows |= _hits(report, name, generator, found, level)
        if mixed := sampled_strata(at, generator):
            rows["Hits by the seen class that samples are most like"] = _mix(mixed)
    if seen := _sum_of_seen(seen_shares(report, generator, alpha, level)):
        rows["Shares of the seen classes, in sum"] = seen
    for judge, asked in report["judges"].items():
        rights = zip(asked, counts(asked.values()), strict=True)
        rows[f"The {JUDGES.get(judge, judge)} names the right class"] = ", ".join(
            f"{told(kind)} {_share(c, level)}" for kind, c in rights
        )
    rows["GANs that were asked"] = gans_asked(report, generator)
    passed = {source: pooled(counts(entries)) for source, entries in gate["passed"].items()}
    rows["The gate lets through"] = ", ".join(f"{told(s)} {percent(c.rate)}" for s, c in passed.items())
    rows["Images of the class"] = ", ".join(f"{n:,} {part}" for part, n in split.items())
    if found.shared:
        rows["Second stage"] = (
            "the bundle's own, which never saw the class, over the first stage of each seed and oracle: "
            "these differ in the first stage alone"
            + (
                ", but for an oracle whose codec saw the class: it has its own"
                if CODEC_SAW in at["samples"]
                else ""
            )
        )
    rows["Features of the linear judge and of the gate"] = report["features"]
    rows["Measured"] = f"on {report['device']} by `{report['command']}`"
    if others := other_intervals(found, level):
        rows["Its interval by other methods"] = (
            "; ".join(f"{_between(ends)} ({method})" for method, ends in others.items())
            + ". Over few seeds both hold less often than they promise, so verdicts take neither"
        )
    rows["How far it carries"] = robustness(report, name, generator, alpha, level).said()
    if verdict.limits and verdict.kind != Kind.INCONCLUSIVE:  # which says them in its sentence
        rows["What the verdict rests on"] = "; ".join(verdict.limits)
    return rows


def _hits(report: Report, name: str, generator: str, found: Evidence, level: float) -> dict[str, str]:
    """What was counted at the thresholds, by heading."""
    rows = {
        "True positives": f"{_share(found.tpr, level)} of {found.tpr.size} test images of "
        "the class, as the GAN could at best show them",
    }
    among_oracles = {f"{control} (oracles)": c for control, c in found.oracle_fpr.items()}
    for control, count in {**found.fpr, **among_oracles}.items():
        rows[f"False positives: {control}"] = (
            f"{_share(count, level)} of {count.size}" if count.n else
            "not counted: a judge that learnt these gives every picture the same answer"
        )  # fmt: skip
    rows["Hits by seed"] = "; ".join(
        f"{who} {', '.join(f'{c.hits:,}' for c in by_seed)} of {by_seed[0].n:,} samples each"
        for who, by_seed in (
            (f"{generator} GAN", found.produced),
            ("oracle, trained with the class", found.oracle if name in held_out(report) else ()),
        )
        if by_seed
    )
    return rows


def _mix(strata: Mapping[str, Count]) -> str:
    """Hits among the samples that are most like each seen class; the most hits first."""
    ordered = sorted(strata.items(), key=lambda item: (-item[1].hits, -item[1].n))
    return "; ".join(f"{name}: {count.hits:,} of {count.n:,}" for name, count in ordered)


def _share(count: Count, level: float) -> str:
    """A share with its exact interval, as the ladder has it."""
    return with_interval(count.rate, clopper_pearson(count.hits, count.n, level)) if count.n else "-"


def _between(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"{percent(low, 'down')} to {percent(high, 'up')}"


def gans_asked(report: Report, generator: str) -> str:
    """Which GANs a report is about, and how they differ from the bundle's own."""
    options = report["options"]
    if options.get("cheap"):
        return "the one in this bundle"
    words = {
        LATENT: (
            ("images", "{:,} codes"), ("width", "a first stage of width {:,}"),
            ("detail_images", "{:,} codes in a second stage of their own"),
        ),
        PIXEL: (("pixel_images", "{:,} crops"), ("pixel_widths", "networks of {} channels")),
    }  # fmt: skip
    if report.get("detail") == SHARED:
        words[LATENT] = words[LATENT][:2]
    given = [said.format(options[name]) for name, said in words[generator] if options.get(name)]
    new = f"{len(report['seeds'][generator])} trained anew"
    if generator == PIXEL:  # of which the bundle has none
        return new + (f", with {' and '.join(given)}" if given else ", as the preset says")
    new += ", not the one in this bundle"
    return new + (f"; with {' and '.join(given)}" if given else "; in the same way as that one")


def _sum_of_seen(seen: SeenShares) -> str:
    """What the sum tells; nothing where no share could be told."""
    if not seen.counted:
        return ""
    said = f"{percent(seen.total)} of the samples, corrected alike"
    if seen.counted < seen.of:
        said += f", of the {seen.counted} of {seen.of} classes that the judges can tell"
    if seen.least > 1:
        return f"{said}: more than all, so at this rate the judges err more in samples than in real images"
    if seen.total > 1:
        return f"{said}: all of them, within what counts can tell"
    return f"{said}: the rest the judges do not recognise, so every share is one of recognisable samples"
