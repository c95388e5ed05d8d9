"""The judges: those with permuted labels know nothing, neither of the two."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.class_judges import Judges, NetworkJudge, NetworkJudgeOptions, classifier


@pytest.mark.parametrize("permuted", [False, True])
def test_both_judges_learn_permuted_labels_where_they_should(tmp_path: Path, monkeypatch, permuted):
    """Two classes that anything could tell apart, by features and by brightness."""
    labels = np.repeat([0, 1], 100)
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(200, 3)) + 6 * labels[:, None]).astype(np.float32)
    pictures = np.broadcast_to((20 + 200 * labels)[:, None, None, None], (200, 16, 16, 3)).astype(np.uint8)
    learnt: list[np.ndarray] = []
    monkeypatch.setattr(NetworkJudge, "learn", lambda self, draw, given: learnt.append(given))
    options = NetworkJudgeOptions(images=64, permuted=permuted, out=tmp_path / "judge", device="cpu")
    judges = Judges(lambda: pictures, 16, features, labels, options, torch.device("cpu"))
    by_head = (judges(pictures, features)[:, 0].argmax(1) == labels).mean()
    (by_network,) = [(given == labels).mean() for given in learnt]
    assert np.bincount(learnt[0]).tolist() == [100, 100]
    if permuted:
        assert by_head < 0.7
        assert by_network < 0.7
    else:
        assert (by_head, by_network) == (1, 1)


def test_labels_are_permuted_image_by_image(tmp_path: Path, monkeypatch):
    """As true ones are, they are those of all pictures of an image."""
    rng, learnt = np.random.default_rng(0), []
    monkeypatch.setattr(NetworkJudge, "learn", lambda self, draw, given: learnt.append(given))
    labels, features = np.repeat([0, 1, 2], 30), rng.normal(size=(270, 3)).astype(np.float32)
    for permuted in (False, True):
        options = NetworkJudgeOptions(images=64, permuted=permuted, out=tmp_path / "judge", device="cpu")
        Judges(lambda: np.empty(0, np.uint8), 16, features, labels, options, torch.device("cpu"))
    true, dealt = (given.reshape(3, 90) for given in learnt)
    assert (true == labels).all()
    assert (dealt == dealt[0]).all()
    assert (dealt[0] != labels).any()


@pytest.mark.parametrize("size", [16, 36, 44, 64, 72, 100, 128])
def test_there_is_a_network_for_every_size_that_an_autoencoder_takes(size):
    assert classifier(size, 3)(torch.zeros(2, 3, size, size)).shape == (2, 3)
