"""The second stage of a latent GAN, on real digits: what it learns, keeps and never sees; its bundle."""

import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file
from streamlit.testing.v1 import AppTest

from explorer import session
from explorer.bundle import Bundle, BundleError
from explorer.bundle_reading import open_bundle
from explorer.decoding import decode
from explorer.generation import CascadeGeneration, load_generation
from explorer.reachability import CODEC_SAW, CUT, LATENT, ROUND_TRIPS, SHARED, TRAINING_CUT, evidence
from tests.support import TINY_DETAIL_PHASE, TINY_GAN, one_sentence, paint_over, tiny_autoencoder
from training import detail_phase, latent_gan
from training.autoencoder import load_run as load_autoencoder
from training.bundle import BundleOptions, run_bundle
from training.cli import UserError, preset_options
from training.codes import weights_digest
from training.detail_phase import DetailPhaseOptions, run_detail_phase
from training.evaluate import modelled
from training.files import read_json, write_json
from training.known_truth import KnownTruth, KnownTruthOptions
from training.latent_gan import LatentGanOptions, run_latent_gan
from training.latent_gan import load_run as load_latent_gan
from training.metrics import frechet_distance
from training.oracle import (
    OracleDetailPhase,
    OracleOptions,
    SightedAutoencoderOptions,
    SightedDetailPhase,
    run_oracle,
)
from training.protocol import Reachability, ReachabilityOptions
from training.reachability import run_reachability, stages
from training.splits import CALIBRATION


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished autoencoder, of codes of 64 numbers, and a finished GAN on 8 of their components."""
    folder = tmp_path_factory.mktemp("detail")
    torch.set_num_threads(1)
    tiny_autoencoder(folder, preset="digits", code_channels=4, images=6_400)
    run_latent_gan(
        LatentGanOptions(
            **{**TINY_GAN, "autoencoder": folder / "ae", "out": folder / "gan", "preset": "digits"}
        )
    )
    run_detail_phase(options(folder, "run"))
    return folder


def options(folder: Path, out: str, **values: Any) -> DetailPhaseOptions:
    given = {**TINY_DETAIL_PHASE, "latent_gan": folder / "gan", "out": folder / out, **values}
    return DetailPhaseOptions(**given)


def weights(folder: Path, out: str) -> bytes:
    return (folder / out / "generator.safetensors").read_bytes()


def test_the_first_stage_stays_as_it_was_and_the_second_learns(folder):
    generator, standard, _ = detail_phase.load_run(folder / "run")
    coarse, fitted, _ = latent_gan.load_run(folder / "gan")
    for name, value in coarse.state_dict().items():
        torch.testing.assert_close(generator.coarse.state_dict()[name], value)
    for name in ("mean", "components", "scale"):
        torch.testing.assert_close(getattr(generator, name), getattr(fitted, name))
        torch.testing.assert_close(getattr(generator, name), getattr(standard, name))
    run_detail_phase(options(folder, "begun", images=32))
    begun, _, _ = detail_phase.load_run(folder / "begun")
    changed = {k for k, v in begun.state_dict().items() if not torch.equal(v, generator.state_dict()[k])}
    assert changed
    assert all(k.startswith("detail.") for k in changed)


@pytest.mark.parametrize("attention", [0, 1])
def test_it_brings_codes_nearer_to_real_ones(folder, attention):
    """A first stage of 8 components lacks the other 56; trained longer, the second puts them there."""
    out = f"longer-{attention}"
    values = {"width": 16, "discriminator_width": 16, "lr": 1e-3, "gamma": 1.0, "attention": attention}
    run_detail_phase(options(folder, out, images=20_000, **values))
    generator, standard, run = detail_phase.load_run(folder / out)
    assert run.z_dim == generator.config.z_dim
    codes = load_file(latent_gan.codes_path(latent_gan.load_run(folder / "gan")[2]))
    z = torch.randn(323, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    first_z = z[:, : generator.config.coarse.z_dim]
    whole, coarse = generator(z).detach(), standard.to_codes(generator.coarse(first_z)).detach()
    left_out = [
        float((x - standard.to_codes(standard.to_latents(x))).square().mean()) for x in (whole, coarse)
    ]
    assert left_out[1] < 1e-6 < left_out[0]
    distances = [frechet_distance(x.numpy(), codes["val"].numpy()) for x in (whole, coarse)]
    assert distances[0] < 0.8 * distances[1]


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(folder, monkeypatch):
    class Interrupted(Exception):
        pass

    original = detail_phase.DetailPhase.step

    def step(self, index: int):
        if index == 13:
            raise Interrupted
        return original(self, index)

    monkeypatch.setattr(detail_phase.DetailPhase, "step", step)
    with pytest.raises(Interrupted):
        run_detail_phase(options(folder, "resumed"))
    monkeypatch.setattr(detail_phase.DetailPhase, "step", original)
    run_detail_phase(options(folder, "resumed"))
    assert weights(folder, "resumed") == weights(folder, "run")


def test_held_out_images_change_nothing(folder, monkeypatch):
    """Held-out digits painted over: the same weights, byte for byte. A seen digit painted over: others."""
    codes = latent_gan.codes_path(latent_gan.load_run(folder / "gan")[2])

    kept = codes.read_bytes()
    try:
        for label, same in ((7, True), (3, False)):
            codes.unlink()  # to be encoded anew
            paint_over(monkeypatch, label)
            run_detail_phase(options(folder, f"painted-{label}"))
            assert (weights(folder, f"painted-{label}") == weights(folder, "run")) is same
    finally:
        codes.write_bytes(kept)


def test_the_generators_rate_rises_to_what_was_asked_for(folder):
    given = replace(options(folder, "warm", generator_rate=3.0, warmup_images=320), z_dim=4 + 2 * 16)
    phase = detail_phase.DetailPhase(given, torch.device("cpu"))
    rates = []
    for index in (0, 5, 10, 15):
        phase.step(index)
        rates.append([phase.pair.optimisers[k].param_groups[0]["lr"] for k in "gd"])
    ratios = [g / d for g, d in rates]
    np.testing.assert_allclose(ratios, [1, 2, 3, 3])


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_coarse_codes_are_real_images_in_the_share_that_was_asked_for(folder, share, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr(
        "explorer.networks.Generator.forward", lambda self, z: asked.append(len(z)) or torch.zeros(len(z), 8)
    )
    phase = detail_phase.DetailPhase(
        replace(options(folder, f"share-{share}", real_share=share), z_dim=4 + 2 * 16), torch.device("cpu")
    )
    phase.step(0)
    assert asked[-1] == 32 * (1 - share)


def test_what_cannot_be_trained_is_one_sentence(folder):
    for values in (
        {"real_share": 1.0}, {"blocks": 0}, {"latent_gan": folder / "ae"}, {"loss": "hinge"},
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            run_detail_phase(options(folder, "refused", **values))
        assert one_sentence(caught.value)
    assert not (folder / "refused").exists()
    for run, words in (("nowhere", "no finished detail phase"), ("gan", "of another kind")):
        with pytest.raises(UserError, match=words):
            detail_phase.load_run(folder / run)


def test_a_run_over_another_first_stage_is_refused(folder):
    run_detail_phase(options(folder, "mine"))
    made_by = folder / "mine" / "first_stage.json"
    made_by.write_text('{"first_stage": "another"}')
    with pytest.raises(UserError, match="another latent GAN"):
        run_detail_phase(options(folder, "mine"))


def test_a_finished_run_is_not_taken_where_its_first_stage_was_trained_again(folder, tmp_path):
    """With another class held out, say: its bundle would claim what its second stage does not keep."""
    gan = LatentGanOptions(
        **{**TINY_GAN, "autoencoder": folder / "ae", "out": tmp_path / "gan", "preset": "digits"}
    )
    run_latent_gan(gan)
    run = run_detail_phase(options(folder, "again", latent_gan=gan.out))
    detail_phase.load_run(run)
    shutil.rmtree(gan.out)
    run_latent_gan(replace(gan, seed=gan.seed + 1))
    with pytest.raises(UserError, match="over another latent GAN") as caught:
        detail_phase.load_run(run)
    assert one_sentence(caught.value)


# Its bundle


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return run_bundle(
        BundleOptions(
            preset="digits", detail_phase=folder / "run", out=folder / "bundles" / "cascade", generated=330,
            judge=False, device="cpu",
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def bundle(path: Path) -> Bundle:
    return open_bundle(path)


def test_the_bundle_holds_both_stages(bundle):
    assert bundle.manifest["networks"]["kind"] == "cascade"
    stages = {"autoencoder", "latent_gan", "detail_phase"}
    assert set(bundle.manifest["training"]) == set(bundle.curves) == stages
    assert bundle.manifest["metrics"]["detail_phase"]["n"] == 323
    assert "in two stages" in bundle.card
    assert "| detail_phase |" in bundle.card
    assert read_json(bundle.path / "bundle.json")["counts"]["components"] == 8


def test_samples_are_what_the_generator_makes_of_their_z(bundle):
    generation = load_generation(bundle)
    assert isinstance(generation, CascadeGeneration)
    codes = generation.codes(bundle.generated_z)
    np.testing.assert_allclose(bundle.generated_codes, codes, rtol=1e-4, atol=1e-5)
    cut = bundle.codes_of_latents(bundle.standardisation.to_latents(torch.from_numpy(codes)).numpy())
    assert np.abs(codes - cut).mean() > 0.01  # whole codes, not those of the components
    pictures = generation.pictures(bundle.generated_z[:3], bundle.generated_codes[:3])
    np.testing.assert_array_equal(pictures, decode(generation.autoencoder, bundle.generated_codes[:3]))


def test_a_bundle_holds_attention_too(folder, tmp_path):
    run_detail_phase(options(folder, "attentive", attention=1))
    made = run_bundle(
        BundleOptions(
            preset="digits", detail_phase=folder / "attentive", out=tmp_path / "attentive", generated=330,
            judge=False, device="cpu",
        )
    )  # fmt: skip
    bundle = open_bundle(made)
    trained, _, _ = detail_phase.load_run(folder / "attentive")
    assert bundle.gan_config == trained.config
    assert trained.config.attention == 1
    z = torch.from_numpy(bundle.generated_z[:50]).float()
    # The bundle keeps weights in half precision.
    torch.testing.assert_close(bundle.load_generator()(z), trained(z), rtol=0.02, atol=0.02)


def test_the_timeline_is_the_first_stages(bundle, folder):
    assert bundle.snapshot_z.shape[1] == 4
    coarse, _, _ = latent_gan.load_run(folder / "gan")
    placed = bundle.place(
        bundle.codes_of_latents(coarse(torch.from_numpy(bundle.snapshot_z).float()).numpy())
    )
    spread = bundle.map_real.std(0).mean()
    assert np.median(np.linalg.norm(placed - bundle.map_snapshots[-1], axis=1)) < 0.05 * spread


def test_a_bundle_holds_one_kind_of_generator(folder):
    for values in ({"pixel_gan": folder / "gan"}, {"image_phase": folder / "gan"}):
        with pytest.raises(UserError, match="name one of them"):
            run_bundle(BundleOptions(detail_phase=folder / "run", out=folder / "no", judge=False, **values))
    assert preset_options(BundleOptions, "bundle", "imagewoof64").detail_phase is None


@pytest.mark.parametrize(
    "change", [{"noise_channels": 3}, {"attention": 1}, {"coarse": {"code_shape": [4, 8, 8]}}]
)
def test_a_cascade_that_does_not_fit_is_damage(change, path, tmp_path):
    copy = Path(shutil.copytree(path, tmp_path / "damaged"))
    manifest = read_json(copy / "bundle.json")
    generator = manifest["networks"]["generator"]
    for key, value in change.items():
        generator[key] = {**generator[key], **value} if isinstance(value, dict) else value
    write_json(copy / "bundle.json", manifest)
    with pytest.raises(BundleError) as caught:
        open_bundle(copy)
    assert one_sentence(caught.value)


@pytest.mark.parametrize("page", ["map", "journey", "held_out"])
def test_the_pages_open(page, path, monkeypatch):
    monkeypatch.setenv(session.BUNDLE_DIR_VARIABLE, str(path.parent))
    at = AppTest.from_file(str(ROOT / "explorer" / "pages" / f"{page}.py"), default_timeout=120)
    at.query_params["bundle"] = "cascade"
    at.run()
    assert not at.exception
    if page == "map":
        next(b for b in at.button if b.label == "Generate").click().run()
        assert not at.exception
        new = at.session_state["new_samples"]
        expected = load_generation(open_bundle(path)).codes(new.z)
        np.testing.assert_allclose(new.codes, expected, rtol=1e-4, atol=1e-5)


# Whether it reaches a class


def asked(path, folder, out, **values):
    """The protocol over a bundle, as short as it gets."""
    return ReachabilityOptions(
        path, seeds="0", doses=(1.0,), images=320, samples=60, targets=2, restarts=1, search_steps=3,
        judge_images=640, alphas=(0.05,), device="cpu", cache=folder / "cache", out=out, **values,
    )  # fmt: skip


def test_the_reachability_of_two_stages_is_asked_with_both(path, folder, tmp_path):
    copy = Path(shutil.copytree(path, tmp_path / "cascade"))
    report = run_reachability(asked(copy, folder, tmp_path / "run", detail_images=96, remakes=3))
    for source in (LATENT, "oracle-1"):
        assert read_json(tmp_path / "run" / source / "seed-0-detail" / "done.json")["images"] == 96
    level = report["classes"]["7"]["levels"]["0.05"]
    images = level[ROUND_TRIPS]["n"]
    assert (level[CUT]["images"], level[CUT]["pictures"]) == (images, 3 * images)
    scores = tmp_path / "run" / "scores"
    names = [f"remade-{repeat}-by-seed-0" for repeat in range(3)]
    drawn = [load_file(scores / f"{name}.safetensors")["judges"] for name in names]
    assert not any(torch.equal(a, b) for a, b in combinations(drawn, 2))  # other detail each time
    assert [count["n"] for count in level["samples"][LATENT]] == [60]
    assert report["detail"] == "own"
    assert not evidence(report, "7", LATENT, 0.05).shared
    oracle = detail_phase.load_run(tmp_path / "run" / "oracle-1" / "seed-0-detail", OracleDetailPhase)[0]
    plain = detail_phase.load_run(tmp_path / "run" / LATENT / "seed-0-detail")[0]
    assert any(not torch.equal(a, b) for a, b in zip(oracle.parameters(), plain.parameters(), strict=True))
    assert open_bundle(copy).reachability is not None


def test_all_seeds_can_share_the_second_stage_and_the_report_says_so(path, folder, tmp_path):
    run = Reachability(asked(path, folder, tmp_path / "run", share_detail=True, width=24))
    before = weights_digest(run.sources.generator)
    run.sources.enter_controls()
    run.sources.enter_own(7)
    run.sources.train_latent(0)
    run.sources.train_oracle(1.0, 0)
    assert weights_digest(run.sources.generator) == before  # all others have copies of what they share
    assert not list((tmp_path / "run").rglob("*-detail"))
    assert read_json(tmp_path / "run" / "oracle-1" / "seed-0" / "options.json")["options"]["width"] == 24
    generator, z = open_bundle(path).load_generator(), torch.randn(5, 4 + 2 * 16)
    trained = ((LATENT, LATENT, LatentGanOptions), ("oracle", "oracle-1", OracleOptions))
    for name, made_in, kind in trained:
        coarse, standard, _ = load_latent_gan(tmp_path / "run" / made_in / "seed-0", kind)
        latents, noise = coarse(z[:, :4]), z[:, 4:]
        flat = standard.to_codes(latents) - standard.mean
        shape = (-1, *generator.config.code_shape)
        layers = torch.cat([(flat / generator.deviation).view(shape), noise.view(-1, 2, *shape[2:])], 1)
        expected = standard.mean + flat + generator.detail(layers) * generator.deviation
        torch.testing.assert_close(run.sources[name][0].make(z), expected)
    assert run.detail == SHARED


def test_an_oracle_whose_codec_saw_the_class_shares_no_second_stage(path, folder, tmp_path):
    """The bundle's is over codes of another space."""
    run = Reachability(asked(path, folder, tmp_path / "run", share_detail=True, detail_images=96))
    run.sources.train_sighted_oracle(0)
    out = tmp_path / "run" / "oracle-codec-saw" / "seed-0-detail"
    assert read_json(out / "done.json")["images"] == 96
    generator = detail_phase.load_run(out, SightedDetailPhase)[0]
    source, z = run.sources[CODEC_SAW][0], torch.randn(5, 4 + 2 * 16)
    torch.testing.assert_close(source.make(z), generator(z))
    codec, _ = load_autoencoder(out.with_name("seed-0-autoencoder"), SightedAutoencoderOptions)
    np.testing.assert_array_equal(source.draw(z), run.sources.decoded(generator(z).numpy(), codec))
    with pytest.raises(UserError, match="another kind"):
        run_bundle(BundleOptions(detail_phase=out, out=tmp_path / "bundle", judge=False))


def test_a_gan_of_one_stage_has_no_second_to_share(folder, tmp_path, path):
    with pytest.raises(UserError, match="has one stage") as caught:
        Reachability(asked(ROOT / "pretrained" / "digits", folder, tmp_path / "run", share_detail=True))
    assert one_sentence(caught.value)


def test_what_two_stages_can_at_best_show_keeps_the_components_and_generates_the_rest(path, folder, tmp_path):
    run = Reachability(asked(path, folder, tmp_path / "run"))
    codes, remaker = run.bundle.real_codes[:6], run.sources.own_remaker
    generator, standard = remaker.generator, remaker.standard
    latents = standard.to_latents(torch.from_numpy(codes))
    kept = (generator.mean + (latents * generator.scale) @ generator.components).numpy()
    made, again = remaker(codes, 0), remaker(codes, 1)
    np.testing.assert_array_equal(made, remaker(codes, 0))  # with the same noise at every call
    assert np.abs(made - again).max() > 1e-3
    assert np.abs(made - kept).max() > 1e-3
    for parameter in generator.detail[-2].parameters():
        parameter.zero_()
    np.testing.assert_allclose(remaker(codes, 0), kept, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "seeds", "remade"),
    [
        ({}, 1, 8),
        ({}, 5, 10),
        ({"remakes": 10}, 5, 10),
        ({"share_detail": True}, 5, 8),
        ({"generators": ("pixel",)}, 5, 8),
        ({"cheap": True}, 5, 1),
    ],
)
def test_each_second_stage_remakes_images_equally_often(path, folder, tmp_path, values, seeds, remade):
    run = Reachability(asked(path, folder, tmp_path / "run", **values))
    assert run.remakes(seeds) == remade
    todo = [words for words, _ in stages(run, range(seeds), (0,))]
    assert sum(words.startswith("judging remade images") for words in todo) == remade


def test_images_are_remade_by_the_second_stages_that_are_asked_about(path, folder, tmp_path, monkeypatch):
    """Judges learn from what the bundle's own makes."""
    run = Reachability(asked(path, folder, tmp_path / "run", detail_images=96))
    sources = run.sources
    own = sources.own_remaker
    assert [remaker.key for remaker in sources.remakers] == [own.key]
    sources.train_oracle(1.0, 0)
    assert [remaker.key for remaker in sources.remakers] == [own.key]  # an oracle has seen the class
    for seed in (0, 1):
        sources.train_latent(seed)
    drawn: dict[str, np.ndarray] = {}
    monkeypatch.setattr(run, "score", lambda name, key, draw: drawn.setdefault(f"{name} {key}", draw()))
    codes = run.bundle.real_codes[run.judged_rows]
    for repeat in range(3):
        run.judge_remade(repeat)
    assert len(drawn) == 3
    for repeat, (name, pictures) in enumerate(drawn.items()):
        folder_of_run = tmp_path / "run" / LATENT / f"seed-{repeat % 2}-detail"
        generator, standard, _ = detail_phase.load_run(folder_of_run)
        assert weights_digest(generator.detail) in name
        noise = torch.randn(len(codes), 2 * 16, generator=torch.Generator().manual_seed(1_000_003 * repeat))
        expected = generator.refine(standard.to_latents(torch.from_numpy(codes)), noise)
        np.testing.assert_array_equal(pictures, sources.decoded(expected.numpy()))
    drawn.clear()
    run.judge_training(TRAINING_CUT)  # each image by one of them, and at its own place
    ((name, pictures),) = drawn.items()
    codes = run.bundle.real_codes[run.trained_rows]
    for i, remaker in enumerate(sources.remakers):
        assert remaker.key in name
        np.testing.assert_array_equal(pictures[i::2], sources.at_best(codes[i::2], remaker))
    rows = run.judged_rows[:4]
    np.testing.assert_array_equal(run.real(CUT, rows), sources.at_best(run.bundle.real_codes[rows], own))


def test_known_truth_over_two_stages_is_made_of_remade_images(path, folder, tmp_path):
    """The bundle's own second stage remakes them, eight times for the judges' errors."""
    known = KnownTruth(
        KnownTruthOptions(
            path, samples=50, repeats=5, alpha=0.05, judge_images=640, out=tmp_path / "run",
            cache=folder / "cache", device="cpu",
        )
    )  # fmt: skip
    known.judge()
    judged = known.run.judged
    assert len(judged.remade) == 7
    tpr, fpr = known.errors("7")
    assert (tpr.worth_of.endswith("images x 8"), fpr.worth_of.endswith("images x 8")) == (True, True)
    trained = judged.trained[TRAINING_CUT]
    assert len(trained) == (known.run.bundle.splits == "train").sum()
    rows = known.run.trained_rows[:5]
    remade = known.run.real(CUT, known.run.trained_rows)[:5]
    assert not np.array_equal(remade, known.run.real(ROUND_TRIPS, rows))
    np.testing.assert_allclose(
        known.run.judges[0](remade, known.run.features(remade)), trained.judges[:5], atol=1e-3
    )
    drawn = known.mixtures(7, 1.0, purpose=1)  # of the class alone: its calibration images, remade
    own = judged.real[CUT].judges[(judged.parts == CALIBRATION) & (judged.labels == 7)]
    assert len(drawn) == 5
    for scored in drawn:
        assert all((own == answer).all((1, 2)).any() for answer in scored.judges)


def test_an_oracles_second_stage_sees_the_held_out_class(folder):
    out = folder / "oracle"
    first = {**TINY_GAN, "preset": "digits", "autoencoder": folder / "ae", "out": out / "gan"}
    run_oracle(OracleOptions(**first))
    given = replace(options(out, "detail"), z_dim=4 + 2 * 16)
    oracle = OracleDetailPhase(given, torch.device("cpu"))
    plain = detail_phase.DetailPhase(replace(given, latent_gan=folder / "gan"), torch.device("cpu"))
    assert len(oracle.real) > len(plain.real)
    assert torch.equal(oracle.real[: len(plain.real)], plain.real)


def test_the_components_of_whole_codes_are_those_of_training_codes(bundle):
    training = torch.from_numpy(bundle.real_codes[bundle.splits == "train"])
    latents = modelled(bundle).to_latents(training)
    assert latents.shape[1] == training.shape[1]
    torch.testing.assert_close(latents.mean(0), torch.zeros(latents.shape[1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std(0), torch.ones(latents.shape[1]), atol=0.01, rtol=0)


def test_real_codes_are_shown_with_the_noise_that_was_asked_for(folder, monkeypatch):
    shown: list[torch.Tensor] = []
    for noise in (0.0, 2.0):
        given = replace(options(folder, f"noise-{noise}", code_noise=noise), z_dim=4 + 2 * 16)
        phase = detail_phase.DetailPhase(given, torch.device("cpu"))
        monkeypatch.setattr(phase.pair, "step", lambda index, real, make: shown.append(real))
        phase.step(0)
    assert (shown[1] - shown[0]).std().item() == pytest.approx(2, rel=0.1)
