"""The second phase of Express Construction, on real digits: what it changes, keeps and never sees."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import TINY_GAN, TINY_IMAGE_PHASE, paint_over, tiny_autoencoder
from training import autoencoder, image_phase, latent_gan
from training.cli import UserError
from training.files import read_json
from training.metrics_log import read_metrics


def make(kind: type, values: dict, **more):
    return kind(**{**values, **more})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phases")
    torch.set_num_threads(1)
    tiny_autoencoder(folder)
    latent_gan.run_latent_gan(
        make(latent_gan.LatentGanOptions, TINY_GAN, autoencoder=folder / "ae", out=folder / "gan")
    )
    return folder


def test_a_convolutional_gan_trains_and_its_generator_can_be_loaded(folder):
    """Over the same codes; the fixed bases come back with the weights."""
    run = make(
        latent_gan.LatentGanOptions, TINY_GAN, autoencoder=folder / "ae", out=folder / "conv",
        network="conv", width=4, blocks=1,
    )  # fmt: skip
    latent_gan.run_latent_gan(run)
    generator, standard, _ = latent_gan.load_run(folder / "conv")
    (basis,) = generator.buffers()
    torch.testing.assert_close(basis, (standard.components / standard.scale[:, None]).T)
    z = torch.randn(9, TINY_GAN["z_dim"])
    assert not torch.equal(generator(z)[:, :4], z)  # it has learnt something


def options(folder: Path, out: str, **values) -> image_phase.ImagePhaseOptions:
    return make(
        image_phase.ImagePhaseOptions, TINY_IMAGE_PHASE, latent_gan=folder / "gan", out=folder / out, **values
    )


def decoder_of(folder: Path, out: str | None = None) -> dict[str, torch.Tensor]:
    generator, _, _ = latent_gan.load_run(folder / "gan")
    codec, _ = autoencoder.load_run(folder / "ae")
    if out:
        image_phase.load_run(folder / out, codec, generator)
    return codec.state_dict()


def test_the_decoder_changes_and_the_encoder_does_not(folder):
    image_phase.run_image_phase(options(folder, "image"))
    before, after = decoder_of(folder), decoder_of(folder, "image")
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed
    assert all(k.startswith("decoder.") for k in changed)


def test_done_says_what_it_did_to_the_round_trips_with_n(folder):
    image_phase.run_image_phase(options(folder, "image"))
    done = read_json(folder / "image" / "done.json")
    assert done["n"] == 323
    assert done["images"] == 320
    for when in ("before", "after"):
        assert {"psnr_whole", "psnr_cut", "sharpness_generated"} <= done[when].keys()
    # Cut codes hold less than whole ones.
    assert done["before"]["psnr_cut"] < done["before"]["psnr_whole"]


def test_without_an_adversary_it_learns_to_decode_cut_codes(folder):
    """The reconstruction term alone: cut codes must come out better than before."""
    run = options(folder, "fit", adversarial=0.0, generated_share=0.0, images=3200, lr=2e-3, cut_fit=1.0)
    image_phase.run_image_phase(run)
    done = read_json(folder / "fit" / "done.json")
    assert done["after"]["psnr_cut"] > done["before"]["psnr_cut"] + 0.2


def test_the_adversary_is_what_the_weight_says(folder):
    """Weight 0 and generated codes alone: nothing is left to learn from, so the decoder stays as it was."""
    image_phase.run_image_phase(options(folder, "idle", adversarial=0.0, generated_share=1.0))
    before, after = decoder_of(folder), decoder_of(folder, "idle")
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_any_share_of_generated_codes_trains(folder, share):
    image_phase.run_image_phase(options(folder, f"share-{share}", generated_share=share))
    assert np.isfinite(read_metrics(folder / f"share-{share}" / "metrics.jsonl")[-1]["psnr_whole"])


def test_a_share_beyond_one_is_refused(folder):
    with pytest.raises(UserError, match="between 0 and 1"):
        image_phase.run_image_phase(options(folder, "wrong", generated_share=1.5))


def test_held_out_images_change_nothing(folder, monkeypatch):
    """Held-out digits painted over: the same weights, byte for byte. A seen digit painted over: others."""
    image_phase.run_image_phase(options(folder, "image"))
    reference = (folder / "image" / "decoder.safetensors").read_bytes()

    paint_over(monkeypatch, 7)
    image_phase.run_image_phase(options(folder, "painted"))
    assert (folder / "painted" / "decoder.safetensors").read_bytes() == reference
    paint_over(monkeypatch, 3)
    image_phase.run_image_phase(options(folder, "painted-seen"))
    assert (folder / "painted-seen" / "decoder.safetensors").read_bytes() != reference


def test_a_decoder_made_for_another_generator_is_refused(folder):
    image_phase.run_image_phase(options(folder, "image"))
    generator, _, _ = latent_gan.load_run(folder / "gan")
    codec, _ = autoencoder.load_run(folder / "ae")
    with torch.no_grad():
        next(generator.parameters()).add_(1)
    with pytest.raises(UserError, match="another latent GAN"):
        image_phase.load_run(folder / "image", codec, generator)


def test_a_run_over_another_generator_does_not_go_on(folder):
    """The latent GAN was trained again in its folder: what stands here is over another."""
    image_phase.run_image_phase(options(folder, "image"))
    made_of = folder / "image" / "made_of.json"
    noted = made_of.read_text()
    made_of.write_text('{"generator": "another"}')
    with pytest.raises(UserError, match="another latent GAN or autoencoder"):
        image_phase.run_image_phase(options(folder, "image"))
    made_of.write_text(noted)
    image_phase.run_image_phase(options(folder, "image"))


def test_an_unfinished_run_is_refused(folder, tmp_path):
    generator, _, _ = latent_gan.load_run(folder / "gan")
    codec, _ = autoencoder.load_run(folder / "ae")
    with pytest.raises(UserError, match="no finished image phase"):
        image_phase.load_run(tmp_path, codec, generator)
