"""What is drawn from seen latents without a GAN has the moments that it should have."""

import numpy as np
import pytest

from training.controls import CONTROLS, gaussian, interpolations, mixture


@pytest.fixture(scope="module")
def latents() -> np.ndarray:
    """Two far-apart groups in three dimensions, correlated."""
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal([0, 0, 0], [[1, 0.8, 0], [0.8, 1, 0], [0, 0, 0.1]], 3000)
    drawn[:1500, 2] += 20
    return drawn.astype(np.float32)


@pytest.mark.parametrize("name", CONTROLS)
def test_draws_are_as_many_as_asked_for_and_the_same_again(name, latents):
    first = CONTROLS[name](latents, 257, 3)
    assert first.shape == (257, 3)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, CONTROLS[name](latents, 257, 3))
    assert (first != CONTROLS[name](latents, 257, 4)).any()


def test_the_gaussian_has_mean_and_covariance_of_the_latents(latents):
    drawn = gaussian(latents, 50_000, 0)
    np.testing.assert_allclose(drawn.mean(0), latents.mean(0), atol=0.2)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(latents.T), rtol=0.1, atol=0.2)


@pytest.mark.parametrize("n", [4, 40, 100])
def test_fewer_images_than_components_can_be_drawn_from_too(n):
    """Someone's own photographs may be few; their covariance is then singular."""
    few = np.random.default_rng(n).normal(size=(n, 60)).astype(np.float32)
    drawn = gaussian(few, 20_000, 0)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(few.T), atol=0.1 * np.cov(few.T).max())
    assert np.isfinite(mixture(few, 50, 0)).all()


def test_the_mixture_keeps_the_groups_apart_where_the_gaussian_does_not(latents):
    def between(drawn: np.ndarray) -> float:
        return ((drawn[:, 2] > 4) & (drawn[:, 2] < 16)).mean()

    assert between(mixture(latents, 5000, 0)) < 0.02
    assert between(gaussian(latents, 5000, 0)) > 0.3


def test_the_mixture_has_the_weights_and_centres_of_the_groups():
    """A few components would have to share them out."""
    rng = np.random.default_rng(1)
    centres, sizes = 50 * np.eye(4, dtype=np.float32), (100, 200, 300, 400)
    groups = [centre + rng.normal(size=(n, 4)) for centre, n in zip(centres, sizes, strict=True)]
    drawn = mixture(np.concatenate(groups).astype(np.float32), 10_000, 0)
    nearest = np.linalg.norm(drawn[:, None] - centres, axis=2)
    assert np.quantile(nearest.min(1), 0.99) < 4.5  # of a Gaussian of four dimensions: 3.6
    shares = np.bincount(nearest.argmin(1), minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, np.array(sizes) / 1000, atol=0.03)


def test_interpolations_lie_between_latents(latents):
    drawn = interpolations(latents, 5000, 0)
    assert (drawn.min(0) >= latents.min(0)).all()
    assert (drawn.max(0) <= latents.max(0)).all()
    np.testing.assert_allclose(drawn.mean(0), latents.mean(0), atol=0.5)


def test_interpolations_lie_anywhere_on_the_straight_line_between_two_latents():
    ends = np.array([[0, 0, 0], [1, 2, 4]], np.float32)
    drawn = interpolations(ends, 4000, 0)
    along = drawn[:, 0]
    np.testing.assert_allclose(drawn, along[:, None] * ends[1], atol=1e-5)
    between = along[(along > 0) & (along < 1)]
    assert len(between) / len(along) == pytest.approx(0.5, abs=0.05)  # half of the pairs are of one latent
    np.testing.assert_allclose(np.quantile(between, (0.1, 0.5, 0.9)), (0.1, 0.5, 0.9), atol=0.05)
