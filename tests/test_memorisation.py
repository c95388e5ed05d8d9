"""The nearest-neighbour tests of memorisation, on points whose answer is known."""

import numpy as np
import pytest
from scipy.stats import chi

from training.memorisation import memorisation_test, nearest_pairs

D = 4


def normal(seed: int, n: int = 2000) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


TRAINING, UNSEEN = normal(0), normal(1)
REPLAYED = TRAINING + 0.01 * normal(2)


def run(samples: np.ndarray) -> dict:
    return memorisation_test(samples, UNSEEN, TRAINING, REPLAYED)


def test_fresh_draws_of_the_same_distribution_show_no_signal():
    result = run(normal(3))
    assert result["samples"]["auc"] == pytest.approx(0.5, abs=0.03)
    assert result["samples"]["closer"] / result["samples"]["n"] < 0.025
    assert result["samples"]["p"] > 0.001


def test_replayed_training_points_are_found_out():
    result = run(TRAINING[:1000] + 0.02 * normal(4, 1000))
    assert result["samples"]["auc"] > 0.95
    assert result["samples"]["closer"] > 900
    assert result["samples"]["p"] < 1e-6


def test_copies_are_told_from_bland_points_near_everything():
    """Points at the centre are nearer to the training set than unseen ones, and copies of none."""
    bland = run(0.1 * normal(12))["samples"]
    assert bland["auc"] > 0.6
    assert bland["copied"] / bland["n"] < 0.03
    copies = run(TRAINING + 0.01 * normal(13))["samples"]
    assert copies["copied"] / copies["n"] > 0.9


def test_a_copy_is_near_one_training_image_alone_at_whatever_distance():
    """At 1 from one image and 9 from the next, where unseen ones lie 0.2 and 0.3 from two."""
    training = np.array([[0.0], [10.0], [100.0], [100.5]], np.float32)
    unseen = np.linspace(100.2, 100.21, 40, dtype=np.float32)[:, None]
    found = memorisation_test(np.array([[1.0], [100.25]], np.float32), unseen, training, training + 0.1)
    assert (found["samples"]["copied"], found["samples"]["closer"]) == (1, 0)
    assert found["ratio_threshold"] == pytest.approx(2 / 3, rel=0.01)


def test_a_share_of_replays_is_seen_in_the_lower_tail():
    mixed = np.concatenate([TRAINING[:100] + 0.01 * normal(5, 100), normal(6, 900)])
    clean = run(normal(6, 900))["samples"]["closer"]
    assert run(mixed)["samples"]["closer"] >= clean + 90


def test_points_far_from_the_training_set_are_not_called_memorised():
    result = run(normal(7) * 5)
    assert result["samples"]["auc"] < 0.1
    assert result["samples"]["p"] > 0.99


def test_both_controls_come_with_their_n_and_do_what_controls_should():
    result = run(normal(8))
    assert result["unseen"]["n"] == len(UNSEEN) // 2  # the other half set the threshold
    assert result["unseen"]["closer"] / result["unseen"]["n"] == pytest.approx(0.01, abs=0.01)
    assert result["unseen"]["copied"] / result["unseen"]["n"] == pytest.approx(0.01, abs=0.01)
    assert result["replayed"]["closer"] / result["replayed"]["n"] > 0.9
    assert result["replayed"]["copied"] / result["replayed"]["n"] > 0.9
    assert result["unseen"]["auc"] == pytest.approx(0.5, abs=1e-9)


def test_the_threshold_is_the_first_percentile_of_unseen_distances():
    """One training point at the origin: distances of normal draws are chi distributed."""
    training = np.array([[0.0] * D, [1e3] * D], np.float32)
    result = memorisation_test(normal(9), normal(10, 20_000), training, normal(11))
    assert result["threshold"] == pytest.approx(chi(D).ppf(0.01), rel=0.1)


def test_nearest_pairs_are_sorted_and_each_training_image_occurs_once():
    training = np.arange(0, 100, 10, dtype=np.float32)[:, None]
    samples = np.array([[10.1], [10.2], [33.0], [50.05], [69.0]], np.float32)
    pairs = nearest_pairs(samples, training, 3)
    assert [(p["sample"], p["training"]) for p in pairs] == [(3, 5), (0, 1), (4, 7)]
    assert [p["distance"] for p in pairs] == pytest.approx([0.05, 0.1, 1.0], abs=1e-4)


def test_nearest_pairs_may_be_fewer_than_asked():
    assert len(nearest_pairs(normal(0, 3), normal(1, 2), 10)) <= 2


def test_the_half_that_sets_the_threshold_is_not_the_half_that_checks_it():
    """Of two unseen points each is a half, and the threshold is one of their distances."""
    ends, unseen = np.array([[0.0], [100.0]], np.float32), np.array([[1.0], [3.0]], np.float32)
    assert memorisation_test(unseen, unseen, ends, unseen)["threshold"] in (1, 3)
