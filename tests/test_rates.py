"""Rates and their intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from explorer.rates import Count, clopper_pearson, pooled, share, standardised, wilson_interval


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


STRATUM = st.tuples(st.integers(0, 40), st.integers(0, 400)).map(lambda drawn: Count(drawn[0], sum(drawn)))


def test_strata_are_weighed_by_the_mix() -> None:
    """By hand: 0.2 of 0.1 and 0.8 of 0.02. Variance of the sum 0.2^2 10/100^2 + 0.8^2 10/500^2 = 6.56e-5; the
    largest weight of a trial is 0.2/100; (0.036 + 0.002) / (6.56e-5 + 0.002^2) = 546.0.
    """
    strata = {"a": Count(10, 100), "b": Count(10, 500)}
    found = standardised(strata, {"a": 20, "b": 80})
    assert found == Count(20, 545)  # 19.6 hits, rounded up
    assert found.size == "545 (the worth of 600)"
    assert standardised(strata, {"a": 1}) == strata["a"]
    assert standardised(strata, {"b": 7, "a": 0}) == strata["b"]


def test_nothing_counted_in_a_part_of_the_mix_is_taken_to_be_all_hits() -> None:
    found = standardised({"a": Count(0, 100)}, {"a": 9, "b": 1})
    assert found == Count(10, 100)
    assert standardised({}, {"a": 9}) == standardised({"a": Count(1, 9)}, {}) == Count(0, 0)


@given(st.lists(st.tuples(STRATUM, st.integers(0, 1_000)), min_size=1, max_size=6))
def test_a_standardised_rate_lies_between_those_of_its_strata(drawn) -> None:
    strata = {str(i): count for i, (count, _) in enumerate(drawn)}
    mix = {str(i): size for i, (_, size) in enumerate(drawn)}
    found = standardised(strata, mix)
    rates = [count.rate if count.n else 1 for count, size in drawn if size]
    assert 0 <= found.n <= pooled(strata.values()).n
    if found.n:
        assert min(rates) - 1e-9 <= found.rate < max(rates) + 1 / found.n + 1e-9


@pytest.mark.parametrize("shares", [(0.125,) * 8, (0.8, *(0.2 / 7,) * 7), (0.0, 0.5, 0.45, 0.05, 0, 0, 0, 0)])
@pytest.mark.parametrize("n", [20, 300])
def test_the_upper_end_of_a_standardised_rate_seldom_misses(shares, n) -> None:
    """Rates of the seen breeds taken for a Samoyed, as measured; the end that claims are held against."""
    rates = np.array([0.084, 0.031, 0.024, 0.015, 0.013, 0.009, 0.008, 0.005])
    truth, rng, missed = rates @ shares, np.random.default_rng(0), 0
    mix = {str(i): round(10_000 * share) for i, share in enumerate(shares)}
    for _ in range(400):
        strata = {str(i): Count(int(h), n) for i, h in enumerate(rng.binomial(n, rates))}
        found = standardised(strata, mix)
        missed += truth > clopper_pearson(found.hits, found.n)[1]
    assert missed / 400 < 0.05  # 0.025 is promised; 0.05 or more would then be 1 in 300
