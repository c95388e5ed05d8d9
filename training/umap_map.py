"""The map of a bundle: UMAP of its real codes, and how faithful that picture is.

UMAP is an illustration; no number is computed from it.
"""

import warnings

import numpy as np

from explorer.latent import nearest
from explorer.projection import NEIGHBOURS, weighted_position


def measured_map(
    codes: np.ndarray, features: np.ndarray, *, neighbours: int, min_dist: float, seed: int
) -> tuple[np.ndarray, dict[str, float]]:
    """UMAP of real codes, float32 (n, 2), and how faithful it and the placement of new codes are.

    codes: float32 (n, code_dim), the judges of faithfulness. features: float32 (n, d), what is mapped.
    neighbours, min_dist: UMAP's n_neighbors and min_dist.
    """
    from sklearn.manifold import trustworthiness

    position = fit_umap(features, neighbours, min_dist, seed)

    # Each of some real codes is placed as if it were new, from all the others.
    rng = np.random.default_rng(seed)
    probe = rng.choice(len(codes), min(2000, len(codes)), replace=False)
    distances, indices = nearest(features[probe], features, NEIGHBOURS + 1)
    own = indices == probe[:, None]
    own[~own.any(1), -1] = True  # a duplicate of the code took its place: drop the farthest
    others = indices[~own].reshape(len(probe), NEIGHBOURS)
    gaps = distances[~own].reshape(len(probe), NEIGHBOURS)
    placed = weighted_position(gaps, position[others])
    drawn = position[rng.choice(len(codes), len(probe))]

    nearby = min(15, (len(probe) - 1) // 2)  # it takes twice as many codes

    def gap(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.median(np.linalg.norm(a - b, axis=1)))

    return position, {
        "trustworthiness": float(trustworthiness(codes[probe], position[probe], n_neighbors=nearby)),
        "trustworthiness_placed": float(trustworthiness(codes[probe], placed, n_neighbors=nearby)),
        "placed_to_own_position": gap(position[probe], placed) / gap(position[probe], drawn),
        "n": len(probe),
        "components": features.shape[1],
        "umap_neighbours": neighbours,
        "umap_min_dist": min_dist,
        "umap_seed": seed,
    }


def fit_umap(features: np.ndarray, neighbours: int, min_dist: float, seed: int) -> np.ndarray:
    """UMAP (McInnes et al., arXiv 1802.03426) of features float32 (n, d): float32 (n, 2).

    The neighbours are exact. Rows are shuffled first: UMAP moves points in the order of their rows, and
    where neighbourhoods are weak that order shows, as groups of whatever the rows are sorted by.
    """
    import umap

    order = np.random.default_rng(seed).permutation(len(features))
    shuffled = features[order]
    k = min(neighbours, len(features) - 1)
    distances, indices = nearest(shuffled, shuffled, k)
    reducer = umap.UMAP(
        n_neighbors=k, min_dist=min_dist, init="pca", random_state=seed, n_jobs=1,
        precomputed_knn=(indices, distances, None),
    )  # fmt: skip
    position = np.empty((len(features), 2), np.float32)
    with warnings.catch_warnings():  # that new points cannot be transformed: they are placed otherwise
        warnings.filterwarnings("ignore", message="precomputed_knn")
        position[order] = reducer.fit_transform(shuffled)
    return position
