"""The proof of the instrument, where there are too few data. What it finds: tests/test_reachability.py."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import TINY_GAN, one_sentence, tiny_autoencoder
from training.bundle import BundleOptions, run_bundle
from training.cli import UserError
from training.known_truth import KnownTruth, KnownTruthOptions
from training.latent_gan import LatentGanOptions, run_latent_gan


def noise(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (18, 18, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def known_truth(folder: Path, val: int) -> KnownTruth:
    """The proof over a tiny bundle of which one seen class, 'ant', has this many validation images."""
    for label, name in enumerate(("ant", "bee", "fox")):
        for i in range(20 + (val if name == "ant" else 12)):
            noise(folder / "pets" / ("train" if i < 20 else "val") / name / f"{i}.png", 100 * label + i)
    tiny_autoencoder(folder, source=f"folder:{folder / 'pets'}", hold_out=("fox",), images=64)
    gan = LatentGanOptions(**{**TINY_GAN, "autoencoder": folder / "ae", "out": folder / "gan", "images": 64})
    bundle = BundleOptions(latent_gan=run_latent_gan(gan), out=folder / "bundle", generated=20, judge=False)
    given = {"samples": 50, "mixes": 2, "repeats": 2, "judge_images": 64, "out": folder / "proof"}
    return KnownTruth(
        KnownTruthOptions(run_bundle(bundle), alpha=0.3, cache=folder / "cache", device="cpu", **given)
    )


def test_a_seen_class_with_one_validation_image_is_said_to_be_before_judges_are_trained(tmp_path):
    with pytest.raises(UserError, match=r"'ant' has 1 validation image, .* at least 2") as caught:
        known_truth(tmp_path / "one", val=1)
    assert one_sentence(caught.value)
    known = known_truth(tmp_path / "two", val=2)
    known.judge()
    fox = known.run.dataset.classes.index("fox")
    assert len(known.cases(fox)) == len(known.options.shares) + 5
    assert known.false_claims(fox)["n"] == 2
