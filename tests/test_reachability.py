"""The instrument on digits: cases whose answer is known get it, and it is resumed where it was."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from explorer.bundle import REACHABILITY, BundleError, open_bundle
from explorer.rates import Count
from explorer.reachability import (
    CUT,
    LATENT,
    ORACLE,
    PERMUTED,
    ROUND_TRIPS,
    UNTRAINED,
    alphas,
    evidence,
    judged,
)
from explorer.replication import p_more, seed_interval
from explorer.verdict import Kind
from tests.support import ROOT, one_sentence
from training import reachability
from training.cli import UserError
from training.controls import CONTROLS
from training.hits import Scored, gate, is_hit, thresholds
from training.reachability import REAL, Reachability, ReachabilityOptions, parse_seeds, run_reachability
from training.splits import CALIBRATION, LEARN, TEST

ALPHA = 0.02
SAMPLES = 1500
TINY = {
    "seeds": "0", "doses": (1.0,), "images": 1280, "samples": 120, "targets": 2, "restarts": 1,
    "search_steps": 3, "judge_images": 640, "alphas": (0.05, ALPHA), "device": "cpu",
}  # fmt: skip


def options(folder: Path, **values) -> ReachabilityOptions:
    bundle = folder / "digits"
    if not bundle.exists():
        shutil.copytree(ROOT / "pretrained" / "digits", bundle)
    given = {**TINY, "bundle": bundle, "out": folder / "run", "cache": folder / "cache", **values}
    return ReachabilityOptions(**given)


def plain(report: dict) -> dict:
    """A report without what differs from one command to the next."""
    return {k: v for k, v in report.items() if k not in ("command", "options")}


# The whole command, at toy size


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("toy")
    return folder, run_reachability(options(folder))


def test_the_report_is_in_the_bundle_and_every_class_can_be_judged_from_it(toy):
    folder, report = toy
    kept = open_bundle(folder / "digits").reachability
    assert kept == json.loads(json.dumps(report))
    for alpha in alphas(kept):
        found = judged(kept, LATENT, alpha)
        assert set(found) == set("0123456789")
        assert found["7"].kind is Kind.INCONCLUSIVE


def test_the_cheap_rungs_ask_the_bundles_own_generator_and_train_no_gan(tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("a GAN was trained")

    monkeypatch.setattr("training.adversarial.training_slices", never)
    given = options(tmp_path, cheap=True)
    report = run_reachability(given)
    assert report["seeds"][LATENT] == [0]
    assert ORACLE not in report["seeds"]
    found = judged(report, LATENT, ALPHA)["7"]
    assert found.kind is Kind.INCONCLUSIVE
    assert open_bundle(given.bundle).reachability is not None
    progress = json.loads((given.folder / "progress.json").read_text())
    assert progress["done"] == progress["of"]
    assert found.sentence in (given.folder / "reachability.html").read_text()
    with pytest.raises(UserError, match="--cheap"):
        run_reachability(replace(given, generators=("pixel",)))


def test_no_image_is_in_two_parts_and_held_out_ones_train_no_gan(toy):
    folder, report = toy
    bundle = open_bundle(folder / "digits")
    parts = np.array(list(report["split"]["parts"]))
    assert len(parts) == len(bundle.labels)
    for name, found in report["split"]["counts"].items():
        assert sum(found.values()) == (bundle.labels == bundle.classes.index(name)).sum()
    assert (parts[bundle.splits == "train"] == "l").all()
    assert not (parts[bundle.splits == "val"] == "l").any()
    saved = json.loads((folder / "run" / "latent" / "seed-0" / "options.json").read_text())["options"]
    assert "dose" not in saved
    data = json.loads((folder / "run" / "autoencoder" / "options.json").read_text())["options"]
    assert data["hold_out"] == ["7"]


def test_what_is_done_is_not_done_again(toy, monkeypatch):
    folder, report = toy

    def never(*args, **kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr("training.adversarial.training_slices", never)
    monkeypatch.setattr("training.judges.train", never)
    monkeypatch.setattr(reachability, "search", never)
    monkeypatch.setattr(reachability, "realism", never)
    assert plain(run_reachability(options(folder))) == plain(report)


def test_stopped_in_the_middle_it_goes_on_to_the_same_report(toy, tmp_path, monkeypatch):
    """Another folder, so everything is computed again: the seed alone decides."""
    _, report = toy
    given = options(tmp_path)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reachability, "search", stop)
        with pytest.raises(KeyboardInterrupt):
            run_reachability(given)
    assert open_bundle(given.bundle).reachability is None
    again = run_reachability(given)
    assert plain(again) == plain(report)


def test_a_damaged_score_is_computed_again(toy):
    folder, report = toy
    path = folder / "run" / "scores" / "latent-0.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    assert plain(run_reachability(options(folder))) == plain(report)


@pytest.mark.parametrize("damage", ["cut", "count", "class", "level", "row", "sheet"])
def test_a_damaged_report_is_one_sentence(toy, tmp_path, damage):
    from explorer.bundle import check_reachability

    report = json.loads(json.dumps(toy[1]))
    level = report["classes"]["7"]["levels"][f"{ALPHA:g}"]
    examples, images = report["classes"]["7"]["examples"], 1797
    assert check_reachability(report, tmp_path / REACHABILITY, images) == report
    if damage == "cut":
        del report["gate"]
    elif damage == "count":
        level["samples"][LATENT][0]["hits"] = 10**9
    elif damage == "class":
        report["classes"]["3"] = None
    elif damage == "row":
        examples["samples"][LATENT]["nearest"][0] = images
    elif damage == "sheet":
        examples["searches"][LATENT]["sheet"] = "https://example.org/7.png"
    else:
        del report["classes"]["3"]["levels"]["0.05"]
    with pytest.raises(BundleError, match=r"training\.reachability again") as caught:
        check_reachability(report, tmp_path / REACHABILITY, images)
    assert one_sentence(caught.value)


# Cases whose answer is known


class Known:
    """Judges that have learnt digits well, and pictures whose share of 7s is known."""

    def __init__(self, folder: Path) -> None:
        self.run = Reachability(options(folder, samples=SAMPLES, judge_images=25_600, write=False))
        self.run.folder.mkdir()
        self.run.learn()
        for kind in REAL:
            self.run.judge_real(kind)
        self.run.enter_controls()
        for name in (UNTRAINED, *CONTROLS):
            self.run.judge_samples(name, 0)
        self.seven = self.run.dataset.classes.index("7")

    def score(self, name: str, codes: np.ndarray) -> Scored:
        return self.run.score(f"known-{name}", name, lambda: self.run.decoded(codes))

    def mixture(self, name: str, share: float, seed: int) -> Scored:
        """Round trips of trained-on seen images, and a share of 7s of the part that judges learn from."""
        rng = np.random.default_rng(seed)
        codes, sevens = self.run.bundle.real_codes, self.run.labels == self.seven
        seen = rng.choice(np.flatnonzero(self.run.bundle.splits == "train"), SAMPLES)
        held = rng.choice(np.flatnonzero(sevens & (self.run.parts == LEARN)), SAMPLES)
        return self.score(f"{name}-{seed}", codes[np.where(rng.random(SAMPLES) < share, held, seen)])

    def verdict(self, candidates: list[Scored], oracle: list[Scored]):
        by_seed = {**self.run.scored, LATENT: dict(enumerate(candidates)), ORACLE: dict(enumerate(oracle))}
        run = self.run
        run.scored, kept = by_seed, run.scored
        try:
            report = run.report()
        finally:
            run.scored = kept
        return judged(report, LATENT, ALPHA)["7"], report


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    return Known(tmp_path_factory.mktemp("known"))


@pytest.fixture(scope="module")
def oracle(known) -> list[Scored]:
    return [known.mixture("oracle", 0.1, seed) for seed in range(5)]


def test_a_generator_that_makes_the_class_is_said_to(known, oracle):
    found, _ = known.verdict([known.mixture("producer", 0.05, 10 + s) for s in range(5)], oracle)
    assert found.kind is Kind.PRODUCED
    assert found.low <= 0.05 <= found.high


def test_a_generator_that_replays_its_training_codes_does_not_make_the_class(known, oracle):
    found, _ = known.verdict([known.mixture("memorising", 0.0, 20 + s) for s in range(5)], oracle)
    assert found.kind is Kind.REPRESENTABLE
    assert found.high < 0.05


def test_an_untrained_generator_does_not_make_the_class(known, oracle):
    standard = known.run.bundle.standardisation
    drawn = []
    for seed in range(5):
        z = torch.randn(SAMPLES, len(standard.scale), generator=torch.Generator().manual_seed(seed))
        drawn.append(known.score(f"untrained-{seed}", standard.to_codes(z).numpy()))
    found, _ = known.verdict(drawn, oracle)
    assert found.kind is not Kind.PRODUCED
    assert found.kind is not Kind.REACHABLE


def test_a_collapsed_generator_does_not_make_the_class(known, oracle):
    codes = known.run.bundle.real_codes[known.run.bundle.splits == "train"]
    one = [known.score(f"collapsed-{s}", np.repeat(codes[s : s + 1], SAMPLES, 0)) for s in range(5)]
    found, report = known.verdict(one, oracle)
    assert found.kind is Kind.REPRESENTABLE
    entropies = [c["hits"] for c in report["classes"]["7"]["levels"][f"{ALPHA:g}"]["samples"][LATENT]]
    assert max(entropies) == 0


def test_without_an_oracle_that_is_detected_nothing_is_denied(known):
    blind = [known.mixture("memorising", 0.0, 20 + s) for s in range(5)]
    found, _ = known.verdict(blind, oracle=blind)
    assert found.kind is Kind.INCONCLUSIVE
    assert "0 of 5 oracles" in found.sentence


def test_judges_with_permuted_labels_find_nothing(known, oracle):
    """In pictures of which a tenth are 7s they see no more than their false-alarm rate allows."""
    _, report = known.verdict(oracle, oracle)
    counted = report["classes"]["7"]["levels"][f"{ALPHA:g}"][PERMUTED][ORACLE]
    assert counted["hits"] / counted["n"] < 3 * ALPHA
    true = sum(c["hits"] for c in report["classes"]["7"]["levels"][f"{ALPHA:g}"]["samples"][ORACLE])
    assert true > 2 * counted["hits"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1])
def test_over_200_repeats_the_interval_covers_the_known_share(known, share):
    """Digits as the judges see them, resampled: five seeds of 1,500 samples, rates from 90 and 300 images."""
    run = known.run
    rows = np.flatnonzero(run.parts != LEARN)
    labels, parts = run.labels[rows], run.parts[rows]
    trips = run.scored[ROUND_TRIPS][0]
    limits = thresholds(
        trips.judges[(labels != known.seven) & (parts == CALIBRATION)][:, :, known.seven], ALPHA
    )
    within = gate(trips.distance[parts == CALIBRATION])
    hits = is_hit(trips.judges[:, :, known.seven], trips.distance, limits, within)
    sevens, others = hits[labels == known.seven], hits[(labels != known.seven) & (parts == TEST)]
    assert sevens.mean() > 0.5
    rng = np.random.default_rng(0)
    covered = alarms = 0
    for _ in range(200):
        true = Count(int(rng.choice(sevens, 90).sum()), 90)
        false = Count(int(rng.choice(others, 300).sum()), 300)
        shown = rng.binomial(1500, share, 5)
        seeds = [
            Count(int(rng.choice(sevens, k).sum() + rng.choice(others, 1500 - k).sum()), 1500) for k in shown
        ]
        low, high = seed_interval(seeds, true, false)
        covered += low <= share <= high
        alarms += p_more(seeds, [false]) <= 0.025
    assert covered >= 185  # 95 % of 200 is 190; fewer than 185 has a chance of 4 %
    if share == 0:
        assert alarms <= 10
    if share == 0.1:
        assert alarms >= 190  # power


# What a user gets wrong


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-4", (0, 1, 2, 3, 4)), ("3", (3,)), ("0,2,2,7-8", (0, 2, 7, 8))]
)
def test_seeds_are_ranges_and_lists(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "4-1", "1..3"])
def test_seeds_that_are_neither_are_refused(text):
    with pytest.raises(UserError, match=r"0-4 or 0,1,7"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"generators": ("laten",)}, "--generators are latent and pixel, not laten"),
        ({"doses": (0.0,)}, "--doses are shares"),
        ({"alphas": (1.0,)}, "--alphas are rates"),
        ({"bundle": Path("nowhere")}, "is missing"),
    ],
)
def test_wrong_options_are_one_sentence_and_leave_nothing_behind(tmp_path, change, says):
    with pytest.raises(UserError, match=says) as caught:
        run_reachability(replace(options(tmp_path), **change))
    assert one_sentence(caught.value)
    assert not (tmp_path / "run").exists()


def test_evidence_takes_the_harder_of_two_true_positives(toy):
    _, report = toy
    level = report["classes"]["7"]["levels"][f"{ALPHA:g}"]
    given = evidence(report, "7", LATENT, ALPHA)
    assert given.tpr.rate == min(level[k]["hits"] / level[k]["n"] for k in (ROUND_TRIPS, CUT))
