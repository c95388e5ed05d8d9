"""Data parallelism under torchrun: every process computes its share of each batch, the first one writes.

    torchrun --nproc-per-node 4 -m training.autoencoder --preset imagewoof64 --out runs/autoencoder

A process that torchrun did not start is alone, and nothing here does anything. See docs/parallel.md.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from training.cli import UserError

# The others take minutes, or their clock is what is measured.
STAGES = ("autoencoder", "pixel_gan", "detail_phase")


def world() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Whether this process writes the files."""
    return rank() == 0


@contextmanager
def joined(stage: str, options: Any) -> Iterator[None]:
    """Join the other processes of torchrun, each on a GPU of its own where there are any, and leave them.

    Raises UserError for a stage that is not parallel, a batch that cannot be split, or too few GPUs.
    """
    if world() == 1:
        yield
        return
    if stage not in STAGES:
        raise UserError(f"{stage} runs in one process; start it with python -m, not with torchrun")
    if options.batch % world():
        raise UserError(
            f"--batch is that of all processes together, and {options.batch} cannot be split evenly "
            f"among {world()}; give a multiple of {world()}"
        )
    gpu = options.device != "cpu" and torch.cuda.is_available()
    if gpu:
        here = int(os.environ["LOCAL_RANK"])
        if here >= torch.cuda.device_count():
            raise UserError(
                f"there are more processes than GPUs; use --nproc-per-node {torch.cuda.device_count()}"
            )
        torch.cuda.set_device(here)  # which is then what "cuda" means
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo",
        # The others wait while the first decodes photographs; of dead ones torchrun knows without it.
        timeout=timedelta(days=1),
    )
    yield
    distributed.destroy_process_group()


def any_process(flag: bool) -> bool:
    """Whether it holds in any process, the same answer in all; they wait for each other."""
    if world() == 1:
        return flag
    found = torch.tensor(int(flag))  # on the CPU, by gloo: no wait for what a GPU still has to do
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return bool(found)


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process does what is inside before the others do: what makes files finds them made.

    Also a decorator.
    """
    if not is_first():
        any_process(False)
    try:
        yield
    finally:  # after an error too, so that the others meet it as well and do not wait for ever
        if is_first():
            any_process(False)


def all_equal(value: int) -> bool:
    """Whether every process has the same value; the same answer in all."""
    return not any_process(mean(torch.tensor(value, dtype=torch.float64)).item() != value)


def share(batch: Tensor) -> Tensor:
    """The part (n / world, ...) of a batch (n, ...) that is this process's."""
    return batch.chunk(world())[rank()]


def randn_like(part: Tensor) -> Tensor:
    """Standard normal noise for this process's part of a batch: its share of the whole batch's noise.

    Whatever the number of processes, the same generator state gives the same noise for each image.
    """
    return share(torch.randn_like(torch.cat([part.detach()] * world())))  # in the same memory format


def mean(values: Tensor) -> Tensor:
    """Mean over the processes, element by element. Of means over equal shares: that over the batch."""
    if world() == 1:
        return values
    total = values.clone()
    distributed.all_reduce(total)
    return total / world()


def average_gradients(network: nn.Module) -> None:
    """Replace the gradients in this process by their mean over all.

    By hand, as StyleGAN3 does it, and not by DistributedDataParallel: that waits for a gradient of every
    parameter, which gradient penalties, differentiated twice, do not always give; it then reduces wrongly
    (github.com/pytorch/pytorch/issues/47562). Nothing is sent while gradients are still computed: that is
    what it costs.
    """
    if world() == 1:
        return
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    whole = mean(torch.cat([g.flatten() for g in gradients]))
    for gradient, reduced in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(reduced.view(gradient.shape))
