"""Everything that was judged, and how much of it counts as hits: the numbers of a reachability report."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from explorer.reachability import (
    CLASS,
    CUT,
    GATED,
    LATENT,
    MIXED,
    ORACLE,
    PERMUTED,
    PHOTOGRAPHS,
    PIXEL,
    PIXEL_ORACLE,
    ROUND_TRIPS,
    STRATA,
)
from explorer.replication import worth_of_repeats
from explorer.verdict import OTHER, SCRAMBLED
from training.hits import Scored, gate, is_hit, thresholds
from training.splits import CALIBRATION, TEST

REAL = (PHOTOGRAPHS, ROUND_TRIPS, CUT)
TARGETS = (CLASS, SCRAMBLED, OTHER)  # kinds of targets for one class
ASKED = (LATENT, ORACLE, PIXEL, PIXEL_ORACLE)  # sources that a claim may be made about


@dataclass(frozen=True)
class Searched:
    """What a search of the range of one seed found, for k targets and the same k scrambled.

    rows: int64 (k,), positions of the target images. labels: int (2k,) and scrambled: bool (2k,), of targets.
    scored, relative (2k,), z (2k, z_dim): of what was found; relative to the nearest training image.
    """

    seed: int
    rows: np.ndarray
    labels: np.ndarray
    scrambled: np.ndarray
    scored: Scored
    relative: np.ndarray
    z: Tensor

    def chosen(self, label: int, kind: str, held_out: Sequence[int] = ()) -> np.ndarray:
        """Which of them, bool (2k,), are of one kind for a class; ``OTHER`` are those of other seen ones."""
        if kind == OTHER:
            return (self.labels != label) & ~np.isin(self.labels, held_out) & ~self.scrambled
        return (self.labels == label) & (self.scrambled == (kind == SCRAMBLED))


@dataclass(frozen=True)
class Judged:
    """What judges and gate make of real images, of samples and of what searches found.

    classes: names of all. labels: int (m,) and parts: str (m,), of the calibration and test images. held_out:
    the classes that no network was trained on. real: these images, by the ``REAL`` kind that was judged.
    made: samples, by source and seed. searched: by source. remade: the images again as the GAN could at best
    show them, each time with other generated detail. trained: the images that the networks were trained on,
    of trained_labels int (t,), by their kind.
    """

    classes: Sequence[str]
    labels: np.ndarray
    parts: np.ndarray
    held_out: Sequence[int]
    real: dict[str, Scored] = field(default_factory=dict)
    made: dict[str, dict[int, Scored]] = field(default_factory=dict)
    searched: dict[str, list[Searched]] = field(default_factory=dict)
    remade: list[Scored] = field(default_factory=list)
    trained: dict[str, Scored] = field(default_factory=dict)
    trained_labels: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def within(self) -> float:
        """The gate's distance, set on calibration images."""
        return gate(self.real[ROUND_TRIPS].distance[self.parts == CALIBRATION])

    def negatives(self, label: int) -> Scored:
        """Round trips of other seen classes' calibration images: what a class's thresholds are set on."""
        other = (self.labels != label) & ~np.isin(self.labels, self.held_out)
        return self.real[ROUND_TRIPS][other & (self.parts == CALIBRATION)]

    def level(self, label: int, alpha: float) -> dict[str, Any]:
        """Count what is hit for a class at one false-alarm rate."""
        tested, within = self.parts == TEST, self.within
        own, other = self.labels == label, (self.labels != label) & ~np.isin(self.labels, self.held_out)
        negatives = self.negatives(label)
        limits = thresholds(negatives.judges[:, :, label], alpha)
        permuted_limits = thresholds(negatives.permuted[:, :, label], alpha)

        def found(scored: Scored) -> np.ndarray:
            return is_hit(scored.judges[:, :, label], scored.distance, limits, within)

        def hits(scored: Scored) -> dict[str, int]:
            return count(found(scored))

        def shown(kind: str, rows: np.ndarray) -> list[Scored]:
            """Images as often as they were judged."""
            return [scored[rows] for scored in (self.real[kind], *(self.remade if kind == CUT else ()))]

        def real(kind: str, rows: np.ndarray) -> dict[str, int]:
            if not rows.any():
                return count(rows[:0])
            answers = np.stack([found(scored) for scored in shown(kind, rows)])
            return worth(answers, np.ones_like(answers))

        strata = np.setdiff1d(np.arange(len(self.classes)), [*self.held_out, label])

        def by_stratum(repeats: Sequence[Scored]) -> dict[str, dict[str, int]]:
            """Hits by the other seen class that both judges together find a picture most like."""
            if not len(strata):
                return {}
            answers = np.stack([found(scored) for scored in repeats])
            likest = np.stack([scored.judges[:, :, strata].mean(1).argmax(1) for scored in repeats])
            return {self.classes[c]: worth(answers, likest == i) for i, c in enumerate(strata)}

        # A judge that gives every picture the same answer raises not even the false alarms that it was
        # allowed, so what it does not find says nothing: then nothing was counted.
        allowed = len(negatives) - int(np.ceil((1 - alpha) * (len(negatives) + 1)))
        tells = allowed < 1 or (negatives.permuted[:, :, label] > permuted_limits).all(1).any()

        def permuted(scored: Scored) -> np.ndarray:
            found = is_hit(scored.permuted[:, :, label], scored.distance, permuted_limits, within)
            return found if tells else found[:0]

        photographs = self.real[PHOTOGRAPHS][own & tested]
        return {
            "thresholds": [float(t) if np.isfinite(t) else None for t in limits],
            "negatives": len(negatives),
            # Photographs show what judges know, and need no gate; as true samples of a pixel GAN they do.
            PHOTOGRAPHS: count(is_hit(photographs.judges[:, :, label], photographs.distance, limits, np.inf)),
            GATED: hits(photographs),
            **{kind: real(kind, own & tested) for kind in (ROUND_TRIPS, CUT)},
            "false_positives": {kind: real(kind, other & tested) for kind in self.real}
            | {kind: hits(scored[self.trained_labels != label]) for kind, scored in self.trained.items()},
            STRATA: {
                "false_positives": {
                    kind: by_stratum(shown(kind, other & tested)) for kind in self.real if kind in MIXED
                }
                | {
                    kind: by_stratum([scored[self.trained_labels != label]])
                    for kind, scored in self.trained.items()
                },
                "samples": {
                    source: by_stratum([Scored.joined([*by_seed.values()])])
                    for source, by_seed in self.made.items()
                    if source in ASKED
                },
            },
            PERMUTED: {
                source: count(np.concatenate([permuted(scored) for scored in by_seed.values()]))
                for source, by_seed in self.made.items()
            },
            "samples": {
                source: [hits(scored) for scored in by_seed.values()] for source, by_seed in self.made.items()
            },
            "searches": {
                source: {
                    kind: [hits(run.scored[chosen]) for run, chosen in zip(runs, by_run, strict=True)]
                    for kind, by_run in self.chosen(runs, label).items()
                }
                for source, runs in self.searched.items()
            },
        }

    def distances(self, label: int) -> dict[str, dict[str, float]]:
        """Median relative distance of what was found to the targets of a class, by source and kind."""
        found: dict[str, dict[str, float]] = {}
        for source, runs in self.searched.items():
            found[source] = {}
            for kind, by_run in self.chosen(runs, label).items():
                relative = [run.relative[chosen] for run, chosen in zip(runs, by_run, strict=True)]
                found[source][kind] = float(np.median(np.concatenate(relative)))
        return found

    def chosen(self, runs: Sequence[Searched], label: int) -> dict[str, list[np.ndarray]]:
        """Which targets, bool (2k,) by run, are of each kind for a class, where there are any."""
        found = {kind: [run.chosen(label, kind, self.held_out) for run in runs] for kind in TARGETS}
        return {kind: by_run for kind, by_run in found.items() if any(chosen.any() for chosen in by_run)}

    def passed(self) -> dict[str, list[dict[str, int]]]:
        """How many pictures of each source and seed, and of each kind of real ones, pass the gate."""
        within, every = self.within, {kind: [scored] for kind, scored in self.real.items()}
        every |= {source: list(by_seed.values()) for source, by_seed in self.made.items()}
        return {name: [count(s.distance <= within) for s in seeds] for name, seeds in every.items()}

    def right(self) -> dict[str, dict[str, dict[str, int]]]:
        """How often each judge names the right class of test images, by their kind."""
        tested = self.parts == TEST
        return {
            judge: {
                kind: count(scored.judges[tested][:, i].argmax(1) == self.labels[tested])
                for kind, scored in self.real.items()
            }
            for i, judge in enumerate(("head", "network"))
        }


def worth(answers: np.ndarray, asked: np.ndarray) -> dict[str, int]:
    """Successes and n of bool (repeats, images), of those that are ``asked``; see ``worth_of_repeats``."""
    counted = count(answers[asked])
    if len(answers) == 1:
        return counted
    whole = worth_of_repeats(answers, asked)
    return {
        "hits": whole.hits, "n": whole.n,
        "images": int(asked.any(0).sum()), "pictures": counted["n"], "pictures_hit": counted["hits"],
    }  # fmt: skip


def count(hits: np.ndarray) -> dict[str, int]:
    """Successes and n of bool (n,)."""
    return {"hits": int(hits.sum()), "n": len(hits)}
