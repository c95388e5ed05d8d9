"""The training loop: seeded steps, metrics, atomic checkpoints, and resuming as if never interrupted.

All randomness of a step follows from (seed, step): the global generators are seeded anew before each one,
and the order of the data is a function of (seed, epoch). A checkpoint therefore needs no generator state
to be complete, and a resumed run is bit for bit the uninterrupted one (on one machine and device).
"""

import importlib.metadata
import json
import logging
import os
import platform
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from training import parallel
from training.cli import UserError, command_line, options_json
from training.device import device_name

log = logging.getLogger(__name__)
# Options that change where and how a run is watched, not what it computes: free to differ on resuming.
FREE_OPTIONS = frozenset(
    {"preset", "phase", "out", "cache", "device", "dry_run", "log_every", "checkpoint_every"}
)
# In the metadata of an option that marks a kind of run: what was saved without it is of another kind.
MARK = "marks a kind of run"
PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "umap-learn", "safetensors")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options every training script has."""

    preset: str = "imagewoof64"
    """Named set of options to start from (see training/presets.py); the others override it."""
    out: Path = Path("runs/run")
    """Folder of the run: checkpoint, metrics, options. The same command continues it."""
    seed: int = 0
    """Seed of everything random; the same seed gives the same result twice on one machine."""
    device: str = "auto"
    """auto (GPU when there is one), cpu, cuda, cuda:1, mps."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto (bf16 autocast where the hardware has it), bf16 or fp32."""
    log_every: int = 50
    """Steps between lines of metrics."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    dry_run: bool = False
    """Print the resolved options and stop."""


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
    order = np.concatenate([np.random.default_rng((seed, e)).permutation(n) for e in epochs])
    return order[first % n :][:batch]


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary file beside ``path``, flush it to disk, then rename over it.

    Of several processes that train together, only the first writes.
    Raises UserError when the disk is full; what stood at ``path`` before is then untouched.
    """
    if not parallel.is_first():
        return
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # a full disk, as Python, torch and safetensors put it
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"could not write {path} ({error}); the last good file is kept: "
            "free some space and run the same command again"
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    text = json.dumps(value, indent=2, default=str)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))


def read_json(path: Path) -> Any:
    """Read JSON. Raises UserError when the file is missing or broken."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}); run the stage that writes it again") from None


def read_options(folder: Path) -> dict[str, Any]:
    """The options that a run was begun with. Raises UserError when they are missing or broken."""
    try:
        return dict(read_json(folder / "options.json")["options"])
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{folder / 'options.json'} holds no options; delete {folder} and train it again"
        ) from None


def make_folder(path: Path) -> None:
    """Make a folder, if there is none. Raises UserError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be made ({error}); name another folder") from None


def options_from_json(kind: type, values: dict[str, Any]) -> Any:
    """Options dataclass from the JSON written beside the weights. Raises UserError for options it lacks."""
    hints = get_type_hints(kind)
    marks = {f.name for f in fields(kind) if MARK in f.metadata}
    for has, differing in (("has", values.keys() - hints.keys()), ("lacks", marks - values.keys())):
        if differing:
            raise UserError(
                f"the run in {values.get('out')} is of another kind than {kind.__name__} "
                f"(it {has} the option {min(differing)}); name another run"
            )
    converted = {}
    for name, value in values.items():
        if name not in hints:
            raise UserError(
                f"a saved {name!r} is no option of {kind.__module__}: name the folder of one of its own runs"
            )
        if isinstance(value, list):
            value = tuple(value)
        elif value is not None and "Path" in str(hints[name]):
            value = Path(value)
        converted[name] = value
    return kind(**converted)


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a module's weights as float32 safetensors, atomically."""
    weights = {k: v.detach().float().cpu().contiguous() for k, v in model.state_dict().items()}
    write_atomically(path, lambda temporary: save_file(weights, temporary))


def load_weights(path: Path, model: nn.Module) -> None:
    """Read what ``save_weights`` wrote. Raises UserError when the file is missing, damaged or unfit."""
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} cannot be read ({reason}); delete {path.parent} and train it again"
        ) from None


def _comparable(options: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k not in FREE_OPTIONS}


def check_made_of(path: Path, made_of: Mapping[str, Any], told: str) -> None:
    """Note at ``path``, in a run's folder, what the run is made of; refuse to go on with anything else.

    told: the sentence of the UserError that is raised then.
    """
    if not path.is_file():
        write_json(path, made_of)
    elif read_json(path) != made_of:
        raise UserError(told)


@parallel.first_alone()
def open_run(options: RunOptions, device: torch.device) -> None:
    """Create the run's folder and its options.json, or check that it was made with the same options.

    An option that there was not yet when the run was begun has its default there, if it does not mark a kind
    of run (``MARK``). Raises UserError that names the options which differ.
    """
    path = options.out / "options.json"
    ours = options_json(options)
    if path.is_file():
        theirs = read_options(options.out)
        added = {
            f.name: f.default
            for f in fields(options)
            if f.name not in theirs and f.default is not MISSING and MARK not in f.metadata
        }
        usual = options_json(replace(options, **added))
        theirs = {**{name: usual[name] for name in added}, **theirs}
        mine, before = _comparable(ours), _comparable(theirs)
        differ = [
            f"{k} is {mine.get(k)!r}, was {before.get(k)!r}"
            for k in sorted(mine.keys() | before.keys())
            if mine.get(k) != before.get(k)
        ]
        if differ:
            raise UserError(
                f"{options.out} was started with other options ({'; '.join(differ)}); "
                "use the same ones to continue it, or another --out"
            )
        return
    make_folder(options.out)
    write_json(
        path,
        {
            "options": ours,
            "command": command_line(),
            "versions": package_versions(),
            "device": device_name(device),
            "processes": parallel.world(),
        },
    )


class MetricsLog:
    """Metrics as JSON lines and in TensorBoard. On resuming, lines after the checkpoint are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "metrics.jsonl"
        if self.path.is_file():
            kept = [line for line in read_metrics(self.path) if line["step"] <= step]
            write_metrics(self.path, kept)
        self.file = self.path.open("a")
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, images: int, values: Mapping[str, float]) -> None:
        """Append one line: ``{"step", "images", ...values}``."""
        self.file.write(json.dumps({"step": step, "images": images, **values}) + "\n")
        self.file.flush()
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close both; every line was flushed when it was written."""
        for part in (self.file, self.board):
            with suppress(OSError):
                part.close()


def write_metrics(path: Path, lines: Iterable[Mapping[str, float]]) -> None:
    """Write a metrics.jsonl."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_atomically(path, lambda temporary: temporary.write_text(text))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.jsonl; a half-written last line, from a killed run, is ignored.

    Raises UserError where there is no such file.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise UserError(
            f"{path}, the log of a training run, is missing; put it back or train it anew"
        ) from None
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
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
    path = options.out / "checkpoint.pt"
    done, seconds = 0, 0.0
    sums: dict[str, float] = {}  # of each loss since the last line of metrics, and of how many steps
    counts: dict[str, int] = {}
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
            sums, counts = saved["sums"], saved["counts"]
    if not parallel.all_equal(done):
        raise UserError(f"not every process sees the same {path}; let --out be a folder that all nodes share")
    if done >= steps:
        yield seconds
        return

    pending: dict[str, list[Tensor]] = {}

    def collect() -> None:
        # One wait for the device. Added one by one in float64, so that no pause shows in the sums.
        for name, values in pending.items():
            counts[name] = counts.get(name, 0) + len(values)
            for value in parallel.mean(torch.stack(values)).tolist():
                sums[name] = sums.get(name, 0.0) + value
        pending.clear()

    def checked_state() -> dict[str, dict[str, Any]]:
        parts = {name: part.state_dict() for name, part in state.items()}
        weights = [
            t for p in parts.values() for t in p.values() if isinstance(t, Tensor) and t.is_floating_point()
        ]
        if not all(bool(torch.isfinite(t).all()) for t in weights):
            _check_finite(options.out, done, {"weights": float("nan")})
        return parts

    def save() -> None:
        saved = {
            "step": done, "seconds": seconds, "sums": sums, "counts": counts, "state": checked_state(),
        }  # fmt: skip
        write_atomically(path, lambda temporary: torch.save(saved, temporary))

    metrics = MetricsLog(options.out, done) if parallel.is_first() else None
    progress = tqdm(
        desc=description, total=steps * batch, initial=done * batch, unit="img", unit_scale=True,
        mininterval=1, smoothing=0.05, disable=not (progress_bar and metrics),
    )  # fmt: skip
    try:
        while done < steps:
            slice_ends = seconds + slice_seconds
            with _stop_requests() as stop:
                while True:
                    start = time.perf_counter()
                    seed_step(options.seed, done)
                    losses = step_fn(done)
                    done += 1
                    for name, loss in losses.items():
                        pending.setdefault(name, []).append(loss.detach())
                    # All processes stop after the same step, or the others would wait for one for ever.
                    stopping = parallel.any_process(bool(stop))
                    pause = stopping or done % options.checkpoint_every == 0 or done == steps
                    slice_is_over = seconds + time.perf_counter() - start >= slice_ends
                    if pause or slice_is_over or done % options.log_every == 0:
                        collect()  # the clock stops when the device is done, not when it was asked
                    seconds += time.perf_counter() - start
                    progress.update(batch)
                    if done % options.log_every == 0:
                        means = {name: total / counts[name] for name, total in sums.items()}
                        sums.clear()
                        counts.clear()
                        _check_finite(options.out, done, means)
                        if metrics:
                            metrics.write(done, done * batch, {**means, "seconds": seconds})
                        progress.set_postfix({k: f"{v:.3g}" for k, v in means.items()}, refresh=False)
                    if evaluate is not None and evaluate_at(done):
                        checked_state()
                        if metrics:
                            seed_step(options.seed, done)
                            metrics.write(done, done * batch, evaluate(done))
                        stopping = parallel.any_process(bool(stop))  # asked while it evaluated
                    if pause or stopping:
                        collect()
                        save()
                    if stopping and done < steps:
                        raise KeyboardInterrupt
                    if done == steps or seconds >= slice_ends:
                        break
            if done < steps:
                collect()
                save()
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
