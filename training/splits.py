"""Split images for judging: what judges learn from, what sets their thresholds, what measures their errors.

The parts are disjoint. Of a seen class, judges learn from the images that the networks were trained on, and
are calibrated and tested on the others. Of a held-out class, no network was trained on any; the oracle, which
is, learns from the judges' part alone. So no image that sets or measures an error rate was ever trained on.
"""

import numpy as np

LEARN, CALIBRATION, TEST = PARTS = ("learn", "calibration", "test")
# Calibration images of a class. Beyond these, an image is worth more where error rates are measured: a
# verdict is only as sure as they are.
ENOUGH = 100


def judging_parts(labels: np.ndarray, splits: np.ndarray, seed: int) -> np.ndarray:
    """The part, str (n,), of each image.

    labels: int (n,). splits: str (n,), 'train', 'val' or 'held_out'. Judges learn from half of a
    held-out class. Of the other half, as of the validation images of a seen class, half calibrate, at most
    ``ENOUGH``, and the others test.
    """
    parts = np.full(len(labels), LEARN, dtype=f"<U{max(map(len, PARTS))}")
    for label in np.unique(labels):
        rng = np.random.default_rng((seed, int(label)))
        for split, learnt in (("val", 0.0), ("held_out", 0.5)):
            rows = rng.permutation(np.flatnonzero((labels == label) & (splits == split)))
            start = round(learnt * len(rows))
            middle = start + min((len(rows) - start) // 2, ENOUGH)
            parts[rows[start:middle]], parts[rows[middle:]] = CALIBRATION, TEST
    return parts
