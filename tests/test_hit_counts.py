"""What is counted of judged pictures, against counts made by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from explorer.reachability import (
    CLASS,
    CUT,
    GATED,
    PERMUTED,
    PHOTOGRAPHS,
    ROUND_TRIPS,
    STRATA,
    TRAINING_CUT,
)
from explorer.replication import worth_of_repeats
from explorer.verdict import OTHER, SCRAMBLED
from training.hit_counts import REAL, Judged, Searched
from training.hits import Scored
from training.splits import CALIBRATION, TEST

CLASSES, HELD_OUT = 3, 2


def scored(probability: np.ndarray, distance: float | np.ndarray = 0.0) -> Scored:
    """Pictures of which both judges give this share to the held-out class, and the rest to the others."""
    p = np.asarray(probability, np.float32)
    every = np.stack([(1 - p) / 2, (1 - p) / 2, p], 1)
    judges = np.log(np.repeat(every[:, None], 2, 1))
    return Scored(judges, judges, np.broadcast_to(np.float32(distance), p.shape))


@pytest.fixture
def judged() -> Judged:
    """Of each part 40 images of either seen class, and 10 of the held-out one."""
    labels = np.tile(np.repeat([0, 1, HELD_OUT], [40, 40, 10]), 2)
    parts = np.repeat([CALIBRATION, TEST], 90)
    # Seen images get 0.01 to 0.4 of the held-out class, its own 0.9; three of those are far from real ones.
    p = np.tile(np.concatenate([np.arange(1, 41) / 100, np.arange(1, 41) / 100, np.full(10, 0.9)]), 2)
    far = np.zeros(180)
    far[-3:] = 9
    real = {PHOTOGRAPHS: scored(p, far), ROUND_TRIPS: scored(p, far), CUT: scored(np.where(p == 0.9, 0.1, p))}
    made = {"latent": {0: scored([0.9, 0.1, 0.9, 0.9], [0, 0, 0, 9]), 3: scored([0.1, 0.1, 0.1, 0.9])}}
    return Judged(["a", "b", "c"], labels, parts, [HELD_OUT], real, made)


def test_what_passes_thresholds_and_gate_is_a_hit(judged):
    level = judged.level(HELD_OUT, 0.05)
    assert level["negatives"] == 80  # calibration images of seen classes
    # Rank ceil(0.95 x 81) = 77 of 80: the two above it, the pair of 0.4, are false alarms of the test part.
    np.testing.assert_allclose(np.exp(level["thresholds"]), 0.39, rtol=1e-5)
    assert level["false_positives"][ROUND_TRIPS] == {"hits": 2, "n": 80}
    assert level[PHOTOGRAPHS] == {"hits": 10, "n": 10}  # which the gate does not ask
    assert level[ROUND_TRIPS] == {"hits": 7, "n": 10}
    assert level[CUT] == {"hits": 0, "n": 10}
    assert level["samples"] == {"latent": [{"hits": 2, "n": 4}, {"hits": 1, "n": 4}]}
    assert level[PERMUTED] == {"latent": {"hits": 3, "n": 8}}


def test_images_remade_more_than_once_count_for_what_they_are_worth(judged):
    """Seven of the ten of the class are hits at first, the three others when they are remade."""
    cut = judged.real[ROUND_TRIPS]
    again = Scored(cut.judges, cut.permuted, np.zeros_like(cut.distance))
    level = replace(judged, real={**judged.real, CUT: cut}, remade=[again]).level(HELD_OUT, 0.05)
    # Too few are ever missed to tell more than the first answers do.
    asked = {"images": 10, "pictures": 20, "pictures_hit": 17}
    assert level[CUT] == {"hits": 7, "n": 10, **asked}
    of_others = level["false_positives"][CUT]
    assert of_others == {"hits": 2, "n": 80, "images": 80, "pictures": 160, "pictures_hit": 4}
    assert set(level[ROUND_TRIPS]) == {"hits", "n"}
    many = replace(
        judged, labels=np.tile(judged.labels, 9), parts=np.tile(judged.parts, 9),
        real={kind: _times(scored, 9) for kind, scored in {**judged.real, CUT: cut}.items()},
        remade=[_times(again, 9)], made={},
    )  # fmt: skip
    answers = np.array([np.arange(90) % 10 < 7, np.full(90, True)])
    worth = worth_of_repeats(answers)
    found = many.level(HELD_OUT, 0.05)[CUT]
    assert (found["hits"], found["n"], found["pictures_hit"]) == (worth.hits, worth.n, 153)
    assert worth.n > 90


def test_hits_are_counted_by_the_other_seen_class_that_pictures_are_most_like(judged):
    """Ties go to the first, so only those that are moved to the second are not most like that."""
    level = judged.level(HELD_OUT, 0.05)
    strata = level[STRATA]["false_positives"]
    assert set(strata) == {PHOTOGRAPHS, CUT}  # samples come in no other form
    assert strata[CUT] == {"a": {"hits": 2, "n": 80}, "b": {"hits": 0, "n": 0}}
    assert level[STRATA]["samples"] == {"latent": {"a": {"hits": 3, "n": 8}, "b": {"hits": 0, "n": 0}}}
    assert list(judged.level(0, 0.05)[STRATA]["samples"]["latent"]) == ["b"]  # not itself

    def like_b(scored: Scored, rows: np.ndarray) -> Scored:
        judges = scored.judges.copy()
        judges[rows, 0, 1] += 0.5
        judges[rows, 1, 0] += 0.4  # the other judge disagrees, by less
        return Scored(judges, scored.permuted, scored.distance)

    rows = np.flatnonzero((judged.labels == 1) & (judged.parts == TEST))[1:]
    moved = replace(
        judged,
        real={**judged.real, CUT: like_b(judged.real[CUT], rows)},
        remade=[like_b(judged.real[CUT], rows[1:])],
        trained={TRAINING_CUT: like_b(scored([0.9, 0.9, 0.1]), np.array([1]))},
        trained_labels=np.array([0, 1, 1]),
        made={"latent": {s: like_b(of, np.array([0])) for s, of in judged.made["latent"].items()}},
    )
    found = moved.level(HELD_OUT, 0.05)[STRATA]
    pictures = {name: (c["hits"], c["n"], c["images"], c["pictures"], c["pictures_hit"])
                for name, c in found["false_positives"][CUT].items()}  # fmt: skip
    assert pictures == {"a": (1, 42, 42, 83, 2), "b": (1, 39, 39, 77, 2)}
    assert found["false_positives"][TRAINING_CUT] == {"a": {"hits": 1, "n": 2}, "b": {"hits": 1, "n": 1}}
    assert found["samples"]["latent"] == {"a": {"hits": 2, "n": 6}, "b": {"hits": 1, "n": 2}}


def test_a_lone_seen_class_is_like_no_other(judged):
    lone = replace(judged, held_out=[1, HELD_OUT]).level(0, 0.05)
    assert lone[STRATA]["samples"] == {"latent": {}}


def test_a_class_without_test_images_is_not_asked_about(judged):
    tested = (judged.labels != HELD_OUT) | (judged.parts != TEST)
    real = {kind: scored[tested] for kind, scored in judged.real.items()}
    few = replace(
        judged, labels=judged.labels[tested], parts=judged.parts[tested], real=real, remade=[real[CUT]]
    )
    level = few.level(HELD_OUT, 0.05)
    assert [level[kind] for kind in (PHOTOGRAPHS, ROUND_TRIPS, CUT)] == [{"hits": 0, "n": 0}] * 3
    assert level["false_positives"][CUT]["images"] == 80


def _times(scored: Scored, times: int) -> Scored:
    return Scored(
        *(np.concatenate([part] * times) for part in (scored.judges, scored.permuted, scored.distance))
    )


def test_a_rate_that_too_few_images_can_promise_makes_nothing_a_hit(judged):
    level = judged.level(HELD_OUT, 0.01)
    assert level["thresholds"] == [None, None]
    assert level[PHOTOGRAPHS]["hits"] == level["samples"]["latent"][0]["hits"] == 0


def test_gate_and_judges_are_counted(judged):
    assert judged.within == 0
    assert judged.passed()["latent"] == [{"hits": 3, "n": 4}, {"hits": 4, "n": 4}]
    assert judged.passed()[ROUND_TRIPS] == [{"hits": 177, "n": 180}]
    right = judged.right()
    assert set(right) == {"head", "network"}
    assert right["head"][PHOTOGRAPHS] == {
        "hits": 33 + 10,
        "n": 90,
    }  # ties go to class 0, and above 1/3 to the held-out one
    assert right["network"][CUT] == {"hits": 33, "n": 90}


def test_what_searches_found_is_counted_by_class_and_kind(judged):
    rows, z = np.array([0, 1, 2]), torch.zeros(6, 2)
    labels, scrambled = np.array([0, HELD_OUT, HELD_OUT] * 2), np.repeat([False, True], 3)
    relative = np.array([1, 2, 4, 7, 8, 9.0])
    other = np.array([1, 2, 30, 7, 8, 9.0])  # one is found far off: a median does not mind
    found = [
        Searched(seed, rows, labels, scrambled, scored([0.9] * 3 + [0.1] * 3), far, z)
        for seed, far in enumerate((relative, other))
    ]
    judged = replace(judged, searched={"latent": found})
    assert judged.level(HELD_OUT, 0.05)["searches"]["latent"] == {
        CLASS: [{"hits": 2, "n": 2}] * 2,
        SCRAMBLED: [{"hits": 0, "n": 2}] * 2,
        OTHER: [{"hits": 1, "n": 1}] * 2,
    }  # fmt: skip
    assert judged.distances(HELD_OUT) == {"latent": {CLASS: 3.0, SCRAMBLED: 8.5, OTHER: 1.0}}
    # Of the seen classes no other was searched for, and a held-out one is no control.
    assert judged.distances(0) == {"latent": {CLASS: 1.0, SCRAMBLED: 7.0}}
    assert OTHER not in judged.level(0, 0.05)["searches"]["latent"]
    assert set(REAL) <= set(judged.passed())


def test_training_images_of_other_classes_are_false_positives_too(judged):
    trained = replace(
        judged, trained={TRAINING_CUT: scored([0.9, 0.9, 0.1, 0.9])}, trained_labels=np.array([0, 0, 1, 1])
    )
    found = {label: trained.level(label, 0.05)["false_positives"] for label in (0, HELD_OUT)}
    assert found[HELD_OUT][TRAINING_CUT] == {"hits": 3, "n": 4}
    assert found[0][TRAINING_CUT]["n"] == 2  # its own are true ones
    assert TRAINING_CUT not in judged.level(0, 0.05)["false_positives"]


def test_a_permuted_judge_that_cannot_tell_pictures_apart_counts_nothing(judged):
    """Its share of hits would be 0 of all samples: a control that is passed without having been asked."""

    def constant(scores: Scored) -> Scored:
        same = np.broadcast_to(scores.permuted[:1, 1:], scores.permuted[:, 1:].shape)
        return replace(scores, permuted=np.concatenate([scores.permuted[:, :1], same], 1))

    dull = replace(judged, real={kind: constant(scores) for kind, scores in judged.real.items()})
    assert dull.level(HELD_OUT, 0.05)[PERMUTED] == {"latent": {"hits": 0, "n": 0}}
    assert dull.level(HELD_OUT, 0.05)["samples"] == judged.level(HELD_OUT, 0.05)["samples"]
    # Of 80 images a rate of 0.03 allows a single false alarm, which it does not raise either.
    assert dull.level(HELD_OUT, 0.03)[PERMUTED] == {"latent": {"hits": 0, "n": 0}}
    # Where so few images allow no false alarm at all, none is missed.
    assert dull.level(HELD_OUT, 0.01)[PERMUTED] == {"latent": {"hits": 0, "n": 8}}


def test_thresholds_and_gate_rest_on_calibration_images_and_rates_on_test_images(judged):
    """Test images that fool the judges are false alarms, and move neither thresholds nor gate."""
    tested, others = judged.parts == TEST, judged.labels != HELD_OUT
    p = np.where(tested & others, 0.8, np.exp(judged.real[CUT].judges[:, 0, HELD_OUT]))
    moved = replace(judged, real=dict.fromkeys(REAL, scored(p, np.where(tested, 0.0, 1.0))))
    assert moved.within == 1
    level = moved.level(HELD_OUT, 0.05)
    np.testing.assert_allclose(np.exp(level["thresholds"]), 0.39, rtol=1e-5)
    assert level["false_positives"][ROUND_TRIPS] == {"hits": 80, "n": 80}


def test_images_of_other_held_out_classes_are_no_negatives(judged):
    level = replace(judged, held_out=[1, HELD_OUT]).level(HELD_OUT, 0.05)
    assert level["negatives"] == level["false_positives"][ROUND_TRIPS]["n"] == 40  # of class 0 alone


def test_judges_with_permuted_labels_have_thresholds_of_their_own(judged):
    """They give every picture a twentieth of what the others give it: as many hits."""

    def lower(scores: Scored) -> Scored:
        return replace(scores, permuted=scores.permuted - 3)

    moved = replace(
        judged, real={kind: lower(scores) for kind, scores in judged.real.items()},
        made={"latent": {seed: lower(scores) for seed, scores in judged.made["latent"].items()}},
    )  # fmt: skip
    assert moved.level(HELD_OUT, 0.05)[PERMUTED] == {"latent": {"hits": 3, "n": 8}}


def test_true_samples_of_a_pixel_gan_must_pass_the_gate_too(judged):
    assert judged.level(HELD_OUT, 0.05)[GATED] == {"hits": 7, "n": 10}


def test_each_judge_is_counted_by_its_own_answers_to_test_images(judged):
    learnt = np.where(judged.parts == TEST, judged.labels, (judged.labels + 1) % CLASSES)
    answers = np.log(0.97 * np.eye(CLASSES, dtype=np.float32)[learnt] + 0.01)
    photographs = judged.real[PHOTOGRAPHS]
    judges = np.stack([photographs.judges[:, 0], answers], 1)
    right = replace(judged, real={PHOTOGRAPHS: replace(photographs, judges=judges)}).right()
    assert right["network"][PHOTOGRAPHS] == {"hits": 90, "n": 90}
    assert right["head"][PHOTOGRAPHS] == {"hits": 43, "n": 90}
