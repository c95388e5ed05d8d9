"""What the documents quote of the shipped reports is what the reports say."""

import pytest

from explorer.bundle_reading import open_bundle
from explorer.race import verdict
from explorer.reachability import generators, held_out, judged
from explorer.reachability_tables import claim_table
from explorer.robustness import robustness
from explorer.verdict import Kind
from tests.support import ROOT

SHIPPED = sorted(path.parent for path in (ROOT / "pretrained").glob("*/reachability.json"))


def unwrapped(name: str) -> str:
    """A document as one line, without the marks of quotations."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").replace("\n> ", " ").split())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_verdicts_and_claims_are_quoted_as_the_page_has_them(path):
    report, said = open_bundle(path).reachability, unwrapped("docs/reachability.md")
    assert report is not None
    for generator in generators(report):
        for name in held_out(report):
            verdict = judged(report, generator, 0.01)[name]
            assert verdict.sentence in said
            if verdict.kind != Kind.INCONCLUSIVE:
                assert robustness(report, name, generator, 0.01).said() in said
    _, _, *rows = claim_table(report, 0.01).splitlines()
    assert rows
    assert all(row in said for row in rows)


def test_the_race_is_quoted_as_the_page_has_it():
    race = open_bundle(ROOT / "pretrained" / "imagewoof64").race
    assert race is not None
    assert verdict(race) in unwrapped("docs/speed.md")
