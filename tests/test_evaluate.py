"""The evaluation: its measures on cases whose answer is known, and the whole on a bundle of real digits."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.bundle import BundleError
from explorer.bundle_reading import open_bundle
from explorer.bundle_writing import update_bundle
from explorer.decoding import encode
from explorer.measured import EVALUATION
from explorer.networks import AutoencoderConfig
from tests.damage import change_arrays
from tests.support import copy_unmeasured, one_sentence
from training import seed_table
from training.cli import UserError
from training.device import has_fast_bf16
from training.evaluate import (
    Answers,
    EvaluateOptions,
    breed_entropy,
    distances,
    evaluate,
    open_evaluated,
    recognisability,
    run_evaluate,
    scramble_phases,
    structure,
    table,
)
from training.imagenet_judge import DOG_CLASSES, Judge, imagenet_categories, imagenet_index

DIGITS = Path("pretrained/digits")


def judged(dog: np.ndarray, breed: np.ndarray) -> Answers:
    """Answers that give class ``breed`` the probability ``dog``, and a goldfish the rest."""
    probabilities = np.zeros((len(dog), 1000), np.float32)
    probabilities[np.arange(len(dog)), breed] = dog
    probabilities[:, 1] += 1 - dog
    return Answers(np.zeros((len(dog), 2), np.float32), probabilities)


def test_a_name_that_imagenet_has_twice_is_taken_as_it_is_spelt():
    dog, garment = imagenet_index("Cardigan"), imagenet_index("cardigan")
    assert dog in DOG_CLASSES
    assert (imagenet_categories()[dog], imagenet_categories()[garment]) == ("Cardigan", "cardigan")
    assert imagenet_index("english Foxhound!") == imagenet_index("English foxhound") is not None
    assert imagenet_index("Labradoodle") is None


def test_the_threshold_of_a_dog_comes_from_training_crops_alone():
    breeds = np.array([DOG_CLASSES[0], DOG_CLASSES[1]] * 50)
    certain, doubtful = np.linspace(0.5, 0.99, 100), np.full(100, 0.3)
    sets = {
        "training crops": judged(certain, breeds),
        "crops": judged(certain, breeds),
        "samples": judged(doubtful, breeds),
    }
    found = recognisability(sets, np.array([0, 1] * 50), [DOG_CLASSES[0], DOG_CLASSES[1]])
    assert found["threshold"] == pytest.approx(np.percentile(certain, 5), abs=1e-6)
    assert found["dog"]["training crops"] == {"k": 95, "n": 100}
    assert found["dog"]["samples"] == {"k": 0, "n": 100}
    assert found["own_breed_of_crops"] == {"k": 100, "n": 100}
    assert found["breed_entropy_bits"]["samples"] == pytest.approx(1)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_entropy_lies_between_collapse_and_all_breeds_alike(breeds):
    probabilities = np.eye(4)[breeds]
    bits = breed_entropy(probabilities, [0, 1, 2, 3])
    assert -1e-9 <= bits <= 2 + 1e-9
    if len(set(breeds)) == 1:
        assert bits == pytest.approx(0)


def test_entropy_of_equal_shares_is_the_logarithm_of_their_number():
    assert breed_entropy(np.tile(np.eye(8), (5, 1)), list(range(8))) == pytest.approx(3)


def features(seed: int, n: int = 400, shift: float = 0.0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
    points[:, 0] += shift
    return points


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.0, 0.1), (4.0, 0.9, 1.0), (2.0, 0.3, 0.7)])
def test_structure_tells_noise_from_replays_and_places_what_lies_between(shift, low, high):
    found = structure(features(0, shift=4.0), features(1), features(2, shift=shift))
    assert low <= found["samples"]["k"] / found["samples"]["n"] <= high
    assert found["replays"]["k"] / found["replays"]["n"] > 0.9
    assert found["Gaussian codes"]["k"] / found["Gaussian codes"]["n"] < 0.1
    assert found["replays"]["n"] == 200  # only the half that the classifier did not learn on


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_scrambling_phases_keeps_colours_and_spectrum_and_moves_everything(seed):
    rng = np.random.default_rng(seed)
    # Far from black and white, so that nothing is clipped.
    picture = (128 + 10 * rng.normal(size=(1, 16, 16, 3))).round().clip(90, 166).astype(np.uint8)
    scrambled = scramble_phases(picture, seed)
    assert scrambled.astype(float).mean((1, 2)) == pytest.approx(picture.astype(float).mean((1, 2)), abs=0.5)
    before, after = (np.abs(np.fft.fft2(p.astype(float), axes=(1, 2))) for p in (picture, scrambled))
    assert np.corrcoef(before[:, 1:].ravel(), after[:, 1:].ravel())[0, 1] > 0.98
    assert not np.array_equal(scrambled, picture)


def test_distances_of_a_set_to_itself():
    points = features(0, 60)
    found = distances(points, points)
    assert found["frechet"] == pytest.approx(0, abs=1e-6)
    assert found["precision"] == found["recall"] == found["coverage"] == 1


def test_the_judge_answers_alike_on_every_machine(monkeypatch):
    """Also where bf16 is fast: distances of samples would be others there."""
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    judge = Judge()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    features, logits = judge.embed(pictures)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert has_fast_bf16(torch.device("cpu"))
    again, logits_again = judge.embed(pictures)
    assert torch.equal(features, again)
    assert torch.equal(logits, logits_again)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    bundle = folder / "digits"
    shutil.copytree(DIGITS, bundle)
    (bundle / EVALUATION).unlink(missing_ok=True)
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["files"].pop(EVALUATION, None)
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    run_evaluate(EvaluateOptions(bundle=bundle, cache=folder / "cache", device="cpu"))
    return bundle


def test_every_measure_stands_beside_its_reference_and_its_n(evaluated):
    found = open_bundle(evaluated).evaluation
    assert found["n"] == 323
    assert set(found["distances"]) == {
        "samples", "training crops", "round trips", "linear round trips", "Gaussian codes",
    }  # fmt: skip
    for values in found["distances"].values():
        assert values["frechet"] > 0
        assert all(0 <= values[key] <= 1 for key in ("precision", "recall", "coverage"))
    # Digits are no dogs: the judge is not asked for breeds.
    assert "recognisability" not in found
    for test in found["memorisation"].values():
        assert {"samples", "unseen", "replayed"} <= set(test)
        assert test["samples"]["n"] == 323
    assert found["structure"]["samples"]["n"] == 323


def test_a_codec_stands_beside_the_linear_one_of_its_size(evaluated):
    """Which is worth less here: of digits it keeps 27 dB where the trained one keeps 34."""
    found = open_bundle(evaluated).evaluation["distances"]
    assert found["round trips"]["frechet"] < found["linear round trips"]["frechet"]


def test_where_no_linear_codec_is_as_long_the_control_is_left_out(evaluated, monkeypatch):
    """A trained codec may have more channels than a square has numbers."""
    monkeypatch.setattr(AutoencoderConfig, "patch", 1)  # of 3 numbers; a code of digits has 4 channels
    options = EvaluateOptions(bundle=evaluated, cache=evaluated.parent / "cache", device="cpu")
    found = evaluate(*open_evaluated(options), options)
    assert "linear round trips" not in found["distances"]
    assert "linear codec" not in table(found)
    assert "round trips (ceiling" in table(found)


def test_real_training_images_are_nearest_to_real_validation_images(evaluated):
    found = open_bundle(evaluated).evaluation["distances"]
    assert found["training crops"]["frechet"] < found["samples"]["frechet"]
    assert found["training crops"]["frechet"] < found["Gaussian codes"]["frechet"]


def test_the_nearest_training_images_are_training_images(evaluated):
    bundle = open_bundle(evaluated)
    pairs = bundle.evaluation["nearest_pairs"]
    assert len(pairs) == 10
    assert {bundle.splits[p["training"]] for p in pairs} == {"train"}
    gaps = [p["distance"] for p in pairs]
    assert gaps == sorted(gaps)


def test_the_card_gets_the_tables_and_keeps_the_rest(evaluated):
    bundle = open_bundle(evaluated)
    assert table(bundle.evaluation) in bundle.card
    assert "## Not for" in bundle.card


def test_held_out_images_take_no_part(evaluated, tmp_path, monkeypatch):
    """No picture of a held-out class is ever shown to the judge."""
    from training import evaluate as module

    asked = []

    class Recorder(module.CachedJudge):
        def __call__(self, name, pictures):
            asked.append(pictures)
            return super().__call__(name, pictures)

    monkeypatch.setattr(module, "CachedJudge", Recorder)
    options = EvaluateOptions(bundle=evaluated, cache=evaluated.parent / "cache", device="cpu")
    bundle, dataset = open_evaluated(options)
    evaluate(bundle, dataset, options)
    held_out = dataset.centers(dataset.indices("held_out")).numpy()
    shown = {p.tobytes() for pictures in asked for p in pictures}
    seen = {p.tobytes() for p in dataset.centers(dataset.indices("train")).numpy()}
    assert shown & seen  # the recorder does record
    assert not shown & ({p.tobytes() for p in held_out} - seen)


def test_photographs_of_another_source_are_refused(evaluated, tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (20, 20), (i, 0, 0)).save(tmp_path / "photos" / name / f"{i}.png")
    options = EvaluateOptions(
        bundle=evaluated, source=f"folder:{tmp_path / 'photos'}", cache=tmp_path / "cache"
    )
    with pytest.raises(UserError):
        open_evaluated(options)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda names: [f"{name}.JPEG" for name in names], True),
        (lambda names: [f"other/{name}" for name in names], False), (lambda names: names[:-1], False),
        (lambda names: [*names[:-2], names[-1], names[-2]], False),
    ],
    ids=["another format", "another folder", "one too few", "another order"],
)  # fmt: skip
def test_photographs_are_the_same_in_another_format_but_not_elsewhere(monkeypatch, evaluated, change, same):
    """fast.ai's archive is JPEG, and the shipped bundle was made from the same photographs as WebP."""
    from training import evaluate as module

    opened = module.open_dataset

    def otherwise(options):
        data = opened(options)
        return replace(data, store=replace(data.store, names=tuple(change(list(data.store.names)))))

    monkeypatch.setattr(module, "open_dataset", otherwise)
    options = EvaluateOptions(bundle=evaluated, cache=evaluated.parent / "cache", device="cpu")
    if same:
        assert open_evaluated(options)[1].store.names[0].endswith(".JPEG")
    else:
        with pytest.raises(UserError, match=r"does not hold the photographs.*--source") as caught:
            open_evaluated(options)
        assert one_sentence(caught.value)


def test_photographs_of_which_some_are_copies_are_the_bundles(monkeypatch, evaluated):
    """Copies have one code: none is nearer to its own than to another's."""
    from training import evaluate as module

    def doubled(values: Any) -> np.ndarray:
        values = np.array(values)
        values[1::2] = values[: len(values) - 1 : 2]
        return values

    bundle, data = open_evaluated(EvaluateOptions(bundle=evaluated, cache=evaluated.parent / "cache"))
    copies = replace(data, store=replace(data.store, images=doubled(data.store.images[:])))
    assert module._show_the_same(replace(bundle, real_codes=doubled(bundle.real_codes)), copies)
    assert not module._show_the_same(bundle, copies)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_other_photographs_under_the_same_names_are_refused(monkeypatch, evaluated, share):
    """Files that were numbered anew, of one class in five or so: some of them would change sides."""
    from training import evaluate as module

    opened = module.open_dataset

    def otherwise(options):
        data = opened(options)
        images, n = np.array(data.store.images), round(share * len(data.store.images))
        images[:n] = np.roll(images[:n], 1, 0)
        return replace(data, store=replace(data.store, images=images))

    monkeypatch.setattr(module, "open_dataset", otherwise)
    options = EvaluateOptions(bundle=evaluated, cache=evaluated.parent / "cache", device="cpu")
    if not share:
        open_evaluated(options)
        return
    with pytest.raises(UserError, match=r"other photographs under them.*--source") as caught:
        open_evaluated(options)
    assert one_sentence(caught.value)


def test_a_bundle_of_too_few_samples_is_one_sentence(evaluated, monkeypatch):
    """Earlier versions made such bundles."""
    options = EvaluateOptions(bundle=evaluated, cache=evaluated.parent / "cache", device="cpu")
    bundle, dataset = open_evaluated(options)
    few = replace(bundle, _stored_codes=bundle.generated_codes[:3], generated_z=bundle.generated_z[:3])
    with pytest.raises(UserError, match=r"holds 3 samples, .* at least 6; .*--generated") as caught:
        evaluate(few, dataset, options)
    assert one_sentence(caught.value)


def test_a_missing_bundle_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"there is no bundle"):
        run_evaluate(EvaluateOptions(bundle=tmp_path / "nowhere"))


def test_a_tampered_evaluation_is_found(evaluated, tmp_path):
    bundle = tmp_path / "digits"
    shutil.copytree(evaluated, bundle)
    text = (bundle / EVALUATION).read_text()
    assert '"n":323' in text
    (bundle / EVALUATION).write_text(text.replace('"n":323', '"n":99999', 1))
    with pytest.raises(BundleError, match=r"evaluation\.json is damaged"):
        open_bundle(bundle)


@pytest.mark.parametrize("gone", ["distances", "structure", "memorisation", "judge", "n"])
def test_an_incomplete_evaluation_is_one_sentence(evaluated, tmp_path, gone):
    bundle = tmp_path / "digits"
    shutil.copytree(evaluated, bundle)
    evaluation = open_bundle(evaluated).evaluation
    del evaluation[gone]
    with pytest.raises(BundleError, match=r"evaluation\.json is incomplete"):
        update_bundle(bundle, {EVALUATION: evaluation}, "x")
    assert open_bundle(bundle).evaluation.keys() > evaluation.keys()  # the old one still stands


@pytest.mark.parametrize(("of", "told"), [(3, "5 of 3"), (np.inf, "infinity")])
def test_an_impossible_count_is_refused(evaluated, tmp_path, of, told):
    bundle = tmp_path / "digits"
    shutil.copytree(evaluated, bundle)
    evaluation = open_bundle(evaluated).evaluation
    evaluation["structure"]["samples"] = {"k": 5, "n": of}
    with pytest.raises(BundleError, match=told) as caught:
        update_bundle(bundle, {EVALUATION: evaluation}, "x")
    assert one_sentence(caught.value)


def test_updating_a_damaged_bundle_does_not_hide_the_damage(evaluated, tmp_path):
    bundle = tmp_path / "digits"
    shutil.copytree(evaluated, bundle)
    path = bundle / "generator.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(BundleError, match=r"generator\.safetensors is damaged"):
        update_bundle(bundle, {EVALUATION: {}}, "x")


def test_the_table_of_seeds_has_mean_and_spread(evaluated, capsys):
    evaluation = open_bundle(evaluated).evaluation
    other = json.loads(json.dumps(evaluation))
    other["distances"]["samples"]["frechet"] = evaluation["distances"]["samples"]["frechet"] + 2
    lines = seed_table.table({"a": evaluation, "b": other}).splitlines()
    assert lines[0] == "| measure | a | b | mean | standard deviation |"
    frechet = [float(cell) for cell in next(x for x in lines if "frechet" in x).split("|")[2:-1]]
    assert frechet[2] == pytest.approx(np.mean(frechet[:2]), rel=1e-3)
    assert frechet[3] == pytest.approx(2**0.5, rel=1e-3)
    assert all(line.endswith("| 0 |") for line in lines if "coverage" in line)
    seed_table.main(seed_table.SeedTableOptions((evaluated,)))
    assert "| measure | digits |" in capsys.readouterr().out
    same_name = evaluated.parent / "other" / evaluated.name
    shutil.copytree(evaluated, same_name)
    seed_table.main(seed_table.SeedTableOptions((evaluated, same_name)))
    assert f"| measure | digits | {same_name} | mean |" in capsys.readouterr().out


def test_bundles_that_were_not_evaluated_have_no_table(evaluated, tmp_path):
    bare = tmp_path / "digits"
    shutil.copytree(evaluated, bare)
    (bare / EVALUATION).unlink()
    manifest = json.loads((bare / "bundle.json").read_text())
    del manifest["files"][EVALUATION]
    (bare / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="was not evaluated"):
        seed_table.main(seed_table.SeedTableOptions((bare,)))


def test_memorisation_is_of_training_images_and_their_mirrors_beside_unseen_ones(evaluated, monkeypatch):
    from training import evaluate as module

    compared, replayed = [], []
    in_components = module._in_components
    monkeypatch.setattr(module, "memorisation_test", lambda *points: compared.append(points) or {})
    monkeypatch.setattr(
        module, "_in_components", lambda *given: replayed.append(given[2]) or in_components(*given)
    )
    options = EvaluateOptions(bundle=evaluated, cache=evaluated.parent / "cache", device="cpu")
    bundle, dataset = open_evaluated(options)
    evaluate(bundle, replace(dataset, options=replace(dataset.options, mirror=True)), options)
    train, val = (bundle.real_codes[dataset.indices(split)] for split in ("train", "val"))
    assert {code.tobytes() for code in replayed[0]} <= {code.tobytes() for code in train}
    mirrored = dataset.centers(dataset.indices("train")).numpy()[:, :, ::-1]
    known = np.concatenate([train, encode(bundle.load_autoencoder(), mirrored)])
    for found, codes in zip(compared[0][1:3], (val, known), strict=True):
        expected = bundle.standardisation.to_latents(torch.from_numpy(codes)).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_evaluation_is_not_put_into_a_bundle_that_has_come_meanwhile(tmp_path, monkeypatch):
    """It takes minutes: another program may have put other networks there."""
    bundle = open_bundle(copy_unmeasured(tmp_path / "digits"))

    def slow(*_: object) -> dict[str, object]:
        def other(weights: dict[str, np.ndarray]) -> None:
            weights[next(iter(weights))] += 1

        change_arrays(bundle.path, "generator.safetensors", other)
        return {}

    monkeypatch.setattr("training.evaluate.open_evaluated", lambda options: (bundle, None))
    monkeypatch.setattr("training.evaluate.evaluate", slow)
    monkeypatch.setattr("training.evaluate.table", lambda found: "")
    monkeypatch.setattr("training.card.model_card", lambda *_: "")
    with pytest.raises(UserError, match="replaced meanwhile") as caught:
        run_evaluate(EvaluateOptions(bundle.path))
    assert one_sentence(caught.value)
    assert open_bundle(bundle.path).evaluation is None
