"""Does a generator replay its training images? Nearest-neighbour tests in a feature space."""

from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from explorer.latent import nearest

PERCENTILE = 1.0


def memorisation_test(
    samples: np.ndarray, unseen: np.ndarray, training: np.ndarray, replayed: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """Test whether samples lie nearer to the training images than unseen real images do.

    Features float (n, d): of generated samples, of real images that took no part in training, of the
    training images, and of training images replayed by the same decoder (the positive control).
    ``replayed`` must not contain rows of ``training`` themselves, or the control is trivial.

    Two tests on distances to the nearest training image. *closer*: how many of n lie below the 1st
    percentile of unseen images' distances, which is set on half of them and checked on the other half
    ('unseen', the negative control, about 1 %). *auc*: the probability that a sample lies nearer to the
    training images than an unseen image does; 0.5 is what a perfect generator gives, more speaks for
    replay (Meehan et al., arXiv 2004.05675), with the one-sided p of Mann and Whitney.
    """
    half = np.random.default_rng(seed).permutation(len(unseen))
    set_on, checked_on = half[: len(half) // 2], half[len(half) // 2 :]
    gaps = {
        name: nearest(points, training)[0][:, 0]
        for name, points in (("samples", samples), ("unseen", unseen), ("replayed", replayed))
    }
    threshold = float(np.percentile(gaps["unseen"][set_on], PERCENTILE))
    gaps["unseen"] = gaps["unseen"][checked_on]
    result: dict[str, Any] = {"threshold": threshold}
    for name, gap in gaps.items():
        u, p = mannwhitneyu(gap, gaps["unseen"], alternative="less")
        result[name] = {
            "closer": int((gap < threshold).sum()),
            "n": len(gap),
            "median": float(np.median(gap)),
            "auc": float(1 - u / (len(gap) * len(gaps["unseen"]))),
            "p": float(p),
        }
    return result


def nearest_pairs(samples: np.ndarray, training: np.ndarray, count: int = 10) -> list[dict[str, Any]]:
    """The ``count`` closest pairs of sample and training image: rows and distance, closest first.

    samples (n, d), training (m, d): features float. Each sample and each training image occurs once.
    """
    distances, rows = nearest(samples, training)
    pairs: list[dict[str, Any]] = []
    for i in np.argsort(distances[:, 0], kind="stable"):
        row = int(rows[i, 0])
        if all(pair["training"] != row for pair in pairs):
            pairs.append({"sample": int(i), "training": row, "distance": float(distances[i, 0])})
        if len(pairs) == count:
            break
    return pairs
