"""The training loop: the order of the data, interruptions, divergence, checkpoints, averages."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import one_sentence
from training.cli import UserError
from training.loop import DivergedError, average, batch_indices, seed_step, train, training_slices
from training.metrics_log import read_metrics
from training.runs import RunOptions, open_run

CPU = torch.device("cpu")


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    return RunOptions(out=tmp_path / "run", device="cpu", log_every=4, checkpoint_every=5)


class Job:
    """A linear model that learns noise, and the steps it did."""

    def __init__(self, options: RunOptions, steps: int = 20, hook: Callable[[int], None] = lambda _: None):
        self.options, self.steps, self.hook = options, steps, hook
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 1)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.did: list[int] = []

    def step(self, index: int) -> dict[str, torch.Tensor]:
        self.did.append(index)
        self.hook(index)
        loss = (self.model(torch.randn(6, 3)) - torch.randn(6, 1)).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return {"loss": loss, **({"rare": loss * 0 + 3} if index % 2 == 0 else {})}

    def slices(self, seconds: float) -> Iterator[float]:
        open_run(self.options, CPU)
        return training_slices(
            self.options, {"model": self.model, "optimiser": self.optimiser}, self.step,
            steps=self.steps, batch=6, device=CPU,
            evaluate=lambda done: {"draw": torch.rand(1).item()}, evaluate_at=lambda done: done % 10 == 0,
            slice_seconds=seconds,
        )  # fmt: skip

    def run(self) -> "Job":
        for _ in self.slices(float("inf")):
            pass
        return self

    @property
    def weights(self) -> torch.Tensor:
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])

    @property
    def metrics(self) -> list[dict[str, float]]:
        lines = read_metrics(self.options.out / "metrics.jsonl")
        return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


# The order of the data


@given(st.integers(0, 9), st.integers(1, 60), st.integers(1, 40), st.integers(1, 4))
def test_every_image_is_used_equally_often_whatever_the_batch(seed, n, batch, epochs):
    steps = -(-n * epochs // batch)
    order = np.concatenate([batch_indices(seed, s, batch, n) for s in range(steps)])
    assert len(order) == steps * batch
    for epoch in range(epochs):
        assert sorted(order[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [batch_indices(seed, epoch, 100, 100).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(o) for o in orders}) == 4
    assert orders[0] == batch_indices(0, 0, 100, 100).tolist()


def test_an_epochs_order_is_drawn_once_not_at_each_step(monkeypatch):
    drawn = []
    draw = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: drawn.append(seed) or draw(seed))
    for step in range(20):
        batch_indices(77, step, 10, 100)
    assert drawn == [(77, 0), (77, 1)]


def test_all_randomness_of_a_step_follows_from_seed_and_step():
    draws = []
    for seed, step in ((1, 5), (1, 5), (1, 6), (2, 5)):
        seed_step(seed, step)
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[1]
    assert len({tuple(d) for d in draws}) == 3


# Interruptions


@pytest.fixture
def whole(options: RunOptions, tmp_path: Path) -> Job:
    """The uninterrupted run that the others must equal."""
    return Job(replace(options, out=tmp_path / "whole")).run()


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(options, whole):
    first = Job(options, hook=lambda i: os.kill(os.getpid(), signal.SIGINT) if i == 6 else None)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert first.did == list(range(7))  # the step that was under way is finished and kept
    second = Job(options).run()
    assert second.did == list(range(7, 20))
    assert torch.equal(second.weights, whole.weights)
    assert second.metrics == whole.metrics


def test_asked_to_stop_while_it_evaluates_a_run_keeps_what_it_did(options):
    job = Job(options)

    def evaluate(done: int) -> dict[str, float]:
        if done == 8:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        return {}

    open_run(options, CPU)
    with pytest.raises(KeyboardInterrupt):
        train(
            options, {"model": job.model}, job.step, steps=20, batch=6, device=CPU,
            evaluate=evaluate, evaluate_at=lambda done: True,
        )  # fmt: skip
    assert torch.load(options.out / "checkpoint.pt", weights_only=True)["step"] == 8


def test_asked_to_stop_in_the_last_step_it_does_not_pass_for_finished(options):
    """Or a pipeline would go on to its next stage. What was done is there, and the next call finds it."""
    last = Job(options, hook=lambda i: os.kill(os.getpid(), signal.SIGINT) if i == 19 else None)
    with pytest.raises(KeyboardInterrupt):
        last.run()
    assert torch.load(options.out / "checkpoint.pt", weights_only=True)["step"] == 20
    assert Job(options).run().did == []


def test_lines_that_hold_no_metrics_are_dropped(options):
    options.out.mkdir(parents=True)
    (options.out / "metrics.jsonl").write_text('[1, 2]\n"text"\n{"step": 1, "loss": 2.0}\n{"step"')
    assert read_metrics(options.out / "metrics.jsonl") == [{"step": 1, "loss": 2.0}]


def test_after_a_crash_the_lines_beyond_the_checkpoint_are_dropped_and_written_anew(options, whole):
    def crash(index: int) -> None:
        if index == 13:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Job(options, hook=crash).run()
    lines = read_metrics(options.out / "metrics.jsonl")
    assert lines[-1]["step"] == 12  # logged, but the last checkpoint is of step 10
    with (options.out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "lo')  # killed while writing
    again = Job(options).run()
    assert again.did == list(range(10, 20))
    assert torch.equal(again.weights, whole.weights)
    assert again.metrics == whole.metrics
    assert [line["step"] for line in again.metrics] == [4, 8, 10, 12, 16, 20, 20]


def test_logged_losses_are_means_over_the_steps_that_reported_them(whole):
    assert [line["rare"] for line in whole.metrics if "rare" in line] == [3, 3, 3, 3, 3]


def test_runs_that_take_turns_are_the_runs_that_they_are_alone(options, whole):
    """Each does a step and stops; the other's steps in between change nothing."""
    other = Job(replace(options, out=options.out / "other", seed=5), steps=9)
    job = Job(options)
    order = []
    turns = [(job, job.slices(0.0)), (other, other.slices(0.0))]
    while turns:
        for turn in list(turns):
            if next(turn[1], None) is None:
                turns.remove(turn)
            elif turn[0].did:
                order.append((turn[0] is job, turn[0].did[-1]))
    assert order[:4] == [(True, 0), (False, 0), (True, 1), (False, 1)]
    assert torch.equal(job.weights, whole.weights)
    assert job.metrics == whole.metrics
    assert other.did == list(range(9))


def test_a_slice_lasts_as_long_as_asked_and_its_work_is_saved(options):
    job = Job(options, hook=lambda _: time.sleep(0.01))
    slices = job.slices(0.035)
    seconds = next(slices)
    assert seconds >= 0.035
    steps = len(job.did)
    assert 1 <= steps <= 4
    slices.close()  # as when the process dies between two slices
    again = Job(options).run()
    assert again.did == list(range(steps, 20))


def test_between_slices_ctrl_c_is_the_callers(options):
    before = signal.getsignal(signal.SIGINT)
    slices = Job(options).slices(0.0)
    next(slices)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_does_no_step_more(options):
    Job(options).run()
    assert Job(options).run().did == []


def test_signal_handlers_are_given_back(options):
    before = signal.getsignal(signal.SIGINT)
    Job(options).run()
    assert signal.getsignal(signal.SIGINT) is before


# Divergence


@pytest.mark.parametrize("log_every", [1, 4, 1000])
def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(options, log_every):
    options = replace(options, log_every=log_every)
    job = Job(options)

    def poison(index: int) -> None:
        if index == 11:
            with torch.no_grad():
                job.model.weight.fill_(float("nan"))

    job.hook = poison
    with pytest.raises(DivergedError, match="not finite") as caught:
        job.run()
    assert one_sentence(caught.value)
    saved = torch.load(options.out / "checkpoint.pt", weights_only=True)
    assert saved["step"] == 10
    assert all(torch.isfinite(t).all() for t in saved["state"]["model"].values())


def test_nan_is_met_before_the_evaluation_stumbles_over_it(options):
    job = Job(options)

    def poison(index: int) -> None:
        if index == 1:
            with torch.no_grad():
                job.model.weight.fill_(float("inf"))

    open_run(options, CPU)
    job.hook = poison
    with pytest.raises(DivergedError):
        train(
            options, {"model": job.model}, job.step, steps=20, batch=6, device=CPU,
            evaluate=lambda _: pytest.fail("evaluated NaN"), evaluate_at=lambda done: done == 2,
        )  # fmt: skip


# Checkpoints


@pytest.mark.parametrize("damage", ["empty", "half", "other"])
def test_a_damaged_checkpoint_is_one_sentence_that_names_it(options, damage):
    Job(options).run()
    path = options.out / "checkpoint.pt"
    content = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "half": content[: len(content) // 2], "other": b"no checkpoint" * 99}[damage]
    )
    with pytest.raises(UserError, match=r"checkpoint\.pt") as caught:
        Job(options).run()
    assert one_sentence(caught.value)


def test_a_checkpoint_that_carries_code_is_not_run(options, tmp_path):
    class Malice:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(tmp_path / "executed"),))

    open_run(options, CPU)
    torch.save({"step": 1, "state": Malice()}, options.out / "checkpoint.pt")
    with pytest.raises(UserError, match=r"checkpoint\.pt"):
        Job(options).run()
    assert not (tmp_path / "executed").exists()


# The average of the weights


def test_the_average_starts_at_the_weights_and_follows_them():
    model = torch.nn.Linear(1, 1, bias=False)
    ema = average(model, batch=10, horizon=100)
    found = []
    for value in [2.0] * 1 + [5.0] * 200:
        with torch.no_grad():
            model.weight.fill_(value)
        ema.update_parameters(model)
        found.append(ema.module.weight.item())
    assert found[0] == 2
    assert np.all(np.diff(found[:6]) > 0)
    assert found[-1] == pytest.approx(5, abs=1e-4)


def test_the_average_warms_up_and_then_has_the_horizon_asked_for():
    model = torch.nn.Linear(1, 1, bias=False)
    ema = average(model, batch=10, horizon=1000)
    with torch.no_grad():
        model.weight.fill_(0)
    for _ in range(2000):
        ema.update_parameters(model)
    with torch.no_grad():
        model.weight.fill_(1)
    for _ in range(100):  # one horizon
        ema.update_parameters(model)
    assert ema.module.weight.item() == pytest.approx(1 - 0.99**100, rel=1e-3)
