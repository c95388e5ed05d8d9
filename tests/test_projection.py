"""Placement of new codes on a fixed map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.bundle_reading import open_bundle
from explorer.latent import nearest
from explorer.projection import NEIGHBOURS, place
from tests.support import SHIPPED


def cloud(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 6)).astype(np.float32), rng.normal(size=(n, 2)).astype(np.float32)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_a_real_code_lands_on_its_own_point(seed):
    codes, positions = cloud(seed)
    np.testing.assert_allclose(place(codes, codes, positions), positions, atol=1e-5)


@given(st.integers(0, 10_000), st.integers(1, 8))
@settings(max_examples=30)
def test_a_new_code_lands_between_its_nearest_neighbours(seed, k):
    codes, positions = cloud(seed)
    new = np.random.default_rng(seed + 1).normal(size=(20, 6)).astype(np.float32)
    found = place(new, codes, positions, k)
    order = np.linalg.norm(new[:, None] - codes[None], axis=2).argsort(1)[:, :k]
    corners = positions[order]
    # Inside the convex hull: for every direction, no further out than the outermost neighbour.
    for angle in np.linspace(0, 2 * np.pi, 24):
        direction = np.array([np.cos(angle), np.sin(angle)])
        assert (found @ direction <= (corners @ direction).max(1) + 1e-4).all()


def test_a_code_halfway_between_two_lands_halfway_and_nearer_ones_weigh_more():
    codes = np.array([[0.0], [2.0], [50.0]])
    positions = np.array([[0.0, 0.0], [2.0, 4.0], [9.0, 9.0]])
    np.testing.assert_allclose(place(np.array([[1.0]]), codes, positions, k=2), [[1, 2]], atol=1e-6)
    np.testing.assert_allclose(place(np.array([[0.5]]), codes, positions, k=2), [[0.5, 1]], atol=1e-6)


def test_two_equal_codes_share_the_middle_of_their_points():
    codes, positions = np.zeros((2, 3)), np.array([[0.0, 0.0], [2.0, 2.0]])
    np.testing.assert_allclose(place(np.zeros((1, 3)), codes, positions), [[1, 1]])


def test_a_map_with_fewer_points_than_neighbours_still_places():
    codes, positions = cloud(0, n=NEIGHBOURS - 2)
    assert np.isfinite(place(codes + 0.1, codes, positions)).all()


def test_placement_is_deterministic_and_does_not_depend_on_company():
    codes, positions = cloud(1)
    new = cloud(2)[0]
    together = place(new, codes, positions)
    np.testing.assert_array_equal(together, place(new, codes, positions))
    np.testing.assert_array_equal(together[7:8], place(new[7:8], codes, positions))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_the_shipped_places_of_generated_samples_are_those_the_app_would_compute(path):
    bundle = open_bundle(path)
    chosen = slice(0, 200)
    found = bundle.place(bundle.generated_codes[chosen])
    span = np.ptp(bundle.map_real, axis=0).max()
    assert np.median(np.abs(found - bundle.map_generated[chosen])) < 1e-3 * span


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_the_shipped_map_does_not_show_the_order_of_the_rows(path):
    # Rows are sorted by breed. A UMAP of all 512 components drew that order as clean groups of breeds, which
    # the codes do not have: near on the map must not mean near in the table, beyond what codes say.
    bundle = open_bundle(path)
    rows = np.random.default_rng(0).choice(len(bundle.labels), 1000, replace=False)

    def near_in_the_table(points: np.ndarray) -> float:
        _, neighbours = nearest(points[rows], points, 16)
        return float((np.abs(neighbours[:, 1:] - rows[:, None]) < 100).mean())

    assert near_in_the_table(bundle.map_real) < 2 * near_in_the_table(bundle.real_codes)
