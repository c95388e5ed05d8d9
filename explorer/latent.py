"""Operations in latent space: standardisation, interpolation, nearest neighbours, class means."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CHUNK = 16_384  # codes at a time


def leading_components(covariance: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Principal components of a covariance float (d, d): the ``count`` largest variances, falling, float
    (count,), and their unit directions, float (count, d).
    """
    variance, vectors = torch.linalg.eigh(covariance)
    variance, components = variance.flip(0)[:count], vectors.flip(1)[:, :count].T
    # An eigenvector's sign is arbitrary: make its largest entry positive, so that runs agree.
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return variance, components * largest.sign()


@dataclass(frozen=True)
class Standardisation:
    """Whitened principal components of the codes. Fitted on seen training codes alone.

    mean: float32 (code_dim,). components: float32 (latent_dim, code_dim), orthonormal rows, by falling
    variance. scale: float32 (latent_dim,), their standard deviations.
    A latent is ``(code - mean) @ components.T / scale``: over the training codes, each has mean 0 and
    variance 1, and no two are correlated.
    """

    mean: Tensor
    components: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, codes: Tensor, latent_dim: int) -> "Standardisation":
        """Fit on codes float (n, code_dim), keeping the ``latent_dim`` leading components."""
        if not 1 <= latent_dim <= codes.shape[1]:
            raise ValueError(f"latent_dim {latent_dim} is not in 1..{codes.shape[1]}")
        # A part at a time: in float64, and less their mean, codes would be held six times over.
        sums = [part.sum(0, dtype=torch.float64) for part in codes.split(CHUNK)]
        mean = torch.stack(sums).sum(0) / len(codes)
        scatter = torch.zeros(codes.shape[1], codes.shape[1], dtype=torch.float64)
        for part in codes.split(CHUNK):
            centred = part.double() - mean
            scatter += centred.T @ centred
        variance, components = leading_components(scatter / (len(codes) - 1), latent_dim)
        scale = variance.clamp_min(1e-12).sqrt()
        return cls(mean.float(), components.float().contiguous(), scale.float())

    def to_latents(self, codes: Tensor) -> Tensor:
        """Codes float (n, code_dim) -> latents float (n, latent_dim)."""
        return (codes - self.mean) @ self.components.T / self.scale

    def to_codes(self, latents: Tensor) -> Tensor:
        """Latents float (n, latent_dim) -> codes float (n, code_dim)."""
        return (latents * self.scale) @ self.components + self.mean

    def to(self, device: torch.device | str) -> "Standardisation":
        """The same on another device."""
        return Standardisation(*(t.to(device) for t in (self.mean, self.components, self.scale)))


def lerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Straight path: float32 (len(t), d) from ``a`` (t=0) to ``b`` (t=1), both (d,). Ends are exact."""
    t = np.asarray(t, np.float32)[:, None]
    return (a * (1 - t) + b * t).astype(np.float32)


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Spherical path (Shoemake 1985) from ``a`` to ``b``: float32 (len(t), d); ends are exact.

    The direction turns at constant speed and the norm goes straight from one to the other, so that the
    path between two draws of a Gaussian prior stays where the prior has its mass. Parallel vectors, and
    a zero vector, fall back to ``lerp``; opposite ones have no unique arc and do so too.
    """
    norm_a, norm_b = (float(np.linalg.norm(v.astype(np.float64))) for v in (a, b))
    if norm_a == 0 or norm_b == 0:
        return lerp(a, b, t)
    unit_a, unit_b = a.astype(np.float64) / norm_a, b.astype(np.float64) / norm_b
    # Exact for (nearly) parallel vectors too, unlike the arc cosine (Kahan).
    angle = 2 * float(np.arctan2(np.linalg.norm(unit_a - unit_b), np.linalg.norm(unit_a + unit_b)))
    if np.sin(angle) < 1e-4:
        return lerp(a, b, t)
    t = np.asarray(t, np.float32)[:, None]
    direction = (np.sin((1 - t) * angle) * unit_a + np.sin(t * angle) * unit_b) / np.sin(angle)
    path = direction * (norm_a * (1 - t) + norm_b * t)
    path = np.where(t == 0, a, np.where(t == 1, b, path))  # exact, not to rounding
    return path.astype(np.float32)


def path(a: np.ndarray, b: np.ndarray, frames: int, spherical: bool = False) -> np.ndarray:
    """``frames`` evenly spaced points from ``a`` to ``b``, both (d,): float32 (frames, d)."""
    t = np.linspace(0, 1, frames, dtype=np.float32)
    return slerp(a, b, t) if spherical else lerp(a, b, t)


def nearest(
    queries: np.ndarray, reference: np.ndarray, k: int = 1, batch: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of ``reference`` (m, d) to each row of ``queries`` (n, d), by Euclidean distance.

    Returns distances float32 (n, k), ascending, and indices int64 (n, k). The distances are exact to
    float32; of neighbours that are equally far to rounding, either may come first.
    """
    if not 1 <= k <= len(reference):
        raise ValueError(f"k is {k}, but there are {len(reference)} points to choose from")
    ref = torch.from_numpy(np.ascontiguousarray(reference, np.float32))
    rows = torch.from_numpy(np.ascontiguousarray(queries, np.float32))
    center = ref.mean(0)
    ref, rows = ref - center, rows - center
    # A matrix product finds candidates ten times as fast, but rounds: their distances are computed anew.
    candidates = min(k + 16, len(ref))
    batch = max(1, min(batch, 2**25 // (candidates * ref.shape[1])))  # at most 128 MiB of differences
    distances, indices = [], []
    for part in rows.split(batch):
        rough = torch.cdist(part, ref, compute_mode="use_mm_for_euclid_dist")
        chosen = rough.topk(candidates, largest=False).indices
        d, order = (part[:, None] - ref[chosen]).norm(dim=2).topk(k, largest=False)
        distances.append(d)
        indices.append(chosen.gather(1, order))
    if not distances:
        return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
    return torch.cat(distances).numpy(), torch.cat(indices).numpy()


def class_mean(codes: np.ndarray, labels: np.ndarray, label: int) -> np.ndarray:
    """Mean code float32 (d,) of one class. Raises ValueError when the class has no codes."""
    members = codes[labels == label]
    if not len(members):
        raise ValueError(f"class {label} has no codes")
    return members.astype(np.float32).mean(0)
