"""The ladder: what is counted on each rung, and that the figure shows all of it, where it belongs."""

import copy
from math import sqrt

import pytest

from explorer.ladder import ladder, mark
from explorer.ladder_figure import BAND, ladder_figure
from explorer.rates import Count, clopper_pearson
from tests.support import remade_eight_times, tiny_reachability

FOUND = tiny_reachability("0123", "3", {0.05: (100, 130, 90, 110, 120), 0.01: (8, 12, 9, 11, 7)})


def rungs(level: float = 0.95):
    return ladder(FOUND, "3", "latent", 0.01, level)


def test_each_rung_holds_the_class_what_it_is_compared_with_and_the_seen_classes():
    representable, reachable, produced = rungs()
    assert [m.label for m in representable.marks] == [
        "round trips", "what the GAN can at best show", "photographs",
        "false positives: round trips of others",
    ]  # fmt: skip
    assert (representable.marks[0].rate, representable.band) == (228 / 300, (228 / 300, 228 / 300))
    assert [m.role for m in reachable.marks] == ["class", "oracle", "control", "control"]
    assert reachable.marks[0].size == "n = 32"
    assert produced.marks[0].size == "n = 5 x 10,000"
    assert produced.marks[0].rate == pytest.approx(47 / 50_000)
    assert [m.rate for m in produced.marks if m.role == "oracle"] == [pytest.approx(2030 / 50_000)]


def test_intervals_follow_the_level_and_what_seeds_differ():
    narrow, wide = (rungs(level)[2].marks[0] for level in (0.8, 0.999))
    assert wide.low < narrow.low < narrow.rate < narrow.high < wide.high
    alike, apart = (mark("", "class", [Count(h, 1_000) for h in hits]) for hits in ((50, 50), (10, 90)))
    assert (alike.low, alike.high) == pytest.approx(clopper_pearson(100, 2_000))
    assert apart.low < alike.low
    assert apart.high > alike.high
    assert mark("", "class", [Count(0, 0)]) is None


def test_images_remade_several_times_are_said_to_be():
    found = remade_eight_times(FOUND, "3", 0.01)
    at_best = ladder(found, "3", "latent", 0.01)[0].marks[1]
    assert at_best.size == "n = 300 images x 8"
    assert (at_best.low, at_best.high) == pytest.approx(clopper_pearson(300, 600))


def test_a_pixel_gan_has_no_round_trips():
    found = copy.deepcopy(FOUND)
    found["seeds"]["pixel"] = [0]
    for name in found["classes"]:
        for at in found["classes"][name]["levels"].values():
            at["samples"]["pixel"], at["permuted labels"]["pixel"] = (
                [{"hits": 1, "n": 9}],
                {"hits": 0, "n": 9},
            )
            at["samples"]["pixel oracle"] = [{"hits": 5, "n": 9}]
    representable, reachable, produced = ladder(found, "3", "pixel", 0.01)
    assert representable.marks[0].label == "photographs"
    assert "search for its images" not in [m.label for m in reachable.marks]
    assert produced.marks[0].size == "n = 9"
    assert [(m.label, m.rate) for m in produced.marks if m.role == "oracle"] == [("pixel oracle", 5 / 9)]


def test_the_figure_shows_every_mark_and_a_band_on_each_rung():
    shown = rungs()
    figure = ladder_figure(shown, text="#FAFAFA")
    assert [t.name for t in figure.data] == [m.label for rung in shown for m in rung.marks]
    assert [s.fillcolor for s in figure.layout.shapes] == [BAND] * 3
    words = " ".join(a.text for a in figure.layout.annotations)
    assert all(m.text in words for rung in shown for m in rung.marks)
    assert "seen classes: 76 to 76 %" in words
    assert figure.layout.font.color == "#FAFAFA"
    assert figure.layout.xaxis3.tickfont.color == figure.layout.yaxis.tickfont.color == "#FAFAFA"
    produced = figure.data[-len(shown[2].marks)]
    assert produced.x[0] == pytest.approx(sqrt(shown[2].marks[0].rate))  # the last axis grows with the root
    assert {"0 %", "1 %"} <= set(figure.layout.xaxis3.ticktext)


def test_the_figure_does_without_seen_classes_and_without_a_rung():
    found = copy.deepcopy(FOUND)
    found["classes"] = {"3": found["classes"]["3"]}
    found["classes"]["3"]["levels"]["0.01"]["searches"] = {}
    shown = ladder(found, "3", "latent", 0.01)
    assert [rung.band for rung in shown] == [None] * 3
    figure = ladder_figure(shown)
    assert not figure.layout.shapes
    assert "not measured" in " ".join(a.text for a in figure.layout.annotations)


def test_every_mark_has_its_own_counts_and_the_band_is_that_of_the_seen_classes():
    found = copy.deepcopy(FOUND)
    for name, hits in zip("012", (90, 30, 60), strict=True):
        at = found["classes"][name]["levels"]["0.01"]
        at["round trips"] = {"hits": hits, "n": 300}
        at["samples"]["latent"] = [{"hits": hits, "n": 10_000}] * 5
    representable, reachable, produced = ladder(found, "3", "latent", 0.01)
    assert (representable.band, produced.band) == ((0.1, 0.3), (0.003, 0.009))
    assert [m.rate for m in representable.marks] == [0.76, 0.6, 0.94, 0.001]
    assert [m.rate for m in reachable.marks] == [6 / 32, 20 / 32, 5 / 32, 1 / 32]
    assert [m.rate for m in produced.marks] == pytest.approx(
        [0.00094, 0.0406, 0.0009, 0.0005, 0.0006, 0, 0.001]
    )


def test_error_bars_reach_from_the_lower_to_the_upper_end():
    shown = rungs()
    marks = [(m, sqrt if rung is shown[2] else float) for rung in shown for m in rung.marks]
    for trace, (m, place) in zip(ladder_figure(shown).data, marks, strict=True):
        (x,), (up,), (down,) = trace.x, trace.error_x.array, trace.error_x.arrayminus
        assert (x - down, x, x + up) == pytest.approx((place(m.low), place(m.rate), place(m.high)))
