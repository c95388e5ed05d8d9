"""Place new codes on a map that was fitted once, without refitting it.

The map is an illustration: no number of the product is computed from its coordinates.
"""

import numpy as np

from explorer.latent import nearest

NEIGHBOURS = 5


def place(
    codes: np.ndarray, real_codes: np.ndarray, positions: np.ndarray, k: int = NEIGHBOURS
) -> np.ndarray:
    """Map coordinates float32 (n, 2) of codes (n, d), from the k nearest real codes (m, d) on the map (m, 2).

    A mean of the neighbours' coordinates, weighted by inverse distance: where UMAP's own transform
    starts from, without importing umap. A code that is one of the real ones lands on its point. How
    faithful this is stands in each bundle's card (``training.bundle`` measures it).
    """
    distances, indices = nearest(codes, real_codes, min(k, len(real_codes)))
    return weighted_position(distances, positions[indices])


def weighted_position(distances: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Mean of neighbours' positions (n, k, 2) weighted by inverse distance (n, k): float32 (n, 2)."""
    scale = distances[:, :1] + 1e-12
    weights = 1 / np.maximum(distances / scale, 1e-6)
    # A distance of (almost) zero is the point itself.
    weights = np.where(distances[:, :1] < 1e-6, distances <= 1e-6, weights)
    weights = weights / weights.sum(1, keepdims=True)
    return np.einsum("nk,nkd->nd", weights, positions).astype(np.float32)
