"""Measures: fidelity of pictures, distances between sets of codes or of features."""

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance


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


class _Given(nn.Module):
    """Stands in for torchmetrics' feature network where the features are already there."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.num_features = dimensions

    def forward(self, features: Tensor) -> Tensor:
        """(n, d) -> the same."""
        return features


# Under torchrun the first process alone measures: its metrics must not wait for the others'.
ALONE: dict[str, Any] = {"sync_on_compute": False}


def _compare(metric: Metric, real: np.ndarray, fake: np.ndarray) -> Any:
    for points, is_real in ((real, True), (fake, False)):
        metric.update(torch.from_numpy(np.ascontiguousarray(points)), real=is_real)
    return metric.compute()


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance between Gaussians fitted to two samples, float (n, d) and (m, d).

    ``|mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2))`` (Dowson & Landau 1982), by torchmetrics, in float64.
    """
    metric = FrechetInceptionDistance(feature=_Given(a.shape[1]), **ALONE)
    return max(float(_compare(metric.set_dtype(torch.float64), a, b)), 0.0)


def kernel_distance(
    a: np.ndarray, b: np.ndarray, subsets: int = 50, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Kernel distance (unbiased squared MMD, cubic kernel; arXiv 1801.01401), by torchmetrics.

    a, b: float (n, d) and (m, d). Returns the mean over random subsets of ``size`` points, and their
    standard deviation. Unbiased, so about 0, and as often below it, for samples of one distribution.
    """
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # that it keeps the features in memory
        metric = KernelInceptionDistance(
            feature=_Given(a.shape[1]), subsets=subsets, subset_size=min(size, len(a), len(b)), **ALONE
        )
        torch.manual_seed(seed)
        mean, deviation = _compare(metric.set_dtype(torch.float64), a, b)
    return float(mean), float(deviation)


def _radii(points: np.ndarray, k: int) -> np.ndarray:
    """Distance float (n,) from each point (n, d) to its k-th neighbour among the others."""
    return NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, k]


def manifold_measures(real: np.ndarray, fake: np.ndarray, k: int = 5) -> dict[str, float]:
    """Precision, recall (arXiv 1904.06991), density and coverage (arXiv 2002.09797), on k-neighbour balls.

    real (n, d), fake (m, d). All four depend on n, m and k: read them beside the real-vs-real values of
    equal n. precision: share of fake points inside some real point's ball. recall: the reverse. density:
    in how many real balls a fake point lies, over k. coverage: share of real balls that hold a fake point.
    """
    distance = pairwise_distances(real, fake)  # (n, m)
    in_real = distance <= _radii(real, k)[:, None]
    return {
        "precision": float(in_real.any(0).mean()),
        "recall": float((distance <= _radii(fake, k)[None]).any(1).mean()),
        "density": float(in_real.sum(0).mean() / k),
        "coverage": float(in_real.any(1).mean()),
    }


def coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> float:
    """Coverage alone, see ``manifold_measures``, without the matrix of all distances."""
    to_fake = NearestNeighbors(n_neighbors=1).fit(fake).kneighbors(real)[0][:, 0]
    return float((to_fake <= _radii(real, k)).mean())


def dead_dimensions(codes: np.ndarray, reference: np.ndarray, share: float = 0.1) -> float:
    """Share of dimensions whose standard deviation is below ``share`` of the reference's."""
    return float((codes.std(0) < share * reference.std(0)).mean())
