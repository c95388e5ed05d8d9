"""The search of a generator's range finds what is in it, and stays where the prior has its mass."""

import numpy as np
import torch
from scipy.stats import chi

from training.inversion import search, to_typical_set

Z = 8


def ring(z: torch.Tensor) -> torch.Tensor:
    """A generator whose range is the unit sphere."""
    return z / z.norm(dim=1, keepdim=True)


def test_what_is_in_the_range_is_found_and_what_is_not_is_as_far_as_it_is():
    inside = ring(torch.randn(20, Z, generator=torch.Generator().manual_seed(1)))
    z, distance = search(ring, torch.cat([inside, 3 * inside]), Z, restarts=3, steps=200)
    assert z.shape == (40, Z)
    np.testing.assert_allclose(distance[:20], 0, atol=0.02)
    np.testing.assert_allclose(distance[20:], 2, atol=0.02)
    torch.testing.assert_close((ring(z[:20]) - inside).norm(dim=1), distance[:20])


def test_z_stays_in_the_typical_set_of_the_prior():
    """A target that calls for an enormous z does not get one."""
    z, distance = search(lambda z: z, torch.full((4, Z), 50.0), Z, restarts=2, steps=50, lr=1.0)
    low, high = chi.ppf([0.005, 0.995], Z)
    assert (z.norm(dim=1) <= high + 1e-4).all()
    assert (z.norm(dim=1) >= low - 1e-4).all()
    np.testing.assert_allclose(distance, 50 * Z**0.5 - high, rtol=1e-3)


def test_typical_z_are_left_alone():
    z = torch.randn(200, 160, generator=torch.Generator().manual_seed(0))
    moved = (to_typical_set(z) != z).any(1)
    assert moved.float().mean() < 0.1
    torch.testing.assert_close(to_typical_set(0.01 * z), to_typical_set(0.02 * z))


def test_more_restarts_never_do_worse_and_the_batch_does_not_matter():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(Z, 32), torch.nn.Tanh(), torch.nn.Linear(32, Z)
    ).requires_grad_(False)
    targets = torch.randn(12, Z)
    one = search(network, targets, Z, restarts=1, steps=40, seed=4)[1]
    whole = search(network, targets, Z, restarts=6, steps=40, seed=4)[1]
    parts = search(network, targets, Z, restarts=6, steps=40, seed=4, batch=13)[1]
    assert whole.mean() < one.mean()
    torch.testing.assert_close(whole, parts)
