"""The Speed page: a race between a GAN on codes and one on pixels, as it was run for the bundle."""

import json
from html import escape
from typing import Any

import streamlit as st

from explorer.bundle import Bundle
from explorer.palette import TEXT, current_theme
from explorer.quality import too_few
from explorer.race import (
    NAMES,
    PIXEL,
    command_for,
    cost_table,
    joined,
    latest,
    on_codes,
    quality_table,
    verdict,
)
from explorer.race_figure import race_figure
from explorer.session import current_bundle

HOW_TO = """No race was run for this bundle. Run one where it was trained, and write it in; it takes two hours
(three seeds of two GANs, 20 minutes each):

`{command}`
"""


def show_samples(bundle: Bundle, race: dict[str, Any]) -> None:
    """Samples of all at equal seconds of training, side by side."""
    seeds = {f"seed {s['seed']}": s for s in race["seeds"]}
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    key = f"speed/{bundle.name}/seed"
    seed = seeds[
        left.selectbox("Seed", list(seeds), disabled=len(seeds) == 1, key=key, persist_state="session")
    ]
    marks = sorted({round(p["total"]) for p in seed["contestants"][PIXEL]["curve"]})
    mark = marks[-1]
    if len(marks) > 1:  # not where it diverged at once
        mark = right.select_slider(
            "Seconds of training",
            marks,
            mark,
            format_func="{:,} s".format,
            key=f"speed/{bundle.name}/seconds",
            persist_state="session",
        )
    names = (*on_codes(race), PIXEL)
    for name, column in zip(names, st.columns(len(names)), strict=True):
        point = latest(seed["contestants"][name]["curve"], mark)
        with column:
            st.markdown(f"**{NAMES[name]}**")
            if point is None:
                st.info(f"Nothing yet: after {mark:,} s the codec is still being trained.")
                continue
            words = f"16 samples of the {NAMES[name]} after {point['total']:,.0f} s"
            st.html(f'<img src="{escape(point["sheet"])}" alt="{escape(words)}" style="width:100%">')
            counted = ", codec and encoding counted" if name != PIXEL else ""
            st.caption(
                f"The first 16 samples, not picked, after {point['total']:,.0f} s{counted}; "
                f"{point['images']:,} images shown to the discriminator; Fréchet distance "
                f"{point['frechet']:,.0f}."
            )


def not_the_maps(bundle: Bundle, race: dict[str, Any]) -> str:
    """Why distances differ from those on the Map page, where the bundle has such."""
    if bundle.evaluation is None:
        return ""
    return (
        f" These are not the numbers of *How good are the generated ones?* on the Map: a race trains a codec "
        f"(preset {race['options']['preset']}) and GANs of its own, and takes {race['n']:,} samples where "
        f"{bundle.evaluation['n']:,} were taken there."
    )


def lines_explained(race: dict[str, Any]) -> str:
    """What the lines of the figure are: one for each seed, some trained by another optimiser."""
    words = ["A line for each seed; dotted ones leave out the seconds of codec and encoding."]
    if any(name.endswith("-sgd") for seed in race["seeds"] for name in seed["contestants"]):
        words.append(
            "*SGD*: the same GAN, trained by stochastic gradient descent with momentum in place of Adam; it "
            "is not compared in the sentence above."
        )
    return " ".join(words)


def show_race(bundle: Bundle, race: dict[str, Any]) -> None:
    """Sentence, curves, samples, tables, download."""
    st.markdown(f"**{verdict(race)}**")
    options, late = race["options"], joined(race)
    st.caption(
        f"Preset {options['preset']}; {options['budget']:g} minutes of training for each, in turns of a few "
        f"seconds in one process on {race['device']}; judging off the clock. Quality: Fréchet distance of "
        f"{race['n']:,} samples to as many seen validation photographs in the features of "
        f"{race['judge']['name']}, which is in no loss. A quality that was not reached within the "
        "budget has no time. Evaluations come after seconds that double, and a quality is reached somewhere "
        "between two of them: so ratios are ranges."
        + (f" Joined when the others were done: {', '.join(NAMES.get(n, n) for n in late)}." if late else "")
        + not_the_maps(bundle, race)
    )
    if few := too_few(race["n"]):
        st.markdown(few)
    theme = current_theme()
    st.plotly_chart(race_figure(race, text=TEXT[theme]), config={"displayModeBar": False})
    st.caption(lines_explained(race))
    st.subheader("Samples at equal seconds")
    show_samples(bundle, race)
    st.subheader("Seconds to quality")
    st.markdown(quality_table(race))
    st.caption(
        "Medians over seeds, with the range. *Untrained*: before its first step; a latent GAN starts at "
        "random codes with the mean and covariance of the training codes, through a trained decoder. "
        "*Alone*: seconds of the GAN itself, of both its stages where it has two. *Break even*: so many GANs "
        "over one codec (hold-outs, seeds, variants), and the dual space is the quicker way in all."
    )
    st.subheader("What a step costs")
    st.markdown(cost_table(race))
    st.caption(
        "Operations are those of matrix products and convolutions, counted, not estimated; of a GAN in two "
        "stages, the second's."
    )
    st.download_button(
        "Race (JSON)", data=lambda: json.dumps(race), file_name=f"{bundle.name}-race.json",
        mime="application/json", on_click="ignore", icon=":material/download:",
    )  # fmt: skip


st.title("Speed")
bundle = current_bundle()
if bundle.race is None:
    st.info(HOW_TO.format(command=command_for(bundle.manifest, bundle.path)))
else:
    show_race(bundle, bundle.race)
