"""Verdicts: each kind from the counts that deserve it, and a bench with known truth."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer.rates import Count
from explorer.verdict import Evidence, Kind, Search, percent, verdicts, worst_control
from tests.support import ROOT

SEARCHES = {
    "held-out": Search(Count(20, 100), 0.8),
    "scrambled": Search(Count(18, 100), 0.9),
    "untrained": Search(Count(1, 100), 1.4),
}
REACHED = {**SEARCHES, "held-out": Search(Count(60, 100), 0.8)}


def seeds(*hits: int) -> list[Count]:
    return [Count(h, 10_000) for h in hits]


SAMOYED = Evidence(
    name="Samoyed",
    originals=Count(282, 300),
    round_trips=Count(228, 300),
    tpr=Count(180, 300),
    fpr={"resampled latents": Count(3, 3_000), "permuted labels": Count(0, 3_000)},
    produced=seeds(8, 12, 9, 11, 7),
    attribution={"interpolations": seeds(9), "a Gaussian": seeds(5)},
    searches=SEARCHES,
    oracle=seeds(400, 380, 500, 450, 300),
)
PRODUCED = replace(SAMOYED, produced=seeds(100, 130, 90, 110, 120))


def verdict(evidence: Evidence, level: float = 0.95):
    (found,) = verdicts([evidence], level)
    return found


def test_a_class_no_more_frequent_than_false_positives_is_representable_only() -> None:
    found = verdict(SAMOYED)
    assert found.kind is Kind.REPRESENTABLE
    assert found.low == 0
    assert found.sentence == (
        "Samoyed: not produced above 0.22 % of samples (95 % interval 0 to 0.22 %; 5 seeds, 10,000 samples "
        "each); a search reaches 20 of 100 of its images, not shown to be more than of scrambled ones (18 of "
        "100), so it says nothing; the judges recognise its round trips 81 % as often as photographs: "
        "representable only."
    )


def test_a_sentence_says_what_its_seeds_share() -> None:
    found = verdict(replace(SAMOYED, shared="over one second stage"))
    assert "; 5 seeds, 10,000 samples each, over one second stage)" in found.sentence
    uneven = [*seeds(8, 12, 9, 11), Count(7, 9_000)]
    found = verdict(replace(SAMOYED, produced=uneven, shared="over one second stage"))
    assert "; 5 seeds, 49,000 samples in all, over one second stage)" in found.sentence


def test_a_class_in_every_seed_is_produced_and_its_controls_are_named() -> None:
    found = verdict(PRODUCED)
    assert found.kind is Kind.PRODUCED
    assert found.pi == pytest.approx((550 / 50_000 - 0.001) / (0.6 - 0.001))
    assert 0 < found.low < found.pi < found.high
    assert "produced, in 1.7 % of samples" in found.sentence
    assert "than by interpolations and a Gaussian." in found.sentence
    control, mix = found.limits
    assert control == "false positives are those of resampled latents (3 of 3,000)"
    assert "on all seen classes alike" in mix
    assert len(verdict(replace(PRODUCED, seen=True)).limits) == 1  # it is one of them


@pytest.mark.parametrize("control", ["interpolations", "a Gaussian"])
def test_what_one_control_does_as_often_is_not_the_gans(control) -> None:
    made = {**dict.fromkeys(PRODUCED.attribution, seeds(5)), control: seeds(105)}
    found = verdict(replace(PRODUCED, attribution=made))
    assert found.kind is Kind.PRODUCED_NOT_BY_GAN
    assert f"by {control} (hits: 550 of 50,000 against 105 of 10,000): nothing to attribute" in found.sentence


def test_a_class_that_it_was_trained_with_is_attributed_to_nothing() -> None:
    """A Gaussian mixture of the codes makes as much of it as the best of generators would."""
    for attribution in ({}, {"a Gaussian": seeds(105)}):
        found = verdict(replace(PRODUCED, attribution=attribution, seen=True))
        assert found.kind is Kind.PRODUCED
        assert found.sentence.endswith("10,000 samples each), more often than false positives.")


def test_a_class_that_a_search_reaches_is_reachable_on_demand() -> None:
    found = verdict(replace(SAMOYED, searches=REACHED))
    assert found.kind is Kind.REACHABLE
    assert "not produced above 0.22 %" in found.sentence
    assert "60 of 100 of its images, 0.8 times as far away" in found.sentence
    assert "scrambled ones (18 of 100) and than in an untrained generator (1 of 100)" in found.sentence


def test_a_search_that_also_beats_those_for_other_classes_says_so() -> None:
    found = verdict(replace(SAMOYED, searches={**REACHED, "other classes": Search(Count(9, 900))}))
    assert found.kind is Kind.REACHABLE
    assert (
        "of scrambled ones (18 of 100) and than of other classes' (9 of 900) and than in an" in found.sentence
    )


@pytest.mark.parametrize(
    ("searches", "says"),
    [
        ({}, "without counts for held-out, scrambled and untrained"),
        ({**REACHED, "scrambled": Search(Count(55, 100))}, "scrambled ones (55 of 100), so it says nothing"),
        ({**REACHED, "untrained": Search(Count(55, 100))}, "in an untrained generator (55 of 100)"),
        (
            {**REACHED, "other classes": Search(Count(480, 900))},
            "other classes' (480 of 900), so it says nothing",
        ),
    ],
)
def test_a_search_that_does_not_beat_its_controls_says_so(searches, says) -> None:
    found = verdict(replace(SAMOYED, searches=searches))
    assert found.kind is Kind.REPRESENTABLE
    assert says in found.sentence


def test_a_class_that_the_codec_does_not_show_is_not_representable_whatever_else_is_missing() -> None:
    found = verdict(replace(SAMOYED, round_trips=Count(30, 300), oracle=(), produced=()))
    assert found.kind is Kind.NOT_REPRESENTABLE
    assert "recognise its round trips 11 % as often as photographs" in found.sentence


def test_samples_may_show_what_few_round_trips_do() -> None:
    """A third of round trips are recognised, a tenth of the samples: nobody can say that it is not shown."""
    poor = replace(
        SAMOYED, originals=Count(95, 100), round_trips=Count(33, 100), tpr=Count(30, 100),
        fpr={"others": Count(2, 5_000)}, produced=seeds(*[1_000] * 5), oracle=seeds(*[1_000] * 5), blind=(),
    )  # fmt: skip
    found = verdict(poor)
    assert found.kind is Kind.PRODUCED
    assert any("35 % as often as photographs, so its codec shows it badly" in limit for limit in found.limits)
    assert verdict(replace(poor, produced=seeds(*[2] * 5))).kind is Kind.NOT_REPRESENTABLE


def test_an_untrained_generator_has_no_hits_and_an_upper_bound() -> None:
    found = verdict(replace(SAMOYED, produced=seeds(0, 0, 0, 0, 0)))
    assert found.kind is Kind.REPRESENTABLE
    # All 50,000 samples miss: 3.7 in 50,000 at 97.5 %, over a TPR of 0.6; the FPR has no part in it.
    assert found.high == pytest.approx(3.69 / 50_000 / 0.6, rel=0.05)
    assert (found.pi, found.low) == (0, 0)
    assert "not produced above 0.013 % of samples (95 % interval 0 to 0.013 %" in found.sentence


def test_a_generator_collapsed_to_one_class_makes_all_of_it_and_nothing_else() -> None:
    every, none = replace(SAMOYED, produced=seeds(*[6_000] * 5)), replace(SAMOYED, produced=seeds(*[0] * 5))
    collapsed, other = verdicts([every, none])
    assert (collapsed.kind, other.kind) == (Kind.PRODUCED, Kind.REPRESENTABLE)
    assert collapsed.pi == 1
    assert collapsed.high == 1
    assert collapsed.low > 0.85


def test_a_generator_that_collapses_to_the_class_in_one_seed_of_five_is_no_replication() -> None:
    assert verdict(replace(SAMOYED, produced=seeds(6_000, 0, 0, 0, 0))).kind is Kind.INCONCLUSIVE


def test_an_oracle_as_generator_is_produced() -> None:
    assert verdict(replace(SAMOYED, produced=SAMOYED.oracle)).kind is Kind.PRODUCED


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"oracle": ()}, "no oracle"),
        ({"oracle": seeds(400, 380, 500, 9, 8)}, "detected in 3 of 5 oracles"),
        ({"produced": seeds(100, 110, 120, 130)}, "4 of 5 seeds were sampled; more seeds"),
        ({"produced": [*seeds(100, 110, 120, 130), Count(0, 0)]}, "4 of 5 seeds"),
        ({"produced": ()}, "0 of 5 seeds"),
        ({"fpr": {}}, "false positives were not counted"),
        ({"fpr": {"placebo": Count(0, 0)}}, "false positives were not counted"),
        ({"tpr": Count(0, 0)}, "not asked about true samples"),
        ({"tpr": Count(1, 300)}, "a better judge would settle it"),
        ({"originals": Count(1, 300)}, "recognise 1 of 300 photographs, and "),
        ({"round_trips": Count(145, 300), "produced": seeds(8, 12, 9, 11, 7)}, "more test images"),
        ({"attribution": {}}, "nothing attributes it to the GAN"),
    ],
)
def test_what_is_missing_or_too_weak_is_inconclusive_and_says_what_would_settle_it(change, says) -> None:
    found = verdict(replace(PRODUCED, **change))
    assert found.kind is Kind.INCONCLUSIVE
    assert says in found.sentence
    assert found.sentence.startswith("Samoyed: inconclusive: ")
    assert found.limits


def test_an_inconclusive_verdict_still_says_what_the_first_rungs_tell() -> None:
    """As after a measurement without oracles, or with one seed: codec and search were asked all the same."""
    found = verdict(replace(SAMOYED, searches=REACHED, oracle=()))
    assert found.kind is Kind.INCONCLUSIVE
    told = found.sentence.split("(what can be told: ")[1]
    assert told.startswith("the judges recognise its round trips 81 % as often as photographs; ")
    assert "a search reaches 60 of 100 of its images, 0.8 times as far away" in told
    unasked = verdict(replace(SAMOYED, searches={}, oracle=(), codec=False)).sentence
    assert "what can be told" not in unasked
    close = replace(SAMOYED, round_trips=Count(145, 300), oracle=())  # too close to say that they are shown
    assert "as often as photographs; " not in verdict(close).sentence.split("(what can be told: ")[1]


def test_four_oracles_of_five_are_enough() -> None:
    assert verdict(replace(PRODUCED, oracle=seeds(400, 380, 500, 300, 0))).kind is Kind.PRODUCED


FEW = {"round trips": Count(1, 163)}  # false positives that rest on few images: up to 3.4 % are possible
SMALL = replace(
    SAMOYED, fpr=FEW, produced=seeds(0, 3, 1, 2, 4), oracle=seeds(310, 290, 340, 250, 280),
    blind=seeds(0, 3, 1, 2, 4),
)  # fmt: skip


def test_an_oracle_that_beats_every_generator_without_the_class_is_detected() -> None:
    """Though the images that false positives rest on are too few to tell."""
    found = verdict(SMALL)
    assert found.kind is Kind.REPRESENTABLE
    assert "not produced above" in found.sentence


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({"blind": seeds(0, 3, 1, 2, 300)}, 0.95),  # one of the generators is hit as often
        ({"oracle": seeds(310, 290, 340, 4, 3)}, 0.95),  # 3 of 5
        ({"blind": seeds(240, 240, 240, 240, 240)}, 0.95),  # beaten, but not by more than chance
        ({"blind": ()}, 0.95),  # a pixel GAN's own seeds are no measure of latent oracles
    ],
)
def test_an_oracle_is_not_detected_by_less(change, level) -> None:
    found = verdict(replace(SMALL, **change), level)
    assert found.kind is Kind.INCONCLUSIVE
    assert "of 5 oracles trained with it" in found.sentence


def test_as_many_oracles_as_beat_all_others_count_against_chance() -> None:
    """Five of five above all of five come by chance 1 time in 252, four of five 5 in 210."""
    four = replace(SMALL, oracle=seeds(310, 290, 340, 250, 3))
    assert [verdict(e, 0.99).kind for e in (SMALL, four)] == [Kind.REPRESENTABLE, Kind.INCONCLUSIVE]
    assert verdict(four, 0.95).kind is Kind.REPRESENTABLE
    said = verdict(four, 0.96).sentence
    assert "4 of 5 oracles trained with the class are hit more often than each of 5 generators" in said
    assert "which chance alone brings 2.4 % of the time, more than the 2 % that are allowed" in said


def test_fewer_oracles_than_a_claim_takes_seeds_show_nothing() -> None:
    found = verdict(replace(SAMOYED, oracle=seeds(400, 380)))
    assert found.kind is Kind.INCONCLUSIVE
    assert "2 of 5 oracles were sampled; more would settle it" in found.sentence


def test_too_few_calibration_pictures_are_said_to_be_what_is_missing() -> None:
    """Nothing is a hit then, photographs neither; the judges may be as good as any."""
    none = replace(SAMOYED, originals=Count(0, 300), round_trips=Count(0, 300), uncalibrated=(163, 199))
    found = verdict(none)
    assert found.kind is Kind.INCONCLUSIVE
    assert "163 calibration pictures are too few for a threshold" in found.sentence
    assert "which takes 199; more images of seen classes would settle it" in found.sentence
    assert "better judge" not in found.sentence


def test_a_generator_of_pixels_is_told_nothing_of_round_trips() -> None:
    few = replace(SAMOYED, originals=Count(3, 4), round_trips=Count(3, 4))
    assert "too few images to tell" in verdict(few).sentence
    found = verdict(replace(few, codec=False))
    assert found.kind is Kind.REPRESENTABLE
    assert "round trips" not in found.sentence


def test_a_verdict_says_by_which_control_it_is_narrowest() -> None:
    """Oracles make (4.06 - FPR) / (60 - FPR) %: 6.6 where 0.1 % are false alarms, 6.8 where none are."""
    narrow = "closest to what oracles make if false positives are those of resampled latents: at most 0.1"
    (said,) = (limit for limit in verdict(SAMOYED).limits if "closest" in limit)
    assert narrow in said
    assert said.endswith("against 6.6 %")


def test_a_seen_class_is_no_oracle_to_itself() -> None:
    """Its generator is its own oracle, which can't beat itself: false positives decide."""
    found = verdict(replace(SMALL, produced=SMALL.oracle, oracle=SMALL.oracle, blind=()))
    assert found.kind is Kind.INCONCLUSIVE


def test_a_bound_above_what_an_oracle_makes_denies_nothing() -> None:
    shared = replace(SAMOYED, shared="over one second stage")
    found = verdict(replace(shared, produced=seeds(0, 0, 0, 60, 700)))
    assert found.kind is Kind.INCONCLUSIVE
    assert "where a generator was trained with it" in found.sentence
    assert "(95 % interval; 5 seeds, 10,000 samples each, over one second stage)" in found.sentence


def test_a_bound_must_be_below_what_oracles_make_by_the_same_false_positives_and_by_each_control() -> None:
    """What fools the judges fools them in an oracle's samples too, and nobody knows which control does."""
    few, many = Count(20, 10_000), Count(300, 10_000)
    blind = seeds(130, 135, 128, 131, 127)
    less = replace(SAMOYED, produced=blind, blind=blind, oracle=seeds(230, 240, 235, 228, 238))
    denied = verdict(replace(less, fpr={"few": few, "some": Count(130, 10_000)}))
    assert denied.kind is Kind.REPRESENTABLE
    assert denied.low == 0
    # The bound takes every hit for the class: no control, as mild as it may be, can be what it hangs on.
    none = verdict(replace(less, fpr={"none": Count(0, 10**9)}))
    assert none.kind is not Kind.REPRESENTABLE  # shown to be produced, if nothing is a false positive
    assert denied.high == none.high == pytest.approx(130.2 / 10_000 / SAMOYED.tpr.rate, rel=0.3)
    assert any("every hit" in limit for limit in denied.limits)
    for mild in (Count(0, 10_000), Count(60, 10_000)):
        other = verdict(replace(less, fpr={"few": mild, "some": Count(130, 10_000)}))
        assert other.high == denied.high
    # By another control the oracles make nothing, so nothing is denied.
    undecided = verdict(replace(less, fpr={"some": few, "many": many}))
    assert undecided.kind is Kind.INCONCLUSIVE
    assert "no more (0 %) are where a generator was trained with it" in undecided.sentence
    assert "if false positives are those of many;" in undecided.sentence


def test_a_share_above_0_until_the_number_of_classes_is_allowed_for_is_denied_by_no_loose_bound() -> None:
    """Its interval excludes 0, Holm does not: the bound must still be below what the oracles make."""
    made = replace(SAMOYED, produced=seeds(30, 30, 31, 29, 30), fpr={"few": Count(36, 20_000)}, blind=())
    others = [replace(SAMOYED, name=f"class {i}") for i in range(9)]
    much, little = (replace(made, oracle=seeds(*[hits] * 5)) for hits in (45, 36))
    assert verdict(little).kind is Kind.PRODUCED
    denied, undecided = (verdicts([evidence, *others])[0] for evidence in (much, little))
    assert denied.kind is Kind.REPRESENTABLE
    assert denied.low == undecided.low > 0
    assert undecided.kind is Kind.INCONCLUSIVE
    assert "no more (0.3 %) are where a generator was trained with it" in undecided.sentence


def test_where_nothing_is_left_by_several_controls_the_one_with_the_largest_upper_bound_is_used() -> None:
    controls = {"a": Count(3, 3_000), "b": Count(2, 3_000), "c": Count(0, 100)}
    assert worst_control(replace(SAMOYED, fpr=controls)) == "c"
    assert worst_control(replace(SAMOYED, fpr=controls, produced=())) == "c"
    found = verdict(replace(PRODUCED, fpr={"many": Count(3, 3_000), "few": Count(0, 100)}))
    assert found.kind is not Kind.PRODUCED  # 0 of 100 does not exclude the rate that was found


def test_a_claim_holds_against_every_control() -> None:
    """0 of 145 have the larger upper bound (0.025), and seeds that differ are still more; than 400 of 20,000,
    a lower rate that is better known, they are not.
    """
    few, many = {"few": Count(0, 145)}, {"many": Count(400, 20_000)}
    noisy = replace(SAMOYED, produced=seeds(180, 420, 250, 490, 310), oracle=seeds(*[3_000] * 5))
    alone = [verdict(replace(noisy, fpr=fpr)) for fpr in (few, many)]
    assert [found.kind for found in alone] == [Kind.PRODUCED, Kind.REPRESENTABLE]
    both = verdict(replace(noisy, fpr=few | many))
    assert both.kind is Kind.REPRESENTABLE
    assert both.p_value == max(found.p_value for found in alone)
    assert worst_control(replace(noisy, fpr=few | many)) == "many"
    clear = replace(noisy, produced=seeds(900, 950, 870, 910, 930))
    lows = [verdict(replace(clear, fpr=fpr)).low for fpr in (few, many)]
    both = verdict(replace(clear, fpr=few | many))
    assert both.kind is Kind.PRODUCED
    assert both.low == min(lows)
    assert both.pi == pytest.approx((0.0912 - 0.02) / (0.6 - 0.02))


def test_photographs_and_true_samples_must_be_told_from_every_control_too() -> None:
    for change in ({"originals": Count(6, 300)}, {"tpr": Count(6, 300)}):
        fpr = {"few": Count(0, 100_000), "many": Count(900, 60_000)}
        found = verdict(replace(SAMOYED, fpr=fpr, **change))
        assert "900 of 60,000 of many; a better judge would settle it" in found.sentence


def test_false_positives_of_oracles_are_counted_among_their_own_samples() -> None:
    """Judges with permuted labels take 4 % of the oracles' samples for the class, and true ones are 4.1 %."""
    fpr = {"permuted labels": Count(50, 50_000)}
    denied = replace(SAMOYED, fpr=fpr, blind=())
    assert verdict(denied).kind is Kind.REPRESENTABLE
    own = {"permuted labels": Count(2_000, 50_000)}
    found = verdict(replace(denied, oracle_fpr=own, oracle=seeds(*[430] * 5)))
    assert found.kind is Kind.INCONCLUSIVE
    assert "detected in 0 of 5 oracles" in found.sentence
    found = verdict(replace(denied, oracle_fpr=own, oracle=seeds(*[480] * 5)))
    assert found.kind is Kind.REPRESENTABLE
    assert "against 1.4 %" in found.limits[-1]  # (0.048 - 0.04) / (0.6 - 0.04)
    none = {"permuted labels": Count(40_000, 50_000)}  # no rarer than true positives: oracles make nothing
    found = verdict(replace(denied, oracle_fpr=none, blind=seeds(8, 12, 9, 11, 7)))
    assert "and no more (0 %) are where a generator was trained with it" in found.sentence


def test_a_seen_class_is_told_why_nothing_is_claimed_and_not_that_its_oracle_makes_no_more() -> None:
    weak = replace(
        SAMOYED, produced=seeds(60, 30, 25, 70, 45), oracle=seeds(60, 30, 25, 70, 45), seen=True,
        fpr={"few": Count(3, 3_000)},
    )  # fmt: skip
    others = [replace(SAMOYED, name=f"breed {i}", seen=True) for i in range(11)]
    weakest = replace(weak, oracle=seeds(*[400] * 5))  # what would detect it
    crowd = verdicts([weakest, *others])[0]
    assert crowd.kind is Kind.INCONCLUSIVE
    assert (
        "230 of 50,000 samples are taken for it; that these are more than false positives explain (3 of "
        "3,000 of few) holds only until the number of classes is allowed for"
    ) in crowd.sentence
    none = verdict(replace(weakest, produced=seeds(8, 12, 9, 11, 7)))
    assert "47 of 50,000 samples are taken for it; that these are" in none.sentence
    assert "(3 of 3,000 of few) is not shown; more" in none.sentence
    undetected = verdict(replace(weak, produced=seeds(8, 12, 9, 11, 7), oracle=seeds(8, 12, 9, 11, 7)))
    assert "detected in 0 of 5 of the GANs, which were trained with it" in undetected.sentence


def test_more_classes_need_stronger_counts() -> None:
    weak = replace(SAMOYED, produced=seeds(60, 30, 25, 70, 45))
    assert verdict(weak).kind is Kind.PRODUCED
    crowd = verdicts([weak, *[replace(SAMOYED, name=f"breed {i}") for i in range(11)]])[0]
    assert crowd.kind is Kind.REPRESENTABLE
    assert crowd.p_value == pytest.approx(12 * verdict(weak).p_value)
    assert "above 0 only until the number of classes is allowed for" in crowd.sentence


@settings(max_examples=30)
@given(st.lists(st.integers(0, 400), min_size=5, max_size=5), st.floats(0.8, 0.98))
def test_a_claim_at_a_level_stands_at_lower_ones(hits, level) -> None:
    evidence = replace(SAMOYED, produced=seeds(*hits), fpr={"placebo": Count(3, 3_000)})
    strict, loose = verdict(evidence, level + 0.01), verdict(evidence, level)
    if strict.kind is Kind.PRODUCED:
        assert loose.kind is Kind.PRODUCED
    assert strict.low <= loose.low + 1e-4
    assert strict.high >= loose.high - 1e-4
    for found in (strict, loose):
        assert 0 <= found.low <= found.pi + 1e-4
        assert found.pi <= found.high + 1e-4 <= 1 + 1e-4


@given(st.builds(lambda n, share: Count(int(n * share), n), st.integers(0, 400), st.floats(0, 1)), st.data())
def test_any_counts_have_a_verdict_in_one_sentence(count, data) -> None:
    """No count is out of reach: zero everywhere, all hits, nothing measured."""
    names = ("originals", "round_trips", "tpr")
    change = {name: data.draw(st.sampled_from([count, Count(0, 9), Count(300, 300)])) for name in names}
    change["fpr"] = {"placebo": data.draw(st.sampled_from([count, Count(0, 3_000), Count(9, 9)]))}
    change["oracle"] = change["produced"] = [data.draw(st.sampled_from([count, Count(90, 90)]))] * 5
    found = verdict(replace(SAMOYED, **change))
    assert found.sentence.endswith(".")
    assert found.sentence.startswith("Samoyed: ")
    assert 0 <= found.low <= found.high <= 1


def test_no_classes_have_no_verdicts() -> None:
    assert verdicts([]) == []


@pytest.mark.parametrize(
    ("share", "rounded", "said"),
    [
        (0.8123, "nearest", "81 %"), (1, "nearest", "100 %"), (0, "up", "0 %"), (0.00431, "up", "0.44 %"),
        (0.00431, "down", "0.43 %"), (0.9999, "down", "99 %"), (0.0000012, "up", "0.00012 %"),
    ],
)  # fmt: skip
def test_shares_are_said_to_two_digits_and_bounds_never_inwards(share, rounded, said) -> None:
    assert percent(share, rounded) == said


def test_importing_the_verdict_is_cheap() -> None:
    """The app imports it before anything is drawn."""
    code = "import sys, explorer.verdict; print([m for m in ('scipy', 'numpy') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.strip() == "[]"


# The bench with known truth


def bench(pi: float, repeats: int, variation: float = 0.3):
    """Verdicts on classes of which a share pi is made, seeds varying around it; 12 classes at a time."""
    rng = np.random.default_rng(0)

    def one() -> Evidence:
        rates = np.full(5, pi)
        if pi:
            size = (1 - pi) / (pi * variation**2) - 1
            rates = rng.beta(pi * size, (1 - pi) * size, 5)
        return replace(
            SAMOYED,
            tpr=Count(int(rng.binomial(300, 0.6)), 300),
            fpr={"resampled latents": Count(int(rng.binomial(20_000, 1e-3)), 20_000)},
            produced=seeds(*(int(h) for h in rng.binomial(10_000, rates * 0.6 + (1 - rates) * 1e-3))),
            attribution={"interpolations": seeds(int(rng.binomial(10_000, 1e-3)))},
        )

    return [found for _ in range(repeats) for found in verdicts([one() for _ in range(12)])]


@pytest.mark.parametrize(
    ("pi", "least", "most"),
    [
        (0, 0, 0),  # false alarms: at most 2.5 % in a family of 12, so 0.2 % of classes
        (0.001, 0, 0.1),  # as rare as false positives: out of reach of 5 seeds
        (0.01, 0.9, 1),
        (0.1, 0.95, 1),
    ],
)
def test_verdicts_on_a_known_share(pi, least, most) -> None:
    """Over 204 classes: the interval covers, false alarms are rarer than alpha, power is what is stated."""
    found = bench(pi, 17)
    covered = np.mean([v.low <= pi <= v.high for v in found])
    assert covered >= 0.92
    produced = np.mean([v.kind is Kind.PRODUCED for v in found])
    assert least <= produced <= most


def test_more_classes_need_stronger_searches_and_stronger_differences_from_controls_too() -> None:
    """Holm's adjustment is of every claim: p = 0.017 is enough for one class, not for twelve."""
    searched = replace(SAMOYED, searches={**SEARCHES, "held-out": Search(Count(32, 100), 0.8)})
    made = replace(PRODUCED, attribution={"interpolations": seeds(80)})
    for evidence, alone, among in (
        (searched, Kind.REACHABLE, Kind.REPRESENTABLE), (made, Kind.PRODUCED, Kind.PRODUCED_NOT_BY_GAN),
    ):  # fmt: skip
        others = [replace(SAMOYED, name=f"breed {i}") for i in range(11)]
        assert verdict(evidence).kind is alone
        assert verdicts([evidence, *others])[0].kind is among


def test_round_trips_are_recognised_as_far_as_photographs_are() -> None:
    """Half of the round trips are, and three of five photographs: more than half as often."""
    found = verdict(replace(SAMOYED, originals=Count(180, 300), round_trips=Count(150, 300)))
    assert found.kind is Kind.REPRESENTABLE
    assert "the judges recognise its round trips 83 % as often as photographs" in found.sentence


def test_a_class_is_not_representable_only_where_no_count_allows_it() -> None:
    """Round trips of up to 47.1 % are possible; a half is 45.3 to 48.2 % of photographs."""
    found = verdict(replace(SAMOYED, round_trips=Count(124, 300)))
    assert found.kind is Kind.INCONCLUSIVE
    assert "too few images to tell" in found.sentence
