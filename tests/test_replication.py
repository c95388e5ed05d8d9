"""Rates over seeds: coverage with seeds that differ, and what the simpler intervals would miss."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.prevalence import lang_reiczigel_interval, melded_interval
from explorer.rates import Count, clopper_pearson
from explorer.replication import (
    ALIKE,
    FEW,
    chance_above_all,
    effective_count,
    hierarchical_bootstrap,
    holm,
    p_more,
    seed_interval,
    worth_of_repeats,
)

TPR, FPR = Count(180, 300), Count(3, 3_000)
SEEDS = st.lists(st.integers(0, 2_000), min_size=2, max_size=8)


def bench(pi: float, variation: float, repeats: int, fpr: float = 1e-3, negatives: int = 20_000):
    """Experiments of 5 seeds x 10,000 samples, true rates Beta around pi: seeds, TPR and FPR of each."""
    rng = np.random.default_rng(0)
    for _ in range(repeats):
        rates = np.full(5, pi)
        if pi and variation:
            size = (1 - pi) / (pi * variation**2) - 1
            rates = rng.beta(pi * size, (1 - pi) * size, 5)
        hits = rng.binomial(10_000, rates * 0.6 + (1 - rates) * fpr)
        yield (
            [Count(int(h), 10_000) for h in hits],
            Count(int(rng.binomial(300, 0.6)), 300),
            Count(int(rng.binomial(negatives, fpr)), negatives),
        )


def coverage(pi: float, ends: list[tuple[float, float]]) -> float:
    return float(np.mean([low <= pi <= high for low, high in ends]))


@pytest.mark.parametrize("pi", [0, 0.001, 0.01, 0.1])
@pytest.mark.parametrize("variation", [0, 0.5])
def test_a_known_share_is_covered(pi, variation) -> None:
    """Over 300 repeats; 0.92 is 2.4 standard errors below 0.95."""
    assert coverage(pi, [seed_interval(*counts) for counts in bench(pi, variation, 300)]) >= 0.92


def test_seeds_that_differ_much_are_covered_where_pooled_samples_are_not() -> None:
    repeats = list(bench(0.1, 1, 200))
    assert coverage(0.1, [seed_interval(*counts) for counts in repeats]) >= 0.87  # 0.94 of 500
    pooled = [
        lang_reiczigel_interval(Count(sum(s.hits for s in seeds), 50_000), tpr, fpr)
        for seeds, tpr, fpr in repeats
    ]
    assert coverage(0.1, pooled) < 0.3


def test_the_bootstrap_covers_nearly_as_well() -> None:
    repeats = list(bench(0.01, 0.5, 200))
    assert coverage(0.01, [hierarchical_bootstrap(*counts, draws=1_000) for counts in repeats]) >= 0.9


def test_the_bootstrap_is_the_same_every_time_and_near_the_interval() -> None:
    seeds = [Count(hits, 10_000) for hits in (60, 80, 75, 66, 90)]
    ends = hierarchical_bootstrap(seeds, TPR, FPR)
    assert ends == hierarchical_bootstrap(seeds, TPR, FPR)
    assert ends == pytest.approx(seed_interval(seeds, TPR, FPR), rel=0.1)


def test_no_hits_have_an_upper_end() -> None:
    none = [Count(0, 10_000)] * 5
    expected = seed_interval(none, TPR, Count(0, 3_000))
    assert expected[0] == 0
    assert 0 < expected[1] < 3e-4
    assert hierarchical_bootstrap(none, TPR, Count(0, 3_000)) == pytest.approx(expected, rel=0.1, abs=1e-9)


def test_no_class_raises_no_alarm_and_a_hundredth_is_found() -> None:
    """False alarms <= 2.5 % of 300 (three standard errors allowed); power, at 12 classes' Holm, above 0.9."""
    alarms = [p_more(seeds, [fpr]) <= 0.025 for seeds, _, fpr in bench(0, 0, 300)]
    assert np.mean(alarms) <= 0.025 + 3 * (0.025 * 0.975 / 300) ** 0.5
    found = [p_more(seeds, [fpr]) <= 0.025 / 12 for seeds, _, fpr in bench(0.01, 0.25, 100)]
    assert np.mean(found) > 0.9


def test_the_p_value_and_the_interval_agree() -> None:
    for seeds, _, fpr in bench(0.001, 0.5, 60):
        low, _ = seed_interval(seeds, Count(295, 300), fpr, 0.95)
        assert (low > 0) == (p_more(seeds, [fpr]) < 0.025)


def test_one_seed_in_five_is_no_replication() -> None:
    lucky = [Count(100, 10_000), *[Count(0, 10_000)] * 4]
    assert p_more(lucky, [Count(0, 3_000)]) > 0.025
    assert p_more([Count(20, 10_000)] * 5, [Count(0, 3_000)]) < 0.005  # as many hits, in every seed


def test_effective_counts_by_hand() -> None:
    # p = 0.02, variance of the mean 0.0002 / 2: n = 196 if the variance were known; t and z for one freedom.
    worth = 196 * (1.959964 / 12.706205) ** 2
    assert effective_count([Count(10, 1_000), Count(30, 1_000)]) == pytest.approx((0.02 * worth, worth))
    assert effective_count([Count(7, 100)]) == (7, 100)
    assert effective_count([Count(7, 100)] * 3 + [Count(0, 0)]) == (21, 300)
    assert effective_count([]) == (0, 0)


@given(SEEDS)
def test_seeds_are_worth_no_more_than_their_samples_and_an_interval_is_no_narrower(hits) -> None:
    seeds = [Count(h, 2_000) for h in hits]
    assert effective_count(seeds)[1] <= 2_000 * len(hits)
    low, high = seed_interval(seeds, TPR, FPR)
    pooled = melded_interval(sum(hits), 2_000 * len(hits), TPR, FPR)
    assert low <= pooled[0] + 1e-4
    assert high >= pooled[1] - 1e-4


@given(st.lists(st.integers(0, 1_000), min_size=2, max_size=8), st.integers(1, 500))
def test_more_hits_in_every_seed_never_lower_the_lower_end(hits, more) -> None:
    before, after = ([Count(h + extra, 2_500) for h in hits] for extra in (0, more))
    assert seed_interval(after, TPR, FPR)[0] >= seed_interval(before, TPR, FPR)[0] - 1e-4
    assert p_more(after, [FPR]) <= p_more(before, [FPR]) + 1e-4


@given(SEEDS)
def test_p_values_are_probabilities(hits) -> None:
    seeds = [Count(h, 2_000) for h in hits]
    assert 0 < p_more(seeds, [FPR]) <= 1
    assert p_more(seeds, seeds) > 0.3  # nothing is above itself
    assert p_more(seeds, []) == p_more([], seeds) == 1


def answers(rates: np.ndarray, rng: np.random.Generator, repeats: int = 8) -> np.ndarray:
    """Bool (repeats, images): whether each of these images, hit at these rates, is hit each time."""
    return rng.random((repeats, len(rates))) < rates


def test_answers_that_agree_about_an_image_are_worth_one_each():
    agreed = np.repeat([np.arange(100) < 30], 8, 0)
    assert worth_of_repeats(agreed) == worth_of_repeats(agreed[:1]) == Count(30, 100)
    for all_alike in (np.zeros((8, 70), bool), np.ones((8, 70), bool)):  # nothing shows how alike answers are
        assert worth_of_repeats(all_alike) == Count(int(all_alike[0].sum()), 70)


def test_independent_answers_are_worth_as_much_as_is_ever_believed():
    asked = answers(np.full(1_000, 0.1), np.random.default_rng(0))
    worth = worth_of_repeats(asked)
    assert worth.n == pytest.approx(8_000 / (1 + 7 * ALIKE), rel=0.01)
    assert worth.rate == pytest.approx(asked.mean(), rel=1e-3)


def test_only_images_that_are_ever_hit_tell_how_alike_answers_are():
    """12 of 100 images are hit twice of four times: p = 0.06, and by hand (docs/reachability.md) its variance
    is 2.667e-4. A t of 11 degrees of freedom, 2.201, stands for a z of 1.960.
    """
    asked = np.zeros((4, 100), bool)
    asked[:2, :12] = True
    n = 0.06 * 0.94 / 2.6667e-4 * (1.960 / 2.201) ** 2
    assert n == pytest.approx(167.7, abs=0.1)
    assert worth_of_repeats(asked) == Count(int(0.06 * n), 167)


def test_of_too_few_images_the_first_answers_count():
    asked = np.zeros((8, 500), bool)
    asked[1:, : FEW - 1] = True
    assert worth_of_repeats(asked) == Count(0, 500)
    assert worth_of_repeats(np.ones((8, 1), bool)) == Count(1, 1)
    assert worth_of_repeats(np.zeros((8, 0), bool)) == Count(0, 0)


def test_answers_that_were_not_asked_for_do_not_count():
    rng = np.random.default_rng(3)
    given_answers = answers(np.full(300, 0.2), rng)
    half = np.arange(300) < 150
    asked = np.broadcast_to(half, given_answers.shape)
    assert worth_of_repeats(given_answers, asked) == worth_of_repeats(given_answers[:, half])
    assert worth_of_repeats(given_answers, np.ones_like(asked)) == worth_of_repeats(given_answers)
    assert worth_of_repeats(given_answers, np.zeros_like(asked)) == Count(0, 0)
    # Each image once, at another turn: that is one answer each, and answers that agree with none.
    once = np.arange(8)[:, None] == np.arange(300) % 8
    found = worth_of_repeats(given_answers, once)
    assert found.n <= 300
    assert found.rate == pytest.approx(given_answers[once].mean(), abs=1 / found.n)
    few = np.zeros((8, 300), bool)
    few[5:, :4] = True
    assert worth_of_repeats(few, few) == Count(4, 4)  # the first that was asked for, not the first of all


def alike(rng: np.random.Generator, rate: float, correlation: float) -> np.ndarray:
    """Rates of 575 images, Beta distributed, so that two answers to one of them are so correlated."""
    size = 1 / correlation - 1
    return rng.beta(rate * size, (1 - rate) * size, 575)


def mixed(rng: np.random.Generator, share: float, often: float, seldom: float) -> np.ndarray:
    """Rates of 575 images of which some are hit nearly always: false positives may be like that."""
    return np.where(rng.random(575) < share, often, seldom)


@pytest.mark.parametrize(
    ("draw", "values", "rate"),
    [
        (alike, (0.02, 0.05), 0.02), (alike, (0.02, 0.5), 0.02), (alike, (0.3, 0.3), 0.3),
        (mixed, (0.005, 0.8, 0.01), 0.01395), (mixed, (0.01, 0.9, 0.005), 0.01395),
    ],
)  # fmt: skip
def test_neither_end_of_the_interval_of_repeated_answers_misses_too_often(draw, values, rate):
    rng, missed = np.random.default_rng(1), np.zeros(2)
    for _ in range(400):
        worth = worth_of_repeats(answers(draw(rng, *values), rng))
        low, high = clopper_pearson(worth.hits, worth.n)
        missed += [rate < low, rate > high]
    # 0.025 is promised of each end; 0.055 or more would then be 1 in 3,000. Counted as if answers were
    # independent, the mixtures miss 0.08 to 0.2.
    assert (missed / 400 < 0.055).all()


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(0, 99))
def test_repeats_are_worth_at_least_the_images_and_at_most_all_answers(hits, seed):
    rng = np.random.default_rng(seed)
    asked = np.array([rng.permutation(np.arange(4) < h) for h in hits], bool).reshape(len(hits), 4).T
    worth = worth_of_repeats(asked)
    assert len(hits) <= worth.n <= max(asked.size, len(hits))
    assert worth.n == len(hits) or worth.rate == pytest.approx(asked.mean(), abs=1 / worth.n)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("seeds", "others", "least"), [(5, 5, 4), (5, 5, 5), (3, 4, 1), (2, 0, 1), (1, 6, 1)]
)
def test_the_chance_to_rank_above_all_is_that_of_every_order(seeds, others, least) -> None:
    """Counted: which ranks, 0 the lowest, the seeds may have among all."""
    orders = list(combinations(range(seeds + others), seeds))
    highest = [max(set(range(seeds + others)) - set(order), default=-1) for order in orders]
    above = sum(sum(r > top for r in order) >= least for order, top in zip(orders, highest, strict=True))
    assert chance_above_all(seeds, others, least) == pytest.approx(above / len(orders))


def test_larger_seeds_weigh_more() -> None:
    # p = 0.0175; of the variance a quarter and three quarters, squared, are the weights of the deviations.
    variance = 2 * ((0.25 * 0.0075) ** 2 + (0.75 * 0.0025) ** 2)
    worth = 0.0175 * 0.9825 / variance * (1.959964 / 12.706205) ** 2
    found = effective_count([Count(10, 1_000), Count(60, 3_000)])
    assert found == pytest.approx((0.0175 * worth, worth))
