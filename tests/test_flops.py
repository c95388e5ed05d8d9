"""Floating-point operations of a training step."""

import torch

from training.flops import flops_per_step


def test_flops_are_those_of_the_closed_form():
    """Two layers forward, one backward by weights and input: 2 m n k each."""
    layer = torch.nn.Linear(8, 16, bias=False)
    x = torch.randn(4, 8, requires_grad=True)
    assert flops_per_step(lambda _: layer(x), 3) == 2 * 4 * 8 * 16
    assert flops_per_step(lambda _: layer(x).sum().backward(), 1) == 3 * 2 * 4 * 8 * 16


def test_flops_are_counted_where_gradients_are_penalised():
    layer = torch.nn.Linear(8, 1, bias=False)

    def step(_: int) -> None:
        x = torch.randn(4, 8).requires_grad_()
        (gradient,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
        gradient.square().sum().backward()

    assert flops_per_step(step, 2) > 2 * 2 * 4 * 8
