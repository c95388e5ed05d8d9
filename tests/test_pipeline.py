"""The whole pipeline on real digits, from images to a bundle that opens."""

from pathlib import Path

import numpy as np
import pytest

from explorer.bundle import open_bundle
from training.bundle import BundleOptions, run_bundle
from training.pipeline import PipelineOptions, run_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def options(folder: Path) -> PipelineOptions:
    return PipelineOptions(
        preset="digits",
        hold_out=("7",),
        runs=folder / "runs",
        out=folder / "bundle",
        autoencoder_images=2_000,
        latent_gan_images=8_000,
        device="cpu",
    )


@pytest.fixture(scope="module")
def bundle(options: PipelineOptions) -> Path:
    return run_pipeline(options)


def test_it_ends_in_a_bundle_that_opens_and_holds_out_what_was_asked(bundle):
    opened = open_bundle(bundle)
    assert opened.held_out == ("7",)
    assert set(opened.labels[opened.splits == "held_out"]) == {7}
    assert len(opened.labels) == 1797
    assert len(opened.snapshot_images) >= 20


def test_the_bundle_says_what_was_measured_with_n_and_beside_a_reference(bundle):
    measured = open_bundle(bundle).manifest["metrics"]
    assert measured["codec"]["seen val"]["n"] == 323
    assert measured["codec"]["7"]["n"] == 179
    for model in ("latent_gan", "gaussian"):
        assert measured[model]["n"] == 323
        assert measured[model]["latent_frechet"] > 0
        assert measured[model]["latent_frechet_floor"] > 0


def test_the_card_names_the_held_out_class_the_device_and_the_command(bundle):
    card = open_bundle(bundle).card
    assert "**Held out**: 7" in card
    assert "cpu (" in card
    assert "| autoencoder |" in card


def test_stages_already_done_are_not_run_again(bundle, options, monkeypatch):
    def never(*_: object, **__: object) -> float:
        raise AssertionError("a finished stage was trained again")

    monkeypatch.setattr("training.autoencoder.train", never)
    monkeypatch.setattr("training.latent_gan.train", never)
    before = open_bundle(bundle)
    after = open_bundle(run_pipeline(options))
    np.testing.assert_array_equal(before.real_codes, after.real_codes)
    np.testing.assert_array_equal(before.generated_latents, after.generated_latents)


def test_a_run_that_was_moved_can_still_be_bundled(bundle, options, folder):
    moved = folder / "moved"
    (options.runs / "digits" / "latent_gan").rename(moved)
    try:
        again = run_bundle(
            BundleOptions(latent_gan=moved, out=folder / "again", generated=2_000, judge=False)
        )
    finally:
        moved.rename(options.runs / "digits" / "latent_gan")
    np.testing.assert_array_equal(open_bundle(again).snapshot_latents, open_bundle(bundle).snapshot_latents)
