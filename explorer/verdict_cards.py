"""The verdict on each held-out class as a card: sentence, ladder, pictures, reasons; and downloads."""

import json
from collections.abc import Iterable, Sequence

import streamlit as st

from explorer.bundle import Bundle
from explorer.counts_table import counts_csv
from explorer.examples import MADE, ROUND_TRIPS_SAID, best_round_trips, sources_of
from explorer.gallery import gallery
from explorer.ladder import CAPTION, ladder
from explorer.ladder_figure import ladder_figure
from explorer.markdown import literal, table
from explorer.palette import TEXT, current_theme
from explorer.photographs import Photographs
from explorer.reachability import (
    PIXEL,
    Report,
    default_alpha,
    generators,
    held_out,
    judged_among,
)
from explorer.reachability import alphas as alphas_of
from explorer.reachability_tables import claims
from explorer.reachability_tables import rates as rates_of
from explorer.report import html_report
from explorer.session import PRETRAINED, generation_of
from explorer.trust import gans_asked, reasons
from explorer.verdict import Verdict, percent

DOCS = PRETRAINED.parent / "docs" / "reachability.md"
SIDE = 72  # CSS pixels of a picture


@st.dialog("How to read this", width="large")
def show_docs() -> None:
    """The guide at the top of docs/reachability.md."""
    _, guide, *_ = DOCS.read_text(encoding="utf-8").split("\n## ")
    st.markdown(guide.partition("\n")[2])
    st.caption(f"The whole protocol: `{DOCS.relative_to(DOCS.parent.parent)}`.")


def choose(report: Report, key: str) -> tuple[str, float, float]:
    """Kind of GAN, false-alarm rate and confidence level, as the user wants them, also after a visit to
    another page. key: of the widgets.
    """
    kinds, rates = generators(report), sorted(alphas_of(report))
    left, middle, right = st.columns([1, 2, 2])
    generator = left.selectbox(
        "Kind of GAN", kinds, disabled=len(kinds) == 1, key=f"kind {key}", persist_state="session",
        help="latent: trained on codes, in the dual space; pixel: on the pictures themselves.",
    )  # fmt: skip
    alpha = default_alpha(report)
    if len(rates) > 1:  # a slider has two ends
        alpha = middle.select_slider(
            "Judges' false-alarm rate (alpha)", rates, alpha, format_func=percent,
            key=f"alpha {key}", persist_state="session",
            help="The rate at which the judges may take a picture of another class for this one. Lower: "
            "fewer false alarms, and more of the class's own pictures missed.",
        )  # fmt: skip
    level = right.slider(
        "Confidence level", 80.0, 99.9, 95.0, 0.1, "%.1f %%", key=f"level {key}", persist_state="session",
        help="How sure a claim must be, and how wide intervals are. At 95 % a claim may be wrong one time in "
        "40.",
    )  # fmt: skip
    return generator, alpha, level / 100


def show_pictures(
    bundle: Bundle, report: Report, name: str, generator: str, photographs: Photographs | None
) -> None:
    """The pictures behind the numbers."""
    model, examples = generation_of(bundle).autoencoder, report["classes"][name]["examples"]
    if generator != PIXEL:  # which has no codec
        st.markdown(f"**Best round trips**: {ROUND_TRIPS_SAID}.")
        st.html(gallery(best_round_trips(bundle, model, examples, photographs), SIDE))
    labels = {"searches": "Search in the range of", "samples": "Samples of"}
    for kind, title, words, cards in MADE:
        if not (sources := sources_of(examples, kind, generator)):
            continue
        left, right = st.columns([4, 1])
        left.markdown(f"**{title.format(report['samples'])}**: {words}.")
        first = sources.index(generator) if generator in sources else 0
        key = f"{kind} {bundle.name} {name} {generator}"
        source = right.selectbox(labels[kind], sources, first, key=key, persist_state="session")
        st.html(gallery(cards(bundle, model, examples, source), SIDE))


def show_table(rows: Iterable[Sequence[str]]) -> None:
    """A table of plain texts, its headings first."""
    st.markdown(table([literal(cell) for cell in row] for row in rows))


def show_card(
    bundle: Bundle,
    report: Report,
    name: str,
    chosen: tuple[str, float, float],
    verdict: Verdict,
    photographs: Photographs | None,
) -> None:
    """One class: the sentence, the ladder, the pictures, and why to believe it."""
    generator, alpha, level = chosen
    with st.container(border=True):
        st.subheader(literal(name))
        st.badge(verdict.kind.value, icon=":material/balance:", color="gray")
        st.markdown(f"**{literal(verdict.sentence)}**")
        st.caption(f"GANs that were asked: {gans_asked(report, generator)}.")
        figure = ladder_figure(ladder(report, name, generator, alpha, level), TEXT[current_theme()])
        with st.container(key=f"scrolls {name}"):  # see style.css
            st.plotly_chart(figure, config={"displayModeBar": False}, key=f"ladder {name}")
        st.caption(CAPTION)
        show_pictures(bundle, report, name, generator, photographs)
        with st.expander("Why should I believe this?", icon=":material/help:"):
            why = reasons(report, name, generator, alpha, verdict, level)
            show_table([("", ""), *why.items()])


def show_downloads(bundle: Bundle, report: Report, alpha: float, level: float, key: str) -> None:
    """The report as JSON, CSV and HTML, each made when it is asked for."""
    files = (
        ("Report (JSON)", "json", "application/json", lambda: json.dumps(report)),
        ("Counts (CSV)", "csv", "text/csv", lambda: counts_csv(report, level)),
        ("Report (HTML)", "html", "text/html", lambda: html_report(report, bundle, alpha, level)),
    )
    name = "-".join([bundle.name, *key.split()])
    with st.container(horizontal=True):
        for label, ending, mime, data in files:
            st.download_button(
                label, data=data, file_name=f"{name}-reachability.{ending}", mime=mime,
                on_click="ignore", icon=":material/download:", key=f"{ending} {key}",
            )  # fmt: skip


def show_verdicts(bundle: Bundle, report: Report, photographs: Photographs | None, only: str = "") -> None:
    """A card for each held-out class, or ``only`` one of them; the seen classes as a scale; downloads."""
    if DOCS.is_file() and st.button("How to read this", icon=":material/help:", key=f"docs {only}"):
        show_docs()
    chosen = choose(report, f"{bundle.name} {only}")
    generator, alpha, level = chosen
    if not only:
        with st.expander("The claim in one table", icon=":material/table:"):
            show_table(claims(report, alpha, level))
            st.caption(
                f"Produced: with its {100 * level:g} % interval over seeds, corrected for judges' errors (an "
                "upper end takes every hit to show the class). "
                "Other shares are hits as counted, with exact (Clopper-Pearson) intervals, which allow for "
                "what seeds differ where there are several."
            )
    for name, verdict in judged_among(report, held_out(report), generator, alpha, level).items():
        if only in ("", name):
            show_card(bundle, report, name, chosen, verdict, photographs)
    with st.expander("The scale: all classes", icon=":material/table:"):
        show_table(rates_of(report, generator, alpha, level))
        st.caption(
            f"Shares of hits, with exact (Clopper-Pearson) {100 * level:g} % intervals, which allow for what "
            "seeds differ where there are several. Images that were remade several times count as fewer "
            "pictures that are independent. False positives are those that leave least of the class's share "
            "of samples."
        )
    show_downloads(bundle, report, alpha, level, only)
