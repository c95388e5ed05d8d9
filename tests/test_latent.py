"""Latent operations: standardisation, paths and neighbours, against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.neighbors import NearestNeighbors

from explorer import latent
from explorer.latent import Standardisation, class_mean, lerp, nearest, path, slerp

vectors = arrays(np.float32, 5, elements=st.floats(-50, 50, width=32))


@pytest.fixture(scope="module")
def codes() -> torch.Tensor:
    """Correlated codes, some directions a thousand times as long as others."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(400, 10, generator=generator) @ torch.diag(torch.logspace(-1.5, 1.5, 10)) @ (
        torch.linalg.qr(torch.randn(10, 10, generator=generator))[0]
    ) + torch.arange(10)


def test_a_full_standardisation_is_undone_exactly(codes):
    standard = Standardisation.fit(codes, 10)
    torch.testing.assert_close(standard.to_codes(standard.to_latents(codes)), codes, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("latent_dim", [1, 4, 10])
def test_latents_of_the_fitted_codes_are_white(codes, latent_dim):
    latents = Standardisation.fit(codes, latent_dim).to_latents(codes).double()
    covariance = torch.cov(latents.T).reshape(latent_dim, latent_dim)
    assert latents.mean(0).abs().max() < 1e-4
    torch.testing.assert_close(covariance, torch.eye(latent_dim).double(), rtol=0, atol=1e-3)


def test_the_scale_is_the_deviation_along_each_component_in_falling_order(codes):
    scale = Standardisation.fit(codes, 10).scale.double()
    expected = torch.linalg.eigvalsh(torch.cov(codes.double().T)).flip(0).sqrt()
    torch.testing.assert_close(scale, expected, rtol=1e-3, atol=1e-6)


def test_codes_are_fitted_in_parts_as_all_at_once(codes, monkeypatch):
    whole = Standardisation.fit(codes, 4)
    monkeypatch.setattr(latent, "CHUNK", 33)
    parts = Standardisation.fit(codes, 4)
    for name in vars(whole):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))


def test_a_direction_without_variance_does_not_break_the_fit():
    flat = torch.randn(30, 3) * torch.tensor([1.0, 1.0, 0.0])
    standard = Standardisation.fit(flat, 3)
    assert torch.isfinite(standard.to_latents(flat)).all()
    torch.testing.assert_close(standard.to_codes(standard.to_latents(flat)), flat, rtol=1e-4, atol=1e-4)


def test_components_are_orthonormal_and_keep_the_most_variance(codes):
    standard = Standardisation.fit(codes, 4)
    torch.testing.assert_close(standard.components @ standard.components.T, torch.eye(4), rtol=0, atol=1e-5)
    back = standard.to_codes(standard.to_latents(codes))
    lost = (codes - back).double().square().sum() / (len(codes) - 1)
    expected = torch.linalg.eigvalsh(torch.cov(codes.double().T))[:6].sum()
    assert lost.item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_fit_does_not_depend_on_the_order_of_the_codes(codes):
    a = Standardisation.fit(codes, 6)
    b = Standardisation.fit(codes.flip(0), 6)
    for name in ("mean", "components", "scale"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("latent_dim", [0, 11])
def test_a_latent_size_beyond_the_code_is_refused(codes, latent_dim):
    with pytest.raises(ValueError, match="latent_dim"):
        Standardisation.fit(codes, latent_dim)


@given(vectors, vectors)
def test_both_paths_begin_and_end_exactly(a, b):
    for between in (lerp, slerp):
        ends = between(a, b, np.array([0, 1], np.float32))
        assert ends.dtype == np.float32
        np.testing.assert_array_equal(ends, [a, b])


@given(vectors, vectors, st.floats(0, 1, width=32))
def test_a_straight_path_is_the_convex_combination(a, b, t):
    expected = (1 - np.float64(t)) * a.astype(np.float64) + np.float64(t) * b
    np.testing.assert_allclose(lerp(a, b, np.array([t]))[0], expected, rtol=1e-4, atol=1e-4)


@given(vectors, vectors, st.floats(0, 1, width=32))
def test_a_spherical_path_goes_straight_from_norm_to_norm(a, b, t):
    norm_a, norm_b = (float(np.linalg.norm(v.astype(np.float64))) for v in (a, b))
    assume(norm_a > 1e-3 and norm_b > 1e-3)
    cosine = float(a.astype(np.float64) @ b) / (norm_a * norm_b)
    assume(cosine > -0.999)  # opposite vectors have no arc of their own
    norm = np.linalg.norm(slerp(a, b, np.array([t]))[0].astype(np.float64))
    assert norm == pytest.approx((1 - t) * norm_a + t * norm_b, rel=2e-3)


def test_a_spherical_path_between_unit_vectors_turns_at_constant_speed():
    a, b = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    t = np.linspace(0, 1, 7)
    found = slerp(a, b, t)
    np.testing.assert_allclose(found, np.stack([np.cos(t * np.pi / 2), np.sin(t * np.pi / 2)], 1), atol=1e-6)


def test_parallel_opposite_and_zero_vectors_go_straight():
    a, zero = np.array([1, 2, 3], np.float32), np.zeros(3, np.float32)
    t = np.array([0.25, 0.5])
    for b in (2 * a, -a, zero):
        np.testing.assert_allclose(slerp(a, b, t), lerp(a, b, t))
    np.testing.assert_allclose(slerp(zero, a, t), lerp(zero, a, t))


@given(vectors, st.floats(0.125, 3, width=32), st.floats(0, 1, width=32))
def test_spherical_and_straight_paths_agree_where_vectors_are_parallel_or_opposite(a, factor, t):
    assume(np.linalg.norm(a) > 1e-2)
    for b in (np.float32(factor) * a, np.float32(-factor) * a):
        found, straight = (between(a, b, np.array([t]))[0] for between in (slerp, lerp))
        np.testing.assert_allclose(found, straight, rtol=1e-4, atol=1e-4 * np.abs(a).max())


@pytest.mark.parametrize("spherical", [False, True])
def test_a_path_has_as_many_points_as_asked_evenly_spaced(spherical):
    a, b = np.array([3, 0], np.float32), np.array([0, 3], np.float32)
    points = path(a, b, 9, spherical)
    assert points.shape == (9, 2)
    np.testing.assert_array_equal(points[[0, -1]], [a, b])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-5)
    assert np.linalg.norm(points[4]) == pytest.approx(3 if spherical else 3 / np.sqrt(2))


@pytest.mark.parametrize(("n", "m", "k"), [(1, 1, 1), (40, 70, 5), (2100, 30, 30)])
def test_nearest_agrees_with_scikit_learn(n, m, k):
    rng = np.random.default_rng(n)
    queries, reference = rng.normal(size=(n, 8)), rng.normal(size=(m, 8))
    distances, indices = nearest(queries, reference, k)
    expected, order = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(reference).kneighbors(queries)
    np.testing.assert_allclose(distances, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(indices, order)


def test_nearest_finds_a_point_at_distance_zero_far_from_the_origin():
    """The short cut through |a|^2 + |b|^2 - 2ab would lose it to cancellation."""
    reference = 1000 + 0.01 * np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    distances, indices = nearest(reference, reference)
    np.testing.assert_array_equal(indices[:, 0], np.arange(50))
    np.testing.assert_array_equal(distances[:, 0], 0)


def test_nearest_of_nothing_is_nothing_and_too_many_are_refused():
    reference = np.zeros((3, 2))
    assert [x.shape for x in nearest(np.empty((0, 2)), reference, 2)] == [(0, 2), (0, 2)]
    for k in (0, 4):
        with pytest.raises(ValueError, match="3 points"):
            nearest(reference, reference, k)


def test_the_mean_of_a_class_is_over_its_members_alone():
    codes = np.array([[1, 2], [3, 4], [100, 100]], np.float16)
    np.testing.assert_array_equal(class_mean(codes, np.array([0, 0, 1]), 0), [2, 3])
    with pytest.raises(ValueError, match="no codes"):
        class_mean(codes, np.array([0, 0, 1]), 2)
