"""Files that are never half written: text, JSON, weights, arrays, and the folders they lie in."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import nn

from training import parallel
from training.cli import UserError

UMASK = os.umask(0)  # there is no other way to read it
os.umask(UMASK)


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
        temporary.chmod(0o666 & ~UMASK)  # safetensors lets nobody else read
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


def kept(path: Path, key: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays by name from a file, computed and written where it is missing, damaged or of another key.

    key: whatever they depend on, as text.
    """
    # One entry: several have no fixed order, and the same arrays should be the same bytes.
    known = {"key": hashlib.sha256(key.encode()).hexdigest()[:16]}
    with suppress(OSError, SafetensorError), safe_open(path, "numpy") as file:
        if file.metadata() == known:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    arrays = compute()
    make_folder(path.parent)
    write_atomically(path, lambda temporary: save_arrays(arrays, temporary, known))
    return arrays


def make_folder(path: Path) -> None:
    """Make a folder, if there is none. Raises UserError where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be made ({error}); name another folder") from None


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
