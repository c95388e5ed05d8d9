"""Run the pipeline for every preset, hold-out and seed on Ray, and gather the results into one table.

    python -m training.sweep --presets digits --hold-outs 7 "3, 8" --seeds 0 1 2

A hold-out is one class, or several with commas between them; "" holds none out. To resume, run the same
command again: finished trials are skipped, the others go on from their checkpoints. A trial that fails is
reported in the table and stops no other. On a cluster (--address), --out and the folder that you start this
in must be on a file system that all machines share. What is in the table: docs/sweep.md.
"""

import itertools
import logging
import os
import platform
import re
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from explorer import markdown
from explorer.bundle import BundleError
from explorer.bundle_reading import open_bundle
from training.autoencoder import check_same_images
from training.bundle import BundleOptions
from training.cli import UserError, command_line, options_json, print_dry_run
from training.data.dataset import open_crops, open_dataset
from training.data.sources import is_here, open_source
from training.files import make_folder, read_json, write_json
from training.loop import stop_requests
from training.pipeline import PipelineOptions, Stages, run_pipeline, stages
from training.presets import DEFAULT_PRESET
from training.runs import check_resumable, package_versions
from training.seed_table import mean_and_deviation, measures

log = logging.getLogger(__name__)
RETRIES = 1  # after a worker was killed
SAVING = 60  # seconds that interrupted trials have to save a checkpoint
# A Ray of one's own serves no other machine, and asks none, not even which cloud it might be in.
LOCAL_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # on Linux, too, listen on the loopback interface alone
    "RAY_AUTH_MODE": "token",  # nobody else on this machine may use it
    "http_proxy": "http://127.0.0.1:9",  # nobody answers there
    "RAY_worker_niceness": "0",  # not 15: minutes are to compare with those of any other script
}


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Options of ``python -m training.sweep``."""

    presets: tuple[str, ...] = (DEFAULT_PRESET,)
    """Named sets of options (see training/presets.py)."""
    hold_outs: tuple[str, ...] = ("",)
    """Each is one class or several, with commas between them; "" holds none out."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of every preset and hold-out."""
    source: str | None = None
    """folder:PATH, imagewoof[:PATH], digits or torchvision:NAME; the preset's by default."""
    autoencoder_images: int | None = None
    """Training length of the autoencoders, in images; the preset's by default."""
    latent_gan_images: int | None = None
    """Training length of the GANs, in codes; the preset's by default."""
    detail_phase_images: int | None = None
    """Training length of their detail phases, in codes; the preset's by default."""
    out: Path = Path("runs/sweep")
    """Folder of the sweep: its table, the trials' runs and bundles."""
    cpus: int = 1
    """CPU cores of each trial; as many trials run at once as fit."""
    gpus: float = 0.0
    """GPUs of each trial: 0 trains on the CPU, with 0.25 four trials share one."""
    address: str | None = None
    """Ray cluster to run on, as HOST:PORT or auto; by default this machine."""
    dry_run: bool = False
    """Print the trials and stop."""


def trials(options: SweepOptions) -> list[PipelineOptions]:
    """The pipeline of every trial. Raises UserError where a list is empty or a trial is asked for twice."""
    for name in ("presets", "hold_outs", "seeds"):
        if not getattr(options, name):
            raise UserError(
                f"--{name.replace('_', '-')} is empty; give at least one, or leave the option out"
            )
    out = options.out.absolute()
    found: dict[str, PipelineOptions] = {}
    for preset, classes, seed in itertools.product(options.presets, options.hold_outs, options.seeds):
        hold_out = sorted({name.strip() for name in classes.split(",")} - {""})
        name = "_".join(filter(None, (preset, "+".join(hold_out), f"seed-{seed}")))
        name = re.sub(r"[^\w.+-]", "-", name)
        trial = PipelineOptions(
            preset=preset, hold_out=tuple(hold_out), seed=seed, source=options.source, name=name,
            autoencoder_images=options.autoencoder_images, latent_gan_images=options.latent_gan_images,
            detail_phase_images=options.detail_phase_images, runs=out / "runs", out=out / "bundles" / name,
            device="auto" if options.gpus else "cpu",
        )  # fmt: skip
        stages(trial)  # finds an unknown preset
        other = found.get(name.casefold())  # the pipeline forgives case in a class's name
        if other and set(map(str.casefold, other.hold_out)) == set(map(str.casefold, hold_out)):
            raise UserError(f"the trial {name} is asked for twice; name each preset, hold-out and seed once")
        if other:
            raise UserError(
                f"the hold-outs {', '.join(other.hold_out)!r} and {', '.join(hold_out)!r} would share the "
                f"folder {name}; sweep one of them into another --out"
            )
        found[name.casefold()] = trial
    return list(found.values())


def words(trial: PipelineOptions) -> list[str]:
    """The words after ``python -m training.pipeline`` that ask for this trial."""
    found = []
    for option in fields(trial):
        value = getattr(trial, option.name)
        if value != option.default:
            values = value if isinstance(value, tuple) else (value,)
            found += [f"--{option.name.replace('_', '-')}", *map(str, values)]
    return found


def folder(trial: PipelineOptions) -> Path:
    """Where the runs of a trial's stages, its log and its done.json are."""
    return trial.runs / str(trial.name)


def run_trial(trial: PipelineOptions, cwd: Path, threads: int) -> str | None:
    """Run one pipeline in a worker of Ray, its output into log.txt; returns why it failed, or None."""
    os.chdir(cwd)  # data/ and cache/ are there
    torch.set_num_threads(threads)
    sys.argv = ["-m training.pipeline", *words(trial)]  # for the bundle's card, see command_line
    make_folder(folder(trial))
    with (
        (folder(trial) / "log.txt").open("a", buffering=1) as file,
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=file, force=True)
        print(f"{time.ctime()}, {platform.node()}, process {os.getpid()}: {command_line()}")
        try:
            run_pipeline(trial)
            write_json(folder(trial) / "done.json", options_json(trial))
            return None
        except UserError as error:
            print(f"error: {error}")
            return str(error)
        except Exception as error:  # whatever it is, the other trials go on
            traceback.print_exc()
            return f"{type(error).__name__}: {error}".splitlines()[0]


def check_unchanged(todo: Stages, manifest: dict[str, Any]) -> None:
    """Raise UserError where the preset or the photographs of a finished trial have changed since.

    manifest: its bundle's. Runs that were deleted are not asked, nor photographs that are gone or would be
    fetched.
    """
    if {**options_json(BundleOptions()), **manifest["bundle"]["options"]} != options_json(todo.bundle):
        raise UserError(f"{todo.bundle.out} was written with other options; use another --out")
    detail = todo.detail_phase
    if detail is not None:
        saved = manifest["training"]["detail_phase"]["options"]  # which its first stage completed
        detail = replace(detail, autoencoder=Path(saved["autoencoder"]), z_dim=saved["z_dim"])
    for options in filter(None, (todo.latent_gan, detail, todo.image_phase)):
        check_resumable(options)
    source = todo.autoencoder.source
    _, _, path = source.partition(":")
    gone = source.startswith(("folder:", "imagewoof:")) and not Path(path).expanduser().is_dir()
    if check_resumable(todo.autoencoder) and is_here(source) and not gone:
        check_same_images(todo.autoencoder.out, open_dataset(todo.autoencoder))


def result(trial: PipelineOptions, error: str | None = None, just_ended: bool = False) -> dict[str, Any]:
    """A trial's row of sweep.json, from what it left in its folders and, if it failed, its error.

    One that was finished before, and not just now, is asked whether it still is what it was made of.
    """
    bundle = stages(trial).bundle.out
    row: dict[str, Any] = {
        "trial": trial.name, "preset": trial.preset, "hold_out": list(trial.hold_out), "seed": trial.seed,
        "status": "failed" if error else "waiting", "error": error, "bundle": str(bundle),
    }  # fmt: skip
    try:
        done = read_json(folder(trial) / "done.json")
        # An option that there was not yet when it ended has its default.
        if error or {**options_json(PipelineOptions()), **done} != options_json(trial):
            return row
        found = open_bundle(bundle)
        if not just_ended:
            check_unchanged(stages(trial), found.manifest)
    except (UserError, BundleError):
        return row
    return row | {
        "status": "done",
        "seconds": sum(stage["done"]["seconds"] for stage in found.manifest["training"].values()),
        "metrics": found.manifest["metrics"],
        "evaluation": measures(found.evaluation) if found.evaluation else None,
    }


def figures(row: dict[str, Any]) -> dict[str, float]:
    """What the table shows of a finished trial, by name."""
    if row["status"] != "done":
        return {}
    metrics = row["metrics"]
    codec, gan = metrics["codec"], metrics.get("detail_phase") or metrics["latent_gan"]
    shown = {"minutes": row["seconds"] / 60}
    for part, names in (("seen", {"seen val"}), ("held out", codec.keys() - {"seen val"})):
        if n := sum(codec[name]["n"] for name in names):
            shown[f"PSNR dB, {part}"] = sum(codec[k]["psnr"] * codec[k]["n"] for k in names) / n
            if all("recognised_round_trip" in codec[name] for name in names):
                hits = sum(codec[name]["recognised_round_trip"] for name in names)
                shown[f"recognised, {part}"] = hits / n
    shown["codes: Frechet / floor"] = gan["latent_frechet_over_floor"]
    shown["codes: coverage"] = gan["latent_coverage"]
    evaluation = row["evaluation"] or {}
    return shown | {k: evaluation[k] for k in ("frechet", "coverage", "structure") if k in evaluation}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown table: a row per trial, and one of means and standard deviations (n - 1) over seeds."""
    names = list(dict.fromkeys(name for row in rows for name in figures(row)))
    lines = [["preset", "held out", "seed", "status", *names]]
    for _, group in itertools.groupby(rows, lambda row: (row["preset"], row["hold_out"])):
        alike = list(group)
        first = [alike[0]["preset"], ", ".join(alike[0]["hold_out"]) or "none"]
        for row in alike:
            status = f"failed: {row['error']}" if row["error"] else row["status"]
            shown = figures(row)
            cells = [f"{shown[name]:.4g}" if name in shown else "-" for name in names]
            lines.append([*first, str(row["seed"]), status, *cells])
        done = [figures(row) for row in alike if row["status"] == "done"]
        if len(done) > 1:
            cells = [_spread([shown[name] for shown in done if name in shown]) for name in names]
            lines.append([*first, f"mean of {len(done)}", "done", *cells])
    return markdown.table(lines)


def _spread(values: list[float]) -> str:
    if len(values) < 2:
        return "-"
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.4g} ± {deviation:.2g}"


def connect(options: SweepOptions) -> Any:
    """Ray, started on this machine or joined at --address."""
    # As for a killed worker: one more attempt after Ray itself killed one for want of memory, not fifteen.
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))
    local: dict[str, Any] = {}
    if options.address is None:
        os.environ.update(LOCAL_RAY)  # before the import, which reads it
        local = {"include_dashboard": False}
    import ray

    reason, where = "", f"joined at {options.address}" if options.address else "started"
    # Ray gives its own agents 15 s to start (its issue 65983), which on a busy machine takes luck.
    for _ in range(1 if options.address else 3):
        try:
            ray.init(options.address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
            return ray
        except Exception as error:  # it raises that very class, too
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise UserError(f"Ray could not be {where} ({reason})")


def outcome(ray: Any, task: Any) -> str | None:
    """Why a task that has ended failed; None if it did not."""
    try:
        return ray.get(task)
    except ray.exceptions.RayError as lost:  # not one of the trial's own: run_trial returns those
        if isinstance(lost, ray.exceptions.RayTaskError):  # it could not even be called there
            return str(lost).strip().splitlines()[-1]
        return f"its process was killed, and again when it was tried anew ({type(lost).__name__})"


def run_all(
    waiting: list[PipelineOptions],
    options: SweepOptions,
    ended: Callable[[PipelineOptions, str | None], None],
) -> None:
    """Run trials on Ray, and tell ``ended`` of each when it has, with the reason if it failed."""
    tasks: dict[Any, PipelineOptions] = {}
    ray = connect(options)
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(m.get("CPU", 0) >= options.cpus and m.get("GPU", 0) >= options.gpus for m in machines):
            raise UserError(
                f"no machine here has the {options.cpus} CPU cores and {options.gpus:g} GPUs that a trial is "
                "to have; lower --cpus or --gpus"
            )
        # A worker that is killed is replaced, and the new one goes on from the trial's checkpoint.
        task = ray.remote(num_cpus=options.cpus, num_gpus=options.gpus, max_retries=RETRIES)(run_trial)
        tasks = {task.remote(trial, Path.cwd(), options.cpus): trial for trial in waiting}
        with stop_requests() as stop:  # whoever starts us in the background may have SIGINT ignored
            while tasks:
                finished, _ = ray.wait(list(tasks), timeout=1.0)
                if stop:
                    raise KeyboardInterrupt
                for ready in finished:
                    ended(tasks.pop(ready), outcome(ray, ready))
    except KeyboardInterrupt:
        for unfinished in reversed(tasks):  # the waiting ones first, lest they start
            ray.cancel(unfinished)  # in those that run it raises KeyboardInterrupt, too
        if tasks:
            ray.wait(list(tasks), num_returns=len(tasks), timeout=SAVING)
        raise
    finally:
        ray.shutdown()


def run_sweep(options: SweepOptions) -> Path:
    """Run what is not finished, write the table after every trial, and return the sweep's folder."""
    todo = trials(options)
    if options.gpus < 0 or (options.gpus > 1 and options.gpus % 1):
        raise UserError("--gpus must be 0, a share of one GPU, or a whole number")
    if options.dry_run:
        commands = [f"python -m training.pipeline {shlex.join(words(trial))}" for trial in todo]
        print_dry_run(options, trials=commands)
        return options.out
    rows = {trial: result(trial) for trial in todo}
    waiting = [trial for trial, row in rows.items() if row["status"] != "done"]

    def write() -> None:
        make_folder(options.out)
        made_by = {
            "command": command_line(),
            "options": options_json(options),
            "versions": package_versions(),
        }
        write_json(options.out / "sweep.json", {**made_by, "trials": list(rows.values())})
        (options.out / "sweep.md").write_text(table(list(rows.values())) + "\n")

    def ended(trial: PipelineOptions, error: str | None) -> None:
        rows[trial] = result(trial, error, just_ended=True)
        if rows[trial]["status"] == "waiting":
            unseen = f"it ended, but {trial.out} cannot be read here; do all machines share --out?"
            rows[trial] = result(trial, unseen)
        left = sum(row["status"] == "waiting" for row in rows.values())
        log.info("%s: %s; %d to go", trial.name, rows[trial]["error"] or "done", left)
        write()

    if waiting:
        if find_spec("ray") is None:
            raise UserError("Ray is not installed; run pip install -r requirements-sweep.txt")
        for trial in {trial.preset: trial for trial in waiting}.values():
            data = stages(trial).autoencoder
            open_crops(open_source(data.source, data.image_size), data)  # fetched and decoded once for all
    write()
    if waiting:
        run_all(waiting, options, ended)
    print(table(list(rows.values())))
    if failed := sum(row["status"] == "failed" for row in rows.values()):
        raise UserError(
            f"{failed} of {len(rows)} trials failed: {options.out / 'sweep.md'} says why, "
            "and the same command tries them again"
        )
    return options.out


if __name__ == "__main__":
    from training.cli import run_script

    run_script(SweepOptions, "sweep", run_sweep)
