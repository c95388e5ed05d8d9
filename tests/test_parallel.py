"""Two processes that train together compute what one computes; the one can take over from the other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support import (
    ROOT,
    TINY_AUTOENCODER,
    TINY_DETAIL_PHASE,
    TINY_GAN,
    TINY_PIXEL_GAN,
    arguments,
    file_names,
    one_sentence,
    run_script,
    run_together,
)
from training import parallel
from training.files import read_json
from training.metrics_log import read_metrics

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
# Of losses, and of weights against the largest of their tensor. Sums are in another order, which training
# amplifies: 1e-5 at most was found after 60 steps.
TOLERANCE = 1e-4
# Steep enough that every part of the step matters, clipping and penalties too.
LEARNING: dict[str, dict[str, Any]] = {
    "training.autoencoder": {**TINY_AUTOENCODER, "images": 32 * 40, "l2": 10.0},
    "training.pixel_gan": {**TINY_PIXEL_GAN, "images": 16 * 40, "lr": 2e-3, "gamma": 1.0},
    "training.latent_gan": {**TINY_DETAIL_PHASE, "images": 16 * 40, "batch": 16, "code_noise": 0.1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parallel")


def options(module: str, folder: Path, out: str, **values: Any) -> dict[str, Any]:
    given = {**LEARNING[module], "precision": "fp32", "log_every": 1, "out": folder / out}
    if module == "training.autoencoder":
        return {**given, "cache": folder / "cache", **values}
    if module == "training.latent_gan":
        return {**given, "latent_gan": folder / "coarse", **values}
    return {**given, "autoencoder": folder / "ae", **values}


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, Path]:
    """One run of each by one process."""
    outs = {"training.autoencoder": "ae", "training.pixel_gan": "gan", "training.latent_gan": "detail"}
    runs = [(module, options(module, folder, out)) for module, out in outs.items()]
    first_stage = {**TINY_GAN, "autoencoder": folder / "ae", "preset": "digits", "out": folder / "coarse"}
    runs.insert(-1, ("training.latent_gan", first_stage))
    for module, given in runs:
        done = run_script(module, given)
        assert done.returncode == 0, done.stderr
    return {module: folder / out for module, out in outs.items()}


def assert_close_runs(a: Path, b: Path) -> None:
    """The same files; in them the same metrics and weights, but for rounding."""
    # What is trained over an autoencoder keeps codes in its folder.
    made, again = ([n for n in file_names(run) if not n.startswith("codes-")] for run in (a, b))
    assert made == again
    ours, theirs = (read_metrics(run / "metrics.jsonl") for run in (a, b))
    assert [line.keys() for line in ours] == [line.keys() for line in theirs]
    for our, their in zip(ours, theirs, strict=True):
        for key in our.keys() - {"seconds"}:
            name = f"{key} after step {our['step']}"
            np.testing.assert_allclose(their[key], our[key], TOLERANCE, TOLERANCE / 10, err_msg=name)
    (weights,) = (p for p in a.glob("*.safetensors") if not p.name.startswith("codes-"))
    after = load_file(b / weights.name)
    for name, tensor in load_file(weights).items():
        bound = TOLERANCE * tensor.abs().max().item()
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=bound, msg=f"{weights.name}: {name}")


@pytest.mark.parametrize("module", LEARNING)
def test_two_processes_have_the_loss_curve_and_the_weights_of_one(alone, folder, module):
    given = options(module, folder, f"{module}-together")
    for done in run_together(module, given, given):
        assert done.returncode == 0, done.stderr
    assert_close_runs(alone[module], given["out"])
    assert read_json(given["out"] / "options.json")["processes"] == 2


def test_photographs_are_decoded_by_the_first_process_alone(folder):
    given = options("training.autoencoder", folder, "fresh", cache=folder / "fresh-cache", images=32)
    first, second = run_together("training.autoencoder", given, given)
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert "decoding" in first.stderr
    assert "decoding" not in second.stderr


def test_when_one_process_is_asked_to_stop_all_stop_and_one_alone_can_continue(alone, folder):
    module = "training.autoencoder"
    given = options(module, folder, "stopped", checkpoint_every=1000)
    for stopped in run_together(module, given, given, stop=(signal.SIGTERM, 8)):
        assert stopped.returncode == 130, stopped.stderr
        assert "Traceback" not in stopped.stderr
    assert torch.load(given["out"] / "checkpoint.pt", weights_only=True)["step"] == 9
    assert run_script(module, given).returncode == 0
    assert_close_runs(alone[module], given["out"])


def test_two_processes_can_continue_what_one_began(alone, folder):
    module = "training.pixel_gan"
    given = options(module, folder, "taken-over")
    assert run_script(module, given, stop=(signal.SIGINT, 13)).returncode == 130
    for done in run_together(module, given, given):
        assert done.returncode == 0, done.stderr
    assert_close_runs(alone[module], given["out"])


def test_torchrun_itself_starts_them_and_ctrl_c_keeps_what_was_done(folder):
    module = "training.autoencoder"
    given = options(module, folder, "torchrun", images=10**6)
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", *torchrun, "-m", module, *arguments(given)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    lines = given["out"] / "metrics.jsonl"
    deadline = time.monotonic() + 150
    while process.poll() is None and time.monotonic() < deadline and not (lines.exists() and _steps(lines)):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "the same command continues" in errors, errors
    assert torch.load(given["out"] / "checkpoint.pt", weights_only=True)["step"] == _steps(lines) > 0
    assert read_json(given["out"] / "options.json")["processes"] == 2


def _steps(lines: Path) -> int:
    return len({line["step"] for line in read_metrics(lines)})


# What is refused


def test_a_batch_that_cannot_be_split_is_one_sentence(folder):
    given = options("training.autoencoder", folder, "odd", batch=33)
    for refused in run_together("training.autoencoder", given, given):
        assert refused.returncode == 1
        assert one_sentence(refused.last_line)
        assert "33 cannot be split evenly among 2" in refused.last_line
    assert not given["out"].exists()


def test_other_options_are_refused_by_all(alone, folder):
    given = options("training.autoencoder", folder, "ae", lr=0.5)
    for refused in run_together("training.autoencoder", given, given):
        assert refused.returncode == 1
        assert "lr is 0.5" in refused.last_line


def test_processes_that_see_different_checkpoints_are_refused(alone, folder):
    """As on nodes without a common folder."""
    module = "training.autoencoder"
    begun, fresh = (options(module, folder, name) for name in ("begun", "elsewhere"))
    assert run_script(module, begun, stop=(signal.SIGINT, 3)).returncode == 130
    for refused in run_together(module, begun, fresh):
        assert refused.returncode == 1
        assert "all nodes share" in refused.last_line


@pytest.mark.parametrize("stage", ["race", "latent_gan", "pipeline", "bundle"])
def test_what_runs_in_one_process_says_so(monkeypatch, stage):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(parallel.UserError, match="one process") as caught, parallel.joined(stage, None):
        pass
    assert one_sentence(caught.value)


def test_torchrun_is_told_that_a_race_runs_in_one_process(folder):
    given = {"preset": "digits", "out": folder / "race"}
    for refused in run_together("training.race", given, given):
        assert refused.returncode == 1
        assert "race runs in one process" in refused.last_line


# Shares


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_noise_of_the_shares_is_that_of_the_batch(monkeypatch, memory):
    batch = torch.zeros(12, 4, 3, 3).to(memory_format=memory)
    torch.manual_seed(0)
    whole = torch.randn_like(batch)
    monkeypatch.setenv("WORLD_SIZE", "3")
    parts = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        torch.manual_seed(0)
        parts.append(parallel.randn_like(parallel.share(batch)))
    assert torch.equal(torch.cat(parts), whole)


def test_a_process_alone_has_the_whole_batch_and_waits_for_nobody():
    batch = torch.randn(5, 2)
    assert torch.equal(parallel.share(batch), batch)
    assert parallel.mean(batch) is batch
    assert (parallel.any_process(True), parallel.any_process(False)) == (True, False)
    assert not torch.distributed.is_initialized()
