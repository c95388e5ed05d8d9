"""Measures against closed forms and other people's implementations."""

import numpy as np
import prdc
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.metrics import (
    coverage,
    dead_dimensions,
    frechet_distance,
    kernel_distance,
    manifold_measures,
    psnr,
    sharpness,
    ssim,
)


def exact_sample(mean: np.ndarray, deviation: np.ndarray, n: int = 64) -> np.ndarray:
    """A sample whose mean and (diagonal) covariance are exactly these."""
    raw = np.random.default_rng(0).normal(size=(n, len(mean)))
    raw -= raw.mean(0)
    raw = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return raw * deviation + mean


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.floats(-3, 3)] * 2, *[st.floats(0.1, 3)] * 2), min_size=2, max_size=5))
def test_frechet_distance_of_diagonal_gaussians_has_its_closed_form(rows):
    mean_a, mean_b, sd_a, sd_b = np.array(rows).T
    expected = np.square(mean_a - mean_b).sum() + np.square(sd_a - sd_b).sum()
    found = frechet_distance(exact_sample(mean_a, sd_a), exact_sample(mean_b, sd_b))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("d", [1, 3, 12])
def test_frechet_distance_agrees_with_the_matrix_root_of_scipy(d):
    rng = np.random.default_rng(d)
    a = rng.normal(size=(200, d)) @ rng.normal(size=(d, d)) + 1
    b = rng.normal(size=(150, d)) @ rng.normal(size=(d, d))
    cov_a, cov_b = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_to_oneself_is_zero_even_where_the_covariance_is_singular():
    a = np.random.default_rng(0).normal(size=(10, 30)).astype(np.float32)  # fewer points than dimensions
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_coverage_of_hand_made_points():
    real = np.array([[0.0], [1], [2], [3], [100], [101], [102], [103]])
    assert coverage(real, real, k=1) == 1
    assert coverage(real, np.array([[1.5], [1.5]]), k=1) == pytest.approx(2 / 8)  # within 1 of 1 and 2 alone
    assert coverage(real, np.array([[1.5], [101.5]]), k=3) == 1  # the balls now reach 2 or 3
    assert coverage(real, np.array([[50.0]]), k=3) == 0


@given(st.integers(0, 254), st.integers(1, 100))
def test_psnr_follows_its_formula(level, difference):
    difference = min(difference, 255 - level)
    a = torch.full((1, 4, 4, 3), level, dtype=torch.uint8)
    assert psnr(a + difference, a).item() == pytest.approx(20 * np.log10(255 / difference), rel=1e-5)


def test_psnr_and_ssim_are_per_image():
    rng = torch.Generator().manual_seed(0)
    a = torch.randint(256, (2, 16, 16, 3), generator=rng, dtype=torch.uint8)
    b = a.clone()
    b[1] = 255 - b[1]
    assert psnr(b, a).shape == ssim(b, a).shape == (2,)
    assert psnr(b, a)[0] == torch.inf
    assert ssim(b, a)[0].item() == pytest.approx(1)
    assert ssim(b, a)[1] < 0.1


@pytest.mark.parametrize("side", [8, 16, 64])
def test_ssim_of_equal_images_is_one_at_every_size(side):
    images = torch.randint(256, (1, side, side, 3), dtype=torch.uint8)
    assert ssim(images, images).item() == pytest.approx(1, abs=1e-5)


def test_sharpness_of_a_constant_is_zero_and_grows_with_contrast():
    board = (torch.arange(8)[:, None] + torch.arange(8)[None]) % 2
    image = board[None, :, :, None].repeat(1, 1, 1, 3).to(torch.uint8)
    assert sharpness(torch.full((1, 8, 8, 3), 77, dtype=torch.uint8)).item() == 0
    assert sharpness(image * 10).item() == pytest.approx(40)  # |4 * 10| at every pixel
    assert sharpness(image * 20).item() == pytest.approx(80)


def test_dead_dimensions_are_those_that_hardly_vary():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(500, 4))
    assert dead_dimensions(reference, reference) == 0
    assert dead_dimensions(reference * [1, 1, 0.01, 0], reference) == 0.5
    assert dead_dimensions(reference * [1, 1, 0.5, 1], reference) == 0
    wide = reference * [1, 10, 100, 1000]  # a tenth is one of what the dimension itself varies
    assert dead_dimensions(wide * [0.09, 0.11, 0.09, 0.11], wide) == 0.5


def points(seed: int, n: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, size=(n, 6))


@pytest.mark.parametrize(("shift", "k"), [(0.0, 5), (0.7, 5), (2.0, 3)])
def test_precision_recall_density_and_coverage_agree_with_the_authors_code(shift, k):
    real, fake = points(0, 150), points(1, 120, shift)
    expected = prdc.compute_prdc(real, fake, nearest_k=k)
    assert manifold_measures(real, fake, k) == pytest.approx(expected, abs=1e-12)


def test_identical_sets_have_perfect_precision_recall_and_coverage():
    found = manifold_measures(points(0, 80), points(0, 80))
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)


def test_a_collapsed_generator_keeps_precision_and_loses_recall_and_coverage():
    real = points(0, 200)
    collapsed = real[:1] + 1e-3 * points(1, 200)
    found = manifold_measures(real, collapsed)
    assert found["precision"] == 1
    assert found["recall"] < 0.05
    assert found["coverage"] < 0.2


@given(st.integers(0, 50), st.integers(1, 8))
@settings(max_examples=20)
def test_swapping_the_sets_swaps_precision_and_recall(seed, k):
    a, b = points(seed, 40), points(seed + 100, 40, 0.5)
    there, back = manifold_measures(a, b, k), manifold_measures(b, a, k)
    assert there["precision"] == back["recall"]
    assert there["recall"] == back["precision"]


def test_the_two_computations_of_coverage_agree():
    real, fake = points(0, 90), points(1, 70, 0.4)
    assert coverage(real, fake, 5) == manifold_measures(real, fake, 5)["coverage"]


def cubic_mmd(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3, written out."""
    n, m, d = len(a), len(b), a.shape[1]
    aa, bb, ab = ((x @ y.T / d + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    same = (aa.sum() - np.trace(aa)) / (n * (n - 1)) + (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return same - 2 * ab.mean()


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_kernel_distance_follows_its_formula(shift):
    a, b = points(0, 100), points(1, 100, shift)
    mean, deviation = kernel_distance(a, b, subsets=4, size=100)  # every subset is the whole
    assert mean == pytest.approx(cubic_mmd(a, b), abs=1e-9)
    assert deviation == pytest.approx(0, abs=1e-9)


def test_kernel_distance_is_seeded_and_leaves_the_global_generator_alone():
    a, b = points(0, 80), points(1, 80)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    assert kernel_distance(a, b, size=20) == kernel_distance(a, b, size=20)
    assert kernel_distance(a, b, size=20) != kernel_distance(a, b, size=20, seed=1)
    assert torch.rand(1) == expected
