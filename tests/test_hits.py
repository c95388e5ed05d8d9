"""When a picture is a hit: thresholds that keep to their false-alarm rate, a gate that real pictures pass."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_distances

from explorer.reachability import pictures_needed
from training.hits import Scored, gate, is_hit, realism, thresholds


def draw(n: int, seed: int, correlation: float) -> np.ndarray:
    """Scores (n, 2) of two judges that agree more or less."""
    rng = np.random.default_rng(seed)
    both = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], n)
    return both.astype(np.float32)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.99])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_one_more_negative_is_a_hit_with_probability_alpha(alpha, correlation):
    """Mean over 400 calibrations of 500 negatives; its own standard error is below a tenth of alpha."""
    rates = []
    for seed in range(400):
        limits = thresholds(draw(500, seed, correlation), alpha)
        new = draw(2000, 10_000 + seed, correlation)
        rates.append(is_hit(new, np.zeros(2000), limits, 1.0).mean())
    assert 0.75 * alpha < np.mean(rates) < 1.15 * alpha


def test_two_judges_that_err_apart_may_each_be_laxer_than_one():
    """That is what the joint rate buys: power."""
    independent = thresholds(draw(20_000, 0, 0.0), 0.01)
    same = thresholds(np.repeat(draw(20_000, 0, 0.0)[:, :1], 2, axis=1), 0.01)
    assert (independent < same - 0.5).all()
    np.testing.assert_allclose(independent, 1.2816, atol=0.05)  # a tenth each: 0.1 * 0.1


@given(st.floats(0.001, 0.999))
def test_it_takes_as_many_calibration_pictures_as_people_are_told(alpha):
    needed = pictures_needed(alpha)
    assert np.isfinite(thresholds(draw(needed, 0, 0.5), alpha)).all()
    if needed > 1:
        assert not np.isfinite(thresholds(draw(needed - 1, 0, 0.5), alpha)).any()


def test_where_negatives_are_too_few_nothing_is_a_hit():
    """A rate of 1 in 100 cannot be promised by 98 negatives, and can by 99."""
    best = np.full((1, 2), 1e9, np.float32)
    few, enough = draw(98, 0, 0.0), draw(99, 0, 0.0)
    assert not is_hit(best, np.zeros(1), thresholds(few, 0.01), 1.0).any()
    assert is_hit(best, np.zeros(1), thresholds(enough, 0.01), 1.0).all()


@given(st.floats(0.01, 0.2), st.floats(0.01, 0.2))
def test_a_smaller_rate_never_gives_laxer_thresholds(a, b):
    negatives = draw(300, 3, 0.3)
    low, high = sorted((a, b))
    assert (thresholds(negatives, low) >= thresholds(negatives, high)).all()


def test_a_hit_takes_both_judges_and_the_gate():
    limits = np.array([0.0, 0.0])
    scores = np.array([[1, 1], [1, -1], [-1, 1], [1, 1], [0, 1]], np.float32)
    distance = np.array([1, 1, 1, 3, 1], np.float32)
    assert is_hit(scores, distance, limits, 2.0).tolist() == [True, False, False, False, False]


def test_the_gate_lets_its_share_of_real_pictures_through():
    distances = np.random.default_rng(0).random(1000)
    assert (distances <= gate(distances, 0.95)).mean() == pytest.approx(0.95, abs=0.002)


@given(st.integers(1, 60), st.floats(0.01, 1))
def test_few_pictures_let_no_smaller_share_through_the_gate(n, share):
    """The gate is the distance of one of them, itself within it, and the next nearer would be too few."""
    distances = np.random.default_rng(n).permutation(n).astype(float)
    within = gate(distances, share)
    assert within in distances
    scores, none = np.ones((n, 2)), np.zeros(2)
    passing = is_hit(scores, distances, none, within).sum()
    assert passing == (distances <= within).sum() >= share * (n - 1)
    assert passing - 1 < share * (n - 1) + 1


@given(st.integers(1, 20), st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_realism_is_the_cosine_distance_to_the_nearest_real_picture(n, seed, factor):
    rng = np.random.default_rng(seed)
    features, real = (rng.normal(size=(m, 5)).astype(np.float32) for m in (n, 7))
    expected = cosine_distances(features, real).min(1)
    np.testing.assert_allclose(realism(features, real), expected, atol=1e-5)
    np.testing.assert_allclose(realism(np.float32(factor) * features, real), expected, atol=1e-5)


def test_a_picture_in_which_nothing_is_seen_is_not_near_real_ones():
    """Nearer to each real picture than these are to each other, by Euclidean distance."""
    real = np.eye(8, dtype=np.float32)
    cloud = np.full((1, 8), 0.1, np.float32)
    assert realism(cloud, real) > 0.5
    assert realism(np.zeros((1, 8), np.float32), real) >= 0.5
    assert realism(real, real).max() == 0


def test_scores_can_be_cut_to_some_pictures():
    scored = Scored(np.arange(12).reshape(3, 2, 2), np.zeros((3, 2, 2)), np.arange(3.0))
    part = scored[np.array([2, 0])]
    assert len(part) == 2
    assert part.distance.tolist() == [2.0, 0.0]
    assert part.judges[0].tolist() == [[8, 9], [10, 11]]
