"""What an evaluation found, in words: samples beside floor, ceiling and controls."""

from typing import Any

from explorer.rates import share

PICTURES = {
    "samples": "generated",
    "round trips": "round trips: the best the decoder can do",
    "linear round trips": "the same by a linear codec of that size, which is not trained",
    "training crops": "training photographs",
    "Gaussian codes": "random codes, drawn from a Gaussian",
}
FEW = 500  # images on either side, below which these numbers say little


def too_few(n: int) -> str:
    """A warning where an evaluation rests on few images; else nothing."""
    if n >= FEW:
        return ""
    return (
        f"**{n:,} images on either side are few**: distances in 1,280 numbers come out too large, and shares "
        "at the 1st percentile hang on one or two images. Compare rows with each other; take no number by "
        "itself."
    )


def quality(evaluation: dict[str, Any]) -> str:
    """Markdown of a bundle's ``evaluation`` (see docs/evaluation.md), every share with its interval."""

    def structured(name: str) -> str:
        count = evaluation["structure"].get(name)
        return share(count["k"], count["n"]) if count else "-"

    def copied(name: str) -> str:
        count = evaluation["memorisation"]["latents"][name]
        return share(count["copied"], count["n"])

    rows = ["| pictures | Fréchet distance | coverage | structure |", "| --- | --- | --- | --- |"]
    for name, title in PICTURES.items():
        if name not in evaluation["distances"]:
            continue  # measured before there was this control
        found = evaluation["distances"][name]
        rows.append(f"| {title} | {found['frechet']:.0f} | {found['coverage']:.3f} | {structured(name)} |")
    table = "\n".join(rows)
    text = f"""{table}

Against {evaluation["n"]:,} seen validation photographs, and as many pictures of each kind, in the features of
{evaluation["judge"]["name"]}, which is in no loss.

*Fréchet distance*: lower is better. *Coverage*: share of those photographs to which one of the pictures is
nearer than their fifth neighbour among them; higher is better. *Structure*: share that a classifier takes for
real training codes, not for random ones; of real ones it finds {structured("replays")}.

Look like copies of a training image, by their codes: {copied("samples")} of the generated ones,
{copied("unseen")} of unseen photographs, {copied("replayed")} of replayed training codes. In brackets: 95 %
intervals.
"""
    few = too_few(evaluation["n"])
    return f"{few}\n\n{text}" if few else text
