"""What was measured of a bundle and put into it: whether it has all that the app shows."""

from collections.abc import Callable
from typing import Any

from explorer import reachability
from explorer.race import COMPARED, LATENT, PIXEL

EVALUATION, RACE, REACHABILITY = "evaluation.json", "race.json", "reachability.json"
# What a check raises where something is missing or cannot be.
INCOMPLETE = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError)


def check_number(value: Any) -> None:
    """Raise TypeError unless it is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")


def check_evaluation(found: dict[str, Any], _images: int) -> None:
    """Raise one of ``INCOMPLETE`` unless an evaluation has what the app shows."""
    for part in ("samples", "round trips", "training crops", "Gaussian codes"):
        for key in ("frechet", "coverage"):
            float(found["distances"][part][key])
    counts = [found["structure"][k] for k in ("samples", "replays", "Gaussian codes")]
    tested = [found["memorisation"]["latents"][k] for k in ("samples", "unseen", "replayed")]
    for hits, n in [(c["k"], c["n"]) for c in counts] + [(t["copied"], t["n"]) for t in tested]:
        if not 0 <= int(hits) <= int(n):
            raise ValueError(f"{hits} of {n}")
    int(found["n"]), found["judge"]["name"]


def check_race(found: dict[str, Any], _images: int) -> None:
    """Raise one of ``INCOMPLETE`` unless a race has what the app shows."""
    for key in ("floor", "n"):
        float(found[key])
    found["device"], found["options"]["budget"], found["options"]["preset"], found["judge"]["name"]
    if not found["seeds"]:
        raise ValueError("no seed")
    for seed in found["seeds"]:
        for part in (seed["codec"], *seed["contestants"].values()):
            for key in ("seconds", "seconds_per_step", "flops_per_step", "batch"):
                float(part[key])
        seed["contestants"][LATENT], seed["contestants"][PIXEL]
        float(seed["encoding"]["seconds"]), float(seed["ceiling"])
        for name, contestant in seed["contestants"].items():
            for point in contestant["curve"]:
                for key in ("seconds", "total", "images", "frechet"):
                    float(point[key])
                if not point["sheet"].startswith("data:image/"):
                    raise ValueError("a sheet is no picture")
            if not contestant["curve"] and (name in COMPARED or contestant["stopped"] is None):
                raise ValueError("an empty curve")


def check_reachability(found: dict[str, Any], images: int) -> None:
    """Raise one of ``INCOMPLETE`` unless a verdict on every class can be read from a report.

    images: how many real images there are for it to point at.
    """
    found["device"], found["features"], found["command"], found["gate"]["passed"]
    check_number(found["samples"])
    for name in found["classes"]:
        for n in found["split"]["counts"][name].values():
            check_number(n)
    if not reachability.generators(found) or not reachability.alphas(found):
        raise ValueError("no generator or no false-alarm rate")
    for generator in reachability.generators(found):
        for alpha in reachability.alphas(found):
            for name in found["classes"]:
                reachability.evidence(found, name, generator, alpha)
    for judge in found["judges"].values():
        reachability.counts(judge.values())
    for name in reachability.held_out(found):
        examples = found["classes"][name]["examples"]
        rows = list(examples["round trips"])
        for shown, beside in (("samples", "nearest"), ("searches", "targets")):
            for kind in examples[shown].values():
                rows += kind[beside]
                if not kind["sheet"].startswith("data:image/"):
                    raise ValueError("a sheet is no picture")
        if not set(rows) <= set(range(images)):
            raise ValueError(f"an example points at none of the {images} images")


# By file: its check, given what it holds and how many real images there are, and the script that measures it.
MEASURED: dict[str, tuple[Callable[[dict[str, Any], int], None], str]] = {
    EVALUATION: (check_evaluation, "training.evaluate"),
    RACE: (check_race, "training.race"),
    REACHABILITY: (check_reachability, "training.reachability"),
}
