"""Why a verdict may be believed: what is said is what was counted."""

from copy import deepcopy

import pytest

from explorer.reachability import CODEC_SAW, SHARED, judged, seen_shares
from explorer.trust import gans_asked, reasons
from tests.support import mixed_as, remade_eight_times, tiny_reachability

FOUND = tiny_reachability("0123", "3", {0.05: (100, 130, 90, 110, 120), 0.01: (8, 12, 9, 11, 7)})


def why(name: str, alpha: float = 0.01) -> dict[str, str]:
    return reasons(FOUND, name, "latent", alpha, judged(FOUND, "latent", alpha)[name])


def test_the_seeds_stand_beside_those_of_the_oracle():
    assert why("3")["Hits by seed"] == (
        "latent GAN 8, 12, 9, 11, 7 of 10,000 samples each; "
        "oracle, trained with the class 400, 380, 500, 450, 300 of 10,000 samples each"
    )


def test_the_gans_that_were_asked_are_said_to_be_others_than_the_bundles():
    assert (
        gans_asked(FOUND, "latent")
        == "5 trained anew, not the one in this bundle; in the same way as that one"
    )
    given = {"images": 1_500_000, "width": 256, "detail_images": 300_000, "pixel_images": None}
    shorter = {**FOUND, "options": {**FOUND["options"], **given}}
    assert gans_asked(shorter, "latent") == (
        "5 trained anew, not the one in this bundle; with 1,500,000 codes and a first stage of width 256 and "
        "300,000 codes in a second stage of their own"
    )
    assert "second stage" not in gans_asked({**shorter, "detail": SHARED}, "latent")
    of_pixels = {**FOUND, "options": {"pixel_images": 128_000, "pixel_widths": [32, 64]}}
    of_pixels["seeds"] = {"pixel": [0, 1]}
    assert gans_asked(of_pixels, "pixel") == (
        "2 trained anew, with 128,000 crops and networks of [32, 64] channels"
    )
    assert gans_asked({**of_pixels, "options": {}}, "pixel") == "2 trained anew, as the preset says"
    assert gans_asked({**FOUND, "options": {"cheap": True}}, "latent") == "the one in this bundle"


def test_a_seen_class_has_no_oracle_and_what_is_said_follows_alpha():
    assert why("0", 0.05)["Hits by seed"] == "latent GAN 100, 130, 90, 110, 120 of 10,000 samples each"


def test_a_second_stage_that_all_seeds_share_is_said_to_be():
    report = {**FOUND, "detail": SHARED}
    verdict = judged(report, "latent", 0.01)["3"]
    assert "over one second stage" in verdict.sentence
    found = reasons(report, "3", "latent", 0.01, verdict)
    assert "differ in the first stage alone" in found["Second stage"]
    assert "Second stage" not in why("3")


def test_an_oracle_whose_codec_saw_the_class_is_said_to_have_a_second_stage_of_its_own():
    report = deepcopy({**FOUND, "detail": SHARED})
    verdict = judged(report, "latent", 0.01)["3"]
    assert "codec saw" not in reasons(report, "3", "latent", 0.01, verdict)["Second stage"]
    report["classes"]["3"]["levels"]["0.01"]["samples"][CODEC_SAW] = [{"hits": 9, "n": 10_000}]
    assert reasons(report, "3", "latent", 0.01, verdict)["Second stage"].endswith("it has its own")


def test_images_that_were_remade_more_than_once_are_said_to_be():
    report = remade_eight_times(FOUND, "3", 0.01)
    verdict = judged(report, "latent", 0.01)["3"]
    found = reasons(report, "3", "latent", 0.01, verdict)
    assert "of 600 (the worth of 300 images x 8) test images" in found["True positives"]
    assert "of 9,000 (the worth of 3,000 images x 8)" in found["False positives: others, remade by the GAN"]
    assert "worth" not in found["False positives: round trips of others"]


def test_shares_of_seen_classes_are_added_up():
    """(0.0094 % - FPR) / (TPR - FPR) of three classes, with the FPR whose upper bound is the largest."""
    fpr, tpr, made = 3 / 3_000, 0.6, 550 / 50_000
    total = 3 * (made - fpr) / (tpr - fpr)
    seen = seen_shares(FOUND, "latent", 0.05)
    assert seen.total == pytest.approx(total)
    assert 0 < seen.least < total
    assert (seen.counted, seen.of) == (3, 3)
    assert why("3", 0.05)["Shares of the seen classes, in sum"].startswith("5 % of the samples")
    many = deepcopy(FOUND)
    for name in "012":
        many["classes"][name]["levels"]["0.05"]["samples"]["latent"] = [{"hits": 5_000, "n": 10_000}] * 5
    found = reasons(many, "3", "latent", 0.05, judged(many, "latent", 0.05)["3"])
    assert "250 % of the samples" in found["Shares of the seen classes, in sum"]
    assert "more than all" in found["Shares of the seen classes, in sum"]
    blunt = deepcopy(FOUND)
    for i, name in enumerate("012"):
        blunt["classes"][name]["levels"]["0.05"]["cut round trips"] = {"hits": 0, "n": 300}
        seen = seen_shares(blunt, "latent", 0.05)
        assert (seen.total, seen.counted) == (pytest.approx((2 - i) / 3 * total), 2 - i)
        said = reasons(blunt, "3", "latent", 0.05, judged(blunt, "latent", 0.05)["3"])
        assert (", of the 2 of 3 classes" in said.get("Shares of the seen classes, in sum", "")) == (i == 0)
    assert "Shares of the seen classes, in sum" not in said


def test_a_sum_of_a_little_more_than_all_is_no_contradiction():
    """A third of the samples each, and five in a thousand more: within what counts can tell."""
    whole = deepcopy(FOUND)
    for name in "012":
        whole["classes"][name]["levels"]["0.05"]["samples"]["latent"] = [{"hits": 2_030, "n": 10_000}] * 5
    seen = seen_shares(whole, "latent", 0.05)
    assert seen.least < 1 < seen.total
    said = reasons(whole, "3", "latent", 0.05, judged(whole, "latent", 0.05)["3"])
    assert said["Shares of the seen classes, in sum"].endswith("within what counts can tell")


def test_what_samples_are_most_like_is_said_where_it_was_counted():
    report = mixed_as(FOUND, "3", 0.05, [10_000, 25_000, 15_000])
    for name, hits in (("1", 7), ("2", 400)):
        report["classes"]["3"]["levels"]["0.05"]["strata"]["samples"]["latent"][name]["hits"] = hits
    found = reasons(report, "3", "latent", 0.05, judged(report, "latent", 0.05)["3"])
    assert found["Hits by the seen class that samples are most like"] == (
        "2: 400 of 15,000; 1: 7 of 25,000; 0: 0 of 10,000"
    )
    control = "False positives: others, remade, in its samples' mix"
    assert found[control].endswith("of 3,000 (the worth of 3,000)")
    assert found[f"{control} (oracles)"].endswith("(the worth of 3,000)")
    assert "Hits by the seen class that samples are most like" not in why("3", 0.05)


def test_every_false_positive_control_has_its_rate_and_n():
    found = why("3")
    assert found["False positives: round trips of others"].endswith("of 3,000")
    assert found["True positives"].startswith("0.600")
    assert "set for 1 % of false alarms on 1,000 calibration pictures" in found["What counts as a hit"]
