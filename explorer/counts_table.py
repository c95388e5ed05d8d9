"""Every count of a report with its interval: beside it, or as one long table."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from explorer.rates import Count, clopper_pearson
from explorer.reachability import (
    CUT,
    LEVEL,
    PERMUTED,
    PHOTOGRAPHS,
    ROUND_TRIPS,
    STRATA,
    Report,
    alphas,
    counts,
    counts_by_name,
    has_thresholds,
)

COLUMNS = (
    "class", "held_out", "rung", "source", "targets", "seed", "alpha", "hits", "n", "rate",
    "low", "high", "method", "worth_of",
)  # fmt: skip
METHOD = "Clopper-Pearson, {:g} %"


def with_intervals(found: Any, level: float = LEVEL) -> Any:
    """What a report holds, with ``interval`` beside each count: its exact ends, as fractions."""
    if isinstance(found, Mapping):
        inner = {key: with_intervals(value, level) for key, value in found.items()}
        if {"hits", "n"} <= found.keys():
            ends = clopper_pearson(found["hits"], found["n"], level)
            inner["interval"] = [float(f"{end:.6g}") for end in ends]
        return inner
    if isinstance(found, list | tuple):
        return [with_intervals(value, level) for value in found]
    return found


def counts_csv(report: Report, level: float = LEVEL) -> str:
    """CSV with a row for each class, false-alarm rate, source of pictures and seed; without hits where there
    were no thresholds to ask with.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    method = METHOD.format(100 * level)
    for name, found in report["classes"].items():
        for alpha in alphas(report):
            for rung, source, targets, seed, count in _rows(report, name, alpha):
                hits: list[object] = ["", count.n, "", "", "", ""]  # nothing was asked
                if has_thresholds(report, name, alpha):
                    ends = (f"{end:.6g}" for end in clopper_pearson(count.hits, count.n, level))
                    hits = [count.hits, count.n, f"{count.rate:.6g}", *ends, method]
                what = [name, found["held_out"], rung, source, targets, seed, f"{alpha:g}"]
                writer.writerow([*what, *hits, count.worth_of])
    return text.getvalue()


def _rows(report: Report, name: str, alpha: float) -> Iterator[tuple[str, str, str, int | str, Count]]:
    """Rung, source, targets, seed and count."""
    at = report["classes"][name]["levels"][f"{alpha:g}"]
    kinds = (PHOTOGRAPHS, ROUND_TRIPS, CUT)
    for kind, count in zip(kinds, counts(at[kind] for kind in kinds), strict=True):
        yield "representable", kind, "", "", count
    for source, runs in at["searches"].items():
        for targets, entries in runs.items():
            for seed, count in zip(report["seeds"][source], counts(entries), strict=True):
                yield "reachable on demand", source, targets, seed, count
    for source, entries in at["samples"].items():
        for seed, count in zip(report["seeds"][source], counts(entries), strict=True):
            yield "produced", source, "", seed, count
    for group, prefix in ((at["false_positives"], ""), (at[PERMUTED], f"{PERMUTED}: ")):
        for source, count in counts_by_name(group).items():
            yield "false positives", prefix + source, "", "", count
    by_rung = at.get(STRATA, {})  # parts of what stands above
    for rung, key in (("false positives by stratum", "false_positives"), ("produced by stratum", "samples")):
        for source, strata in by_rung.get(key, {}).items():
            for name, count in counts_by_name(strata).items():
                yield rung, source, f"most like {name}", "", count
