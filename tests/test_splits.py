"""The split for judging: disjoint parts, and none that sets or measures a rate was ever trained on."""

from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.splits import CALIBRATION, LEARN, PARTS, TEST, judging_parts


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=200),
    st.integers(0, 5),
    st.integers(1, 60),
)
def test_trained_images_are_learnt_from_and_no_other_seen_ones(images, seed, enough):
    labels = np.array([label for label, _ in images])
    splits = np.where(labels == 3, "held_out", np.where([val for _, val in images], "val", "train"))
    with patch("training.splits.ENOUGH", enough):
        parts = judging_parts(labels, splits, seed)
        again = judging_parts(labels, splits, seed)
    assert set(parts) <= set(PARTS)
    assert (parts[splits == "train"] == LEARN).all()
    assert not (parts[splits == "val"] == LEARN).any()
    for label in range(3):
        val = parts[(labels == label) & (splits == "val")]
        assert (val == CALIBRATION).sum() == min(len(val) // 2, enough)
    kept_out = parts[splits == "held_out"]
    assert abs((kept_out == LEARN).sum() - len(kept_out) / 2) <= 0.5
    judged = (kept_out != LEARN).sum()
    assert (kept_out == CALIBRATION).sum() == min(judged // 2, enough)
    assert (kept_out == TEST).sum() == judged - min(judged // 2, enough)
    np.testing.assert_array_equal(parts, again)


def test_seeds_split_differently_and_classes_do_not_depend_on_each_other():
    labels = np.repeat([0, 1], 40)
    splits = np.repeat(["held_out", "val"], 40)
    first = judging_parts(labels, splits, 0)
    assert (first != judging_parts(labels, splits, 1)).any()
    np.testing.assert_array_equal(first[:40], judging_parts(labels[:40], splits[:40], 0))
