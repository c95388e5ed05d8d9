"""The scripts' command line: dry runs, exit codes and one-sentence errors, as a user meets them."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, TINY_AUTOENCODER, file_names, one_sentence, run_script
from training import codec_table
from training.adversarial import snapshot_path
from training.autoencoder import AutoencoderOptions, load_run
from training.bundle import BundleOptions
from training.cli import UserError, check_options, options_json, preset_options
from training.device import resolve_device
from training.files import make_folder
from training.latent_gan import LatentGanOptions
from training.presets import PRESETS
from training.runs import options_from_json, read_options


def test_a_dry_run_prints_the_resolved_options_and_writes_nothing(tmp_path):
    given = {**TINY_AUTOENCODER, "out": tmp_path / "run", "cache": tmp_path / "cache"}
    done = run_script("training.autoencoder", given, "--dry-run")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["steps"] == 20
    assert printed["options"]["hold_out"] == ["7"]
    assert printed["options"]["widths"] == [8, 8]
    assert printed["options"]["lr"] == preset_options(AutoencoderOptions, "autoencoder", "imagewoof64").lr
    assert file_names(tmp_path) == []


@pytest.mark.parametrize(
    "module", ["training.latent_gan", "training.bundle", "training.pipeline", "training.autoencoder"]
)
def test_every_stage_has_a_dry_run_that_writes_nothing(tmp_path, module):
    out = tmp_path / "out"
    done = run_script(module, {"preset": "digits", "out": out}, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert '"options"' in done.stdout
    assert not out.exists()


@pytest.mark.parametrize("phase", ["detail", "image"])
def test_a_phase_that_the_preset_lacks_asks_for_its_length(phase):
    given = {"preset": "digits", "phase": phase}
    done = run_script("training.latent_gan", given, "--dry-run")
    assert done.returncode == 1
    assert f"digits has no {phase} phase" in done.last_line
    assert "--images" in done.last_line
    assert one_sentence(done.last_line)
    assert run_script("training.latent_gan", {**given, "images": 640}, "--dry-run").returncode == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hold_out": ("eleven",)}, "cannot hold out 'eleven'"),
        ({"hold_out": tuple("0123456789")}, "every class is held out"),
        ({"source": "folder:nowhere"}, "no folder nowhere"),
        ({"source": "cats"}, "unknown source"),
        ({"code_size": 5}, "cannot be built"),
        ({"device": "quantum"}, "cannot be used here"),
        ({"preset": "nonesuch"}, "no preset 'nonesuch'"),
        ({"batch": 0}, "--batch must be at least 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_one_sentence_and_exit_status_1(tmp_path, change, says):
    given: dict[str, Any] = {
        **TINY_AUTOENCODER,
        "out": tmp_path / "run",
        "cache": tmp_path / "cache",
        **change,
    }
    done = run_script("training.autoencoder", given)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.last_line
    assert last.startswith("error: ")
    assert says in last
    assert one_sentence(last)
    assert not (tmp_path / "run").exists()  # a mistake leaves no folder that would refuse its correction


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": -1}, "--seed must be at least 0"), ({"seed": 2**32}, "--seed must be at most 4294967295"),
        ({"margin": -3}, "--margin must be at least 0"),
        ({"lr": math.nan}, "--lr must be a number"), ({"lr": 0.0}, "--lr must be above 0"),
        ({"code_noise": math.inf}, "--code-noise must be a number"),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_one_sentence(change, says):
    check_options(AutoencoderOptions())
    with pytest.raises(UserError, match=says) as caught:
        check_options(AutoencoderOptions(**change))
    assert one_sentence(caught.value)


@pytest.mark.parametrize(
    ("options", "change", "says"),
    [
        (LatentGanOptions, {"copies": -1}, "--copies must be at least 0"),
        (LatentGanOptions, {"blocks": -2}, "--blocks must be at least 0"),
        (LatentGanOptions, {"gamma": -1.0}, "--gamma must be at least 0"),
        (LatentGanOptions, {"beta1": 1.0}, "--beta1 must be below 1"),
        (LatentGanOptions, {"decay": -1.0}, "--decay must be at least 0"),
        (LatentGanOptions, {"decay": 1.5}, "--decay must be at most 1"),
        (BundleOptions, {"umap_neighbours": 1}, "--umap-neighbours must be at least 2"),
        (BundleOptions, {"umap_min_dist": 5.0}, "--umap-min-dist must be at most 1"),
    ],
)
def test_what_is_out_of_range_is_said_before_anything_is_begun(options, change, says):
    check_options(options())
    with pytest.raises(UserError, match=says) as caught:
        check_options(options(**change))
    assert one_sentence(caught.value)


def test_widths_below_1_and_devices_that_compute_nothing_are_refused():
    with pytest.raises(UserError, match="at least 1"):
        assert AutoencoderOptions(widths=(0, 64, 64)).config
    with pytest.raises(UserError, match="cannot be used here"):
        resolve_device("meta")


def test_an_output_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made") as caught:
        make_folder(tmp_path / "file" / "x")
    assert one_sentence(caught.value)


def test_options_that_are_none_are_one_sentence(tmp_path):
    for content in ("{}", "[]", '{"options": 3}'):
        (tmp_path / "options.json").write_text(content)
        with pytest.raises(UserError, match="holds no options") as caught:
            read_options(tmp_path)
        assert one_sentence(caught.value)


def test_an_unknown_option_is_refused_with_status_2():
    done = run_script("training.autoencoder", {"hold_outt": "Samoyed"})
    assert done.returncode == 2
    assert "hold-out" in done.stderr


def test_a_gan_without_its_autoencoder_says_what_to_run_first(tmp_path):
    done = run_script("training.latent_gan", {"autoencoder": tmp_path / "none", "out": tmp_path / "gan"})
    assert done.returncode == 1
    assert "run python -m training.autoencoder first" in done.last_line
    assert not (tmp_path / "gan").exists()


def test_help_explains_every_option():
    done = run_script("training.autoencoder", {}, "--help")
    assert done.returncode == 0
    for words in ("--hold-out", "--checkpoint-every", "no training, validation, normalisation", "To resume"):
        assert words in " ".join(done.stdout.replace("│", " ").split())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_resolves_to_options_that_can_be_built(preset):
    autoencoder = preset_options(AutoencoderOptions, "autoencoder", preset)
    gan = preset_options(LatentGanOptions, "latent_gan", preset)
    assert gan.latent_dim <= autoencoder.config.code_dim
    assert gan.config(autoencoder.config.code_shape).latent_dim == gan.latent_dim
    assert gan.autoencoder == autoencoder.out


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_takes_at_least_twenty_log_spaced_snapshots(preset):
    options = preset_options(LatentGanOptions, "latent_gan", preset)
    steps = options.snapshot_steps
    assert len(steps) >= 20
    assert steps == sorted(set(steps))
    assert steps[-1] == options.steps
    assert steps[0] <= 2
    middle = steps[len(steps) // 2]
    assert middle < options.steps / 10  # log-spaced: half of them in the first tenth


def test_a_table_of_no_runs_is_refused():
    with pytest.raises(UserError, match="at least one"):
        codec_table.main(codec_table.TableOptions(()))


def test_a_single_snapshot_is_of_the_end():
    assert LatentGanOptions(images=1024, batch=64, snapshots=1).snapshot_steps == [16]
    assert LatentGanOptions(images=1024, batch=64, snapshots=2).snapshot_steps == [1, 16]


def test_options_survive_the_way_through_json():
    options = AutoencoderOptions(hold_out=("a b", "c"), boxes=Path("x/y.csv"), widths=(8, 8, 8))
    assert options_from_json(AutoencoderOptions, options_json(options)) == options


def test_a_run_that_is_not_finished_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no finished autoencoder") as caught:
        load_run(tmp_path)
    assert one_sentence(caught.value)


def test_snapshot_names_sort_by_training_images():
    paths = [snapshot_path(Path("run"), n) for n in (64, 1_000, 3_999_999)]
    assert paths == sorted(paths)


# The layers


BLOCKER = """
import importlib, sys
blocked = {blocked!r}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocker())
for name in {modules!r}:
    importlib.import_module(name)
assert not blocked & {{name.split(".")[0] for name in sys.modules}}
"""


def import_without(blocked: set[str], modules: list[str]) -> None:
    """Import modules in a fresh process that has not the blocked packages."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER.format(blocked=blocked, modules=modules)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def modules_of(package: str) -> list[str]:
    paths = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths]
    return [n.removesuffix(".__init__") for n in names]


def test_nothing_in_explorer_imports_training():
    pages = [m for m in modules_of("explorer") if m.startswith("explorer.pages")]
    import_without({"training"}, [m for m in modules_of("explorer") if m not in pages])
    for module in modules_of("explorer"):  # pages run when they are imported, and some imports come late
        path = ROOT / Path(*module.split(".")).with_suffix(".py")
        text = path.read_text() if path.is_file() else ""
        assert "import training" not in text, module
        assert "from training" not in text, module


def test_opening_a_bundle_needs_neither_the_app_nor_training_nor_umap():
    import_without(
        {"training", "streamlit", "plotly", "umap", "sklearn", "torchvision", "torchmetrics"},
        [
            "explorer.bundle",
            "explorer.latent",
            "explorer.networks",
            "explorer.decoding",
            "explorer.projection",
        ],
    )


def test_training_imports_without_the_app_and_without_umap():
    import_without({"streamlit", "plotly", "umap"}, modules_of("training"))


def test_damaged_weights_of_a_finished_run_are_one_sentence(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    options = preset_options(AutoencoderOptions, "autoencoder", "digits")
    (run / "options.json").write_text(json.dumps({"options": options_json(options)}))
    (run / "done.json").write_text("{}")
    (run / "autoencoder.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(UserError, match=r"autoencoder\.safetensors cannot be read") as caught:
        load_run(run)
    assert one_sentence(caught.value)
