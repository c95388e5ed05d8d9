"""What tests change in a bundle to damage it."""

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from explorer.bundle import FILES, MANIFEST, BundleError
from explorer.bundle_reading import open_bundle
from tests.support import one_sentence

ARRAYS = [name for name in FILES if ".safetensors" in name]


def change_manifest(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    change(manifest)
    (path / MANIFEST).write_text(json.dumps(manifest))


def fix_hash(path: Path, name: str) -> None:
    """Make the manifest agree with a changed file: the damage must then be found in the content."""
    digest = hashlib.sha256((path / name).read_bytes()).hexdigest()
    change_manifest(path, lambda m: m["files"][name].update(sha256=digest))


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    content = path.read_bytes()
    return load(gzip.decompress(content) if path.suffix == ".gz" else content)


def change_arrays(path: Path, name: str, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    arrays = {k: v.copy() for k, v in load_arrays(path / name).items()}
    change(arrays)
    content = save(arrays)
    (path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    fix_hash(path, name)


def refused(path: Path, name: str) -> str:
    """The one sentence with which a bundle is refused; it names the file."""
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    assert one_sentence(caught.value)
    assert str(path / name) in str(caught.value)
    return str(caught.value)
