"""What every script shares at its edge: one-sentence errors and the command line."""

import argparse
import dataclasses
import json
import logging
import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import tyro

from training.presets import DEFAULT_PRESET, PRESETS

Options = TypeVar("Options")
# Counts and sizes: a run with none of them is a slip of the pen.
POSITIVE = frozenset(
    {"batch", "images", "image_size", "code_channels", "code_size", "ema_images", "evaluate_every"}
    | {"z_dim", "latent_dim", "width", "penalty_every", "snapshots", "snapshot_samples", "generated"}
    | {"log_every", "checkpoint_every", "autoencoder_images", "latent_gan_images", "size"}
    | {"detail_phase_images", "image_phase_images", "warmup_images", "cpus", "remakes"}
    | {"samples", "targets", "restarts", "search_steps", "judge_images", "pixel_images", "detail_images"}
)
SEEDS, MOST_SEED = frozenset({"seed", "split_seed"}), 2**32 - 1  # of what draws the map
NOT_NEGATIVE = (
    SEEDS
    | {"margin", "copies", "blocks", "discriminator_blocks", "gamma", "code_noise", "beta1", "decay"}
    | {"umap_min_dist"}
)
AT_MOST_1 = frozenset({"decay", "umap_min_dist"})
# Stages of training, each with a folder of its own below runs/<preset>.
STAGES = ("autoencoder", "latent_gan", "detail_phase", "image_phase", "pixel_gan")


class UserError(Exception):
    """Something the user can mend: the message is one sentence that says what is wrong and what to do."""


def check_options(options: Any) -> None:
    """Raise UserError for a count or a size below one, what else is out of range, or what is no number."""
    for name, value in vars(options).items():
        least = 1 if name in POSITIVE else 0 if name in NOT_NEGATIVE else None
        option = f"--{name.replace('_', '-')}"
        if least is not None and value is not None and value < least:
            raise UserError(f"{option} must be at least {least}, not {value}")
        if name in SEEDS and value is not None and value > MOST_SEED:
            raise UserError(f"{option} must be at most {MOST_SEED}, not {value}")
        if name in AT_MOST_1 and value > 1:
            raise UserError(f"{option} must be at most 1, not {value}")
        if name == "beta1" and value >= 1:
            raise UserError(f"{option} must be below 1, not {value}")
        if name == "umap_neighbours" and value < 2:
            raise UserError(f"{option} must be at least 2, not {value}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{option} must be a number, not {value}")
        if name == "lr" and value <= 0:
            raise UserError(f"{option} must be above 0, not {value}")


def preset_options(options: type[Options], stage: str, preset: str) -> Options:
    """Options of a stage as its preset has them, with the run's folder in ``runs/<preset>/<stage>``."""
    if preset not in PRESETS:
        raise UserError(f"there is no preset {preset!r}; the presets are {', '.join(PRESETS)}")
    values: dict[str, Any] = {"preset": preset}
    names = {f.name for f in dataclasses.fields(options)}  # type: ignore[arg-type]
    folders = {s: Path("runs") / preset / s for s in STAGES}
    for phase in ("detail_phase", "image_phase"):
        if not PRESETS[preset].get(phase, {}).get("images", 1):
            del folders[phase]  # this preset has none
    values |= {name: folder for name, folder in folders.items() if name in names}
    if stage in folders:
        values["out"] = folders[stage]
    elif stage == "bundle":
        values["out"] = Path("pretrained") / preset
        for name in ("pixel_gan", "detail_phase"):  # a bundle is of the latent GAN unless told otherwise
            values.pop(name, None)
    return options(**values | PRESETS[preset].get(stage, {}))


def early_choice(name: str, default: str) -> str:
    """The value of ``--name`` on the command line, needed before the other options can be read."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument(f"--{name}", default=default)
    return getattr(early.parse_known_args()[0], name)


def _check_phase(options: Any, stage: str) -> None:
    """Raise UserError for a phase that the preset does not have and that was given no length."""
    preset = getattr(options, "preset", "")
    if PRESETS.get(preset, {}).get(stage, {}).get("images") == 0 == options.images:
        raise UserError(
            f"the preset {preset} has no {stage.replace('_', ' ')}; say how long it is to be, with --images"
        )


def run_script(options: type[Options], stage: str, main: Callable[[Options], object]) -> None:
    """Parse ``options`` (a frozen dataclass) from the command line and call ``main`` with it.

    ``--preset`` decides the defaults. ``UserError`` is printed as its one sentence and exits with
    status 1; Ctrl-C exits with 130.
    """
    from training import parallel  # it needs what stands here

    level = logging.INFO if parallel.is_first() else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    try:
        default = None
        if "preset" in {f.name for f in dataclasses.fields(options)}:  # type: ignore[arg-type]
            default = preset_options(options, stage, early_choice("preset", DEFAULT_PRESET))
        # The module docstring is the script's help; tyro prints the options below it.
        description = sys.modules["__main__"].__doc__
        given: Any = {} if default is None else {"default": default}
        parsed = tyro.cli(options, description=description, **given)
        _check_phase(parsed, stage)
        check_options(parsed)
        with parallel.joined(stage, parsed):
            main(parsed)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted; the same command continues from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def command_line() -> str:
    """The command that started this process, as a user would type it."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    name = f"-m {module.name}" if module and module.name != "__main__" else sys.argv[0]
    return f"python {name} {shlex.join(sys.argv[1:])}".strip()


def options_json(options: Any) -> dict[str, Any]:
    """A dataclass of options as plain JSON values (paths as strings, tuples as lists)."""
    return json.loads(json.dumps(dataclasses.asdict(options), default=str))


def print_dry_run(options: Any, **resolved: Any) -> None:
    """Print what a run would do, as JSON, without doing it; dataclasses in ``resolved`` are unfolded."""
    plain = {k: options_json(v) if dataclasses.is_dataclass(v) else v for k, v in resolved.items()}
    print(json.dumps({"options": options_json(options), **plain}, indent=2, default=str, ensure_ascii=False))
