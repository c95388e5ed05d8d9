"""Floating-point operations of a training step."""

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class _FlopCounter(TorchDispatchMode):
    """Counts by torch's own formulas.

    ``FlopCounterMode`` itself cannot: its bookkeeping by module fails where gradients are taken by inputs.
    """

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=output)
        return output


def flops_per_step(step: Callable[[int], object], steps: int) -> float:
    """Floating-point operations of a step, counted over ``steps`` of them.

    Of matrix products and convolutions, a multiply and an add being two; the rest is small.
    """
    with _FlopCounter() as counter:
        for index in range(steps):
            step(index)
    return counter.flops / steps
