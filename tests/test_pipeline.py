"""The whole pipeline on real digits, from images to a bundle that opens."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from explorer.bundle_reading import open_bundle
from tests.support import one_sentence, write_classes
from training.bundle import BundleOptions, run_bundle
from training.cli import UserError
from training.evaluate import EvaluateOptions, run_evaluate
from training.pipeline import PipelineOptions, run_pipeline, stages


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


def test_what_is_wrong_is_said_before_anything_is_trained(options, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    given = replace(options, runs=tmp_path / "runs", out=tmp_path / "mine")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        run_pipeline(given)
    with pytest.raises(UserError, match="cannot hold out"):
        run_pipeline(replace(given, hold_out=("seven",), dry_run=True))
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_lists_the_images_and_refuses_what_the_run_would(bundle, options, tmp_path, capsys):
    run_pipeline(replace(options, dry_run=True))
    listed = json.loads(capsys.readouterr().out)["images"]
    assert listed["7"] == {"held_out": 179}
    assert sum(listed["3"].values()) == 183
    with pytest.raises(UserError, match=r"images is 3000, was 2000.*--name"):
        run_pipeline(replace(options, autoencoder_images=3_000, dry_run=True))
    write_classes(tmp_path / "pets", {"cat": (200, 9, 9), "dog": (9, 200, 9)}, n=12)
    few = replace(options, source=f"folder:{tmp_path / 'pets'}", hold_out=("cat",), runs=tmp_path / "runs")
    with pytest.raises(UserError, match=r"24 readable images, 10 for training and 2 for validation"):
        run_pipeline(replace(few, dry_run=True))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["pets/x", "../x", "..", "."])
def test_a_name_does_not_lead_out_of_the_folder(options, name):
    with pytest.raises(UserError, match="the name of a folder"):
        stages(replace(options, name=name))


@pytest.mark.parametrize("preset", ["modern", "dcgan"])
def test_a_preset_of_one_stage_is_no_pipeline(preset):
    with pytest.raises(UserError, match=r"preset of training\.pixel_gan") as caught:
        stages(PipelineOptions(preset=preset))
    assert one_sentence(caught.value)


def test_stages_already_done_are_not_run_again(bundle, options, monkeypatch):
    def never(*_: object, **__: object) -> float:
        raise AssertionError("a finished stage was trained again")

    monkeypatch.setattr("training.autoencoder.training_slices", never)
    monkeypatch.setattr("training.adversarial.training_slices", never)
    before = open_bundle(bundle)
    after = open_bundle(run_pipeline(options))
    np.testing.assert_array_equal(before.real_codes, after.real_codes)
    np.testing.assert_array_equal(before.generated_codes, after.generated_codes)


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


def test_the_fewest_samples_that_a_bundle_may_have_can_be_evaluated(bundle, options, folder):
    few = BundleOptions(
        latent_gan=options.runs / "digits" / "latent_gan", out=folder / "few", generated=6, judge=False
    )
    run_evaluate(EvaluateOptions(bundle=run_bundle(few), cache=folder / "cache", device="cpu"))
    assert open_bundle(few.out).evaluation["n"] == 6
    with pytest.raises(UserError, match="--generated must be at least 6, not 3") as caught:
        replace(few, generated=3)
    assert one_sentence(caught.value)


def test_an_image_phase_can_be_asked_for_and_its_decoder_ships(options, bundle, folder):
    asked = replace(options, image_phase_images=320, out=folder / "with-image-phase")
    plain, phased = open_bundle(bundle), open_bundle(run_pipeline(asked))
    assert set(phased.manifest["training"]) == {"autoencoder", "latent_gan", "image_phase"}
    assert "image_phase" not in plain.manifest["training"]
    assert phased.curves["image_phase"]
    before, after = (b.load_autoencoder().state_dict() for b in (plain, phased))
    changed = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}
    assert changed == {"decoder"}
    np.testing.assert_array_equal(plain.real_codes, phased.real_codes)
    assert "**Decoder**" in phased.card
    assert "**Decoder**" not in plain.card


def test_a_detail_phase_can_be_asked_for_and_ships(options, folder):
    asked = replace(options, detail_phase_images=320, out=folder / "with-detail-phase")
    bundle = open_bundle(run_pipeline(asked))
    assert set(bundle.manifest["training"]) == {"autoencoder", "latent_gan", "detail_phase"}
    assert bundle.manifest["networks"]["kind"] == "cascade"


def test_the_stages_follow_the_preset(options):
    todo = stages(options)
    assert todo.image_phase is todo.detail_phase is None  # digits have none
    assert todo.bundle.image_phase is todo.bundle.detail_phase is None
    assert todo.evaluate is None  # and no judge
    dogs = stages(PipelineOptions(preset="imagewoof64"))
    assert dogs.image_phase is None
    assert dogs.detail_phase is not None
    assert dogs.detail_phase.latent_gan == dogs.latent_gan.out
    assert dogs.bundle.detail_phase == dogs.detail_phase.out
    with pytest.raises(UserError, match="one of them"):
        stages(PipelineOptions(preset="imagewoof64", image_phase_images=99, detail_phase_images=99))
    dogs = stages(PipelineOptions(preset="imagewoof64", image_phase_images=99))
    assert dogs.detail_phase is dogs.bundle.detail_phase is None
    assert dogs.image_phase is not None
    assert dogs.image_phase.images == 99
    assert dogs.bundle.image_phase == dogs.image_phase.out
    assert dogs.evaluate is not None
    assert dogs.evaluate.bundle == dogs.bundle.out
