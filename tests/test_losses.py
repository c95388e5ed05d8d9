"""Losses against their closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses import (
    discriminator_loss,
    discriminator_objective,
    generator_loss,
    gradient_penalty,
    reconstruction,
)

scores = st.floats(-20, 20)


@given(scores)
def test_relativistic_losses_are_log_two_where_scores_are_equal(score):
    s = torch.full((4,), score, dtype=torch.float64)
    assert discriminator_loss(s, s).item() == pytest.approx(math.log(2))
    assert generator_loss(s, s).item() == pytest.approx(math.log(2))


@given(scores, scores)
def test_relativistic_losses_see_only_the_difference_of_a_pair(real, fake):
    a, b = (torch.tensor([x], dtype=torch.float64) for x in (real, fake))
    assert discriminator_loss(a, b).item() == pytest.approx(math.log1p(math.exp(fake - real)))
    assert generator_loss(a, b).item() == pytest.approx(math.log1p(math.exp(real - fake)))


@given(scores, scores)
def test_non_saturating_losses_are_cross_entropies_of_the_sigmoid(real, fake):
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    a, b = (torch.tensor([x], dtype=torch.float64) for x in (real, fake))
    expected = -math.log(sigmoid(real)) - math.log(sigmoid(-fake))
    assert discriminator_loss(a, b, "non-saturating").item() == pytest.approx(expected)
    assert generator_loss(a, b, "non-saturating").item() == pytest.approx(-math.log(sigmoid(fake)))


@given(
    st.lists(st.tuples(scores, scores), min_size=1, max_size=6),
    st.sampled_from(["relativistic", "non-saturating"]),
)
def test_the_loss_of_a_batch_is_the_mean_of_its_pairs_losses(pairs, kind):
    real, fake = torch.tensor(pairs, dtype=torch.float64).T
    for loss in (discriminator_loss, generator_loss):
        each = [loss(r[None], f[None], kind).item() for r, f in zip(real, fake, strict=True)]
        assert loss(real, fake, kind).item() == pytest.approx(sum(each) / len(each))
    _, report = discriminator_objective(lambda x: x, real, fake, kind=kind, gamma=0, every=1, step=0)
    gaps = [r - f for r, f in pairs]
    assert report["score_gap"].item() == pytest.approx(sum(gaps) / len(gaps), abs=1e-9)


def test_the_discriminator_gains_where_the_generator_loses():
    real, fake = torch.tensor([2.0]), torch.tensor([-1.0])
    for kind in ("relativistic", "non-saturating"):
        assert discriminator_loss(real, fake, kind) < discriminator_loss(fake, real, kind)
        assert generator_loss(real, fake, kind) > generator_loss(fake, real, kind)


def test_the_penalty_of_a_linear_critic_is_the_squared_norm_of_its_weights():
    weights = torch.tensor([3.0, -4.0, 0.0])
    inputs = torch.randn(7, 3, requires_grad=True)
    assert gradient_penalty(inputs @ weights, inputs).item() == pytest.approx(25)


def test_the_penalty_of_a_quadratic_critic_and_its_gradient_are_as_derived():
    """D(x) = a |x|^2 has the penalty 4 a^2 mean |x|^2, whose slope by a is 8 a mean |x|^2."""
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    inputs = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(a * inputs.square().sum(1), inputs)
    mean = inputs.detach().square().sum(1).mean().item()
    assert penalty.item() == pytest.approx(4 * 0.49 * mean)
    penalty.backward()
    assert a.grad is not None
    assert a.grad.item() == pytest.approx(8 * 0.7 * mean)


@pytest.mark.parametrize(("step", "penalties"), [(0, 1), (1, 0), (3, 0), (4, 1)])
@pytest.mark.parametrize("kind", ["relativistic", "non-saturating"])
def test_the_objective_of_a_linear_critic_in_closed_form(step, penalties, kind):
    """R1 and R2 are both |w|^2; every fourth step they count four times, over two, times gamma."""
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    real, fake = (torch.randn(6, 3, dtype=torch.float64) for _ in range(2))
    loss, report = discriminator_objective(
        lambda x: x @ w, real, fake, kind=kind, gamma=0.3, every=4, step=step
    )
    adversarial = discriminator_loss(real @ w, fake @ w, kind)
    square = w.detach().square().sum()
    assert loss.item() == pytest.approx((adversarial + penalties * 4 * 0.3 * square).item())
    assert ("r1" in report) == bool(penalties)
    if penalties:
        assert report["r1"].item() == report["r2"].item() == pytest.approx(4 * square.item())
    loss.backward()
    assert w.grad is not None


def test_scores_of_patches_are_penalised_as_their_mean():
    w = torch.tensor([[2.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    real, fake = (torch.randn(5, 2, dtype=torch.float64) for _ in range(2))
    _, report = discriminator_objective(
        lambda x: (x @ w).view(5, 1, 1, 2), real, fake, kind="relativistic", gamma=1.0, every=1, step=0
    )
    assert report["r1"].item() == pytest.approx(1 + 4)  # the mean's gradient is (1, 2)


def test_no_gradient_reaches_the_generator_through_the_discriminators_objective():
    fake = torch.randn(4, 2, requires_grad=True)
    weight = torch.ones(2, requires_grad=True)
    loss, _ = discriminator_objective(
        lambda x: x @ weight, torch.randn(4, 2), fake, kind="relativistic", gamma=1.0, every=1, step=0
    )
    loss.backward()
    assert fake.grad is None
    assert weight.grad is not None


def test_an_exact_reconstruction_costs_nothing():
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    assert reconstruction(images, images, l2=1, l1=1, ssim=1).item() == pytest.approx(0, abs=1e-5)


def test_a_constant_error_costs_what_the_weights_say():
    target = torch.zeros(2, 3, 16, 16)
    loss = reconstruction(target + 0.5, target, l2=3, l1=2)
    assert loss.item() == pytest.approx(3 * 0.25 + 2 * 0.5)


def test_the_ssim_part_is_that_of_the_same_images_as_non_negative_numbers():
    """On [-1, 1] itself mid-grey is zero, where a shift of brightness would turn the sign of SSIM."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    torch.manual_seed(0)
    a, b = torch.rand(2, 2, 3, 16, 16) * 2 - 1
    bytes_a, bytes_b = (a + 1) * 127.5, (b + 1) * 127.5
    expected = 1 - structural_similarity_index_measure(
        bytes_a, bytes_b, data_range=255.0, kernel_size=7, sigma=1.0
    )
    assert reconstruction(a, b, l2=0, l1=0, ssim=1).item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_ssim_of_flat_images_is_wangs_luminance_term():
    """Of constants u and v, from 0 to 2: (2 u v + c) / (u^2 + v^2 + c) with c = (0.01 * 2)^2, whatever part
    of the range they span.
    """
    a, b = torch.full((2, 3, 16, 16), -0.95), torch.full((2, 3, 16, 16), -0.9)
    u, v, c = 0.05, 0.1, 0.0004
    expected = 1 - (2 * u * v + c) / (u * u + v * v + c)
    assert reconstruction(a, b, l2=0, l1=0, ssim=1).item() == pytest.approx(expected, rel=1e-3)


def test_the_ssim_part_prefers_a_shift_of_brightness_to_noise_of_equal_energy():
    torch.manual_seed(0)
    target = torch.rand(2, 3, 32, 32) - 0.5
    brighter = target + 0.2
    noisy = target + 0.2 * torch.randn_like(target).sign()
    only = {"l2": 0.0, "l1": 0.0, "ssim": 1.0}
    assert reconstruction(brighter, target, **only) < 0.5 * reconstruction(noisy, target, **only)
