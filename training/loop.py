"""The training loop: seeded steps, metrics, atomic checkpoints, and resuming as if never interrupted.

All randomness of a step follows from (seed, step): the global generators are seeded anew before each one,
and the order of the data is a function of (seed, epoch). A checkpoint therefore needs no generator state
to be complete, and a resumed run is bit for bit the uninterrupted one (on one machine and device).
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from training import parallel
from training.cli import UserError
from training.files import write_atomically
from training.metrics_log import MetricsLog
from training.runs import RunOptions


class Stateful(Protocol):
    """Anything with a state: modules, optimisers, averages."""

    def state_dict(self) -> dict[str, Any]:
        """The whole state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take a state back."""


def seed_step(seed: int, step: int) -> None:
    """Seed the global generators for one step."""
    torch.manual_seed((seed * 1_000_003 + step) % 2**63)


def batch_indices(seed: int, step: int, batch: int, n: int) -> np.ndarray:
    """Which of n images step ``step`` uses: int64 (batch,).

    Each epoch is a fresh permutation by (seed, epoch), and a batch may straddle two of them, so every
    image is used equally often and the position in the data is a function of the step.
    """
    first = step * batch
    epochs = range(first // n, (first + batch - 1) // n + 1)
    order = [_epoch(seed, epoch, n)[first % n if i == 0 else 0 :][:batch] for i, epoch in enumerate(epochs)]
    return np.concatenate(order)[:batch]


@lru_cache(maxsize=4)  # of millions of codes an order takes longer than a step
def _epoch(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order of n images in an epoch, int64 (n,)."""
    order = np.random.default_rng((seed, epoch)).permutation(n)
    order.setflags(write=False)
    return order


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying in the middle of a step."""
    received: list[int] = []
    previous = {}
    try:
        for s in (signal.SIGINT, signal.SIGTERM):
            previous[s] = signal.signal(s, lambda number, _: received.append(number))
    except ValueError:  # not in the main thread: nothing to catch there
        pass
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class DivergedError(UserError):
    """Training produced NaN or infinity; the last good checkpoint is kept."""


def _check_finite(folder: Path, step: int, values: Mapping[str, float]) -> None:
    bad = [name for name, value in values.items() if not np.isfinite(value)]
    if bad:
        raise DivergedError(
            f"training diverged before step {step} ({', '.join(bad)} not finite); the last good "
            f"checkpoint in {folder} is kept: try a lower learning rate in another --out"
        )


class LossMeans:
    """Means of losses between two lines of metrics; saved with a checkpoint, so that no pause shows in them.

    sums, counts: of each loss since the last line, and of how many steps.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self._pending: dict[str, list[Tensor]] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Take the losses of a step, without waiting for the device."""
        for name, loss in losses.items():
            self._pending.setdefault(name, []).append(loss.detach())

    def collect(self) -> None:
        """Wait for the device, once for all steps since the last time; added one by one in float64."""
        for name, values in self._pending.items():
            self.counts[name] = self.counts.get(name, 0) + len(values)
            for value in parallel.mean(torch.stack(values)).tolist():
                self.sums[name] = self.sums.get(name, 0.0) + value
        self._pending.clear()

    def take(self) -> dict[str, float]:
        """The means of what was collected; begins anew."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


def _restore(
    path: Path, state: Mapping[str, Stateful], means: LossMeans, device: torch.device
) -> tuple[int, float]:
    """Continue from a checkpoint, if there is one: the steps done and the seconds they took."""
    done, seconds = 0, 0.0
    if path.is_file():
        try:
            saved = torch.load(path, map_location=device, weights_only=True)
            for name, part in state.items():
                part.load_state_dict(saved["state"][name])
        except Exception as error:  # torch raises many types for a damaged file
            raise UserError(
                f"{path} cannot be read ({type(error).__name__}); delete it to start this stage again"
            ) from None
        done, seconds = saved["step"], saved["seconds"]
        if "counts" in saved:
            means.sums, means.counts = saved["sums"], saved["counts"]
    if not parallel.all_equal(done):
        raise UserError(f"not every process sees the same {path}; let --out be a folder that all nodes share")
    return done, seconds


def _checked(folder: Path, done: int, state: Mapping[str, Stateful]) -> dict[str, dict[str, Any]]:
    """The state as it is to be saved. Raises DivergedError where a weight is not finite."""
    parts = {name: part.state_dict() for name, part in state.items()}
    weights = [
        t for p in parts.values() for t in p.values() if isinstance(t, Tensor) and t.is_floating_point()
    ]
    if not all(bool(torch.isfinite(t).all()) for t in weights):
        _check_finite(folder, done, {"weights": float("nan")})
    return parts


def train(*args: Any, **kwargs: Any) -> float:
    """``training_slices`` from first to last; returns the seconds spent."""
    *_, seconds = training_slices(*args, **kwargs)
    return seconds


def training_slices(
    options: RunOptions,
    state: Mapping[str, Stateful],
    step_fn: Callable[[int], Mapping[str, Tensor]],
    *,
    steps: int,
    batch: int,
    device: torch.device,
    evaluate: Callable[[int], Mapping[str, float]] | None = None,
    evaluate_at: Callable[[int], bool] = lambda step: False,
    description: str = "training",
    slice_seconds: float = float("inf"),
    progress_bar: bool = True,
) -> Iterator[float]:
    """Run ``step_fn(step)`` for each step up to ``steps``, continuing from the last checkpoint.

    Several can take turns in one process: each stops after about ``slice_seconds`` of training, saves, and
    goes on when it is asked for its next slice.

    state: everything that a step changes, by name; it is saved and restored as a whole.
    step_fn: does one step and returns scalar losses as tensors (read only every ``log_every`` steps).
    evaluate: called after the steps for which ``evaluate_at(steps done)`` holds; its values are logged.
    Yields the seconds spent in training, evaluation and waiting excluded, over all resumed parts: after
    every slice, and when it is done.
    Raises DivergedError on NaN, KeyboardInterrupt after saving when asked to stop.
    """
    path, means = options.out / "checkpoint.pt", LossMeans()
    done, seconds = _restore(path, state, means, device)
    if done >= steps:
        yield seconds
        return

    def save() -> None:
        means.collect()
        saved = {
            "step": done, "seconds": seconds, "sums": means.sums, "counts": means.counts,
            "state": _checked(options.out, done, state),
        }  # fmt: skip
        write_atomically(path, lambda temporary: torch.save(saved, temporary))

    metrics: MetricsLog | None = None
    progress = tqdm(
        desc=description, total=steps * batch, initial=done * batch, unit="img", unit_scale=True,
        mininterval=1, smoothing=0.05, disable=not (progress_bar and parallel.is_first()),
    )  # fmt: skip
    try:
        metrics = MetricsLog(options.out, done) if parallel.is_first() else None
        while done < steps:
            slice_ends = seconds + slice_seconds
            with stop_requests() as stop:
                while True:
                    start = time.perf_counter()
                    seed_step(options.seed, done)
                    means.add(step_fn(done))
                    done += 1
                    # All processes stop after the same step, or the others would wait for one for ever.
                    stopping = parallel.any_process(bool(stop))
                    pause = stopping or done % options.checkpoint_every == 0 or done == steps
                    slice_is_over = seconds + time.perf_counter() - start >= slice_ends
                    if pause or slice_is_over or done % options.log_every == 0:
                        means.collect()  # the clock stops when the device is done, not when it was asked
                    seconds += time.perf_counter() - start
                    progress.update(batch)
                    if done % options.log_every == 0:
                        logged = means.take()
                        _check_finite(options.out, done, logged)
                        if metrics:
                            metrics.write(done, done * batch, {**logged, "seconds": seconds})
                        progress.set_postfix({k: f"{v:.3g}" for k, v in logged.items()}, refresh=False)
                    if evaluate is not None and evaluate_at(done):
                        _checked(options.out, done, state)
                        if metrics:
                            seed_step(options.seed, done)
                            metrics.write(done, done * batch, evaluate(done))
                        stopping = parallel.any_process(bool(stop))  # asked while it evaluated
                    if pause or stopping:
                        save()
                    if stopping:  # also after the last step, lest the caller go on to its next stage
                        raise KeyboardInterrupt
                    if done == steps or seconds >= slice_ends:
                        break
            if done < steps:
                save()
            if parallel.any_process(bool(stop)):  # since the last look
                raise KeyboardInterrupt
            if done < steps:
                yield seconds
    except OSError as error:
        raise UserError(
            f"could not write into {options.out} ({error}); free some space and run the same command again"
        ) from None
    finally:
        progress.close()
        if metrics:
            metrics.close()
    yield seconds


def average(model: nn.Module, batch: int, horizon: int) -> AveragedModel:
    """Exponential moving average of a model's weights over about ``horizon`` images.

    It warms up: early on the horizon is a tenth of what was seen, so that the average is never held
    back by the initial weights.
    """

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        n = int(count)
        decay = min(1 - min(1.0, batch / horizon), (1 + n) / (10 + n))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    return AveragedModel(model, multi_avg_fn=update)  # type: ignore[arg-type]
