"""Every count of a report stands beside its interval."""

import csv
import io

import pytest

from explorer.bundle_reading import open_bundle
from explorer.counts_table import counts_csv, with_intervals
from explorer.rates import clopper_pearson
from explorer.reachability import LEVEL
from tests.support import ROOT, counts_in, mixed_as, tiny_reachability

SHIPPED = sorted(path.parent for path in (ROOT / "pretrained").glob("*/reachability.json"))


def test_an_interval_stands_beside_each_count_and_nothing_else_changes():
    found = {
        "a": [{"hits": 3, "n": 10}, {"hits": 0, "n": 0}],
        "b": {"hits": 5, "n": 5, "images": 2},
        "c": "x",
    }
    given = with_intervals(found, 0.9)
    first, empty, worth = counts_in(given)
    assert first["interval"] == pytest.approx(clopper_pearson(3, 10, 0.9), rel=1e-5)
    assert empty["interval"] == [0, 1]
    assert worth["interval"][1] == 1
    for count in (first, empty, worth):
        del count["interval"]
    assert given == found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_count_of_a_shipped_report_has_its_interval(path):
    report = open_bundle(path).reachability
    assert report is not None
    assert report["intervals"] == {"method": "Clopper-Pearson", "level": LEVEL}
    found = counts_in(report)
    assert len(found) > 1_000
    for count in found[::7]:
        assert count["interval"] == pytest.approx(clopper_pearson(count["hits"], count["n"], LEVEL), rel=1e-5)


def test_the_table_holds_what_samples_are_most_like_apart_from_the_whole():
    found = tiny_reachability("0123", "3", {0.05: (100, 130, 90, 110, 120)})
    report = mixed_as(found, "3", 0.05, [10_000, 25_000, 15_000])
    rows = list(csv.DictReader(io.StringIO(counts_csv(report))))
    strata = [r for r in rows if r["rung"].endswith("by stratum")]
    assert {r["rung"] for r in strata} == {"false positives by stratum", "produced by stratum"}
    assert [r["n"] for r in strata if r["source"] == "latent"] == ["10000", "25000", "15000"]
    taken = [r for r in strata if r["source"] == "cut round trips" and r["targets"] == "most like 0"]
    assert [(r["hits"], r["n"]) for r in taken] == [("50", "1000")]
    assert [r for r in rows if r not in strata] == list(csv.DictReader(io.StringIO(counts_csv(found))))
