"""The tables of a report: the claim at a glance says what the verdicts and the counts say."""

import copy
import csv
import io

import pytest

from explorer.bundle_reading import open_bundle
from explorer.counts_table import counts_csv
from explorer.ladder import ladder
from explorer.rates import Count, clopper_pearson, standardised, with_interval
from explorer.reachability import PERMUTED, conclusive, evidence, generators, judged, judged_among
from explorer.reachability_tables import claim_table, rates_table, summary
from explorer.replication import effective_count, rate_interval
from explorer.trust import reasons
from explorer.verdict import HELD_OUT, SCRAMBLED, UNTRAINED, Kind, worst_control
from tests.support import ROOT, SHIPPED, mixed_as, remade_eight_times, tiny_reachability

FOUND = tiny_reachability("0123", "3", {0.05: (100, 130, 90, 110, 120), 0.01: (8, 12, 9, 11, 7)})


def cells(table: str) -> list[dict[str, str]]:
    """Rows of a Markdown table by heading."""
    headings, _, *rows = (line.strip("| ").split(" | ") for line in table.splitlines())
    return [dict(zip(headings, row, strict=True)) for row in rows]


def with_pixels() -> dict:
    found = copy.deepcopy(FOUND)
    found["seeds"]["pixel"] = found["seeds"]["latent"]
    for name in found["classes"]:
        for at in found["classes"][name]["levels"].values():
            at["samples"]["pixel"] = [{"hits": 0, "n": 10_000}] * 5
            at["permuted labels"]["pixel"] = {"hits": 1, "n": 50_000}
    return found


def test_the_claim_has_a_row_for_each_held_out_class_and_kind_of_gan():
    latent, pixel = cells(claim_table(with_pixels(), 0.01))
    assert [row["class"] for row in (latent, pixel)] == ["3", "3"]
    assert [row["GAN"] for row in (latent, pixel)] == ["latent", "pixel"]
    verdict = judged(FOUND, "latent", 0.01)["3"]
    assert latent["verdict"] == verdict.kind.value
    assert latent["produced: share of samples"].endswith("seeds: 5")
    seeds = [Count(hits, 10_000) for hits in (8, 12, 9, 11, 7)]
    low, high = clopper_pearson(*effective_count(seeds))
    assert latent["samples hit"] == f"{47 / 50_000:.5f} [{low:.5f}, {high:.5f}] of 50,000"
    assert pixel["representable: round trips (photographs)"].startswith("no codec (")
    assert pixel["reachable on demand: found (scrambled; other classes; untrained)"] == "- (-; -; -)"


def test_seeds_that_differ_widen_the_interval_of_their_hits():
    hits = (8, 60, 9, 45, 7)
    (row,) = cells(claim_table(tiny_reachability("0123", "3", {0.01: hits}), 0.01))
    low, high = clopper_pearson(*effective_count([Count(k, 10_000) for k in hits]))
    assert row["samples hit"] == f"0.00258 [{low:.5f}, {high:.5f}] of 50,000"
    assert high > 2 * clopper_pearson(sum(hits), 50_000)[1]


def test_intervals_have_the_level_that_is_asked_for():
    heading = "representable: round trips (photographs)"
    for level in (0.95, 0.99):
        low, high = clopper_pearson(228, 300, level)
        assert cells(claim_table(FOUND, 0.01, level))[0][heading].startswith(
            f"0.760 [{low:.3f}, {high:.3f}] of 300"
        )
        assert cells(rates_table(FOUND, "latent", 0.01, level))[0]["round trips"] == (
            f"0.760 [{low:.3f}, {high:.3f}] of 300"
        )


def test_it_names_the_control_without_a_gan_that_is_hit_most():
    """Interpolations are, 9 times; a Gaussian 5 and a mixture 6 times of 10,000."""
    low, high = clopper_pearson(9, 10_000)
    (row,) = cells(claim_table(FOUND, 0.01))
    assert row["hit most without a GAN"] == f"interpolations: 0.00090 [{low:.5f}, {high:.5f}] of 10,000"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_false_positives_that_are_shown_are_those_that_the_verdict_uses(path):
    """Not those of the largest rate, which may be a lower one that is better known."""
    report = open_bundle(path).reachability
    assert report is not None
    for generator in generators(report):
        for row in cells(rates_table(report, generator, 0.01)):
            e = evidence(report, row["class"].rpartition(" (")[0], generator, 0.01)
            used = e.fpr[worst_control(e)]
            assert (
                row["false positives"] == f"{with_interval(used.rate, rate_interval([used]))} of {used.size}"
            )


def test_false_positives_of_oracles_are_those_among_their_own_samples():
    report = with_pixels()
    placebo = report["classes"]["3"]["levels"]["0.01"]["permuted labels"]
    placebo["oracle"] = {"hits": 7, "n": 50_000}
    found = evidence(report, "3", "latent", 0.01)
    assert found.oracle_fpr == {PERMUTED: Count(7, 50_000)}
    assert found.fpr[PERMUTED] == Count(placebo["latent"]["hits"], placebo["latent"]["n"])
    assert evidence(report, "3", "pixel", 0.01).oracle_fpr == {}  # no oracle of its kind was asked
    assert evidence(report, "0", "latent", 0.01).oracle_fpr == {}  # a seen class has none


def test_false_positives_are_those_of_the_seen_classes_that_samples_are_like():
    """1.1 % of samples are hits, and 0.07 % of images of others. But where a fifth of the samples are most
    like a class that is taken for this one in 5 %, that explains them.
    """
    control = "others, remade, in its samples' mix"
    for mix, fpr, kind in (
        ([0, 25_000, 25_000], Count(0, 2_000), Kind.PRODUCED),
        ([10_000, 20_000, 20_000], Count(30, 3_000), Kind.REPRESENTABLE),
        ([50_000, 0, 0], Count(50, 1_000), Kind.REPRESENTABLE),
    ):
        report = mixed_as(FOUND, "3", 0.05, mix)
        found = evidence(report, "3", "latent", 0.05)
        assert found.fpr[control] == fpr
        assert found.oracle_fpr[control] == standardised(
            {"0": Count(50, 1_000), "1": Count(0, 1_000), "2": Count(0, 1_000)}, dict.fromkeys("012", 1)
        )
        verdict = judged(report, "latent", 0.05)["3"]
        assert verdict.kind == kind, verdict.sentence
        assert ("counted on all seen classes alike" in " ".join(verdict.limits)) == (not found.mixed)
    assert judged(FOUND, "latent", 0.05)["3"].kind == Kind.PRODUCED  # where nothing is known of them
    assert control not in evidence(FOUND, "3", "latent", 0.05).fpr


def test_another_alpha_is_another_row():
    assert claim_table(FOUND, 0.01) != claim_table(FOUND, 0.05)


def test_every_rate_stands_beside_its_n():
    for row in cells(rates_table(FOUND, "latent", 0.01)):
        assert all(" of " in cell or cell == "-" for heading, cell in row.items() if heading != "class")


def test_the_summary_holds_the_claim_and_a_sentence_for_every_class():
    printed = summary(with_pixels())
    assert claim_table(with_pixels(), 0.01) in printed
    assert all(v.sentence in printed for v in judged(FOUND, "latent", 0.01).values())


def test_the_shipped_digits_have_an_answer():
    """Five seeds and an oracle: what the README says of it follows from the counts that ship."""
    report = open_bundle(ROOT / "pretrained" / "digits").reachability
    assert report is not None
    assert conclusive(report)
    assert judged(report, "latent", 0.01)["7"].kind is Kind.REPRESENTABLE


def test_oracles_are_compared_with_gans_of_their_own_kind():
    level = with_pixels()["classes"]["3"]["levels"]["0.01"]
    for generator in ("latent", "pixel"):
        given = evidence(with_pixels(), "3", generator, 0.01)
        assert [c.hits for c in given.blind] == [c["hits"] for c in level["samples"][generator]]
        assert evidence(with_pixels(), "0", generator, 0.01).blind == []
    assert evidence(with_pixels(), "3", "latent", 0.01).oracle
    assert not evidence(with_pixels(), "3", "pixel", 0.01).oracle  # none on pixels was trained


def test_what_images_remade_several_times_are_worth_is_said_to_be_that():
    found = remade_eight_times(FOUND, "3", 0.01)
    (row,) = (r for r in cells(rates_table(found, "latent", 0.01)) if r["class"] == "3 (held out)")
    assert row["what the GAN can at best show"].endswith("of 600 (the worth of 300 images x 8)")
    rows = [r for r in csv.DictReader(io.StringIO(counts_csv(found))) if r["class"] == "3"]
    worth = [r["worth_of"] for r in rows if r["source"] == "cut round trips" and r["alpha"] == "0.01"]
    assert worth[0] == "300 images x 8"
    assert not any(r["worth_of"] for r in rows if r["rung"] == "produced")


def without_thresholds() -> dict:
    found = copy.deepcopy(with_pixels())
    at = found["classes"]["3"]["levels"]["0.01"]
    at["thresholds"] = [None, None]
    for entry in (at["photographs"], at["round trips"], *at["samples"]["latent"]):
        entry["hits"] = 0
    return found


def test_without_thresholds_nothing_is_shown_as_if_it_had_been_counted():
    """With too few calibration pictures nothing can be a hit: no hits of so many would be read as a rate."""
    found = without_thresholds()
    for row in cells(claim_table(found, 0.01)):
        assert row["verdict"] == "inconclusive"
        assert {cell for heading, cell in row.items() if heading not in ("class", "GAN", "verdict")} == {"-"}
    held, *others = sorted(cells(rates_table(found, "latent", 0.01)), key=lambda row: "seen" in row["class"])
    assert {cell for heading, cell in held.items() if heading != "class"} == {"-"}
    assert all(" of " in row["samples"] for row in others)
    rows = [r for r in csv.DictReader(io.StringIO(counts_csv(found))) if r["class"] == "3"]
    for row in rows:
        assert bool(row["hits"]) == bool(row["rate"]) == bool(row["method"]) == (row["alpha"] == "0.05")
        assert row["n"]
    assert all(not rung.marks and rung.band is None for rung in ladder(found, "3", "latent", 0.01))
    assert all(rung.band for rung in ladder(found, "3", "latent", 0.05))
    why = reasons(found, "3", "latent", 0.01, judged(found, "latent", 0.01)["3"])
    assert "too few for thresholds" in why["What counts as a hit"]
    assert not {"True positives", "Hits by seed"} & why.keys()


def test_each_search_is_compared_with_its_own_controls():
    found = evidence(FOUND, "3", "latent", 0.01).searches
    assert {kind: (search.reached, search.distance) for kind, search in found.items()} == {
        HELD_OUT: (Count(6, 32), 0.9), SCRAMBLED: (Count(5, 32), 0.95), UNTRAINED: (Count(1, 32), 0.9),
    }  # fmt: skip


def test_a_report_is_conclusive_only_where_every_held_out_class_has_a_verdict():
    found = tiny_reachability("0123", "23", {0.01: (8, 12, 9, 11, 7)})
    assert conclusive(found)
    found["classes"]["2"]["levels"]["0.01"]["samples"]["oracle"] = []
    assert not conclusive(found)


def test_held_out_classes_are_not_adjusted_for_the_seen_ones():
    assert judged(FOUND, "latent", 0.05)["3"] == judged_among(FOUND, ["3"], "latent", 0.05)["3"]
