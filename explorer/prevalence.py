"""The true rate behind a judge that errs, with the uncertainty of its error rates.

A judge finds hits at the rate ``p = pi TPR + (1 - pi) FPR`` where the true rate is pi; TPR and FPR are
themselves estimated, on so many positives and negatives.
"""

from functools import cache, lru_cache
from math import sqrt
from typing import TYPE_CHECKING

from explorer.rates import Count

if TYPE_CHECKING:
    import numpy as np


def rogan_gladen(rate: float, tpr: float, fpr: float) -> float:
    """True rate ``(rate - FPR) / (TPR - FPR)``, clipped to [0, 1] (Rogan & Gladen 1978).

    ValueError where TPR <= FPR: such a judge says nothing about the class.
    """
    if tpr <= fpr:
        raise ValueError(f"A judge with TPR {tpr:.3g} and FPR {fpr:.3g} does not tell the class apart.")
    return min(max((rate - fpr) / (tpr - fpr), 0.0), 1.0)


def lang_reiczigel_interval(found: Count, tpr: Count, fpr: Count, level: float = 0.95) -> tuple[float, float]:
    """Interval of the true rate for one sample (Lang & Reiczigel 2014, Prev Vet Med 113:13-22, eq. 16).

    (0, 1) where the adjusted TPR is not above the adjusted FPR. Equation 4 of the paper has a misprint: the
    factor of the specificity's variance is (1 - P)^2. Made for middling rates. Where pi = 0 its lower end, at
    95 %, is above 0 in up to 3.4 % of samples instead of 2.5 % (FPR 0.01 estimated on 300 negatives; 50,000
    samples), so the verdict rests on ``melded_interval``.
    """
    from scipy.special import ndtri

    z = float(ndtri((1 + level) / 2))
    n = found.n + z * z
    p = (found.hits + z * z / 2) / n
    sensitivity, false = (tpr.hits + 1) / (tpr.n + 2), (fpr.hits + 1) / (fpr.n + 2)
    if sensitivity <= false:
        return 0.0, 1.0
    of_tpr = sensitivity * (1 - sensitivity) / (tpr.n + 2)
    of_fpr = false * (1 - false) / (fpr.n + 2)
    pi = (p - false) / (sensitivity - false)
    shift = 2 * z * z * (pi * of_tpr - (1 - pi) * of_fpr)
    spread = sqrt(p * (1 - p) / n + pi**2 * of_tpr + (1 - pi) ** 2 * of_fpr) / (sensitivity - false)
    low, high = (min(max(pi + shift + sign * z * spread, 0.0), 1.0) for sign in (-1, 1))
    return low, high


@lru_cache(maxsize=4096)  # verdicts ask for the same one again: other levels and controls leave it as it is
def melded_interval(
    hits: float, n: float, tpr: Count, fpr: Count, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the true rate that holds its level near 0 too; hits and n may be fractions of a count.

    Each end is the quantile of ``(p - FPR) / (TPR - FPR)`` over the distributions whose quantiles are the
    Clopper-Pearson limits of the three, each taken on the side that widens the interval (Fay, Proschan &
    Brittain 2015, Biometrics 71:146; for imperfect tests Bayer, Fay & Graubard 2023, Stat Med 42:1822).
    The lower end is above 0 exactly where Fisher's one-sided test of hits against false positives rejects at
    (1 - level) / 2.

    A hit rate below the FPR is luck, or a control that does not fit, and no evidence for less than nothing:
    the upper end is then that of a rate equal to the FPR, never below what the numbers could have shown
    (power-constrained: Cowan et al. 2011, arXiv 1105.3166), or that of all hits being true, if it is lower.
    (0, 1) where nothing was sampled, or TPR may well be as low as FPR.
    """
    if not (n and tpr.n and fpr.n):
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = _end(hits, n, tpr, fpr, tail, upper=False) if hits > 0 else 0.0
    if hits >= n * fpr.rate:
        return low, _end(hits, n, tpr, fpr, tail, upper=True)
    as_many = _end(n * fpr.rate, n, tpr, fpr, tail, upper=True)
    return low, min(as_many, _end(hits, n, tpr, Count(0, fpr.n), tail, upper=True))


def _end(hits: float, n: float, tpr: Count, fpr: Count, tail: float, upper: bool) -> float:
    """The true rate with the tail's mass beyond it; 0 or 1 where not even that is extreme enough."""
    import numpy as np
    from scipy.optimize import brentq
    from scipy.special import ndtr

    if upper and hits >= n:
        return 1.0
    z, weights = _normal(61)
    z_true, true_weights = _normal(61)  # hits may be so much surer that theirs is a step on its scale
    p = _limits(hits, n, z, upper)
    false = _limits(fpr.hits, fpr.n, z, not upper)[:, None]
    gap = _limits(tpr.hits, tpr.n, z_true, not upper) - false

    def excess(pi: float) -> float:
        beyond = ndtr(np.interp(false + pi * gap, p, z) * (-1 if upper else 1))
        # Where TPR is not above FPR any rate is possible, so that mass is beyond wherever the end is.
        return float(weights @ np.where(gap > 0, beyond, 1) @ true_weights) - tail

    at_0, at_1 = excess(0), excess(1)
    if at_0 * at_1 < 0:
        return float(brentq(excess, 0, 1, xtol=1e-7, rtol=1e-4))
    return float(upper if at_0 > 0 else not upper)


@lru_cache(maxsize=4096)
def exceeds(hits: float, n: float, other_hits: float, other_n: float) -> float:
    """One-sided p-value that hits among n are not at a higher rate than the others.

    Fisher's exact test, which holds its level however rare the hits and unequal the n, written as a melded
    test so that counts may be fractions (Fay, Proschan & Brittain 2015). 1 where either n is 0.
    """
    from scipy.special import betainc

    if not (hits > 0 and n and other_n):
        return 1.0
    z, weights = _normal(241)  # hits may be so much surer that theirs is a step
    return float(weights @ betainc(hits, n - hits + 1, _limits(other_hits, other_n, z, upper=True)))


@cache
def _normal(size: int) -> "tuple[np.ndarray, np.ndarray]":
    """Even steps (size,) over six standard deviations and their normal weights, which sum to 1.

    The trapezoid rule over them converges faster than any power of the step, where what is summed is smooth
    on that scale.
    """
    import numpy as np

    z = np.linspace(-6, 6, size)
    weights = np.exp(-z * z / 2)
    return z, weights / weights.sum()


def _limits(hits: float, n: float, z: "np.ndarray", upper: bool) -> "np.ndarray":
    """One-sided Clopper-Pearson limits (k,), upper or lower ones, at normal deviates z (k,)."""
    import numpy as np
    from scipy.special import betaincinv, ndtr

    a, b = hits + upper, n - hits + 1 - upper
    if a <= 0 or b <= 0:
        return np.full(len(z), float(upper))
    return betaincinv(a, b, ndtr(z))
