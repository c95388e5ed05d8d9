"""Nearest real images of points, in code space; a real image is never its own neighbour."""

import numpy as np
import pandas as pd

from explorer.bundle import Bundle
from explorer.latent import nearest
from explorer.points import NewSamples, Point, codes_of


def nearest_real(
    bundle: Bundle,
    points: list[Point],
    new: NewSamples | None = None,
    k: int = 1,
    among: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Distances float32 (n, k), ascending, and rows int64 (n, k) of each point's nearest real images.

    among: rows int (m,) to choose from; all real images if None. Fewer than k are returned where there
    are not enough. Distances are Euclidean, between codes.
    """
    among = np.arange(len(bundle.labels)) if among is None else among
    codes = bundle.real_codes[among]
    k = min(k, len(among) - 1)
    distances, found = nearest(codes_of(bundle, points, new), codes, k + 1)
    rows = among[found]
    own = np.array([p.index if p.kind == "real" else -1 for p in points], np.int64).reshape(-1, 1)
    drop = rows == own
    drop[~drop.any(1), -1] = True
    return distances[~drop].reshape(len(points), k), rows[~drop].reshape(len(points), k)


def training_distances(bundle: Bundle, points: list[Point], new: NewSamples | None = None) -> np.ndarray:
    """Distance float32 (n,) from each point to the nearest training code other than itself."""
    distances, _ = nearest_real(bundle, points, new, among=np.flatnonzero(bundle.splits == "train"))
    return distances[:, 0]


def selection_table(bundle: Bundle, points: list[Point], new: NewSamples | None = None) -> pd.DataFrame:
    """One row a point: kind, index, class, split, file name, distance to the nearest training code.

    Class, split and file are empty for samples; seed is given for new ones.
    """
    real = [p.index if p.kind == "real" else None for p in points]
    return pd.DataFrame(
        {
            "kind": [p.kind for p in points],
            "index": [p.index for p in points],
            "class": ["" if i is None else bundle.classes[bundle.labels[i]] for i in real],
            "split": ["" if i is None else str(bundle.splits[i]) for i in real],
            "file": ["" if i is None else bundle.names[i] for i in real],
            "seed": [new.seed if new and p.kind == "new" else "" for p in points],
            "distance_to_training_code": training_distances(bundle, points, new),
        }
    )


def stratified(bundle: Bundle, points: list[Point], limit: int) -> list[Point]:
    """At most ``limit`` of the points: every kind and class in turn, each evenly spread over its points."""
    groups: dict[tuple[str, int], list[Point]] = {}
    for point in points:
        label = int(bundle.labels[point.index]) if point.kind == "real" else -1
        groups.setdefault((point.kind, label), []).append(point)
    if len(points) <= limit:
        return points
    # Shares: one more for each group in turn, until the limit is reached or a group is used up.
    shares = dict.fromkeys(groups, 0)
    left = limit
    while left:
        for group in groups:
            if left and shares[group] < len(groups[group]):
                shares[group] += 1
                left -= 1
    chosen = []
    for group, members in groups.items():
        rows = np.linspace(0, len(members) - 1, shares[group]).round().astype(int)
        chosen += [members[row] for row in rows]
    return chosen
