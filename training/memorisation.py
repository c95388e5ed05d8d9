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

    Three statistics of each point's nearest training images. *closer*: how many of n lie at a distance below
    the 1st percentile of unseen images'. *copied*: how many have a ratio of the distances to the nearest
    and to the second nearest below the 1st percentile of unseen images' (Lowe's ratio test): a copy is near
    one training image alone, whereas a bland or blurred picture is near many, at whatever distance. Both
    thresholds are set on half of the unseen images and checked on the other half ('unseen', the negative
    control, about 1 %). *auc*: the probability that a point lies nearer to the training images than an
    unseen image does; 0.5 is what a perfect generator gives (Meehan et al., arXiv 2004.05675), with the
    one-sided p of Mann and Whitney.
    """
    half = np.random.default_rng(seed).permutation(len(unseen))
    set_on, checked_on = half[: len(half) // 2], half[len(half) // 2 :]
    two = {
        name: nearest(points, training, 2)[0]
        for name, points in (("samples", samples), ("unseen", unseen), ("replayed", replayed))
    }
    gaps = {name: d[:, 0] for name, d in two.items()}
    ratios = {name: d[:, 0] / np.maximum(d[:, 1], 1e-12) for name, d in two.items()}
    threshold, ratio = (float(np.percentile(v["unseen"][set_on], PERCENTILE)) for v in (gaps, ratios))
    for values in (gaps, ratios):
        values["unseen"] = values["unseen"][checked_on]
    result: dict[str, Any] = {"threshold": threshold, "ratio_threshold": ratio}
    for name, gap in gaps.items():
        u, p = mannwhitneyu(gap, gaps["unseen"], alternative="less")
        result[name] = {
            "closer": int((gap < threshold).sum()),
            "copied": int((ratios[name] < ratio).sum()),
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
