"""A pixel GAN in a bundle: its own pictures wherever a sample is shown, the encoder's codes in numbers."""

import base64
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from streamlit.testing.v1 import AppTest

from explorer import session
from explorer.bundle import Bundle
from explorer.bundle_reading import open_bundle
from explorer.comparison import nearest_generated
from explorer.decoding import decode, encode
from explorer.generation import PixelGeneration, load_generation
from explorer.networks import to_uint8
from explorer.player.journey import End, code_path, travel, z_path
from explorer.points import Point, pictures_of
from explorer.sampling import draw_samples
from tests.support import TINY_PIXEL_GAN, one_sentence, tiny_autoencoder
from training import evaluate, pixel_gan
from training.autoencoder import load_run as load_autoencoder
from training.bundle import BundleOptions, _judge, run_bundle
from training.cli import UserError, preset_options
from training.data.dataset import open_dataset
from training.evaluate import EvaluateOptions, run_evaluate
from training.pixel_gan import PixelGanOptions, run_pixel_gan

KEY = "journey/pixels"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished autoencoder, of codes of 64 numbers, and a finished pixel GAN."""
    folder = tmp_path_factory.mktemp("pixel-bundle")
    tiny_autoencoder(folder, preset="digits", code_channels=4)
    run_pixel_gan(PixelGanOptions(**{**TINY_PIXEL_GAN, "autoencoder": folder / "ae", "out": folder / "gan"}))
    return folder


def options(folder: Path, **values: Any) -> BundleOptions:
    given = {"pixel_gan": folder / "gan", "out": folder / "bundles" / "pixels", "generated": 330}
    return BundleOptions(**{"judge": False, "device": "cpu", **given, **values})


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return run_bundle(options(folder))


@pytest.fixture(scope="module")
def bundle(path: Path) -> Bundle:
    return open_bundle(path)


@pytest.fixture(scope="module")
def generation(bundle: Bundle) -> PixelGeneration:
    generation = load_generation(bundle)
    assert isinstance(generation, PixelGeneration)
    return generation


@pytest.fixture(scope="module")
def drawn(bundle: Bundle, folder: Path) -> np.ndarray:
    """What the trained generator, rounded as it ships, makes of the stored z: uint8 (m, 16, 16, 3)."""
    generator = pixel_gan.load_run(folder / "gan")[0].half().float()
    with torch.inference_mode():
        return to_uint8(generator(torch.from_numpy(bundle.generated_z.astype(np.float32)))).numpy()


def assert_same(pictures: np.ndarray, expected: np.ndarray) -> None:
    """Equal up to a grey level, where rounding was undecided."""
    assert pictures.shape == expected.shape
    assert np.abs(pictures.astype(int) - expected.astype(int)).max() <= 1


def generated(*rows: int) -> list[Point]:
    return [Point("generated", row) for row in rows]


# What is stored


def test_the_manifest_says_what_it_is(bundle):
    assert bundle.manifest["networks"]["kind"] == "pixel"
    assert set(bundle.manifest["training"]) == set(bundle.curves) == {"autoencoder", "pixel_gan"}
    assert bundle.manifest["metrics"]["pixel_gan"]["n"] == 323
    assert len(bundle.snapshot_images) == TINY_PIXEL_GAN["snapshots"]
    assert bundle.map_snapshots.shape == (TINY_PIXEL_GAN["snapshots"], 8, 2)


def test_codes_are_the_encoders_of_the_pictures_whole_and_to_seven_bits(bundle, drawn):
    codes = encode(bundle.load_autoencoder(), drawn)
    step = np.abs(codes).max(0) / 63
    # A grey level more or less, where rounding was undecided, moves a code a little.
    assert (np.abs(bundle.generated_codes - codes) <= 0.5 * step + 0.05 * codes.std(0)).all()
    # Whole: not cut to the whitened components.
    latents = bundle.standardisation.to_latents(torch.from_numpy(codes))
    cut = bundle.codes_of_latents(latents.numpy())
    assert cut.shape[1] > latents.shape[1]
    assert np.abs(bundle.generated_codes - codes).mean() < 0.5 * np.abs(bundle.generated_codes - cut).mean()
    np.testing.assert_allclose(bundle.map_generated, bundle.place(bundle.generated_codes), rtol=1e-4)


def test_components_are_fitted_on_the_seen_training_codes(bundle):
    """The preset has no shifted and mirrored copies: on just these codes."""
    seen = torch.from_numpy(bundle.real_codes[bundle.splits == "train"])
    latents = bundle.standardisation.to_latents(seen)
    assert latents.mean(0).abs().max() < 0.05
    torch.testing.assert_close(latents.var(0), torch.ones(latents.shape[1]), atol=0.05, rtol=0)


def test_the_last_snapshot_is_the_finished_generators(bundle, generation):
    codes = generation.codes(bundle.snapshot_z)
    placed = bundle.place(codes)
    spread = bundle.map_real.std(0).mean()
    assert np.median(np.linalg.norm(placed - bundle.map_snapshots[-1], axis=1)) < 0.05 * spread


def test_the_card_says_what_it_is_and_where_it_was_trained(bundle):
    run = bundle.manifest["training"]["pixel_gan"]
    for words in ("a GAN on the pixels", run["device"], run["command"], "**Held out**: 7", "| pixel_gan |"):
        assert words in bundle.card
    assert "trained on its codes" not in bundle.card


def test_a_run_that_was_moved_finds_its_snapshots(folder):
    moved = Path(shutil.copytree(folder / "gan", folder / "moved"))
    assert pixel_gan.load_run(moved)[1].out == moved


def test_what_cannot_be_bundled_is_one_sentence(folder):
    for values in (
        {"image_phase": folder / "ip"},
        {"pixel_gan": folder / "ae"},
        {"pixel_gan": None, "latent_gan": folder / "gan"},
    ):
        with pytest.raises(UserError) as caught:
            run_bundle(options(folder, out=folder / "refused", **values))
        assert one_sentence(caught.value)
    assert not (folder / "refused").exists()


def test_the_judge_is_asked_about_the_generators_pictures(bundle, generation, drawn, folder, monkeypatch):
    shown: list[np.ndarray] = []

    class Recorder:
        def probabilities(self, pictures: np.ndarray) -> torch.Tensor:
            shown.append(pictures)
            return torch.eye(3)[torch.arange(len(pictures)) % 3]

    monkeypatch.setattr("training.imagenet_judge.Judge", Recorder)
    monkeypatch.setattr("training.imagenet_judge.imagenet_index", lambda name: 1)
    dataset = open_dataset(load_autoencoder(folder / "ae")[1])
    _, verdicts = _judge(
        generation, dataset, dataset.centers(np.arange(len(bundle.labels))).numpy(), bundle.real_codes,
        bundle.generated_z, bundle.generated_codes, options(folder, judge=True),
    )  # fmt: skip
    assert_same(shown[-1], drawn)
    assert verdicts["generated_top1"][:4].tolist() == [0, 1, 2, 0]


def test_a_bundle_is_of_the_latent_gan_unless_told_otherwise():
    assert preset_options(BundleOptions, "bundle", "digits").pixel_gan is None


# What the app shows


def test_a_samples_picture_is_the_generators_own(bundle, generation, drawn):
    pictures = pictures_of(bundle, generation, [*generated(0, 5, 9), Point("real", 3)])
    assert_same(pictures[:3], drawn[[0, 5, 9]])
    decoded = decode(generation.autoencoder, bundle.generated_codes[[0, 5, 9]])
    assert np.abs(pictures[:3].astype(int) - decoded.astype(int)).mean() > 5  # the test can tell them apart
    assert_same(pictures[3:], decode(generation.autoencoder, bundle.real_codes[[3]]))


def test_new_samples_are_drawn_and_encoded_too(bundle, generation):
    new = draw_samples(bundle, generation, 4, seed=1)
    pictures = pictures_of(bundle, generation, [Point("new", i) for i in range(4)], new)
    with torch.inference_mode():
        assert_same(pictures, to_uint8(generation.generator(torch.from_numpy(new.z))).numpy())
    np.testing.assert_allclose(new.codes, encode(generation.autoencoder, pictures), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(new.positions, bundle.place(new.codes), rtol=1e-4)


def test_a_journey_through_z_is_drawn_by_the_generator_and_one_through_codes_is_not(
    bundle, generation, drawn
):
    a, b = (End("", bundle.generated_codes[i], bundle.generated_z[i].astype(np.float32)) for i in (2, 7))
    through_z = travel(bundle, generation, z_path(generation, a, b, spherical=False))
    assert_same(through_z.pictures[[0, -1]], drawn[[2, 7]])
    middle = torch.from_numpy((a.z + b.z) / 2)[None]
    with torch.inference_mode():
        assert_same(through_z.pictures[[16]], to_uint8(generation.generator(middle)).numpy())
    through_codes = travel(bundle, generation, code_path(a, b, spherical=False))
    assert_same(through_codes.pictures[[0]], decode(generation.autoencoder, a.code[None]))


def opened(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **state: Any) -> AppTest:
    monkeypatch.setenv(session.BUNDLE_DIR_VARIABLE, str(folder))
    at = AppTest.from_file(str(ROOT / "explorer" / "pages" / f"{page}.py"), default_timeout=120)
    at.query_params["bundle"] = "pixels"
    for key, value in state.items():
        at.session_state[key] = value
    at.run()
    assert not at.exception
    return at


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")).astype(int)


def assert_shown(at: AppTest, bundle: Bundle, drawn: np.ndarray, rows: list[int]) -> None:
    """The picture of each generated sample is nearer to the generator's than to the decoded code."""
    html = "".join(element.proto.body for element in at.get("html"))
    decoded = decode(bundle.load_autoencoder(), bundle.generated_codes)
    for row in rows:
        uris = re.findall(rf'<img src="([^"]+)"[^>]*alt="picture of generated #{row}"', html)
        assert uris, row
        own, other = (np.abs(pixels(uris[0]) - p[row].astype(int)).mean() for p in (drawn, decoded))
        assert own < other, row  # not zero: WebP loses a little


def words(at: AppTest) -> str:
    return " ".join(e.value for e in (*at.markdown, *at.caption))


def test_the_map_page(path, bundle, drawn, monkeypatch):
    at = opened("map", path.parent, monkeypatch, selected=generated(1, 2, 40))
    assert_shown(at, bundle, drawn, [1, 2, 40])
    assert "generated pictures are its own" in words(at)
    at.select_slider[0].set_value(1).run()
    next(b for b in at.button if b.label == "Generate").click().run()
    assert not at.exception
    assert len(at.session_state["new_samples"].z) == 24


def test_the_held_out_page(path, bundle, drawn, monkeypatch):
    at = opened("held_out", path.parent, monkeypatch)
    assert_shown(at, bundle, drawn, [int(row) for row in nearest_generated(bundle, "7", 12)])
    assert "generated pictures are its own" in words(at)
    assert "No verdict here: this bundle holds a GAN on pixels" in at.info[0].value


def test_the_journey_page_goes_through_z_between_samples_and_says_who_draws(path, bundle, drawn, monkeypatch):
    at = opened("journey", path.parent, monkeypatch, selected=[*generated(3, 8), Point("real", 9)])
    assert "drawn by the generator" in words(at)
    (component,) = at.get("bidi_component")
    sheet = pixels(re.search(r'"sheet":\s*"([^"]+)"', component.proto.json)[1])
    assert_same(sheet[:16, :16].astype(np.uint8), drawn[3])
    at.selectbox(f"{KEY}/B/point").set_value(Point("real", 9)).run()
    assert not at.exception
    assert "drawn by the decoder" in words(at)
    assert "A generated end is the decoded code of its picture" in words(at)


# Its evaluation


def test_the_evaluation_judges_the_generators_pictures(path, bundle, generation, drawn, folder, monkeypatch):
    asked: dict[str, np.ndarray] = {}

    class Recorder:
        """In the judge's place: sees 4x4 pixels, and knows no class."""

        def __init__(self, *_: object) -> None:
            pass

        def __call__(self, name: str, pictures: np.ndarray) -> evaluate.Answers:
            asked[name] = pictures
            features = pictures.reshape(-1, 4, 4, 4, 4, 3).mean((2, 4)).reshape(len(pictures), -1)
            return evaluate.Answers(features.astype(np.float32), np.full((len(pictures), 1000), 1e-3))

    monkeypatch.setattr(evaluate, "CachedJudge", Recorder)
    copy = Path(shutil.copytree(path, folder / "evaluated"))
    run_evaluate(EvaluateOptions(bundle=copy, cache=folder / "cache", device="cpu"))
    assert_same(asked["samples"], drawn[:323])
    latents = bundle.standardisation.to_latents(torch.from_numpy(bundle.generated_codes[:323])).numpy()
    cut = decode(generation.autoencoder, bundle.codes_of_latents(latents))
    assert_same(asked["samples by their components"], cut)
    evaluated = open_bundle(copy)
    assert set(evaluated.evaluation["distances"]) >= {"samples", "round trips", "Gaussian codes"}
    assert evaluated.evaluation["memorisation"]["latents"]["samples"]["n"] == 323
    assert "a GAN on the pixels" in evaluated.card
    assert "## Evaluated" in evaluated.card
