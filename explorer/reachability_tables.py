"""A reachability report as Markdown tables: the claim at a glance, and the rates behind it."""

from collections.abc import Mapping, Sequence

from explorer.markdown import table
from explorer.rates import Count, pooled, with_interval
from explorer.reachability import (
    AT_BEST,
    CUT,
    LEVEL,
    PIXEL,
    ROUND_TRIPS,
    Report,
    at_level,
    counts,
    default_alpha,
    evidence,
    generators,
    has_thresholds,
    held_out,
    judged,
    judged_among,
    oracle,
)
from explorer.replication import rate_interval
from explorer.verdict import HELD_OUT, OTHER, SCRAMBLED, UNTRAINED, percent, worst_control


def _cell(entries: Sequence[Count], level: float) -> str:
    """A share of seeds, or of images, with its exact interval: over seeds where there are several."""
    whole = pooled(entries)
    if not whole.n:
        return "-"
    size = entries[0].size if len(entries) == 1 else f"{whole.n:,}"
    return f"{with_interval(whole.rate, rate_interval(entries, level))} of {size}"


def claims(report: Report, alpha: float, level: float = LEVEL) -> list[Sequence[str]]:
    """Cells by row, the headings first: of each held-out class and GAN the three rungs, what is hit without
    one, the verdict.
    """
    rows: list[Sequence[str]] = [
        ("class", "GAN", "representable: round trips (photographs)",
         "reachable on demand: found (scrambled; other classes; untrained)", "produced: share of samples",
         "samples hit", "hit most without a GAN", "verdict"),
    ]  # fmt: skip
    for generator in generators(report):
        for name, verdict in judged_among(report, held_out(report), generator, alpha, level).items():
            if not has_thresholds(report, name, alpha):
                rows.append([name, generator, *["-"] * 5, verdict.kind.value])
                continue
            e = evidence(report, name, generator, alpha)
            trips = "no codec" if generator == PIXEL else _cell([e.round_trips], level)
            found, *others = (
                _cell([e.searches[k].reached], level) if k in e.searches else "-"
                for k in (HELD_OUT, SCRAMBLED, OTHER, UNTRAINED)
            )
            made = "-"
            if verdict.pi is not None:
                low, high = percent(verdict.low, "down"), percent(verdict.high, "up")
                made = f"{percent(verdict.pi)} [{low}, {high}], seeds: {len(e.produced)}"
            control, best = _best(e.attribution)
            rows.append([
                name, generator, f"{trips} ({_cell([e.originals], level)})", f"{found} ({'; '.join(others)})",
                made, _cell(e.produced, level), f"{control}: {_cell(best, level)}" if best else "-",
                verdict.kind.value,
            ])  # fmt: skip
    return rows


def claim_table(report: Report, alpha: float, level: float = LEVEL) -> str:
    """Markdown of ``claims``."""
    return table(claims(report, alpha, level))


def _best(attribution: Mapping[str, Sequence[Count]]) -> tuple[str, Sequence[Count]]:
    """The control without a GAN that is hit most often, and its counts by seed."""
    return max(attribution.items(), key=lambda item: pooled(item[1]).rate, default=("", []))


def rates(report: Report, generator: str, alpha: float, level: float = LEVEL) -> list[Sequence[str]]:
    """Cells by row, the headings first: of each class, the share of hits of each kind of picture."""
    rows: list[Sequence[str]] = [
        ("class", "photographs", "round trips", AT_BEST, "false positives", "samples", "oracle",
         "best control without a GAN", "search", "search, scrambled", "search, other classes",
         "search, untrained"),
    ]  # fmt: skip
    for name, found in report["classes"].items():
        called = f"{name} ({'held out' if found['held_out'] else 'seen'})"
        if not has_thresholds(report, name, alpha):
            rows.append([called, *["-"] * (len(rows[0]) - 1)])
            continue
        e = evidence(report, name, generator, alpha)
        at = at_level(report, name, alpha)
        false = [e.fpr[worst_control(e, level)]] if any(c.n for c in e.fpr.values()) else []
        searched = [_cell([e.searches[k].reached], level) if k in e.searches else "-"
                    for k in (HELD_OUT, SCRAMBLED, OTHER, UNTRAINED)]  # fmt: skip
        rows.append([
            called, _cell([e.originals], level),
            _cell(counts([at[ROUND_TRIPS]]), level), _cell(counts([at[CUT]]), level), _cell(false, level),
            _cell(e.produced, level), _cell(counts(at["samples"].get(oracle(generator), [])), level),
            _cell(_best(e.attribution)[1], level), *searched,
        ])  # fmt: skip
    return rows


def rates_table(report: Report, generator: str, alpha: float, level: float = LEVEL) -> str:
    """Markdown of ``rates``."""
    return table(rates(report, generator, alpha, level))


def summary(report: Report, alpha: float | None = None, level: float = LEVEL) -> str:
    """Markdown: the verdict on every class for every kind of GAN, and the table behind it."""
    alpha = default_alpha(report) if alpha is None else alpha
    lines = [claim_table(report, alpha, level), ""] if held_out(report) else []
    for generator in generators(report):
        lines += [f"## {generator} GAN", ""]
        lines += [f"- {verdict.sentence}" for verdict in judged(report, generator, alpha, level).values()]
        lines += ["", rates_table(report, generator, alpha, level), ""]
    lines.append(
        f"A hit: both judges give the class above its threshold (false-alarm rate {alpha:g} on calibration "
        f"pictures) and the picture is as near to real round trips as {report['gate']['share']:.0%} of them "
        f"are. Intervals: {100 * level:g} %."
    )
    return "\n".join(lines)
