"""The report as one HTML file that needs nothing else: verdicts, ladders, pictures, tables."""

from collections.abc import Iterable, Sequence
from html import escape

from explorer.bundle import Bundle
from explorer.examples import best_finds, best_round_trips, best_samples
from explorer.gallery import gallery
from explorer.ladder import ladder
from explorer.ladder_figure import ladder_figure
from explorer.reachability import LEVEL, Report, default_alpha, generators, held_out, judged
from explorer.reachability_tables import claims, rates
from explorer.trust import gans_asked, reasons
from explorer.verdict import percent

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
    parts.append(_table(claims(report, alpha, level)))
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
            examples = report["classes"][name]["examples"]
            parts += ["<h4>Best round trips</h4>", gallery(best_round_trips(bundle, model, examples), 64)]
            for source in examples["searches"]:
                parts.append(f"<h4>Nearest finds: {escape(source)}</h4>")
                parts.append(gallery(best_finds(bundle, model, examples, source), 64))
            for source in examples["samples"]:
                parts.append(f"<h4>Highest-scoring samples: {escape(source)}</h4>")
                parts.append(gallery(best_samples(bundle, model, examples, source), 64))
            why = reasons(report, name, generator, alpha, verdicts[name], level)
            parts += ["<h4>Why believe this?</h4>", _table(why.items())]
        parts += ["<h3>All classes</h3>", _table(rates(report, generator, alpha, level))]
    return "\n".join(parts)


def _table(rows: Iterable[Sequence[str]]) -> str:
    cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
