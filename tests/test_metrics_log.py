"""The metrics of a run."""

import pytest

from tests.support import one_sentence
from training.cli import UserError
from training.metrics_log import read_metrics


def test_a_missing_log_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"metrics\.jsonl.* is missing") as caught:
        read_metrics(tmp_path / "metrics.jsonl")
    assert one_sentence(caught.value)
