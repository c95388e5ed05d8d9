"""A sweep of tiny digit runs on Ray: workers that are killed, trials that fail, Ctrl-C, and the table."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import tyro

from explorer.bundle_reading import open_bundle
from tests.support import ROOT, Finished, file_names, one_sentence, run_script, write_classes
from training import sweep
from training.cli import UserError, check_options, options_json
from training.pipeline import PipelineOptions, run_pipeline, stages
from training.presets import PRESETS
from training.seed_table import measures
from training.sweep import SweepOptions, run_sweep

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
TINY: dict[str, Any] = {
    "presets": ("digits",), "hold_outs": ("7", "3, 8"), "seeds": (0, 1), "autoencoder_images": 640,
    "latent_gan_images": 1280,
}  # fmt: skip
VICTIM = "digits_7_seed-0"


def rows(out: Path) -> dict[str, dict[str, Any]]:
    return {row["trial"]: row for row in json.loads((out / "sweep.json").read_text())["trials"]}


def workers(out: Path, trial: str) -> list[int]:
    """Process numbers of the workers that began this trial, first to last."""
    log = out / "runs" / trial / "log.txt"
    return [int(n) for n in re.findall(r"process (\d+): python", log.read_text())] if log.is_file() else []


def left_behind(out: Path) -> set[int]:
    """Workers that are still there some seconds after their sweep has ended."""
    processes = {n for log in out.glob("runs/*/log.txt") for n in workers(out, log.parent.name)}
    assert processes
    for _ in range(100):
        listed = subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True)
        states = dict(line.split() for line in listed.stdout.splitlines())
        processes = {n for n in processes if states.get(str(n), "Z")[0] != "Z"}  # a zombie is gone
        if not processes:
            break
        time.sleep(0.1)
    return processes


@dataclass
class Swept:
    """A sweep that has ended. killed: the worker; encoder: when the victim's autoencoder was done."""

    out: Path
    ended: Finished
    killed: int = 0
    encoder: int = 0
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Four runs, one of which is killed once in the middle, and two with a class that does not exist."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    encoder = out / "runs" / VICTIM / "autoencoder" / "done.json"
    killed: list[int] = []
    finished_at: list[int] = []

    def kill_a_worker_once() -> bool:
        if not killed and encoder.is_file():
            finished_at.append(encoder.stat().st_mtime_ns)
            killed.extend(workers(out, VICTIM))
            os.kill(killed[0], signal.SIGKILL)
        return False

    given = {**TINY, "hold_outs": (*TINY["hold_outs"], "seven"), "out": out}
    ended = run_script("training.sweep", given, when=kill_a_worker_once)
    assert killed, ended.stderr
    return Swept(out, ended, killed[0], finished_at[0], rows(out))


def test_four_runs_survive_one_being_killed(swept):
    status = {name: row["status"] for name, row in swept.rows.items()}
    assert status == {
        "digits_7_seed-0": "done", "digits_7_seed-1": "done", "digits_3+8_seed-0": "done",
        "digits_3+8_seed-1": "done", "digits_seven_seed-0": "failed", "digits_seven_seed-1": "failed",
    }  # fmt: skip
    for row in list(swept.rows.values())[:4]:
        assert open_bundle(Path(row["bundle"])).held_out == tuple(row["hold_out"])
        assert row["seconds"] > 0
        assert row["error"] is None


def test_another_worker_goes_on_where_the_killed_one_was(swept):
    first, second = workers(swept.out, VICTIM)
    assert swept.killed == first != second
    encoder = swept.out / "runs" / VICTIM / "autoencoder" / "done.json"
    assert encoder.stat().st_mtime_ns == swept.encoder


def test_a_trial_that_always_fails_is_reported_and_not_fatal(swept):
    assert swept.ended.returncode == 1
    assert "2 of 6 trials failed" in swept.ended.last_line
    assert one_sentence(swept.ended.last_line)
    assert "Traceback" not in swept.ended.stderr
    for name in ("digits_seven_seed-0", "digits_seven_seed-1"):
        assert swept.rows[name]["error"].startswith("cannot hold out 'seven': the classes are 0, 1")
        assert len(workers(swept.out, name)) == 1  # what will not pass by itself is not tried twice
    assert "| digits | seven | 1 | failed: cannot hold out 'seven'" in swept.ended.stdout


def test_no_worker_is_left_behind(swept):
    assert left_behind(swept.out) == set()


def test_the_card_has_the_command_that_repeats_the_trial(swept):
    for row in list(swept.rows.values())[:4]:
        command = next(
            x for x in open_bundle(Path(row["bundle"])).card.split("`") if x.startswith("python -m")
        )
        asked = tyro.cli(PipelineOptions, args=shlex.split(command)[3:])
        assert (asked.preset, asked.seed, list(asked.hold_out)) == ("digits", row["seed"], row["hold_out"])


def test_the_table_has_every_trial_and_the_mean_over_seeds(swept):
    text = (swept.out / "sweep.md").read_text()
    assert text in swept.ended.stdout
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert [line[:3] for line in lines[2:]] == [
        ["digits", "7", "0"], ["digits", "7", "1"], ["digits", "7", "mean of 2"],
        ["digits", "3, 8", "0"], ["digits", "3, 8", "1"], ["digits", "3, 8", "mean of 2"],
        ["digits", "seven", "0"], ["digits", "seven", "1"],
    ]  # fmt: skip
    column = lines[0].index("PSNR dB, held out")
    codecs = [swept.rows[f"digits_3+8_seed-{seed}"]["metrics"]["codec"] for seed in (0, 1)]
    n = {name: codecs[0][name]["n"] for name in "38"}
    psnr = [sum(codec[k]["psnr"] * n[k] for k in n) / sum(n.values()) for codec in codecs]
    assert [line[column] for line in lines[5:7]] == [f"{value:.4g}" for value in psnr]
    assert lines[7][column] == f"{np.mean(psnr):.4g} ± {np.std(psnr, ddof=1):.2g}"


def test_finished_trials_are_not_run_again(swept, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # not even started
    before = {name: row for name, row in swept.rows.items() if row["status"] == "done"}
    run_sweep(SweepOptions(**TINY, out=swept.out))
    assert rows(swept.out) == before


def test_trials_have_the_lengths_that_were_asked_for(tmp_path):
    lengths = {"autoencoder_images": 1, "latent_gan_images": 2, "detail_phase_images": 3}
    for trial in sweep.trials(SweepOptions(**{**TINY, **lengths}, out=tmp_path)):
        assert {k: getattr(trial, k) for k in lengths} == lengths


def test_a_trial_of_other_lengths_or_without_its_bundle_is_not_finished(swept, tmp_path):
    options = SweepOptions(**TINY, out=swept.out)
    done = sweep.trials(options)[0]
    assert sweep.result(done)["status"] == "done"
    assert sweep.result(replace(done, autoencoder_images=1280))["status"] == "waiting"
    bundle = Path(sweep.result(done)["bundle"])
    bundle.rename(tmp_path / "elsewhere")
    assert sweep.result(done)["status"] == "waiting"
    (tmp_path / "elsewhere").rename(bundle)


@pytest.mark.parametrize(
    ("stage", "change"),
    [
        ("autoencoder", {"lr": 1e-4}), ("latent_gan", {"batch": 64}), ("bundle", {"generated": 1_000}),
        ("detail_phase", {"images": 320}),
    ],
)  # fmt: skip
def test_a_trial_of_a_preset_that_has_changed_since_is_not_finished(swept, monkeypatch, stage, change):
    done = sweep.trials(SweepOptions(**TINY, out=swept.out))[0]
    assert sweep.result(done)["status"] == "done"
    monkeypatch.setitem(PRESETS["digits"], stage, {**PRESETS["digits"][stage], **change})
    assert sweep.result(done)["status"] == "waiting"


def test_a_trial_of_photographs_that_have_changed_since_is_not_finished(swept, monkeypatch):
    """But one whose photographs would have to be fetched for the question is."""
    done = sweep.trials(SweepOptions(**TINY, out=swept.out))[0]
    opened = sweep.open_dataset

    def of_others(options: Any) -> Any:
        data = opened(options)
        return replace(data, store=replace(data.store, colours=255 - data.store.colours))

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "open_dataset", of_others)
        assert sweep.result(done)["status"] == "waiting"
    assert sweep.result(done)["status"] == "done"
    monkeypatch.setattr(sweep, "is_here", lambda _: False)
    monkeypatch.setattr(sweep, "open_dataset", lambda _: pytest.fail("fetched"))
    assert sweep.result(done)["status"] == "done"


def test_a_finished_trial_whose_photographs_are_gone_is_finished(tmp_path, monkeypatch):
    colours = {name: (40, 50 * i, 90) for i, name in enumerate(("cat", "dog", "fox"))}
    write_classes(tmp_path / "pets", colours, n=30)
    given = {**TINY, "hold_outs": ("fox",), "seeds": (0,), "source": f"folder:{tmp_path / 'pets'}"}
    (trial,) = sweep.trials(SweepOptions(**given, out=tmp_path / "out"))
    run_pipeline(trial)
    (sweep.folder(trial) / "done.json").write_text(json.dumps(options_json(trial)))
    assert sweep.result(trial)["status"] == "done"
    shutil.rmtree(tmp_path / "pets")
    assert sweep.result(trial)["status"] == "done"


def test_a_finished_detail_phase_is_known_again_and_one_of_another_preset_is_not(tmp_path, monkeypatch):
    given = {**TINY, "hold_outs": ("7",), "seeds": (0,), "detail_phase_images": 320}
    (trial,) = sweep.trials(SweepOptions(**given, out=tmp_path))
    run_pipeline(trial)
    (sweep.folder(trial) / "done.json").write_text(json.dumps(options_json(trial)))
    assert sweep.result(trial)["status"] == "done"
    monkeypatch.setitem(PRESETS["digits"], "detail_phase", {"images": 0, "width": 8})
    assert sweep.result(trial)["status"] == "waiting"
    with pytest.raises(UserError, match="started with other options"):
        run_pipeline(trial)


def test_a_class_without_training_images_may_be_what_all_trials_hold_out(tmp_path, monkeypatch):
    for split, names in (("train", ("cat", "dog")), ("val", ("cat", "dog", "fox"))):
        write_classes(tmp_path / "pets" / split, {name: (40, 50 * len(name), ord(name[0])) for name in names})
    waiting: list[PipelineOptions] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "run_all", lambda trials, *_: waiting.extend(trials))
    run_sweep(
        SweepOptions(**{**TINY, "hold_outs": ("fox",), "source": "folder:pets", "out": tmp_path / "out"})
    )
    assert [trial.hold_out for trial in waiting] == [("fox",)] * 2


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Two endless runs. Every worker of one is killed; when that one has failed, Ctrl-C ends the sweep."""
    out = tmp_path_factory.mktemp("interrupted") / "out"
    killed: set[int] = set()
    lines = out / "runs" / "digits_3_seed-0" / "autoencoder" / "metrics.jsonl"

    def kill_every_worker_until_it_failed() -> bool:
        for process in set(workers(out, VICTIM)) - killed:
            os.kill(process, signal.SIGKILL)
            killed.add(process)
        failed = bool(killed) and rows(out)[VICTIM]["status"] == "failed"
        return failed and lines.is_file() and lines.stat().st_size > 0

    given = {**TINY, "hold_outs": ("7", "3"), "seeds": 0, "autoencoder_images": 10**9, "out": out}
    ended = run_script("training.sweep", given, when=kill_every_worker_until_it_failed, by=signal.SIGINT)
    return Swept(out, ended, rows=rows(out))


def test_a_trial_that_is_killed_again_is_reported_and_the_others_go_on(interrupted):
    assert len(workers(interrupted.out, VICTIM)) == 2
    assert "its process was killed" in interrupted.rows[VICTIM]["error"]
    assert one_sentence(interrupted.rows[VICTIM]["error"])
    assert interrupted.rows["digits_3_seed-0"]["status"] == "waiting"


def test_ctrl_c_saves_what_runs_and_leaves_no_worker_behind(interrupted):
    assert interrupted.ended.returncode == 130, interrupted.ended.stderr
    assert "the same command continues" in interrupted.ended.last_line
    assert "Traceback" not in interrupted.ended.stderr
    checkpoint = interrupted.out / "runs" / "digits_3_seed-0" / "autoencoder" / "checkpoint.pt"
    assert torch.load(checkpoint, weights_only=True)["step"] % 500 != 0  # not one that was due anyway
    assert left_behind(interrupted.out) == set()


def test_a_dry_run_prints_the_trials_and_writes_nothing(tmp_path):
    given = {**TINY, "hold_outs": ("English foxhound,Samoyed", ""), "seeds": 5, "out": tmp_path / "out"}
    done = run_script("training.sweep", given, "--dry-run")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["trials"]
    asked = tyro.cli(PipelineOptions, args=shlex.split(first)[3:])
    (trial, _) = sweep.trials(
        SweepOptions(
            **{**TINY, "hold_outs": ("Samoyed, English foxhound", ""), "seeds": (5,)}, out=tmp_path / "out"
        )
    )
    assert asked == trial
    assert trial.hold_out == ("English foxhound", "Samoyed")
    assert "--hold-out" not in second
    assert file_names(tmp_path) == []


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-sweep\.txt") as caught:
        run_sweep(SweepOptions(**TINY, out=tmp_path))
    assert one_sentence(caught.value)
    assert file_names(tmp_path) == []
    assert (ROOT / "requirements-sweep.txt").is_file()


def test_a_bundle_that_cannot_be_seen_from_here_is_reported(tmp_path, monkeypatch):
    """As on a cluster whose machines do not share --out."""
    monkeypatch.setattr(sweep, "run_all", lambda waiting, _, ended: [ended(trial, None) for trial in waiting])
    with pytest.raises(UserError, match="4 of 4 trials failed"):
        run_sweep(SweepOptions(**TINY, out=tmp_path))
    assert "do all machines share --out?" in rows(tmp_path)[VICTIM]["error"]


def test_trials_too_large_for_every_machine_are_refused_and_do_not_wait_for_ever(tmp_path, monkeypatch):
    ended = []
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}]
    ray = SimpleNamespace(nodes=lambda: nodes, shutdown=lambda: ended.append(True))
    monkeypatch.setattr(sweep, "connect", lambda _: ray)
    with pytest.raises(UserError, match="64 CPU cores") as caught:
        run_sweep(SweepOptions(**TINY, out=tmp_path, cpus=64))
    assert one_sentence(caught.value)
    assert ended


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"presets": ("digits", "nonesuch")}, "no preset 'nonesuch'"),
        ({"presets": ()}, "--presets is empty"),
        ({"hold_outs": ()}, "--hold-outs is empty"),
        ({"seeds": ()}, "--seeds is empty"),
        ({"seeds": (1, 1)}, "asked for twice"),
        ({"hold_outs": ("7,3", "3, 7")}, "asked for twice"),
        ({"hold_outs": ("Samoyed", "samoyed")}, "asked for twice"),
        ({"hold_outs": ("a b", "a-b")}, "'a b' and 'a-b' would share"),
        ({"cpus": 0}, "--cpus must be at least 1"),
        ({"gpus": -1.0}, "--gpus must be"),
        ({"gpus": 1.5}, "--gpus must be"),
        ({"source": "folder:nowhere"}, "no folder nowhere"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, change, says):
    def run() -> None:
        options = SweepOptions(**{**TINY, "out": tmp_path, **change})
        check_options(options)
        run_sweep(options)

    with pytest.raises(UserError, match=re.escape(says)) as caught:
        run()
    assert one_sentence(caught.value)


def test_an_evaluated_bundle_shows_what_the_judge_made_of_it():
    bundle = open_bundle(ROOT / "pretrained" / "imagewoof64")
    row = {
        "preset": "imagewoof64", "hold_out": ["Samoyed"], "seed": 0, "status": "done", "error": None,
        "seconds": 90, "metrics": bundle.manifest["metrics"], "evaluation": measures(bundle.evaluation),
    }  # fmt: skip
    shown = sweep.figures(row)
    assert shown["minutes"] == 1.5
    assert shown["frechet"] == bundle.evaluation["distances"]["samples"]["frechet"]
    codec = row["metrics"]["codec"]
    hits = codec["Samoyed"]["recognised_round_trip"] + codec["English foxhound"]["recognised_round_trip"]
    assert shown["recognised, held out"] == hits / (codec["Samoyed"]["n"] + codec["English foxhound"]["n"])
    failed = {**row, "seed": 1, "status": "failed", "error": "a | b"}
    header, _, first, second = sweep.table([row, failed]).splitlines()  # no mean of one seed
    assert header.count("|") == first.count("|") == second.replace(r"\|", "").count("|")
    assert r"failed: a \| b" in second


def test_a_trial_that_ended_before_an_option_was_there_is_done(tmp_path, monkeypatch):
    (trial,) = sweep.trials(SweepOptions(**{**TINY, "hold_outs": ("7",), "seeds": (0,), "out": tmp_path}))
    made = {"bundle": {"options": options_json(stages(trial).bundle)}, "training": {}, "metrics": {}}
    bundle = SimpleNamespace(manifest=made, evaluation=None)
    monkeypatch.setattr(sweep, "open_bundle", lambda _: bundle)
    done = options_json(trial)
    assert done.pop("boxes") is None
    sweep.folder(trial).mkdir(parents=True)
    for differing, status in (({}, "done"), ({"seed": 5}, "waiting")):
        (sweep.folder(trial) / "done.json").write_text(json.dumps({**done, **differing}))
        assert sweep.result(trial)["status"] == status
