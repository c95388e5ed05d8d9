"""Rates with their uncertainty: a share never stands without its n and its interval."""


def wilson_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval (Wilson 1927) of a binomial share, as fractions; (0, 1) when n is 0."""
    if n == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # half a second to import: only where a rate is shown

    interval = binomtest(hits, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def share(hits: int, n: int) -> str:
    """A share with its 95 % interval, for people: ``0.512 [0.495, 0.529]``."""
    if n == 0:
        return "-"
    low, high = wilson_interval(hits, n)
    return f"{hits / n:.3f} [{low:.3f}, {high:.3f}]"
