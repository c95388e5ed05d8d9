"""How generated codes are compared with real ones while a latent GAN trains."""

import pytest
import torch

from explorer.latent import Standardisation
from training.latent_gan import CodeMonitor


def test_codes_are_compared_with_those_of_validation_images_beside_real_against_real():
    """Of sets that differ by a shift alone, the Frechet distance is its square."""
    val = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    shift = torch.tensor([1.0, 0, 0, 0])
    standard = Standardisation(torch.zeros(4), torch.eye(4)[:2], torch.full((2,), 0.5))
    monitor = CodeMonitor({"train": val + shift, "val": val}, standard, seed=0)
    found = monitor(val + 3 * shift)
    assert found["n"] == 60
    assert found["frechet_floor"] == pytest.approx(1, rel=1e-3)
    assert found["frechet"] == found["frechet_over_floor"] == pytest.approx(9, rel=1e-3)
    # Among two components, each half a unit of whatever it measures: twice as far.
    assert found["latent_frechet_floor"] == pytest.approx(4, rel=1e-3)
    assert found["latent_frechet"] == pytest.approx(36, rel=1e-3)
    assert found["latent_frechet_over_floor"] == pytest.approx(9, rel=1e-3)
    assert found["dead_dimensions"] == 0


def test_what_repeats_one_validation_code_covers_little_of_them():
    val = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    standard = Standardisation(torch.zeros(4), torch.eye(4), torch.ones(4))
    monitor = CodeMonitor({"train": val.flip(0), "val": val}, standard, seed=0)
    found = monitor(val[:1].repeat(60, 1))
    assert found["coverage_floor"] == found["latent_coverage_floor"] == 1
    assert found["coverage"] == found["latent_coverage"] < 0.3
    assert found["dead_dimensions"] == 1


def test_more_validation_than_training_codes_are_drawn_from_all_classes():
    """They lie in the order of classes; here each class has a corner of its own."""
    rng = torch.Generator().manual_seed(0)
    corners = 20 * torch.eye(5)
    train, val = (corners.repeat_interleave(n, 0) + torch.randn(5 * n, 5, generator=rng) for n in (40, 200))
    standard = Standardisation(torch.zeros(5), torch.eye(5), torch.ones(5))
    monitor = CodeMonitor({"train": train, "val": val}, standard, seed=0)
    assert monitor.n == 200
    drawn = torch.from_numpy(monitor.val).argmax(1).bincount(minlength=5)
    assert (drawn > 20).all()
    assert monitor(train)["coverage_floor"] > 0.8
