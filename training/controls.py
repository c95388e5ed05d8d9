"""What can be drawn from the seen codes without any GAN: interpolations, a Gaussian, a Gaussian mixture.

A GAN that produces a class no more often than these adds nothing beyond the autoencoder.
"""

from typing import Literal

import numpy as np
from sklearn.mixture import GaussianMixture

from explorer.reachability import ATTRIBUTION

COMPONENTS = 32  # of the mixture


def interpolations(latents: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Points float32 (count, d) on straight lines between random pairs of seen latents (n, d)."""
    rng = np.random.default_rng(seed)
    first, second = latents[rng.integers(len(latents), size=(2, count))]
    along = rng.random((count, 1), np.float32)
    return first + along * (second - first)


def gaussian(latents: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws float32 (count, d) of the Gaussian with mean and covariance of seen latents (n, d)."""
    rng = np.random.default_rng(seed)
    covariance = np.cov(latents, rowvar=False)
    # Of fewer images than components it is singular, and has no Cholesky factor, which is quicker.
    method: Literal["cholesky", "eigh"] = "cholesky" if len(latents) > 2 * latents.shape[1] else "eigh"
    drawn = rng.multivariate_normal(latents.mean(0), covariance, count, method=method)
    return drawn.astype(np.float32)


def mixture(latents: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws float32 (count, d) of a mixture of Gaussians with diagonal covariances, fitted to seen latents.

    Diagonal, because latents are whitened, and because a full covariance of each component would have more
    numbers than there are images.
    """
    model = GaussianMixture(
        max(1, min(COMPONENTS, len(latents) // 10)), covariance_type="diag", reg_covar=1e-4, random_state=seed
    )
    drawn = model.fit(latents).sample(count)[0]
    return np.random.default_rng(seed).permutation(drawn).astype(np.float32)


CONTROLS = dict(zip(ATTRIBUTION, (interpolations, gaussian, mixture), strict=True))
