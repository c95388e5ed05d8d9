"""Measures: fidelity of pictures, distances between sets of codes."""

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image, float32 (n,); inputs uint8 (n, h, w, 3)."""
    return peak_signal_noise_ratio(
        output.float(), target.float(), data_range=255.0, reduction="none", dim=(1, 2, 3)
    )


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of each image, float32 (n,); inputs uint8 (n, h, w, 3).

    Gaussian window of sigma 1.5 where the image allows it, smaller on images under 11 px a side.
    """
    sigma = 1.5 if min(output.shape[1:3]) > 11 else 0.5
    value = structural_similarity_index_measure(
        output.permute(0, 3, 1, 2).float(),
        target.permute(0, 3, 1, 2).float(),
        data_range=255.0,
        sigma=sigma,
        reduction="none",
    )
    assert isinstance(value, Tensor)
    return value


def sharpness(images: Tensor) -> Tensor:
    """Root mean square of the grey Laplacian of each image, float32 (n,); input uint8 (n, h, w, 3).

    Read it as a ratio to that of the originals: below 1 the round trip blurs, above 1 it adds edges.
    """
    grey = images.float().mean(-1)[:, None]
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], device=images.device)
    return F.conv2d(grey, kernel[None, None]).square().mean((1, 2, 3)).sqrt()


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance between Gaussians fitted to two samples, float (n, d) and (m, d).

    ``|mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2))`` (Dowson & Landau 1982). The trace of the root is the
    sum of the singular values of ``A^(1/2) B^(1/2)``, which needs no matrix square root of a product.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    mean = np.square(a.mean(0) - b.mean(0)).sum()
    cov_a, cov_b = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    cross = np.linalg.svd(_root(cov_a) @ _root(cov_b), compute_uv=False).sum()
    return float(max(mean + np.trace(cov_a) + np.trace(cov_b) - 2 * cross, 0.0))


def _root(covariance: np.ndarray) -> np.ndarray:
    """Square root of a symmetric positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> float:
    """Share of real points with a generated one inside their k-th neighbour ball (arXiv 2002.09797, eq. 9).

    real (n, d), fake (m, d). Depends on n, m and k: compare only with the real-vs-real value of equal n.
    """
    radii = NearestNeighbors(n_neighbors=k + 1).fit(real).kneighbors(real)[0][:, k]
    to_fake = NearestNeighbors(n_neighbors=1).fit(fake).kneighbors(real)[0][:, 0]
    return float((to_fake <= radii).mean())


def dead_dimensions(codes: np.ndarray, reference: np.ndarray, share: float = 0.1) -> float:
    """Share of dimensions whose standard deviation is below ``share`` of the reference's."""
    return float((codes.std(0) < share * reference.std(0)).mean())
