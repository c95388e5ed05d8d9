"""How far a verdict carries: other false-alarm rates, levels and intervals, and more false alarms."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from explorer.prevalence import lang_reiczigel_interval
from explorer.rates import Count, pooled
from explorer.reachability import LEVEL, Report, alphas, evidence, held_out, judged_among, seen
from explorer.replication import hierarchical_bootstrap
from explorer.verdict import (
    NOTHING,
    Evidence,
    Kind,
    corrected_share,
    listed,
    percent,
    verdicts,
    worst_control,
)

STEPS = 1000  # confidence levels are tried in steps of one over this


@dataclass(frozen=True)
class FalseAlarms:
    """One control of false positives: what was counted, and the hits, of as many, from which on the verdict
    would be another; None where even all of them would not change it.
    """

    counted: Count
    changes_at: int | None


@dataclass(frozen=True)
class Robustness:
    """How far one verdict carries.

    kind: what it is. alphas: what it is at each false-alarm rate of the report. level: the highest confidence
    level, in (0, 1), at which it is the same. false_alarms: by control, each changed alone. Of an
    inconclusive verdict the last two are None and empty: nothing carries.
    """

    kind: Kind
    alphas: dict[float, Kind]
    level: float | None
    false_alarms: dict[str, FalseAlarms]

    def said(self) -> str:
        """In words."""
        by_kind: dict[Kind, list[str]] = {self.kind: []}
        for alpha, kind in self.alphas.items():
            by_kind.setdefault(kind, []).append(percent(alpha))
        words = [", ".join(f"{kind.value} at alpha {listed(at)}" for kind, at in by_kind.items())]
        if self.level is not None:
            words.append(f"the same up to a confidence level of {100 * self.level:.1f} %")
        if ends := [
            f"{alarms.changes_at:,} of {alarms.counted.n:,} in place of {alarms.counted.hits:,} ({control})"
            for control, alarms in self.false_alarms.items()
            if alarms.changes_at is not None
        ]:
            words.append(f"another verdict with more false alarms by one control: {', or '.join(ends)}")
        return "; ".join(words)


def robustness(report: Report, name: str, generator: str, alpha: float, level: float = LEVEL) -> Robustness:
    """How far the verdict on a class carries, judged as ``explorer.reachability.judged`` judges it.

    Each end is the nearest at which the verdict is another, if that happens once between here and there; it
    is found by bisection.
    """
    names = next(family for family in (held_out(report), seen(report)) if name in family)
    given = {other: evidence(report, other, generator, alpha) for other in names}

    def kind_of(changed: Evidence, at: float) -> Kind:
        return dict(zip(names, verdicts([*({**given, name: changed}).values()], at), strict=True))[name].kind

    kind = kind_of(given[name], level)
    by_alpha = {a: judged_among(report, names, generator, a, level)[name].kind for a in alphas(report)}
    if kind == Kind.INCONCLUSIVE:
        return Robustness(kind, by_alpha, None, {})

    def first(low: int, high: int, is_other: Callable[[int], bool]) -> int:
        """The first of these integers from which on it is another verdict; ``high`` if none is."""
        return bisect_left(range(low, high), True, key=is_other) + low

    start = round(level * STEPS)
    end = first(start + 1, STEPS, lambda step: kind_of(given[name], step / STEPS) != kind)

    def with_hits(control: str, hits: int) -> Evidence:
        fpr, of_oracles = given[name].fpr, given[name].oracle_fpr
        changed = {**fpr, control: replace(fpr[control], hits=hits)}
        if control not in of_oracles:
            return replace(given[name], fpr=changed)
        # As much more often among oracles' samples.
        own, counted = of_oracles[control], fpr[control]
        more = replace(own, hits=min(own.n, own.hits + round((hits - counted.hits) * own.n / counted.n)))
        return replace(given[name], fpr=changed, oracle_fpr={**of_oracles, control: more})

    alarms = {}
    for control, count in given[name].fpr.items():
        if not count.n:
            continue

        def is_other(hits: int, control: str = control) -> bool:
            return kind_of(with_hits(control, hits), level) != kind

        changes_at = first(count.hits + 1, count.n + 1, is_other)
        alarms[control] = FalseAlarms(count, None if changes_at > count.n else changes_at)
    return Robustness(kind, by_alpha, (end - 1) / STEPS, alarms)


def other_intervals(evidence: Evidence, level: float = LEVEL) -> dict[str, tuple[float, float]]:
    """The interval of the share of samples by methods that no verdict takes, as fractions, by their names.

    As a verdict's, from the lower end by the worst control to the upper end without false positives. Empty
    where the judges cannot tell. Over few seeds either covers less often than it promises; see
    ``seed_interval``.
    """
    if corrected_share(evidence, level)[0] is None:
        return {}
    seeds = [count for count in evidence.produced if count.n]
    worst, found = evidence.fpr[worst_control(evidence, level)], {}
    for method, interval in (
        ("Lang & Reiczigel's of all samples together", partial(lang_reiczigel_interval, pooled(seeds))),
        ("a bootstrap of seeds and samples", partial(hierarchical_bootstrap, seeds)),
    ):
        low, high = (interval(evidence.tpr, fpr, level) for fpr in (worst, NOTHING))
        found[method] = low[0], high[1]
    return found
