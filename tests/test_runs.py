"""A run's folder: its options, and going on with the same ones only."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from tests.support import one_sentence
from training.cli import UserError
from training.files import read_json
from training.runs import RunOptions, open_run

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    width: int = 8
    hold_out: tuple[str, ...] = ()
    source: Path = Path("here")


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(out=tmp_path / "run", device="cpu")


def test_a_run_writes_its_options_command_versions_and_device_beside_the_weights(options):
    open_run(options, CPU)
    written = read_json(options.out / "options.json")
    assert written["options"]["seed"] == 0
    assert {"python", "torch", "numpy"} <= written["versions"].keys()
    assert written["command"].startswith("python")
    assert written["device"].startswith("cpu")


def test_options_that_change_what_is_computed_may_not_differ_and_are_named(options):
    open_run(options, CPU)
    with pytest.raises(UserError) as caught:
        open_run(replace(options, width=9, hold_out=("fox",), log_every=99), CPU)
    text = str(caught.value)
    assert one_sentence(text)
    assert "width is 9, was 8" in text
    assert "hold_out is ['fox'], was []" in text
    assert "log_every" not in text
    assert "seed" not in text


def test_a_run_begun_before_an_option_existed_goes_on_with_its_default(options):
    open_run(options, CPU)
    written = read_json(options.out / "options.json")
    del written["options"]["hold_out"]
    (options.out / "options.json").write_text(json.dumps(written))
    open_run(options, CPU)
    with pytest.raises(UserError, match=r"hold_out is \['fox'\], was \[\]"):
        open_run(replace(options, hold_out=("fox",)), CPU)


@pytest.mark.parametrize("value", [{"log_every": 1}, {"checkpoint_every": 1}, {"device": "auto"}])
def test_options_that_only_say_where_and_how_may_differ(options, value):
    open_run(options, CPU)
    open_run(replace(options, **value), CPU)


def test_damaged_options_are_one_sentence(options):
    open_run(options, CPU)
    (options.out / "options.json").write_text('{"options": {"wid')
    with pytest.raises(UserError, match=r"options\.json") as caught:
        open_run(options, CPU)
    assert one_sentence(caught.value)
