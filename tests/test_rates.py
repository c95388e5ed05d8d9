"""Rates and their intervals."""

import pytest
from scipy.stats import binomtest

from explorer.rates import Count, clopper_pearson, share, wilson_interval


def test_interval_is_wilsons() -> None:
    # Closed form for 8 of 10 at z = 1.959964 (Wilson 1927).
    z, p, n = 1.959963984540054, 0.8, 10
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    assert wilson_interval(8, 10) == pytest.approx((centre - half, centre + half))


@pytest.mark.parametrize(("hits", "n"), [(0, 50), (50, 50), (1, 1)])
def test_intervals_stay_within_zero_and_one_and_hold_the_share(hits: int, n: int) -> None:
    for interval in (wilson_interval, clopper_pearson):
        low, high = interval(hits, n)
        assert 0 <= low <= hits / n <= high <= 1
        assert low < high


@pytest.mark.parametrize(("hits", "n"), [(0, 50), (7, 50), (50, 50), (3, 10_000)])
def test_exact_interval_is_scipys(hits: int, n: int) -> None:
    for level in (0.9, 0.99):
        assert clopper_pearson(hits, n, level) == pytest.approx(binomtest(hits, n).proportion_ci(level))


def test_exact_interval_of_no_hits_is_the_rule_of_three() -> None:
    # (1 - high)^n = 0.05 in closed form, a one-sided 95 %.
    assert clopper_pearson(0, 10_000, 0.90) == pytest.approx((0, 1 - 0.05 ** (1 / 10_000)))


def test_nothing_observed_says_nothing() -> None:
    assert wilson_interval(0, 0) == clopper_pearson(0, 0) == (0, 1)
    assert Count(0, 0).rate == 0
    assert share(0, 0) == "-"


def test_a_share_is_written_with_its_interval() -> None:
    assert share(8, 10) == "0.800 [0.490, 0.943]"
    assert share(2, 50_000) == "0.00004 [0.00001, 0.00015]"


@pytest.mark.parametrize(("hits", "n"), [(2, 1), (-1, 1), (0, -1)])
def test_what_is_no_count_is_refused(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="is no count"):
        Count(hits, n)
