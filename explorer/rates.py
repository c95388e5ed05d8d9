"""Rates with their uncertainty: a share never stands without its n and its interval."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil


@dataclass(frozen=True)
class Count:
    """So many hits among n trials; ValueError unless 0 <= hits <= n.

    worth_of: what was asked, for people, where n is what that is worth.
    """

    hits: int
    n: int
    worth_of: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.n:
            raise ValueError(f"{self.hits} hits among {self.n} is no count.")

    @property
    def rate(self) -> float:
        """Hits over n in [0, 1]; 0 when n is 0."""
        return self.hits / self.n if self.n else 0.0

    @property
    def size(self) -> str:
        """How much was counted, for people: ``1,210 (the worth of 575 images x 8)``."""
        return f"{self.n:,} (the worth of {self.worth_of})" if self.worth_of else f"{self.n:,}"


def pooled(counts: Iterable[Count]) -> Count:
    """All hits among all trials."""
    counts = list(counts)
    return Count(sum(c.hits for c in counts), sum(c.n for c in counts))


def standardised(strata: Mapping[str, Count], mix: Mapping[str, int]) -> Count:
    """What was counted by strata, as one count of a sample in which they are mixed as in ``mix``.

    Its rate is the directly standardised one, the mean of the strata's by their shares of the mix; its n that
    which Fay & Feuer 1997 (Statistics in Medicine 16:791) give it, with the largest weight of a single trial
    added to sum and variance, so that strata without hits do not pass for certain; but never more than was
    counted. Hits are rounded up. A stratum of the mix in which nothing was counted is taken to be all hits.
    No trials where nothing is mixed, or nothing counted.
    """
    whole, counted = sum(mix.values()), pooled(strata.values())
    rate = variance = largest = 0.0
    for name, size in mix.items():
        if not size:
            continue
        stratum = strata.get(name, Count(0, 0))
        if not stratum.n:
            rate += size / whole
            continue
        weight = size / whole / stratum.n
        rate += weight * stratum.hits
        variance += weight**2 * stratum.hits
        largest = max(largest, weight)
    if not largest:
        return Count(0, 0)
    n = min(int((rate + largest) / (variance + largest**2)), counted.n)
    return Count(min(n, ceil(rate * n - 1e-9)), n, f"{counted.n:,}")


def wilson_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval (Wilson 1927) of a binomial share, as fractions; (0, 1) when n is 0."""
    if n == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # half a second to import: only where a rate is shown

    interval = binomtest(hits, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def clopper_pearson(hits: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Exact interval (Clopper & Pearson 1934) of a binomial share, as fractions; (0, 1) when n is 0.

    Never covers less than its level, which matters where hits are few; wider than Wilson's for it.
    """
    from scipy.special import betaincinv  # binomtest's, by a search for roots, takes a hundred times as long

    tail = (1 - level) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def share(hits: int, n: int, level: float = 0.95) -> str:
    """A share with its interval, for people: ``0.512 [0.495, 0.529]``; small ones with more digits."""
    if n == 0:
        return "-"
    return with_interval(hits / n, wilson_interval(hits, n, level))


def with_interval(rate: float, ends: tuple[float, float]) -> str:
    """A rate between the ends of its interval, for people; see ``share``."""
    low, high = ends
    digits = 3 if high >= 0.01 else 5
    return f"{rate:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
