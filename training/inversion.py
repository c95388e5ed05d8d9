"""Search a generator's range: the z whose code comes nearest to a target's.

Latent recovery as in Webster et al. (arXiv 1901.03396) and Bau et al. 2019, by Adam from random starts.
A small distance alone proves nothing: a generator's range can pass near what it never produces (arXiv
2402.14098). So z is kept in the typical set of the prior, and controls are searched for in the same way.
"""

from collections.abc import Callable

import torch
from scipy.stats import chi
from torch import Tensor

Generate = Callable[[Tensor], Tensor]
TYPICAL = (0.005, 0.995)  # quantiles of the prior's norm between which z is kept
RATE = 0.5  # Adam's, falling to zero; a tenth of it takes four times the steps to come as near


def to_typical_set(z: Tensor) -> Tensor:
    """Scale z float (n, d) where its norm is not one that a standard normal is likely to have."""
    low, high = chi.ppf(TYPICAL, z.shape[1])
    norm = z.norm(dim=1, keepdim=True)
    return z * (norm.clamp(float(low), float(high)) / norm)


def search(
    generate: Generate,
    targets: Tensor,
    z_dim: int,
    *,
    restarts: int = 4,
    steps: int = 200,
    lr: float = RATE,
    batch: int = 256,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """The best z of all restarts for each target, and how far from it its code is.

    generate: z float32 (n, z_dim) -> codes float32 (n, code_dim), differentiable. targets: codes float32 (n,
    code_dim) on the device of the generator. Returns z float32 (n, z_dim) and Euclidean distances float32
    (n,), both on the CPU. The budget, ``restarts * steps`` evaluations, is the same for every target.
    """
    draw = torch.Generator().manual_seed(seed)
    starts = torch.randn(len(targets), restarts, z_dim, generator=draw)
    found_z, found_distance = [], []
    per_batch = max(1, batch // restarts)
    for wanted, start in zip(targets.split(per_batch), starts.split(per_batch), strict=True):
        goal = wanted.repeat_interleave(restarts, 0)
        z = to_typical_set(start.flatten(0, 1).to(targets.device)).requires_grad_()
        optimiser = torch.optim.Adam([z], lr=lr)
        for index in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = lr * (1 - index / steps)
            optimiser.zero_grad()
            (generate(z) - goal).square().sum().backward()
            optimiser.step()
            with torch.no_grad():
                z.copy_(to_typical_set(z))
        with torch.no_grad():
            distance = (generate(z) - goal).norm(dim=1).view(-1, restarts)
            best = distance.argmin(1)
            rows = torch.arange(len(best), device=best.device)
            found_z.append(z.view(-1, restarts, z_dim)[rows, best].cpu())
            found_distance.append(distance[rows, best].cpu())
    return torch.cat(found_z), torch.cat(found_distance)
