"""When a picture counts as a hit for a class: both judges say so, and it lies near real pictures.

Thresholds come from the calibration part alone; rates are measured elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.preprocessing import normalize

from explorer.latent import nearest

PASSING = 0.95  # share of real round trips that the gate lets through


@dataclass(frozen=True)
class Scored:
    """What judges and gate make of n pictures.

    judges, permuted: log-probabilities float32 (n, 2, classes) of the two judges, and of the two that learnt
    from permuted labels. distance: float32 (n,), see ``realism``.
    """

    judges: np.ndarray
    permuted: np.ndarray
    distance: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Scored":
        return Scored(self.judges[rows], self.permuted[rows], self.distance[rows])

    def __len__(self) -> int:
        return len(self.distance)

    @classmethod
    def joined(cls, parts: "Sequence[Scored]") -> "Scored":
        """All of them, in order."""
        return cls(
            np.concatenate([part.judges for part in parts]),
            np.concatenate([part.permuted for part in parts]),
            np.concatenate([part.distance for part in parts]),
        )


def realism(features: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Cosine distance float32 (n,), from 0 to 2, of features float32 (n, d) to the nearest of those of real
    round trips (m, d).

    Of the features' direction alone: a cloud in which the network sees nothing has short ones, which are near
    everything by Euclidean distance.
    """
    chords = nearest(normalize(features), normalize(real))[0][:, 0]
    return chords**2 / 2


def gate(distances: np.ndarray, share: float = PASSING) -> float:
    """The distance that ``share`` of real round trips (n,), of calibration images, stay within."""
    return float(np.quantile(distances, share, method="higher"))


def thresholds(negatives: np.ndarray, alpha: float) -> np.ndarray:
    """What both judges must exceed, float32 (2,), for at most ``alpha`` of true negatives to be hits.

    negatives: log-probabilities float32 (n, 2) of the class, of calibration pictures that do not show it.
    Both judges' thresholds are the same quantile of their own negatives, the lowest that keeps the share of
    *joint* false alarms to be expected at alpha: rank ceil((1 - alpha)(n + 1)) of the joint ranks, as in
    split conformal prediction (Papadopoulos et al. 2002). Infinite where n is too small: nothing is a hit.
    """
    n = len(negatives)
    rank = int(np.ceil((1 - alpha) * (n + 1)))
    if rank > n:
        return np.full(2, np.inf, np.float32)
    ordered = np.sort(negatives, axis=0)
    below = [np.searchsorted(ordered[:, j], negatives[:, j], side="left") for j in range(2)]
    joint = np.sort(np.minimum(*below))[rank - 1]  # negatives that both judges rank above this are too many
    return ordered[joint]


def is_hit(scores: np.ndarray, distance: np.ndarray, limits: np.ndarray, within: float) -> np.ndarray:
    """Whether pictures are hits, bool (n,).

    scores: log-probabilities float32 (n, 2) of the class. distance: float32 (n,), see ``realism``. limits:
    (2,), see ``thresholds``. within: the gate's distance.
    """
    return (scores > limits).all(1) & (distance <= within)
