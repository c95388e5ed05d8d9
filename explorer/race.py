"""What a race between a GAN on codes and a GAN on pixels found: time to quality, ratios, break-even.

A race is what ``training.race`` wrote: a dictionary as in docs/speed.md. Quality is the Frechet distance to
seen validation crops in the judge's features, lower is better. Times are seconds of training on one device;
a quality that was not reached within the budget has no time, and none is made up.
"""

import shlex
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from statistics import median
from typing import Any

from explorer.rates import share

LATENT, PIXEL = "latent", "pixel"  # the two that every race has; others vary their stages or optimiser
CASCADE = "cascade"
COMPARED = (LATENT, CASCADE, PIXEL)
NAMES = {
    LATENT: "latent GAN",
    CASCADE: "latent GAN in two stages",
    PIXEL: "pixel GAN",
    "latent-sgd": "latent GAN, SGD",
    "pixel-sgd": "pixel GAN, SGD",
}
UNTRAINED = "untrained"
TOLERANCE = 5.0  # seconds by which evaluations at one mark may differ, because turns last a few
Curve = list[dict[str, Any]]


@dataclass(frozen=True)
class Times:
    """Seconds to one quality over the seeds that reached it.

    seconds: of those that did. seeds: how many ran. limit: the seconds that the others had.
    """

    seconds: tuple[float, ...]
    seeds: int
    limit: float

    def __str__(self) -> str:
        if not self.seconds:
            return f"> {self.limit:,.0f} s"
        if not any(self.seconds):
            return UNTRAINED
        shown = f"{median(self.seconds):,.0f} s"
        if len(self.seconds) > 1:
            shown += f" ({min(self.seconds):,.0f} to {max(self.seconds):,.0f})"
        if len(self.seconds) < self.seeds:
            shown += f", {len(self.seconds)} of {self.seeds} seeds"
        return shown


@dataclass(frozen=True)
class Ratio:
    """How many times longer the pixel GAN took, over the seeds where one of the two reached the quality.

    low, high: by seed, between which it lies, because a quality was reached at some time after the evaluation
    before; 0 and infinity where only one of the two reached it, or nothing was evaluated before. bound: '?'
    where seeds differ in which of the two did, 'untrained' where in some seed one had the quality before any
    training, so that there is nothing to compare; else ''.
    """

    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    bound: str = ""

    @property
    def said(self) -> str:
        """Medians over seeds, in words; '' where nothing can be said."""
        if not self.low or self.bound:
            return ""
        low, high = median(self.low), median(self.high)
        if isfinite(high):
            return f"{low:.2g} to {high:.2g}" if low else f"less than {high:.2g}"
        return f"more than {low:.2g}" if low else ""

    def __str__(self) -> str:
        return self.said.replace("less than", "<").replace("more than", ">") or "-"


@dataclass(frozen=True)
class Level:
    """A quality and what it took. break_even: by seed, the GANs over one codec that make the dual
    space the quicker way.
    """

    frechet: float
    latent: Times
    latent_with_codec: Times
    pixel: Times
    ratio: Ratio
    ratio_with_codec: Ratio
    break_even: tuple[float, ...]


def on_codes(race: dict[str, Any]) -> list[str]:
    """The contestants on codes that are compared with the pixel GAN: those that came to their last stage in
    every seed.
    """
    return [n for n in (LATENT, CASCADE) if all(_whole(seed["contestants"].get(n)) for seed in race["seeds"])]


def _whole(entry: dict[str, Any] | None) -> bool:
    return entry is not None and entry.get("last_stage", True)


def joined(race: dict[str, Any]) -> list[str]:
    """Contestants that, in some seed, did not take turns with the pixel GAN but joined when it was done."""
    names = dict.fromkeys(name for seed in race["seeds"] for name in seed["contestants"])
    return [n for n in names if any(PIXEL not in entry.get("beside", [PIXEL]) for entry in entries(race, n))]


def entries(race: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """What was measured of a contestant, of every seed that has it."""
    return [seed["contestants"][name] for seed in race["seeds"] if name in seed["contestants"]]


def best(curve: Curve) -> float:
    """The lowest distance of a curve; infinite where nothing was measured."""
    return min((float(point["frechet"]) for point in curve), default=inf)


def untrained(race: dict[str, Any], name: str) -> float:
    """Median over seeds of a contestant's distance before any training; infinite where not measured."""
    return median(
        next((float(p["frechet"]) for p in entry["curve"] if p["seconds"] == 0), inf)
        for entry in entries(race, name)
    )


def best_of(race: dict[str, Any], name: str) -> float:
    """Median over seeds of a contestant's lowest distance."""
    return median(best(entry["curve"]) for entry in entries(race, name))


def reached(curve: Curve, level: float, clock: str = "seconds") -> float | None:
    """The clock's seconds at the first evaluation that was at or below ``level``; None if none was.

    clock: 'seconds' of the GAN's own training, or 'total', with codec and encoding.
    """
    return next((float(point[clock]) for point in curve if point["frechet"] <= level), None)


def missed(curve: Curve, level: float, clock: str = "seconds") -> float:
    """The clock's seconds at the last evaluation before ``level`` was reached; 0 where there was none."""
    before = 0.0
    for point in curve:
        if point["frechet"] <= level:
            break
        before = float(point[clock])
    return before


@dataclass(frozen=True)
class Reached:
    """When one contestant reached a quality: seconds after ``after``, at latest at ``at``; None if it did not
    within ``limit``.
    """

    after: float
    at: float | None
    limit: float


def ratio(pairs: list[tuple[Reached, Reached]]) -> Ratio:
    """Pixel seconds over latent seconds, by seed. pairs: (latent, pixel)."""
    low, high, bounds = [], [], set()
    for latent, pixel in pairs:
        if latent.at is None and pixel.at is None:
            continue
        if latent.at == 0 or pixel.at == 0:
            return Ratio(bound=UNTRAINED)
        if latent.at is None or pixel.at is None:
            bounds.add(pixel.at is None)
        low.append(
            0.0 if latent.at is None else (pixel.limit if pixel.at is None else pixel.after) / latent.at
        )
        earliest = latent.limit if latent.at is None else latent.after
        high.append(pixel.at / earliest if pixel.at is not None and earliest else inf)
    return Ratio(tuple(low), tuple(high), "?" if len(bounds) > 1 else "")


def latest(curve: Curve, seconds: float) -> dict[str, Any] | None:
    """The last evaluation within about so many total seconds; None if there was none yet."""
    return next((p for p in reversed(curve) if p["total"] <= seconds + TOLERANCE), None)


def levels_of(race: dict[str, Any], count: int = 5) -> list[float]:
    """Qualities to ask about: the pixel GAN's own best, and evenly spaced ones from the best start of a
    contestant, which says nothing of training, down to the best of all.
    """
    names = (*on_codes(race), PIXEL)
    start = median(min(s["contestants"][n]["curve"][0]["frechet"] for n in names) for s in race["seeds"])
    lowest = min(best_of(race, name) for name in names)
    own = best_of(race, PIXEL)
    spaced = [start + (lowest - start) * i / count for i in range(1, count)]
    apart = [level for level in spaced if abs(level - own) > 0.01 * own]
    return sorted({*apart, lowest, own}, reverse=True)


def compare(race: dict[str, Any], level: float, name: str = LATENT) -> Level:
    """Seconds to one quality for a GAN on codes and for the pixel GAN, over all seeds."""
    own, total, pixels, break_even = [], [], [], []
    for seed in race["seeds"]:
        a, b = (seed["contestants"][n] for n in (name, PIXEL))
        codec = seed["codec"]["seconds"] + seed["encoding"]["seconds"]
        own.append(_when(a["curve"], level, a["seconds"]))
        total.append(_when(a["curve"], level, a["seconds"] + codec, "total"))
        pixels.append(_when(b["curve"], level, b["seconds"]))
        mine, other = own[-1].at, pixels[-1].at
        if mine and other and other > mine:
            break_even.append(codec / (other - mine))

    def times(found: list[Reached]) -> Times:
        return Times(tuple(f.at for f in found if f.at is not None), len(found), max(f.limit for f in found))

    return Level(
        level,
        times(own),
        times(total),
        times(pixels),
        ratio(list(zip(own, pixels, strict=True))),
        ratio(list(zip(total, pixels, strict=True))),
        tuple(break_even),
    )


def _when(curve: Curve, level: float, limit: float, clock: str = "seconds") -> Reached:
    return Reached(missed(curve, level, clock), reached(curve, level, clock), limit)


def quality_table(race: dict[str, Any]) -> str:
    """Markdown: a row for each GAN on codes and quality."""
    rows = [
        "| GAN on codes | Fréchet distance at most | alone | with codec and encoding | pixel GAN "
        "| pixel / alone | pixel / with codec | GANs over one codec to break even |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in on_codes(race):
        for found in (compare(race, level, name) for level in levels_of(race)):
            even = f"{median(found.break_even):.2g}" if found.break_even else "-"
            rows.append(
                f"| {NAMES[name]} | {found.frechet:,.0f} | {found.latent} | {found.latent_with_codec} "
                f"| {found.pixel} | {found.ratio} | {found.ratio_with_codec} | {even} |"
            )
    return "\n".join(rows)


def cost_table(race: dict[str, Any]) -> str:
    """Markdown: what a step and an image (of two stages: the last) cost, medians over seeds."""
    rows = [
        "| contestant | batch | ms a step | images/s | GFLOP a step | MFLOP an image "
        "| best Fréchet distance, median over seeds | called a dog at the end |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]

    def row(name: str, measured: list[dict[str, Any]], quality: str, dogs: str) -> str:
        per_step, flops, batch = (
            median(e[key] for e in measured) for key in ("seconds_per_step", "flops_per_step", "batch")
        )
        speed = f"{1000 * per_step:,.1f} | {batch / per_step:,.0f}" if per_step else "- | -"
        return (
            f"| {name} | {batch:.0f} | {speed} "
            f"| {flops / 1e9:,.2f} | {flops / batch / 1e6:,.1f} | {quality} | {dogs} |"
        )

    seeds = race["seeds"]
    rows.append(row("codec", [s["codec"] for s in seeds], "-", "-"))
    for name in dict.fromkeys(name for s in seeds for name in s["contestants"]):
        measured = entries(race, name)
        lowest = best_of(race, name)
        quality = f"{lowest:,.0f}" if isfinite(lowest) else "-"
        if stopped := sum(e["stopped"] is not None for e in measured):
            quality += f" ({stopped} of {len(measured)} diverged)"
        last = [e["curve"][-1].get("dogs") if e["curve"] else None for e in measured]
        k, n = (sum(d[key] for d in last if d) for key in ("k", "n"))
        label = NAMES.get(name, name)
        if len(measured) < len(seeds):
            label += f" ({len(measured)} of {len(seeds)} seeds)"
        if not all(map(_whole, measured)):
            label += ", not yet in its second"
        rows.append(row(label, measured, quality, f"{share(k, n)}, n = {n:,}" if n else "-"))
    return "\n".join(rows)


def verdict(race: dict[str, Any]) -> str:
    """What was found at the pixel GAN's own best quality: a sentence for each GAN on codes."""
    return " ".join(_verdict_on(race, name) for name in on_codes(race))


def _verdict_on(race: dict[str, Any], name: str) -> str:
    level, called = best_of(race, PIXEL), NAMES[name]
    found = compare(race, level, name)
    n = len(race["seeds"])
    where = f"on {race['device']}, {n} {'seed' if n == 1 else 'seeds'}"

    if found.ratio.bound == UNTRAINED:
        return (
            f"Within the budget the pixel GAN came no nearer to photographs (a Fréchet distance of "
            f"{level:,.0f}) than a {called} that was never trained ({untrained(race, name):,.0f}: random "
            f"codes through the codec's decoder), {where}. The codec decides this race; it says nothing "
            "about how fast the two GANs learn."
        )
    if not found.latent.seconds:
        return (
            f"Within the budget the {called} did not reach the pixel GAN's own best quality (a Fréchet "
            f"distance of {level:,.0f}) {where}: no speed-up was measured."
        )
    if "?" in (found.ratio.bound, found.ratio_with_codec.bound):
        return f"The seeds contradict each other {where}: no speed-up was measured."
    if not (found.ratio.said and found.ratio_with_codec.said):
        return (
            f"The pixel GAN had its own best quality (a Fréchet distance of {level:,.0f}) at its first "
            f"evaluation, and so had the {called}, {where}: no speed-up was measured."
        )
    return (
        f"The {called} did reach the pixel GAN's own best quality within the budget (a Fréchet distance of "
        f"{level:,.0f}): the pixel GAN needed {found.ratio.said} times its seconds, not counting codec and "
        f"encoding, and {found.ratio_with_codec.said} times those with them, {where} (medians; no closer, "
        "because a quality is reached somewhere between two evaluations)."
    )


def command_for(manifest: dict[str, Any], bundle: Path) -> str:
    """The command that races GANs over a bundle's own data, as a user would type it."""
    made = manifest.get("training", {}).get("autoencoder", {}).get("options", {})
    made = {"preset": "PRESET", **made, "source": manifest["data"]["source"]}
    words = ["python", "-m", "training.race"]
    for name in ("preset", "source", "crop", "boxes"):
        if made.get(name) is not None:
            words += [f"--{name}", str(made[name])]
    if manifest["held_out"]:
        words += ["--hold-out", *manifest["held_out"]]
    return shlex.join([*words, "--bundle", str(bundle)])
