"""Files that are never half written."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import file_names, one_sentence
from training.cli import UserError
from training.files import kept, save_weights, write_atomically, write_json


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "weights.json"
    write_json(path, {"good": 1})

    def full(temporary: Path) -> None:
        temporary.write_text('{"ha')
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"No space left.*free some space") as caught:
        write_atomically(path, full)
    assert one_sentence(caught.value)
    assert json.loads(path.read_text()) == {"good": 1}
    assert file_names(tmp_path) == ["weights.json"]


def test_arrays_are_computed_once_for_a_key_and_again_where_the_file_is_damaged(tmp_path):
    path, computed = tmp_path / "scores" / "a.safetensors", []

    def compute() -> dict[str, np.ndarray]:
        computed.append(1)
        return {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.array([1])}

    for key, times in (("one", 1), ("one", 1), ("two", 2)):
        found = kept(path, key, compute)
        assert len(computed) == times
        assert {name: part.tolist() for name, part in found.items()} == {
            "x": [[0, 1, 2], [3, 4, 5]],
            "y": [1],
        }
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    kept(path, "two", compute)
    assert len(computed) == 3
    assert path.read_bytes() == whole


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_a_disk_that_fills_while_writing_weights_keeps_the_old_ones(tmp_path, kind):
    """The real thing: the kernel refuses to let files grow."""
    from safetensors.torch import save_file

    resource = pytest.importorskip("resource")
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    tensors = {"w": torch.zeros(100_000)}
    save = torch.save if kind == "torch" else save_file
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(UserError, match="free some space"):
            write_atomically(path, lambda temporary: save(tensors, temporary))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert file_names(tmp_path) == ["weights"]


def test_weights_may_be_read_by_whoever_may_read_other_files(tmp_path):
    """The library writes weights that nobody else can read: on a shared folder a colleague could not."""
    (tmp_path / "plain").write_text("")
    save_weights(tmp_path / "weights", torch.nn.Linear(2, 2))
    kept(tmp_path / "arrays", "key", lambda: {"x": np.zeros(3)})
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes["weights"] == modes["arrays"] == modes["plain"]
