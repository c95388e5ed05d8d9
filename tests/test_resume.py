"""The real scripts, interrupted and killed: the same command continues, bit for bit, on the CPU."""

import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support import (
    TINY_AUTOENCODER,
    TINY_GAN,
    TINY_IMAGE_PHASE,
    TINY_PIXEL_GAN,
    Finished,
    file_names,
    one_sentence,
    run_script,
)
from training.files import read_json
from training.metrics_log import read_metrics

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
IMAGE_PHASE = "training.latent_gan --phase image"
STAGES = ("training.autoencoder", "training.latent_gan", IMAGE_PHASE, "training.pixel_gan")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def options(module: str, folder: Path, out: str, **values: Any) -> dict[str, Any]:
    if module == "training.autoencoder":
        return {**TINY_AUTOENCODER, "cache": folder / "cache", "out": folder / out, **values}
    if module == IMAGE_PHASE:
        return {**TINY_IMAGE_PHASE, "latent_gan": folder / "gan", "out": folder / out, **values}
    if module == "training.pixel_gan":
        return {**TINY_PIXEL_GAN, "autoencoder": folder / "autoencoder", "out": folder / out, **values}
    return {**TINY_GAN, "autoencoder": folder / "autoencoder", "out": folder / out, **values}


def finish(module: str, given: dict[str, Any]) -> None:
    done = run_script(module.split()[0], given)
    assert done.returncode == 0, done.stderr


def interrupt(module: str, given: dict[str, Any], number: int, at: int) -> Finished:
    """Run the script, sending it a signal just before step ``at``."""
    return run_script(module.split()[0], given, stop=(number, at))


@pytest.fixture(scope="module")
def finished(folder: Path) -> dict[str, Path]:
    """One uninterrupted run of each stage."""
    outs = dict(zip(STAGES, ("autoencoder", "gan", "image", "pixels"), strict=True))
    for module, out in outs.items():
        finish(module, options(module, folder, out))
    return {module: folder / out for module, out in outs.items()}


def assert_equal_runs(a: Path, b: Path) -> None:
    """Same weights (byte for byte), same snapshots, same metrics, same checkpointed state."""
    # Codes are a GAN's, kept beside the autoencoder once one has been trained over it.
    found = [
        sorted(p.relative_to(run) for p in run.rglob("*.safetensors") if not p.name.startswith("codes-"))
        for run in (a, b)
    ]
    files = found[0]
    assert files
    assert files == found[1]
    for file in files:
        ours, theirs = load_file(a / file), load_file(b / file)
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            assert torch.equal(tensor, theirs[name]), f"{file}: {name}"
        assert (a / file).read_bytes() == (b / file).read_bytes(), file

    def lines(run: Path) -> list[dict[str, float]]:
        found = read_metrics(run / "metrics.jsonl")
        return [{k: v for k, v in line.items() if k != "seconds"} for line in found]

    assert lines(a) == lines(b)
    states = [torch.load(run / "checkpoint.pt", weights_only=True)["state"] for run in (a, b)]
    flat = [dict(flatten(state)) for state in states]
    assert flat[0].keys() == flat[1].keys()
    for name, value in flat[0].items():
        same = (
            torch.equal(value, flat[1][name]) if isinstance(value, torch.Tensor) else value == flat[1][name]
        )
        assert same, name


def flatten(value: Any, name: str = "") -> Any:
    """Leaves of nested dictionaries and lists, by path."""
    if isinstance(value, dict | list):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in entries:
            yield from flatten(inner, f"{name}/{key}")
    else:
        yield name, value


@pytest.mark.parametrize("module", STAGES)
def test_a_finished_run_holds_weights_metrics_and_what_made_them(finished, module):
    out = finished[module]
    assert {"done.json", "options.json", "metrics.jsonl", "checkpoint.pt", "tensorboard"} <= set(
        file_names(out)
    )
    assert read_json(out / "options.json")["options"]["seed"] == 3
    lines = read_metrics(out / "metrics.jsonl")
    keys = {
        "training.autoencoder": "val_psnr",
        "training.latent_gan": "latent_frechet",
        IMAGE_PHASE: "psnr_cut",
        "training.pixel_gan": "sharpness",
    }
    key = keys[module]
    assert lines[-1]["step"] == 20
    assert key in lines[-1]
    assert any("seconds" in line for line in lines)


def test_snapshots_are_taken_from_the_first_step_to_the_last(finished):
    names = file_names(finished["training.latent_gan"] / "snapshots")
    images = [int(Path(n).stem) for n in names]
    assert len(images) == TINY_GAN["snapshots"]
    assert (images[0], images[-1]) == (TINY_GAN["batch"], TINY_GAN["images"])
    for name in names:
        latents = load_file(finished["training.latent_gan"] / "snapshots" / name)["latents"]
        assert latents.shape == (TINY_GAN["snapshot_samples"], TINY_GAN["latent_dim"])


@pytest.mark.parametrize("module", STAGES)
def test_the_same_seed_gives_the_same_run_twice(finished, folder, module):
    given = options(module, folder, f"{module.split()[-1]}-twice")
    finish(module, given)
    assert_equal_runs(finished[module], given["out"])


@pytest.mark.parametrize("module", STAGES)
def test_another_seed_gives_another_run(finished, folder, module):
    given = options(module, folder, f"{module.split()[-1]}-other", seed=4)
    finish(module, given)
    assert (
        read_metrics(given["out"] / "metrics.jsonl")[-1]
        != read_metrics(finished[module] / "metrics.jsonl")[-1]
    )


@pytest.mark.parametrize("module", STAGES)
def test_after_ctrl_c_the_same_command_ends_with_the_same_weights(finished, folder, module):
    given = options(module, folder, f"{module.split()[-1]}-interrupted")
    stopped = interrupt(module, given, signal.SIGINT, at=8)
    assert stopped.returncode == 130, stopped.stderr
    assert "the same command continues" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert torch.load(given["out"] / "checkpoint.pt", weights_only=True)["step"] in (8, 9)
    assert not (given["out"] / "done.json").exists()
    finish(module, given)
    assert_equal_runs(finished[module], given["out"])


@pytest.mark.parametrize("module", STAGES)
def test_after_kill_9_the_same_command_ends_with_the_same_weights(finished, folder, module):
    """Killed twice: before the first checkpoint was due, and between two."""
    given = options(module, folder, f"{module.split()[-1]}-killed")
    assert interrupt(module, given, signal.SIGKILL, at=3).returncode == -signal.SIGKILL
    assert not (given["out"] / "checkpoint.pt").exists()
    assert interrupt(module, given, signal.SIGKILL, at=13).returncode == -signal.SIGKILL
    assert torch.load(given["out"] / "checkpoint.pt", weights_only=True)["step"] == 10
    finish(module, given)
    assert_equal_runs(finished[module], given["out"])


def test_a_kill_from_outside_at_no_chosen_moment_is_survived(finished, folder):
    """As soon as the first line of metrics is there."""
    given = options("training.autoencoder", folder, "killed-anywhere")
    lines = given["out"] / "metrics.jsonl"
    killed = run_script(
        "training.autoencoder", given, when=lambda: lines.exists() and lines.stat().st_size > 0
    )
    assert killed.returncode == -signal.SIGKILL
    finish("training.autoencoder", given)
    assert_equal_runs(finished["training.autoencoder"], given["out"])


@pytest.mark.parametrize("module", STAGES)
def test_a_finished_stage_is_not_run_again(finished, module, folder):
    before = (finished[module] / "checkpoint.pt").stat().st_mtime_ns
    finish(module, options(module, folder, finished[module].name))
    assert (finished[module] / "checkpoint.pt").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("module", "change", "says"),
    [
        ("training.autoencoder", {"hold_out": ("3",)}, "hold_out is ['3'], was ['7']"),
        ("training.autoencoder", {"batch": 16}, "batch is 16, was 32"),
        ("training.latent_gan", {"lr": 0.5}, "lr is 0.5"),
        ("training.pixel_gan", {"optimiser": "sgd"}, "optimiser is 'sgd', was 'adam'"),
        (IMAGE_PHASE, {"adversarial": 0.5}, "adversarial is 0.5, was 0.02"),
    ],
)
def test_resuming_under_other_options_is_refused_and_says_which(finished, folder, module, change, says):
    refused = run_script(module.split()[0], options(module, folder, finished[module].name, **change))
    assert refused.returncode == 1
    assert says in refused.stderr
    assert one_sentence(refused.last_line)
    assert "Traceback" not in refused.stderr


def test_a_damaged_checkpoint_is_one_sentence(finished, folder):
    given = options("training.autoencoder", folder, "damaged")
    interrupt("training.autoencoder", given, signal.SIGINT, at=8)
    path = given["out"] / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    refused = run_script("training.autoencoder", given)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert "checkpoint.pt cannot be read" in refused.last_line


def test_a_gan_does_not_go_on_over_another_autoencoder(finished, folder):
    """Retrained in place under the same name; its options do not tell."""
    shutil.copytree(folder / "autoencoder", folder / "moving")
    given = options("training.latent_gan", folder, "stale", autoencoder=folder / "moving")
    interrupt("training.latent_gan", given, signal.SIGINT, at=8)
    other = options("training.autoencoder", folder, "autoencoder-other", seed=9)
    finish("training.autoencoder", other)
    shutil.copy(other["out"] / "autoencoder.safetensors", folder / "moving")
    refused = run_script("training.latent_gan", given)
    assert refused.returncode == 1
    assert "another autoencoder" in refused.last_line
    assert one_sentence(refused.last_line)


def test_codes_are_shared_by_gans_and_made_anew_for_another_autoencoder(finished, folder):
    codes = folder / "autoencoder" / f"codes-{TINY_GAN['copies']}.safetensors"
    before = codes.stat().st_mtime_ns
    finish("training.latent_gan", options("training.latent_gan", folder, "second", seed=8))
    assert codes.stat().st_mtime_ns == before
    content = codes.read_bytes()
    codes.write_bytes(content[:100])  # damaged
    finish("training.latent_gan", options("training.latent_gan", folder, "third"))
    assert codes.read_bytes() == content
    assert_equal_runs(finished["training.latent_gan"], folder / "third")
