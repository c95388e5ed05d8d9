"""A run's folder: the options it was begun with, and the refusal to go on with others."""

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

import torch

from training import parallel
from training.cli import UserError, command_line, options_json
from training.device import device_name
from training.files import make_folder, read_json, write_json

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


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def read_options(folder: Path) -> dict[str, Any]:
    """The options that a run was begun with. Raises UserError when they are missing or broken."""
    try:
        return dict(read_json(folder / "options.json")["options"])
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{folder / 'options.json'} holds no options; delete {folder} and train it again"
        ) from None


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
        if isinstance(value, list):
            value = tuple(value)
        elif value is not None and "Path" in str(hints[name]):
            value = Path(value)
        converted[name] = value
    return kind(**converted)


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


def check_resumable(options: RunOptions) -> bool:
    """Whether a run was begun in the options' folder, with these options.

    An option that there was not yet when the run was begun has its default there, if it does not mark a kind
    of run (``MARK``). Raises UserError that names the options which differ.
    """
    if not (options.out / "options.json").is_file():
        return False
    theirs = read_options(options.out)
    added = {
        f.name: f.default
        for f in fields(options)
        if f.name not in theirs and f.default is not MISSING and MARK not in f.metadata
    }
    usual = options_json(replace(options, **added))
    theirs = {**{name: usual[name] for name in added}, **theirs}
    mine, before = _comparable(options_json(options)), _comparable(theirs)
    differ = [
        f"{k} is {mine.get(k)!r}, was {before.get(k)!r}"
        for k in sorted(mine.keys() | before.keys())
        if mine.get(k) != before.get(k)
    ]
    if differ:
        raise UserError(
            f"{options.out} was started with other options ({'; '.join(differ)}); "
            "use the same ones to continue it, or another folder (--out; of a pipeline, --name)"
        )
    return True


@parallel.first_alone()
def open_run(options: RunOptions, device: torch.device) -> None:
    """Create the run's folder and its options.json, or check that it was made with the same options.

    Raises UserError as ``check_resumable`` does.
    """
    if check_resumable(options):
        return
    make_folder(options.out)
    write_json(
        options.out / "options.json",
        {
            "options": options_json(options),
            "command": command_line(),
            "versions": package_versions(),
            "device": device_name(device),
            "processes": parallel.world(),
        },
    )
