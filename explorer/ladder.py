"""The three rungs of a class as rates to compare: its own, its controls', and those of the seen classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from explorer.rates import Count, pooled
from explorer.reachability import (
    AT_BEST,
    ATTRIBUTION,
    CLASS,
    CUT,
    LATENT,
    LEVEL,
    OTHER,
    PHOTOGRAPHS,
    ROUND_TRIPS,
    SCRAMBLED,
    Report,
    at_level,
    counts,
    evidence,
    found_of,
    has_thresholds,
    oracle,
    untrained,
)
from explorer.replication import rate_interval
from explorer.verdict import percent, worst_control

Role = Literal["class", "oracle", "control"]
CAPTION = (  # what people are told beside it
    "Shares of pictures that are hits, with exact (Clopper-Pearson) intervals that allow for what seeds "
    "differ; the coloured band spans the seen classes. The last axis grows with the square root. The "
    "sentence allows for what the judges miss, and its lower end for their false alarms (an upper end takes "
    "every hit to show the class); the marks are as counted, and images that were remade several times count "
    "as fewer pictures that are independent."
)


@dataclass(frozen=True)
class Mark:
    """One rate of a rung: hits of ``seeds`` with the interval over them."""

    label: str
    role: Role
    seeds: tuple[Count, ...]
    low: float
    high: float

    @property
    def rate(self) -> float:
        """All hits over all n."""
        return pooled(self.seeds).rate

    @property
    def size(self) -> str:
        """How much was counted, for people: ``n = 5 x 10,000``."""
        sizes = {c.n for c in self.seeds}
        if len(self.seeds) > 1 and len(sizes) == 1:
            return f"n = {len(self.seeds)} x {sizes.pop():,}"
        if len(self.seeds) == 1 and (asked := self.seeds[0].worth_of):
            return f"n = {asked}"
        return f"n = {pooled(self.seeds).n:,}"

    @property
    def text(self) -> str:
        """The rate with its interval, for people: ``1.2 % (0.6 to 2.3)``."""
        low, high = percent(self.low, "down").removesuffix(" %"), percent(self.high, "up")
        return f"{percent(self.rate)} ({low} to {high.removesuffix(' %')})"


@dataclass(frozen=True)
class Rung:
    """A question about a class. band: lowest and highest rate of the seen classes; None without any."""

    name: str
    question: str
    marks: tuple[Mark, ...]
    band: tuple[float, float] | None


def mark(label: str, role: Role, seeds: Sequence[Count], level: float = LEVEL) -> Mark | None:
    """A rate with its exact interval, widened by what seeds differ; None where nothing was counted."""
    seeds = tuple(c for c in seeds if c.n)
    if not seeds:
        return None
    return Mark(label, role, seeds, *rate_interval(seeds, level))


def _seeds(report: Report, name: str, rung: int, generator: str, alpha: float) -> list[Count]:
    """The counts of a rung that are the class's own."""
    level = at_level(report, name, alpha)
    if rung == 0:
        return counts([level[ROUND_TRIPS if generator == LATENT else PHOTOGRAPHS]])
    if rung == 1:
        return [found_of(level, generator, CLASS)]
    return counts(level["samples"].get(generator, []))


def ladder(report: Report, name: str, generator: str, alpha: float, level: float = LEVEL) -> list[Rung]:
    """Representable, reachable on demand, produced: what was counted of one class and one kind of GAN."""
    at, found = at_level(report, name, alpha), evidence(report, name, generator, alpha)
    samples, of_kind = at["samples"], oracle(generator)
    oracles = [source for source in samples if source.startswith(of_kind)]  # doses are called after it
    false: list[tuple[str, Role, Sequence[Count]]] = []
    if any(count.n for count in found.fpr.values()):
        worst = worst_control(found, level)
        false = [(f"false positives: {worst}", "control", [found.fpr[worst]])]
    rows: list[list[tuple[str, Role, Sequence[Count]]]] = [
        [
            ("round trips", "class", _seeds(report, name, 0, generator, alpha)),
            (AT_BEST, "control", counts([at[CUT]])),
            ("photographs", "control", [found.originals]),
            *false,
        ]
        if generator == LATENT
        else [("photographs", "class", [found.originals]), *false],
        [
            ("search for its images", "class", _seeds(report, name, 1, generator, alpha)),
            ("in the oracle", "oracle", [found_of(at, of_kind, CLASS)]),
            ("scrambled images", "control", [found_of(at, generator, SCRAMBLED)]),
            ("other classes' images", "control", [found_of(at, generator, OTHER)]),
            ("in an untrained generator", "control", [found_of(at, untrained(generator), CLASS)]),
        ],
        [
            ("samples", "class", _seeds(report, name, 2, generator, alpha)),
            *((source, "oracle", counts(samples[source])) for source in oracles),
            *((source, "control", counts(samples.get(source, []))) for source in ATTRIBUTION),
            ("untrained generator", "control", counts(samples.get(untrained(generator), []))),
            *false,
        ],
    ]
    seen = [c for c, f in report["classes"].items() if not f["held_out"]]
    titles = (
        ("Representable", "how many of its test images do the judges recognise?"),
        ("Reachable on demand", "how many of its images does a search find?"),
        ("Produced", "how many samples do the judges take for it?"),
    )
    if not has_thresholds(report, name, alpha):
        return [Rung(title, question, (), None) for title, question in titles]
    seen = [name for name in seen if has_thresholds(report, name, alpha)]
    rungs = []
    for i, ((title, question), row) in enumerate(zip(titles, rows, strict=True)):
        scale = [c.rate for n in seen if (c := pooled(_seeds(report, n, i, generator, alpha))).n]
        marks = tuple(m for label, role, seeds in row if (m := mark(label, role, seeds, level)) is not None)
        rungs.append(Rung(title, question, marks, (min(scale), max(scale)) if scale else None))
    return rungs
