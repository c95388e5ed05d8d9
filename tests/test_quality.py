"""The words about an evaluation."""

import pytest
from conftest import ROOT
from streamlit.testing.v1 import AppTest

from explorer.bundle_reading import open_bundle
from explorer.quality import quality

TEST = {"copied": 3, "n": 100}
EVALUATION = {
    "n": 1234,
    "judge": {"name": "the judge"},
    "distances": {
        name: {"frechet": frechet, "coverage": 0.25}
        for name, frechet in (
            ("samples", 111.4), ("round trips", 50), ("training crops", 5), ("Gaussian codes", 900),
        )
    },
    "structure": {
        "samples": {"k": 50, "n": 100}, "replays": {"k": 90, "n": 100}, "Gaussian codes": {"k": 8, "n": 100},
    },
    "memorisation": {"latents": {"samples": TEST, "unseen": TEST, "replayed": {"copied": 99, "n": 100}}},
}  # fmt: skip


def test_samples_stand_beside_floor_ceiling_and_control_with_intervals():
    text = quality(EVALUATION)
    assert "| generated | 111 | 0.250 | 0.500 [0.404, 0.596] |" in text
    assert "| random codes, drawn from a Gaussian | 900 | 0.250 | 0.080 [" in text
    assert "| training photographs | 5 |" in text
    assert "0.900 [" in text
    assert "1,234" in text
    assert "0.990 [" in text


def test_which_way_is_better_is_said():
    text = " ".join(quality(EVALUATION).split())
    assert "*Fréchet distance*: lower is better." in text
    assert "*Coverage*: share of those photographs" in text


def test_few_images_are_said_to_be_few():
    assert "few" not in quality(EVALUATION)
    assert quality({**EVALUATION, "n": 38}).startswith("**38 images on either side are few**")


def test_an_evaluation_from_before_the_linear_codec_has_no_row_for_it():
    assert "linear codec" not in quality(EVALUATION)
    distances = {**EVALUATION["distances"], "linear round trips": {"frechet": 61.2, "coverage": 0.75}}
    assert "not trained | 61 | 0.750 | - |" in quality({**EVALUATION, "distances": distances})


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "pretrained").iterdir() if p.is_dir()))
def test_the_map_shows_what_was_measured_if_it_was(name):
    at = AppTest.from_file(str(ROOT / "explorer" / "pages" / "map.py"), default_timeout=120)
    at.query_params["bundle"] = name
    at.run()
    assert not at.exception
    titles = [e.label for e in at.expander]
    evaluation = open_bundle(ROOT / "pretrained" / name).evaluation
    assert ("How good are the generated ones?" in titles) == (evaluation is not None)
    if evaluation is not None:
        assert any(quality(evaluation).strip() == m.value for m in at.markdown)
