"""Place new codes on a map that was fitted once, without refitting it.

The map is an illustration: no number of the product is computed from its coordinates.
"""

import numpy as np

from explorer.latent import Standardisation, nearest

NEIGHBOURS = 5
# The map is fitted, and new codes are placed, among the leading principal components of the codes. In all of
# them a few bland codes are neighbours of half the others, and UMAP then arranges points by their row number.
COMPONENTS = 32


def map_features(codes: np.ndarray, standardisation: Standardisation) -> np.ndarray:
    """What the map sees of codes float (n, code_dim): their leading components, float32 (n, <= 32)."""
    mean, components = (np.asarray(t) for t in (standardisation.mean, standardisation.components))
    return (codes.astype(np.float32) - mean) @ components[:COMPONENTS].T


def place(features: np.ndarray, real: np.ndarray, positions: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Map coordinates float32 (n, 2) of points (n, d), from the k nearest real ones (m, d) on the map (m, 2).

    A mean of the neighbours' coordinates, weighted by inverse distance: where UMAP's own transform
    starts from, without importing umap. A point that is one of the real ones lands on its place. How
    faithful this is stands in each bundle's card (``training.bundle`` measures it).
    """
    distances, indices = nearest(features, real, min(k, len(real)))
    return weighted_position(distances, positions[indices])


def weighted_position(distances: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Mean of neighbours' positions (n, k, 2) weighted by inverse distance (n, k): float32 (n, 2)."""
    scale = distances[:, :1] + 1e-12
    weights = 1 / np.maximum(distances / scale, 1e-6)
    # A distance of (almost) zero is the point itself.
    weights = np.where(distances[:, :1] < 1e-6, distances <= 1e-6, weights)
    weights = weights / weights.sum(1, keepdims=True)
    return np.einsum("nk,nkd->nd", weights, positions).astype(np.float32)
