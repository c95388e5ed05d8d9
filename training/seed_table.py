"""Compare bundles that differ by their seed: each measure with its mean and spread.

    python -m training.seed_table runs/seed-0 runs/seed-1 runs/seed-2

Reads the evaluation.json that training.evaluate wrote into each. Prints a Markdown table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from explorer import markdown
from explorer.bundle import BundleError
from explorer.bundle_reading import open_bundle
from training.cli import UserError


@dataclass(frozen=True)
class SeedTableOptions:
    """Options of ``python -m training.seed_table``."""

    bundles: tyro.conf.Positional[tuple[Path, ...]]
    """Evaluated bundles."""


def measures(evaluation: dict[str, Any]) -> dict[str, float]:
    """The measures of samples that are compared, by name."""
    values = {
        key: evaluation["distances"]["samples"][key]
        for key in ("frechet", "kernel", "precision", "recall", "density", "coverage")
    }
    shares = {"structure": evaluation["structure"]["samples"]}
    if "recognisability" in evaluation:
        shares["called a dog"] = evaluation["recognisability"]["dog"]["samples"]
        values["breed entropy, bits"] = evaluation["recognisability"]["breed_entropy_bits"]["samples"]
    for space, test in evaluation["memorisation"].items():
        shares[f"copied ({space})"] = {"k": test["samples"]["copied"], "n": test["samples"]["n"]}
    return values | {name: count["k"] / count["n"] for name, count in shares.items()}


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1); of a single value, nan."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def table(evaluations: dict[str, dict[str, Any]]) -> str:
    """Markdown table: a column per bundle, then mean and standard deviation (n - 1)."""
    columns = {name: measures(e) for name, e in evaluations.items()}
    rows = [["measure", *columns, "mean", "standard deviation"]]
    for measure in next(iter(columns.values())):
        values = [column[measure] for column in columns.values()]
        rows.append([measure, *(f"{v:.4g}" for v in (*values, *mean_and_deviation(values)))])
    return markdown.table(rows)


def main(options: SeedTableOptions) -> None:
    """Read the bundles and print the table."""
    if not options.bundles:
        raise UserError("name at least one evaluated bundle")
    evaluations = {}
    for path in options.bundles:
        try:
            evaluation = open_bundle(path).evaluation
        except BundleError as error:
            raise UserError(str(error)) from None
        if evaluation is None:
            raise UserError(f"{path} was not evaluated; run python -m training.evaluate {path}")
        evaluations[path.name if path.name not in evaluations else str(path)] = evaluation
    if len({(e["n"], e["k"], "recognisability" in e) for e in evaluations.values()}) > 1:
        raise UserError("these bundles were evaluated with different n or data and cannot be compared")
    print(table(evaluations))


if __name__ == "__main__":
    from training.cli import run_script

    run_script(SeedTableOptions, "seed_table", main)
