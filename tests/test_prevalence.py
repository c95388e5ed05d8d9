"""True rates behind an erring judge: published examples, limiting cases, coverage by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from explorer.prevalence import exceeds, lang_reiczigel_interval, melded_interval, rogan_gladen
from explorer.rates import Count, clopper_pearson

INTERVALS = [
    lang_reiczigel_interval,
    lambda found, *others: melded_interval(found.hits, found.n, *others),
]
COUNTS = st.integers(1, 20_000).flatmap(lambda n: st.builds(Count, st.integers(0, n), st.just(n)))
KNOWN = (Count(10**8, 10**8), Count(0, 10**8))  # a judge known never to err


def test_the_true_rate_by_hand() -> None:
    # A tenth of 1,000 is the class: 60 of the 100 are found, and 9 of the 900 others.
    assert rogan_gladen(69 / 1_000, 0.6, 0.01) == pytest.approx(0.1)
    assert rogan_gladen(0.001, 0.6, 0.01) == 0
    assert rogan_gladen(0.7, 0.6, 0.01) == 1


def test_a_judge_that_finds_no_more_than_it_invents_has_no_true_rate() -> None:
    with pytest.raises(ValueError, match="does not tell the class apart"):
        rogan_gladen(0.1, 0.2, 0.2)
    for interval in INTERVALS:
        assert interval(Count(10, 100), Count(1, 200), Count(50, 200)) == (0, 1)


@pytest.mark.parametrize(
    ("found", "tpr", "specificity", "low", "high", "digits"),
    [
        (Count(4060, 11284), Count(178, 179), Count(358, 359), 0.349, 0.372, 3),
        (Count(51, 2971), Count(32, 33), Count(20, 20), 0, 0.053, 3),
        (Count(round(0.06 * 11862), 11862), Count(8, 10), Count(12, 12), 0, 0.147, 3),
        (Count(259, 509), Count(84, 127), Count(96, 109), 0.58, 0.87, 2),
        (Count(51, 509), Count(23, 41), Count(187, 195), 0.037, 0.195, 3),
    ],
)
def test_lang_and_reiczigels_own_examples(found, tpr, specificity, low, high, digits) -> None:
    """Examples 1 to 4 of the paper, as quoted in the manual of the R package asht (prevSeSp)."""
    fpr = Count(specificity.n - specificity.hits, specificity.n)
    assert lang_reiczigel_interval(found, tpr, fpr) == pytest.approx((low, high), abs=0.6 * 10**-digits)


@pytest.mark.parametrize(("hits", "n"), [(0, 500), (3, 500), (250, 500), (500, 500)])
def test_behind_a_judge_known_not_to_err_intervals_are_the_plain_ones(hits: int, n: int) -> None:
    z = 1.959963984540054
    p, size = (hits + z * z / 2) / (n + z * z), n + z * z  # Agresti & Coull 1998
    half = z * (p * (1 - p) / size) ** 0.5
    plain = max(p - half, 0), min(p + half, 1)
    assert lang_reiczigel_interval(Count(hits, n), *KNOWN) == pytest.approx(plain, abs=1e-6)
    assert melded_interval(hits, n, *KNOWN) == pytest.approx(clopper_pearson(hits, n), abs=1e-5)


def test_nothing_sampled_says_nothing() -> None:
    good, bad = Count(180, 300), Count(3, 3_000)
    for n, tpr, fpr in ((0, good, bad), (9, Count(0, 0), bad), (9, good, Count(0, 0))):
        assert melded_interval(0, n, tpr, fpr) == (0, 1)
    assert exceeds(5, 10, 0, 0) == exceeds(0, 0, 0, 10) == exceeds(0, 10, 0, 10) == 1


@pytest.mark.parametrize(
    "table",
    [
        (80, 50_000, 3, 3_000),
        (60, 10_000, 3, 3_000),
        (10, 10_000, 0, 3_000),
        (5, 5, 0, 7),
        (9, 10_000, 5, 99),
    ],
)
def test_the_test_is_fishers_and_agrees_with_the_interval(table) -> None:
    hits, n, others, other_n = table
    p = fisher_exact([[hits, n - hits], [others, other_n - others]], alternative="greater").pvalue
    assert exceeds(*table) == pytest.approx(p, rel=1e-3)
    for factor, above in ((1.05, True), (0.95, False)):
        level = 1 - 2 * p * factor
        if level > 0:
            low, _ = melded_interval(hits, n, Count(295, 300), Count(others, other_n), level)
            assert (low > 0) == above


@pytest.mark.parametrize("hits", [2_000, 3_950, 5_000, 40_000])
@pytest.mark.parametrize("others", [0, 3, 30])
def test_the_test_is_fishers_also_where_hits_are_much_surer_than_the_others(hits: int, others: int) -> None:
    p = fisher_exact([[hits, 50_000 - hits], [others, 45 - others]], alternative="greater").pvalue
    assert exceeds(hits, 50_000, others, 45) == pytest.approx(p, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize(("found", "positives"), [(43, 45), (30, 60)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_upper_end_is_the_quantile_of_draws(found: int, positives: int, level: float) -> None:
    """Also where hits are much surer than TPR, and the integrand is all but a step."""
    hits, n, fpr = 5_000, 50_000, Count(60, 50_000)
    rng, draws = np.random.default_rng(0), 1_000_000
    p = rng.beta(hits + 1, n - hits, draws)
    true = rng.beta(found, positives - found + 1, draws)
    false = rng.beta(fpr.hits, fpr.n - fpr.hits + 1, draws)
    expected = np.quantile((p - false) / (true - false), (1 + level) / 2)
    _, high = melded_interval(hits, n, Count(found, positives), fpr, level)
    assert high == pytest.approx(expected, rel=3e-3)


@given(COUNTS, COUNTS, COUNTS)
def test_intervals_are_ordered_within_zero_and_one_and_melded_ones_hold_the_estimate(found, tpr, fpr) -> None:
    for interval in INTERVALS:
        low, high = interval(found, tpr, fpr)
        assert 0 <= low <= high <= 1
    if tpr.rate > fpr.rate:
        assert low - 1e-6 <= rogan_gladen(found.rate, tpr.rate, fpr.rate) <= high + 1e-6


@given(COUNTS, COUNTS, COUNTS, st.floats(0.5, 0.98))
def test_melded_ends_follow_hits_size_and_level(found, tpr, fpr, level) -> None:
    low, high = melded_interval(found.hits, found.n, tpr, fpr, level)
    slack = 1e-4 + 1e-3 * high
    if found.hits < found.n:
        more = melded_interval(found.hits + 1, found.n, tpr, fpr, level)
        assert more[0] >= low - slack
        assert more[1] >= high - slack
    wider = melded_interval(found.hits, found.n, tpr, fpr, level + 0.01)
    assert wider[0] <= low + slack
    assert wider[1] >= high - slack
    ten = [Count(10 * count.hits, 10 * count.n) for count in (found, tpr, fpr)]
    narrower = melded_interval(ten[0].hits, ten[0].n, ten[1], ten[2], level)
    if low > 0 and high < 1:
        assert narrower[1] - narrower[0] <= high - low + slack


def test_fewer_hits_than_false_positives_say_no_more_than_as_many_or_than_the_hits_alone() -> None:
    tpr, fpr = Count(180, 300), Count(100, 10_000)
    as_many = melded_interval(100, 10_000, tpr, fpr)
    assert as_many[1] > 0.003
    assert melded_interval(60, 10_000, tpr, fpr) == as_many
    alone = melded_interval(3, 10_000, tpr, Count(0, 10_000))
    assert melded_interval(3, 10_000, tpr, fpr) == alone
    assert alone[1] == pytest.approx(clopper_pearson(3, 10_000)[1] / 0.6, rel=0.1)


def drawn(
    rng: np.random.Generator, pi: float, n: int, tpr: float, fpr: float, positives=300, negatives=3_000
):
    """Counts of one experiment: found, true positives, false positives."""
    of = ((n, pi * tpr + (1 - pi) * fpr), (positives, tpr), (negatives, fpr))
    return [Count(int(rng.binomial(size, p)), size) for size, p in of]


@pytest.mark.parametrize(
    ("pi", "n", "tpr", "fpr"),
    [(0, 10_000, 0.6, 1e-3), (0.001, 10_000, 0.6, 1e-3), (0.01, 10_000, 0.9, 0.01), (0.1, 2_000, 0.5, 0.01)],
)
def test_both_intervals_cover_the_truth(pi, n, tpr, fpr) -> None:
    """Over 400 repeats; 0.925 is 2.3 standard errors below 0.95."""
    rng = np.random.default_rng(0)
    repeats = [drawn(rng, pi, n, tpr, fpr) for _ in range(400)]
    for interval in INTERVALS:
        ends = np.array([interval(*counts) for counts in repeats])
        assert np.mean((ends[:, 0] <= pi) & (pi <= ends[:, 1])) >= 0.925


@pytest.mark.parametrize(
    ("fpr", "n", "negatives"), [(1e-3, 10_000, 3_000), (1e-4, 50_000, 3_000), (1e-4, 3_000, 50_000)]
)
def test_the_test_holds_its_level_at_rare_hits_and_unequal_sizes(fpr, n, negatives) -> None:
    """No class in the samples: a false alarm in at most 5 % of 1,000 repeats, three standard errors allowed.

    The score test for two proportions errs in 9.6 % of 200,000 repeats of the last case.
    """
    rng = np.random.default_rng(0)
    alarms = [
        exceeds(rng.binomial(n, fpr), n, rng.binomial(negatives, fpr), negatives) <= 0.05
        for _ in range(1_000)
    ]
    assert np.mean(alarms) <= 0.05 + 3 * (0.05 * 0.95 / 1_000) ** 0.5
