"""The bundles that ship."""

import numpy as np
import pytest
import torch

from explorer.bundle import FILES, MANIFEST, Bundle
from explorer.bundle_reading import open_bundle
from explorer.decoding import decode
from explorer.generation import CascadeGeneration, LatentGeneration, load_generation
from explorer.measured import MEASURED
from tests.damage import ARRAYS, load_arrays
from tests.support import (
    SHIPPED,
    file_names,
)


@pytest.fixture(scope="module", params=SHIPPED, ids=lambda p: p.name)
def shipped(request: pytest.FixtureRequest) -> Bundle:
    return open_bundle(request.param)


def test_there_is_a_small_bundle_for_the_tests():
    assert "digits" in [p.name for p in SHIPPED]


def test_shipped_bundles_are_small_and_hold_only_known_files(shipped):
    """Neither photographs nor pickles: nothing but the files of the format."""
    listed = shipped.manifest["files"]
    assert set(FILES) <= set(listed) <= {*FILES, *MEASURED}
    assert file_names(shipped.path) == sorted([*listed, MANIFEST])
    assert sum(p.stat().st_size for p in shipped.path.iterdir()) <= 30e6
    size = shipped.autoencoder_config.image_size
    for name in ARRAYS:
        for key, array in load_arrays(shipped.path / name).items():
            assert array.dtype != np.uint8 or key == "real_splits", (name, key)
            assert array.shape[-3:] != (size, size, 3), (name, key)


def test_shipped_samples_are_what_the_shipped_generator_makes_of_their_z(shipped):
    generation = first = load_generation(shipped)
    if isinstance(generation, CascadeGeneration):  # whose snapshots are of its first stage
        first = LatentGeneration(generation.autoencoder, generation.generator.coarse, shipped.standardisation)
    last = shipped.codes_of_latents(shipped.snapshot_latents[-1])
    for maker, z, codes in (
        (generation, shipped.generated_z, shipped.generated_codes), (first, shipped.snapshot_z, last),
    ):  # fmt: skip
        made = maker.codes(z)
        scale = float(np.abs(made).mean())
        assert np.abs(made - codes).max() < 0.02 * scale + 0.01


def test_rounding_to_seven_bits_changes_no_picture_visibly(shipped):
    codes = shipped.real_codes[::50]
    rounding = np.random.default_rng(0).uniform(-0.5, 0.5, codes.shape)
    step = np.abs(shipped.real_codes).max(0) / 63
    model = shipped.load_autoencoder()
    a, b = (decode(model, c).astype(float) for c in (codes, codes + rounding * step))
    assert 0 < np.sqrt(((a - b) ** 2).mean()) < 1.5  # of 255


def test_shipped_splits_say_what_was_held_out(shipped):
    assert shipped.held_out
    held_out = np.isin(shipped.labels, shipped.held_out_labels)
    np.testing.assert_array_equal(shipped.splits == "held_out", held_out)
    for split in ("train", "val"):
        labels = np.unique(shipped.labels[shipped.splits == split])
        assert set(labels) == set(range(len(shipped.classes))) - set(shipped.held_out_labels)
    assert len(set(shipped.names)) == len(shipped.names)


def test_shipped_latents_of_seen_images_have_about_the_scale_of_the_prior(shipped):
    """The standardisation was fitted on shifted and mirrored seen images; the plain ones come close."""
    seen = shipped.real_codes[shipped.splits == "train"].astype(np.float32)
    latents = shipped.standardisation.to_latents(torch.from_numpy(seen))
    assert latents.mean(0).abs().max() < 1
    assert 0.5 < latents.var(0).mean() < 2


def test_shipped_bundles_say_where_they_come_from(shipped):
    manifest = shipped.manifest
    assert manifest["data"]["licence"]
    assert {"autoencoder", "latent_gan"} <= set(manifest["training"])
    assert set(manifest["training"]) <= {"autoencoder", "latent_gan", "detail_phase", "image_phase"}
    for stage in manifest["training"].values():
        assert stage["command"].startswith("python -m training.")
        assert {"options", "versions", "device", "done"} <= stage.keys()
        assert tuple(stage["options"].get("hold_out", shipped.held_out)) == shipped.held_out
    for words in ("Held out", "Not for", *shipped.held_out):
        assert words in shipped.card
    assert all(shipped.curves[stage] for stage in manifest["training"])


def test_shipped_bundles_have_at_least_twenty_log_spaced_snapshots(shipped):
    images = shipped.snapshot_images
    assert len(images) >= 20
    assert (np.diff(images) > 0).all()
    assert len(shipped.snapshot_z) >= 200
    assert np.median(images) < images[-1] / 10
