"""The race: its arithmetic against cases worked by hand, a tiny one on digits, and what a bundle takes."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer import race as found
from explorer.bundle import BundleError
from explorer.bundle_reading import open_bundle
from explorer.bundle_writing import update_bundle
from explorer.measured import RACE
from explorer.race_figure import race_figure
from tests.support import ROOT, one_sentence, tiny_race, write_classes
from training import race
from training.cli import UserError
from training.contestant import Contestant, Reference
from training.race import RaceOptions, run_race

# The arithmetic


def test_a_quality_is_reached_at_the_first_evaluation_that_has_it():
    curve = [{"seconds": s, "total": s + 100, "frechet": f} for s, f in ((1, 50), (2, 30), (4, 40), (8, 20))]
    assert found.reached(curve, 35) == 2
    assert found.reached(curve, 35, "total") == 102
    assert found.reached(curve, 20) == 8
    assert found.reached(curve, 19.9) is None


def test_seconds_ratios_and_break_even_by_hand():
    """Codec and encoding take 30 s; the latent GAN 5 to 10 s to 200 where the pixel GAN takes 20 to 40."""
    given = tiny_race(latent=[(5, 300), (10, 200), (20, 150)], pixel=[(20, 300), (40, 200), (50, 180)])
    level = found.compare(given, 200)
    assert (level.latent.seconds, level.latent_with_codec.seconds, level.pixel.seconds) == (
        (10,),
        (40,),
        (40,),
    )
    assert str(level.ratio) == "2 to 8"  # 20 / 10 to 40 / 5
    assert str(level.ratio_with_codec) == "0.5 to 1.1"  # 20 / 40 to 40 / 35
    assert level.break_even == (1.0,)  # 30 s of codec are won back at 30 s a GAN


def test_what_was_not_reached_has_a_bound_and_no_number():
    given = tiny_race(latent=[(10, 200), (20, 150)], pixel=[(20, 300), (50, 180)])
    level = found.compare(given, 150)
    assert str(level.pixel) == "> 50 s"
    assert str(level.ratio) == "> 2.5"
    assert str(level.ratio_with_codec) == "> 1"
    assert level.break_even == ()
    other = found.compare(tiny_race(latent=[(10, 400)], pixel=[(20, 300)]), 300)
    assert str(other.latent) == "> 10 s"
    assert str(other.ratio) == "< 2"
    neither = found.compare(given, 10)
    assert str(neither.ratio) == "-"


def test_seeds_that_disagree_about_who_got_there_give_no_ratio():
    one = tiny_race(latent=[(10, 200)], pixel=[(20, 300)])
    other = tiny_race(latent=[(10, 300)], pixel=[(20, 200)])
    both = {**one, "seeds": [*one["seeds"], *other["seeds"]]}
    assert str(found.compare(both, 200).ratio) == "-"


def test_several_seeds_give_median_range_and_how_many_got_there():
    races = [tiny_race(latent=[(s, 100)], pixel=[(60, 120), (100, 90 if s < 9 else 110)]) for s in (2, 4, 9)]
    joined = {**races[0], "seeds": [r["seeds"][0] for r in races]}
    level = found.compare(joined, 100)
    assert str(level.latent) == "4 s (2 to 9)"
    assert str(level.pixel) == "100 s (100 to 100), 2 of 3 seeds"
    assert str(level.ratio) == "> 15"  # of more than 60 / 2, 60 / 4 and 100 / 9


@given(st.floats(0.1, 900), st.floats(0.1, 900), st.integers(2, 5))
def test_the_true_ratio_lies_between_the_ends(latent, pixel, evaluations):
    """Two that have the quality from some second on, looked at after doubling seconds up to 1,000."""
    looks = [1000 / 2**i for i in range(evaluations)][::-1]
    seen = {
        name: [(second, 100.0 if second >= true else 200.0) for second in (0.0, *looks)]
        for name, true in (("latent", latent), ("pixel", pixel))
    }
    between = found.compare(tiny_race(**seen), 150).ratio
    assert between.low[0] <= pixel / latent * (1 + 1e-9)
    assert between.high[0] >= pixel / latent * (1 - 1e-9)


@given(
    st.lists(st.floats(1, 1e4), min_size=1, max_size=8), st.lists(st.floats(1, 1e4), min_size=1, max_size=8)
)
def test_levels_fall_from_the_start_to_the_best_and_hold_the_pixel_gans_own(latent, pixel):
    given = tiny_race(
        latent=[(i + 1, f) for i, f in enumerate(latent)], pixel=[(i + 1, f) for i, f in enumerate(pixel)]
    )
    levels = found.levels_of(given)
    assert levels == sorted(levels, reverse=True)
    assert min(levels) == min(*latent, *pixel)
    assert min(pixel) in levels
    best = found.compare(given, levels[-1])
    assert best.latent.seconds or best.pixel.seconds  # somebody got to the best there is


def test_the_verdict_says_what_was_measured():
    faster = tiny_race(latent=[(5, 300), (10, 200)], pixel=[(20, 300), (40, 200)])
    assert "The latent GAN did reach" in found.verdict(faster)
    assert "needed 2 to 8 times its seconds, not counting codec" in found.verdict(faster)
    assert "0.5 to 1.1 times those with them" in found.verdict(faster)
    assert "1 seed" in found.verdict(faster)
    at_once = tiny_race(latent=[(10, 200)], pixel=[(20, 200)])
    assert str(found.compare(at_once, 200).ratio) == "-"  # nothing says how soon before either had it
    assert "at its first evaluation" in found.verdict(at_once)
    assert "no speed-up was measured" in found.verdict(at_once)
    slower = tiny_race(latent=[(10, 400)], pixel=[(20, 300)])
    assert "did not reach" in found.verdict(slower)
    assert "no speed-up was measured" in found.verdict(slower)


def test_what_an_untrained_generator_has_already_is_no_speed():
    """Random codes through a trained decoder are nearer to photographs than a pixel GAN may ever get."""
    given = tiny_race(latent=[(0, 190), (10, 170), (20, 150)], pixel=[(0, 500), (20, 300), (40, 200)])
    level = found.compare(given, 200)
    assert str(level.latent) == "untrained"
    assert str(level.ratio) == "-"
    assert level.break_even == ()
    assert "never trained (190" in found.verdict(given)
    assert "says nothing about how fast" in found.verdict(given)
    assert str(found.compare(given, 150).ratio) == "> 2"
    assert [trace.x[0] for trace in race_figure(given).data] == [40, 10, 20]


def test_a_contestant_that_diverged_is_named_and_has_no_quality():
    given = tiny_race(latent=[(10, 200)], pixel=[(20, 300)])
    lost = {**given["seeds"][0]["contestants"]["pixel"], "curve": [], "stopped": "diverged"}
    given["seeds"][0]["contestants"]["pixel-sgd"] = lost
    (row,) = [line for line in found.cost_table(given).splitlines() if line.startswith("| pixel GAN, SGD")]
    assert "- (1 of 1 diverged)" in row


def test_two_stages_are_compared_with_the_pixel_gan_like_one():
    given = tiny_race(latent=[(10, 400)], cascade=[(5, 350), (20, 180)], pixel=[(20, 300), (40, 200)])
    level = found.compare(given, 200, "cascade")
    assert (level.latent.seconds, level.latent_with_codec.seconds, str(level.ratio)) == (
        (20,),
        (50,),
        "1 to 8",
    )
    assert min(found.levels_of(given)) == 180  # the best of all is asked about, whoever had it
    one, two = found.verdict(given).split(". ", 1)
    assert "the latent GAN did not reach" in one
    assert "The latent GAN in two stages did reach" in two
    assert "needed 1 to 8 times its seconds" in two
    assert (
        "| latent GAN in two stages | 180 | 20 s | 50 s | > 40 s | > 2 | > 0.8 | - |"
        in found.quality_table(given)
    )
    names = {trace.name for trace in race_figure(given).data}
    assert {"latent GAN in two stages alone", "latent GAN in two stages, codec counted"} < names


def test_a_contestant_that_only_some_seeds_have_is_counted_there_alone():
    """What every seed has is compared; the rest stands in the table with its seeds."""
    curve = [(10.0, 200.0)]
    one = tiny_race(**dict.fromkeys(("latent", "cascade", "pixel", "latent-sgd"), curve))
    both = {**one, "seeds": [*one["seeds"], *tiny_race(latent=curve, pixel=curve)["seeds"]]}
    assert found.on_codes(both) == ["latent"]
    assert "two stages" not in found.verdict(both)
    assert "| latent GAN, SGD (1 of 2 seeds) |" in found.cost_table(both)
    for seeds in (both["seeds"], both["seeds"][::-1]):
        legend = [t.name for t in race_figure({**both, "seeds": seeds}).data if t.showlegend]
        assert len(set(legend)) == len(legend) == 7


def test_two_stages_of_which_the_budget_saw_one_are_not_compared():
    given = tiny_race(latent=[(10, 200)], cascade=[(10, 100)], pixel=[(20, 300)])
    given["seeds"][0]["contestants"]["cascade"]["last_stage"] = False
    assert found.on_codes(given) == ["latent"]
    assert "two stages" not in found.verdict(given)
    assert "| latent GAN in two stages, not yet in its second |" in found.cost_table(given)


def test_the_figure_draws_every_curve_and_the_latent_one_twice():
    given = tiny_race(latent=[(10, 200), (20, 150)], pixel=[(20, 300)])
    lines = {trace.name: (tuple(trace.x), tuple(trace.y)) for trace in race_figure(given).data}
    assert lines == {
        "latent GAN, codec counted": ((40, 50), (200, 150)),
        "latent GAN alone": ((10, 20), (200, 150)),
        "pixel GAN": ((20,), (300,)),
    }


def test_the_figures_words_are_in_its_colour_and_labels_stand_beside_the_curves():
    layout = race_figure(tiny_race(latent=[(10, 200)], pixel=[(20, 300)]), text="#FAFAFA").layout
    assert {(label.x, label.xanchor) for label in layout.annotations} == {(1, "left")}
    for axis in (layout.xaxis, layout.yaxis):
        assert {axis.tickfont.color, axis.title.font.color} == {"#FAFAFA"}


def test_the_command_for_a_bundle_races_over_its_own_data():
    made = {"preset": "quick", "source": "elsewhere", "crop": "center", "boxes": "my boxes.csv"}
    manifest = {
        "training": {"autoencoder": {"options": made}}, "data": {"source": "folder:/my pets"},
        "held_out": ["English foxhound"],
    }  # fmt: skip
    assert found.command_for(manifest, Path("mine")) == (
        "python -m training.race --preset quick --source 'folder:/my pets' --crop center "
        "--boxes 'my boxes.csv' --hold-out 'English foxhound' --bundle mine"
    )


# A race


def options(folder: Path, **values: Any) -> RaceOptions:
    given: dict[str, Any] = {
        "preset": "digits", "hold_out": ("7",), "budget": 0.2, "seeds": (0,), "evaluations": 3, "samples": 40,
        "slice_seconds": 0.5, "out": folder / "race", "cache": folder / "cache", "device": "cpu",
    }  # fmt: skip
    return RaceOptions(**{**given, **values})


class Clock:
    """Stands in for ``time``: a look at it takes a tenth of a second, a step of training two, everywhere."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 0.1
        return self.now


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """A codec of twenty steps, small networks, and time that passes by steps."""
    from training import loop
    from training.presets import PRESETS

    patch = pytest.MonkeyPatch()
    patch.setattr(loop, "time", Clock())
    patch.setattr(race, "time", Clock())
    small = {**PRESETS["digits"]["autoencoder"], "images": 1_280, "widths": (8, 8)}
    patch.setitem(PRESETS["digits"], "autoencoder", small)
    short = {"width": 32, "images": 1_280}  # that long only where a second stage follows
    patch.setitem(PRESETS["digits"], "pixel_gan", {**PRESETS["digits"]["pixel_gan"], "widths": (8, 8)})
    patch.setitem(PRESETS["digits"], "latent_gan", {**PRESETS["digits"]["latent_gan"], **short})
    yield
    patch.undo()


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("race")
    shutil.copytree(ROOT / "pretrained" / "digits", folder / "digits")
    sgd = {"contestants": ("latent", "pixel", "pixel-sgd"), "sgd_lr": 1e6}
    run_race(options(folder, bundle=folder / "digits", **sgd))
    return folder


def test_a_race_gives_both_their_budget_and_counts_the_codec(raced):
    result = json.loads((raced / "race" / "race.json").read_text())
    (seed,) = result["seeds"]
    before = seed["codec"]["seconds"] + seed["encoding"]["seconds"]
    assert before == pytest.approx(20 * 0.2 + 0.1)  # its steps, and one look at the clock for encoding
    latent, pixel = (seed["contestants"][name] for name in ("latent", "pixel"))
    assert before + latent["seconds"] == pytest.approx(12, abs=0.6)
    assert pixel["seconds"] == pytest.approx(12, abs=0.6)
    for contestant, extra in ((latent, before), (pixel, 0)):
        curve = contestant["curve"]
        assert [p["seconds"] for p in curve] == sorted(p["seconds"] for p in curve)
        assert curve[-1]["seconds"] == contestant["seconds"]
        assert all(p["total"] == pytest.approx(p["seconds"] + extra) for p in curve)
        assert curve[-1]["images"] == contestant["steps"] * contestant["batch"]
        assert all(p["frechet"] > result["floor"] for p in curve)
        assert all(p["sheet"].startswith("data:image/webp") for p in curve)
        assert contestant["flops_per_step"] > 0
    assert len(pixel["curve"]) == 4
    assert found.joined(result) == []
    for contestant in (latent, pixel):
        assert (contestant["curve"][0]["seconds"], contestant["curve"][0]["images"]) == (0, 0)
    assert "dogs" not in pixel["curve"][0]  # the judge is not asked for dogs among digits


def test_a_race_over_other_data_is_not_written_into_a_bundle(tmp_path):
    """It is refused before anything is trained."""
    copy = tmp_path / "digits"
    shutil.copytree(ROOT / "pretrained" / "digits", copy)
    with pytest.raises(UserError, match="holds out others") as caught:
        run_race(options(tmp_path, hold_out=("3",), bundle=copy))
    assert one_sentence(caught.value)
    assert not (tmp_path / "race").exists()


def test_a_contestant_that_diverges_does_not_end_the_race(raced):
    contestant = json.loads((raced / "race" / "race.json").read_text())["seeds"][0]["contestants"][
        "pixel-sgd"
    ]
    assert contestant["stopped"] == "diverged"


def test_the_report_stands_beside_the_result_and_in_the_bundle(raced):
    report = (raced / "race" / "race.md").read_text()
    result = json.loads((raced / "race" / "race.json").read_text())
    assert found.verdict(result) in report
    assert found.quality_table(result) in report
    assert "plotly" in (raced / "race" / "race.html").read_text()[:5_000_000].lower()
    assert open_bundle(raced / "digits").race == result


def test_a_finished_race_is_not_run_again(raced, monkeypatch):
    monkeypatch.setattr(race, "Race", None)
    before = json.loads((raced / "race" / "race.json").read_text())["seeds"]
    with_sgd = options(raced, contestants=("latent", "pixel", "pixel-sgd"), sgd_lr=1e6)
    run_race(with_sgd)
    assert json.loads((raced / "race" / "race.json").read_text())["seeds"] == before


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"budget": 1.0}, "begun with budget"),
        ({"hold_out": ("3",)}, "begun with hold out"),
        ({"source": "folder:pets", "hold_out": ("7",)}, "trained on other images"),
        ({"sgd_lr": 0.01}, "raced with --sgd-lr 1e.06"),
    ],
)
def test_a_finished_race_does_not_pass_for_another(raced, tmp_path, monkeypatch, changed, told):
    monkeypatch.setattr(race, "Race", None)
    if "source" in changed:
        write_classes(tmp_path / "pets", {str(label): (20 * label, 99, 99) for label in range(10)}, n=8)
        changed = {**changed, "source": f"folder:{tmp_path / 'pets'}", "cache": tmp_path / "cache"}
    with_sgd = options(raced, contestants=("latent", "pixel", "pixel-sgd"), sgd_lr=1e6)
    with pytest.raises(UserError, match=told) as caught:
        run_race(replace(with_sgd, bundle=None, **changed))
    assert one_sentence(caught.value)


def test_a_race_that_was_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    turns = []
    turn = Contestant.turn

    def counted(self: Contestant, reference: Reference) -> None:
        turns.append(self.name)
        if turns.count("latent") == 2 and self.name == "pixel":
            raise KeyboardInterrupt
        turn(self, reference)

    monkeypatch.setattr(Contestant, "turn", counted)
    with pytest.raises(KeyboardInterrupt):
        run_race(options(tmp_path))
    encoding = (tmp_path / "race" / "seed-0" / "encoding.json").read_bytes()
    monkeypatch.setattr(Contestant, "turn", turn)
    images = tmp_path / "race" / "seed-0" / "autoencoder" / "images.json"
    noted = images.read_text()
    images.write_text('{"images": "as if others had been added since"}')
    with pytest.raises(UserError, match="trained on other images"):
        run_race(options(tmp_path))
    images.write_text(noted)
    run_race(options(tmp_path))
    assert (tmp_path / "race" / "seed-0" / "encoding.json").read_bytes() == encoding
    (seed,) = json.loads((tmp_path / "race" / "race.json").read_text())["seeds"]
    assert seed["codec"]["steps"] == 20
    assert seed["contestants"]["pixel"]["seconds"] == pytest.approx(12, abs=0.6)


def test_a_contestant_of_two_stages_joins_a_race_that_is_over(tmp_path, monkeypatch):
    """Its first stage is as long as in the preset; then it goes on where it was stopped. The others stay."""
    run_race(options(tmp_path, cache=tmp_path / "cache"))
    before = json.loads((tmp_path / "race" / "race.json").read_text())["seeds"][0]
    with_cascade = options(tmp_path, contestants=("latent", "pixel", "cascade"))
    turn, turns = Contestant.turn, []

    def counted(self: Contestant, reference: Reference) -> None:
        turn(self, reference)
        turns.append(self.seconds)
        if self.seconds > 4:  # in the second stage
            raise KeyboardInterrupt

    monkeypatch.setattr(Contestant, "turn", counted)
    with pytest.raises(KeyboardInterrupt):
        run_race(with_cascade)
    monkeypatch.setattr(Contestant, "turn", turn)
    run_race(with_cascade)
    seed = json.loads((tmp_path / "race" / "race.json").read_text())["seeds"][0]
    for name in ("latent", "pixel"):
        assert seed["contestants"][name]["curve"] == before["contestants"][name]["curve"]
    cascade, latent = (seed["contestants"][name] for name in ("cascade", "latent"))
    first = json.loads((tmp_path / "race" / "seed-0" / "cascade" / "latent_gan" / "done.json").read_text())
    assert (first["images"], first["seconds"]) == (1_280, pytest.approx(10 * 0.2))
    assert cascade["seconds"] == pytest.approx(latent["seconds"], abs=0.6)
    assert cascade["curve"][-1]["seconds"] == cascade["seconds"] > turns[-1] > first["seconds"]
    assert cascade["curve"][-1]["images"] == first["images"] + 32 * cascade["steps"]
    assert cascade["steps"] == pytest.approx((cascade["seconds"] - first["seconds"]) / 0.2)
    assert cascade["seconds_per_step"] == pytest.approx(0.2)  # of the second stage
    assert [p["seconds"] for p in cascade["curve"]] == sorted(p["seconds"] for p in cascade["curve"])
    assert cascade["last_stage"]
    result = json.loads((tmp_path / "race" / "race.json").read_text())
    assert found.joined(result) == ["cascade"]
    assert found.on_codes(result) == ["latent", "cascade"]
    sgd = {"contestants": ("latent", "pixel", "pixel-sgd")}
    for change, says in (({"samples": 39}, "samples 40, not 39"), ({"budget": 0.3}, "budget 0.2, not 0.3")):
        with pytest.raises(UserError, match=says) as caught:
            run_race(options(tmp_path, **change, **sgd))
        assert one_sentence(caught.value)
    assert not (tmp_path / "race" / "seed-0" / "pixel-sgd").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"budget": 0.01}, "codec"),
        ({"budget": -1.0}, "positive"),
        ({"bundle": Path("nowhere")}, "there is no bundle"),
        ({"samples": 1}, "--samples must be at least 2, not 1"),
        ({"contestants": ("latent",)}, "--contestants"),
        ({"contestants": ("latent", "pixel", "vae")}, "--contestants"),
    ],
)
def test_a_race_that_cannot_be_run_is_one_sentence(tmp_path, change, says):
    with pytest.raises(UserError, match=says) as caught:
        run_race(options(tmp_path, **change))
    assert one_sentence(caught.value)


def test_a_race_over_too_few_images_is_one_sentence(tmp_path):
    """Where there are two validation images, a race of 2,048 samples is one of two."""
    write_classes(tmp_path / "pets", {"cat": (200, 9, 9), "dog": (9, 200, 9)}, n=7)
    given = options(tmp_path, source=f"folder:{tmp_path / 'pets'}", hold_out=())
    with pytest.raises(UserError, match="14 readable images, 12 for training and 2 for validation") as caught:
        run_race(given)
    assert one_sentence(caught.value)
    assert not given.out.exists()


# In a bundle


@pytest.mark.parametrize("gone", ["floor", "seeds", "device", "options", "curve"])
def test_an_incomplete_race_is_one_sentence_and_the_bundle_stays(tmp_path, gone):
    bundle = Path(shutil.copytree(ROOT / "pretrained" / "digits", tmp_path / "digits"))
    before = open_bundle(bundle).race
    broken = tiny_race(latent=[(10, 200)], pixel=[(20, 300)])
    if gone == "curve":  # of one that diverged, too: each was evaluated before its first step
        broken["seeds"][0]["contestants"]["pixel"] |= {"curve": [], "stopped": "diverged"}
    else:
        del broken[gone]
    with pytest.raises(BundleError, match=r"race\.json is incomplete"):
        update_bundle(bundle, {RACE: broken})
    assert open_bundle(bundle).race == before


@pytest.mark.parametrize("sheet", ["https://example.org/dog.png", "<script>"])
def test_a_sheet_that_is_no_picture_of_its_own_is_refused(tmp_path, sheet):
    bundle = Path(shutil.copytree(ROOT / "pretrained" / "digits", tmp_path / "digits"))
    broken = tiny_race(latent=[(10, 200)], pixel=[(20, 300)])
    broken["seeds"][0]["contestants"]["pixel"]["curve"][0]["sheet"] = sheet
    with pytest.raises(BundleError, match="no picture"):
        update_bundle(bundle, {RACE: broken})


@pytest.mark.parametrize("twice", [{"seeds": (0, 0)}, {"contestants": ("latent", "latent", "pixel")}])
def test_what_is_named_twice_would_pass_for_a_repeat_and_is_refused(tmp_path, twice):
    with pytest.raises(UserError, match=f"--{next(iter(twice))} names one twice") as caught:
        run_race(options(tmp_path, **twice))
    assert one_sentence(caught.value)
    assert not (tmp_path / "race").exists()
