"""Losses: reconstruction for the autoencoder; relativistic, non-saturating and R1/R2 for the GAN."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure


def reconstruction(
    output: Tensor, target: Tensor, *, l2: float = 1.0, l1: float = 0.2, ssim: float = 0.0
) -> Tensor:
    """Weighted sum of mean squared error, mean absolute error and 1 - SSIM (Wang et al. 2004).

    output, target: float (n, 3, s, s), aimed at [-1, 1]. No pretrained network takes part.
    """
    loss = l2 * F.mse_loss(output, target) + l1 * F.l1_loss(output, target)
    if ssim:
        # From 0 up: around a mean of zero SSIM's luminance term loses its meaning and even its sign.
        similarity = structural_similarity_index_measure(
            output.float() + 1, target.float() + 1, data_range=2.0, sigma=1.0
        )
        assert isinstance(similarity, Tensor)
        loss = loss + ssim * (1 - similarity)
    return loss


def discriminator_loss(real: Tensor, fake: Tensor, kind: str = "relativistic") -> Tensor:
    """Loss of the discriminator from its scores of real and generated codes, float (n,).

    relativistic: softplus(fake - real), pairs (Jolicoeur-Martineau 2019; R3GAN, arXiv 2501.05441, eq. 2).
    non-saturating: softplus(fake) + softplus(-real) (Goodfellow et al. 2014).
    """
    if kind == "relativistic":
        return F.softplus(fake - real).mean()
    return F.softplus(fake).mean() + F.softplus(-real).mean()


def generator_loss(real: Tensor, fake: Tensor, kind: str = "relativistic") -> Tensor:
    """Loss of the generator from the same scores; see ``discriminator_loss``."""
    if kind == "relativistic":
        return F.softplus(real - fake).mean()
    return F.softplus(-fake).mean()


def discriminator_objective(
    score: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    kind: str,
    gamma: float,
    every: int,
    step: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """What the discriminator minimises at a step, and what to log of it.

    Its loss, and at every ``every``-th step ``gamma / 2 * (R1 + R2)``, which then counts ``every`` times
    (lazy regularisation, arXiv 1912.04958). score: float (n, ...) inputs to scores float (n,) or (n, ...);
    of several scores an input has, as of patches, the penalty is on the mean.
    """
    penalised = gamma > 0 and step % every == 0
    real, fake = (x.detach().requires_grad_(penalised) for x in (real, fake))
    of_real, of_fake = score(real), score(fake)
    loss = discriminator_loss(of_real, of_fake, kind)
    report = {"loss_d": loss, "score_gap": (of_real - of_fake).mean()}
    if penalised:
        r1, r2 = (
            gradient_penalty(scores if scores.ndim == 1 else scores.flatten(1).mean(1), inputs)
            for scores, inputs in ((of_real, real), (of_fake, fake))
        )
        loss = loss + every * gamma / 2 * (r1 + r2)
        # The log averages over all steps, penalised or not.
        report |= {"r1": r1 * every, "r2": r2 * every}
    return loss, report


def gradient_penalty(scores: Tensor, inputs: Tensor) -> Tensor:
    """Mean squared norm of the scores' gradient by their inputs, scalar.

    R1 when the inputs are real, R2 when they are generated (Mescheder et al., arXiv 1801.04406, eq. 9).
    ``inputs`` must require gradients and have produced ``scores``; the result can be differentiated again.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), inputs, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
