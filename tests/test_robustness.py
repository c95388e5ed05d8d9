"""How far a verdict carries: the ends that are named are where the verdict changes."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from explorer.bundle_reading import open_bundle
from explorer.prevalence import lang_reiczigel_interval
from explorer.rates import Count, pooled
from explorer.reachability import OTHERS, PERMUTED, alphas, evidence, generators, held_out, judged, oracle
from explorer.replication import hierarchical_bootstrap
from explorer.robustness import STEPS, other_intervals, robustness
from explorer.verdict import NOTHING, Kind, verdicts
from tests.support import SHIPPED, mixed_as, tiny_reachability

FOUND = tiny_reachability("0123", "3", {0.05: (100, 130, 90, 110, 120), 0.01: (8, 12, 9, 11, 7)})
REPORTS = {"tiny": FOUND, "mixed": mixed_as(FOUND, "3", 0.01, [10_000, 25_000, 15_000])} | {
    path.name: report for path in SHIPPED if (report := open_bundle(path).reachability) is not None
}
CASES = [
    (of, name, generator)
    for of, report in REPORTS.items()
    for generator in generators(report)
    for name in held_out(report)
]


def with_alarms(
    report: dict[str, Any], name: str, generator: str, alpha: float, control: str, hits: int
) -> dict[str, Any]:
    """The report with so many false alarms of a control, as people are told of it: where that is counted
    among oracles' samples, too, as many more there.
    """
    changed = deepcopy(dict(report))
    level = changed["classes"][name]["levels"][f"{alpha:g}"]
    if control != PERMUTED:
        level["false_positives"][{words: key for key, words in OTHERS.items()}[control]]["hits"] = hits
        return changed
    placebo = level[PERMUTED]
    if of_oracles := placebo.get(oracle(generator)):
        more = hits - placebo[generator]["hits"]
        of_oracles["hits"] = min(of_oracles["hits"] + more, of_oracles["n"])
    placebo[generator]["hits"] = hits
    return changed


def kind_with_alarms(report: dict[str, Any], name: str, generator: str, control: str, hits: int) -> Kind:
    """The verdict with so many false alarms of a control: counted in the report itself, by the code that the
    page shows it with, but for those that are mixed as samples are, which no report has as such.
    """
    if control in (*OTHERS.values(), PERMUTED):
        return judged(with_alarms(report, name, generator, 0.01, control, hits), generator, 0.01)[name].kind
    given = {other: evidence(report, other, generator, 0.01) for other in held_out(report)}
    asked, oracles = given[name], given[name].oracle_fpr
    before, own = asked.fpr[control], oracles[control]
    often = min(own.n, own.hits + round((hits - before.hits) / before.n * own.n))
    given[name] = replace(
        asked,
        fpr={**asked.fpr, control: Count(hits, before.n)},
        oracle_fpr={**oracles, control: Count(often, own.n)},
    )
    return dict(zip(given, verdicts([*given.values()]), strict=True))[name].kind


@pytest.mark.parametrize(("of", "name", "generator"), CASES)
def test_one_false_alarm_less_than_the_end_leaves_the_verdict_as_it_is(of, name, generator):
    report = REPORTS[of]
    found = robustness(report, name, generator, 0.01)
    assert found.kind == judged(report, generator, 0.01)[name].kind
    assert bool(found.false_alarms) == (found.kind != Kind.INCONCLUSIVE)
    for control, alarms in found.false_alarms.items():
        end = alarms.counted.n + 1 if alarms.changes_at is None else alarms.changes_at
        assert alarms.counted.hits < end
        for hits in (end - 1, end):
            if hits > alarms.counted.n:
                continue
            kind = kind_with_alarms(report, name, generator, control, hits)
            assert (kind == found.kind) == (hits < end), (control, hits)


@pytest.mark.parametrize(("of", "name", "generator"), CASES)
def test_the_verdict_is_the_same_up_to_the_level_and_not_above(of, name, generator):
    report = REPORTS[of]
    found = robustness(report, name, generator, 0.01)
    if found.kind == Kind.INCONCLUSIVE:
        assert found.level is None
        return
    assert found.level is not None
    assert judged(report, generator, 0.01, found.level)[name].kind == found.kind
    above = found.level + 1 / STEPS
    if above < 1 - 0.5 / STEPS:
        assert judged(report, generator, 0.01, above)[name].kind != found.kind


@pytest.mark.parametrize(("of", "name", "generator"), CASES)
def test_at_other_rates_it_is_what_the_page_would_show(of, name, generator):
    report = REPORTS[of]
    assert robustness(report, name, generator, 0.01).alphas == {
        alpha: judged(report, generator, alpha)[name].kind for alpha in alphas(report)
    }


def test_a_seen_class_is_judged_among_the_seen():
    found = robustness(FOUND, "0", "latent", 0.05)
    assert found.kind == judged(FOUND, "latent", 0.05)["0"].kind == Kind.PRODUCED


def test_it_is_said_in_words():
    said = robustness(FOUND, "3", "latent", 0.01).said()
    assert "representable only at alpha 1 %" in said
    assert "the same up to a confidence level of 9" in said
    end = robustness(FOUND, "3", "latent", 0.01).false_alarms["round trips of others"].changes_at
    assert f"{end} of 3,000 in place of 3 (round trips of others)" in said
    few = deepcopy(FOUND)
    few["classes"]["3"]["levels"]["0.01"]["samples"]["latent"] = []
    said = robustness(few, "3", "latent", 0.01).said()
    assert "inconclusive at alpha" in said
    assert "confidence" not in said


def test_other_methods_span_the_controls_as_a_verdict_does():
    found = evidence(FOUND, "3", "latent", 0.05)
    (lang, bootstrap) = other_intervals(found).values()
    seeds = list(found.produced)
    ends = [lang_reiczigel_interval(pooled(seeds), found.tpr, fpr) for fpr in found.fpr.values()]
    assert lang[1] == lang_reiczigel_interval(pooled(seeds), found.tpr, NOTHING)[1]
    assert lang[1] >= max(high for _, high in ends)  # no false positives are subtracted
    assert lang[0] == min(low for low, _ in ends)  # the worst control makes it lowest
    draws = [hierarchical_bootstrap(seeds, found.tpr, fpr) for fpr in found.fpr.values()]
    assert bootstrap[1] == hierarchical_bootstrap(seeds, found.tpr, NOTHING)[1] >= max(h for _, h in draws)
    verdict = judged(FOUND, "latent", 0.05)["3"]
    for low, high in (lang, bootstrap):  # of the same counts, so they overlap
        assert low < verdict.high
        assert verdict.low < high


def test_where_judges_cannot_tell_there_is_no_interval_by_any_method():
    found = evidence(FOUND, "3", "latent", 0.05)
    assert other_intervals(replace(found, tpr=Count(0, 100))) == {}
    assert other_intervals(replace(found, produced=())) == {}
    assert other_intervals(replace(found, fpr={})) == {}
