"""The report as one HTML file that needs nothing else: verdicts, ladders, pictures, tables."""

from collections.abc import Iterable, Sequence
from html import escape

from explorer.bundle import Bundle
from explorer.examples import MADE, ROUND_TRIPS_SAID, best_round_trips, sources_of
from explorer.gallery import gallery
from explorer.ladder import CAPTION, ladder
from explorer.ladder_figure import ladder_figure
from explorer.reachability import LEVEL, PIXEL, Report, default_alpha, generators, held_out, judged
from explorer.reachability_tables import claims, rates
from explorer.trust import gans_asked, reasons
from explorer.verdict import percent

WORDS = (
    "A round trip is encoded and decoded by the codec. A hit is a picture that two judges take for the class "
    "and that passes a gate against pictures unlike anything real. An oracle is the same GAN trained with "
    "the class; its doses saw less of it. A search looks in a GAN's range for images of the class; scrambled "
    "ones have random Fourier phases. Interpolations and Gaussians are codes that no GAN had a part in. A "
    "dash: not measured. The protocol, its formulae and limits: docs/reachability.md of the program that "
    "wrote this."
)
_STYLE = """<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#31333F;
background:#fff}
table{border-collapse:collapse;font-size:.8rem;margin:1rem 0;display:block;overflow-x:auto}
td,th{border:1px solid #ddd;padding:.3rem .5rem;text-align:left;vertical-align:top}
</style>"""


def html_report(report: Report, bundle: Bundle, alpha: float | None = None, level: float = LEVEL) -> str:
    """The whole report at one false-alarm rate and confidence level."""
    alpha = default_alpha(report) if alpha is None else alpha
    model = bundle.load_autoencoder()
    title = f"{bundle.name}: are the held-out classes within reach?"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title>{_STYLE}",
        f"<h1>{escape(title)}</h1>",
        f"<p>False-alarm rate {percent(alpha)}, intervals {100 * level:g} %. Measured on "
        f"{escape(report['device'])} by <code>{escape(report['command'])}</code>.</p>",
    ]
    parts += [f"<p>{escape(WORDS)}</p>", _table(claims(report, alpha, level), headed=True)]
    script = True  # plotly.js, once
    for generator in generators(report):
        verdicts = judged(report, generator, alpha, level)
        parts.append(f"<h2>{generator} GAN</h2>")
        for name in held_out(report):
            figure = ladder_figure(ladder(report, name, generator, alpha, level))
            parts += [
                f"<h3>{escape(name)}</h3><p><b>{escape(verdicts[name].sentence)}</b></p>",
                f"<p>GANs that were asked: {escape(gans_asked(report, generator))}.</p>",
                figure.to_html(full_html=False, include_plotlyjs=script, config={"displayModeBar": False}),
            ]
            script = False
            parts.append(f"<p>{escape(CAPTION)}</p>")
            examples = report["classes"][name]["examples"]
            if generator != PIXEL:  # which has no codec
                parts.append(f"<h4>Best round trips</h4><p>{escape(ROUND_TRIPS_SAID.capitalize())}.</p>")
                parts.append(gallery(best_round_trips(bundle, model, examples), 64))
            for kind, title, words, cards in MADE:
                sources = sources_of(examples, kind, generator)
                called = title.format(report["samples"])
                parts += [f"<h4>{called}</h4><p>{escape(words.capitalize())}.</p>"] if sources else []
                for source in sources:
                    parts.append(f"<h5>{escape(source)}</h5>")
                    parts.append(gallery(cards(bundle, model, examples, source), 64))
            why = reasons(report, name, generator, alpha, verdicts[name], level)
            parts += ["<h4>Why believe this?</h4>", _table(why.items())]
        parts += ["<h3>All classes</h3>", _table(rates(report, generator, alpha, level), headed=True)]
    return "\n".join(parts)


def _table(rows: Iterable[Sequence[str]], headed: bool = False) -> str:
    """HTML of a table. headed: whether its first row are headings; if not, its first column are."""
    lines = []
    for i, row in enumerate(rows):
        kinds = ["th" if (i == 0 if headed else j == 0) else "td" for j in range(len(row))]
        cells = (f"<{kind}>{escape(cell)}</{kind}>" for kind, cell in zip(kinds, row, strict=True))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"
