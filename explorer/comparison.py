"""Counts and distances that set held-out classes beside seen ones. Nothing here draws a conclusion."""

from dataclasses import dataclass
from math import inf
from operator import attrgetter
from statistics import mean

import numpy as np
import streamlit as st

from explorer.bundle import Bundle
from explorer.latent import nearest
from explorer.neighbours import nearest_real, training_distances
from explorer.points import Point
from explorer.rates import Count, wilson_interval

BY_KEY = attrgetter("key")  # how caches know a bundle


def said(count: Count) -> str:
    """A count for people, with its share and the share's 95 % Wilson interval."""
    if not count.n:
        return "not asked"
    low, high = wilson_interval(count.hits, count.n)
    return f"{count.hits:,} of {count.n:,}: {count.rate:.1%} [{low:.1%}, {high:.1%}]"


@dataclass(frozen=True)
class ClassDistances:
    """Euclidean distances in code space around one class.

    to_training: float32 (n,), from each of its untrained images to the nearest training code.
    to_own_class: float32 (n,), from each of those to the nearest other real image of the class; empty where
    there is no other.
    generated: float32 (m,), from each generated sample to the nearest real image of the class.
    """

    to_training: np.ndarray
    to_own_class: np.ndarray
    generated: np.ndarray


def images_of(bundle: Bundle, class_name: str, untrained: bool = False) -> np.ndarray:
    """Rows int64 of a class's real images; without those that the networks were trained on if asked."""
    of_class = bundle.labels == bundle.classes.index(class_name)
    return np.flatnonzero(of_class & (bundle.splits != "train") if untrained else of_class)


@st.cache_data(max_entries=64, hash_funcs={Bundle: BY_KEY}, show_spinner="Measuring distances…")
def class_distances(bundle: Bundle, class_name: str) -> ClassDistances:
    """Distances around a class, in code space."""
    rows, members = images_of(bundle, class_name, untrained=True), images_of(bundle, class_name)
    points = [Point("real", int(row)) for row in rows]
    return ClassDistances(
        to_training=training_distances(bundle, points),
        to_own_class=nearest_real(bundle, points, among=members)[0].ravel(),
        generated=nearest(bundle.generated_codes, bundle.real_codes[members])[0][:, 0],
    )


def nearest_generated(bundle: Bundle, class_name: str, count: int) -> np.ndarray:
    """Rows int64 (count,) of the generated samples nearest to any real image of the class, nearest first."""
    return np.argsort(class_distances(bundle, class_name).generated, kind="stable")[:count]


@st.cache_data(max_entries=64, hash_funcs={Bundle: BY_KEY}, show_spinner="Measuring distances…")
def generated_to_training(bundle: Bundle) -> np.ndarray:
    """Distance float32 (m,) from each generated sample to the nearest training code."""
    return nearest(bundle.generated_codes, bundle.real_codes[bundle.splits == "train"])[0][:, 0]


@st.cache_data(max_entries=8, hash_funcs={Bundle: BY_KEY}, show_spinner=False)
def also_seen(bundle: Bundle) -> list[tuple[int, int]]:
    """Rows of held-out images, each with a seen one of the same code: the data have one picture twice."""
    held_out = bundle.splits == "held_out"
    seen = {bundle.real_codes[row].tobytes(): int(row) for row in np.flatnonzero(~held_out)}
    pairs = ((int(row), seen.get(bundle.real_codes[row].tobytes())) for row in np.flatnonzero(held_out))
    return [(row, twin) for row, twin in pairs if twin is not None]


def judge_calls(bundle: Bundle, class_name: str) -> dict[str, Count]:
    """How often the judge's first guess among all ImageNet classes is the class.

    By what it was shown: 'photo' and 'round_trip' of the class's untrained images, 'generated' for all
    samples. n counts the pictures that it was asked about; none of a class that ImageNet does not have.
    """
    index = bundle.manifest["judge"]["class_index"][class_name]
    of_class = bundle.labels == bundle.classes.index(class_name)
    counts = {}
    for kind in ("photo", "round_trip", "generated"):
        answers = bundle.judge[f"{kind}_top1"]
        answers = answers[answers != -1] if kind == "generated" else answers[of_class & (answers != -1)]
        counts[kind] = (
            Count(int((answers == index).sum()), len(answers)) if index is not None else Count(0, 0)
        )
    return counts


def comparable_classes(bundle: Bundle, count: int = 2) -> list[str]:
    """Seen classes that the judge names on photographs about as often as the held-out ones.

    Without a judge that knows one, the first seen ones.
    """
    seen = [c for c in bundle.classes if c not in bundle.held_out]
    known = {name for name, index in bundle.manifest["judge"]["class_index"].items() if index is not None}
    scale = [name for name in bundle.held_out if name in known]
    if bundle.manifest["judge"]["name"] is None or not scale:
        return seen[:count]

    def rate(class_name: str) -> float:
        return judge_calls(bundle, class_name)["photo"].rate

    wanted = mean(rate(class_name) for class_name in scale)

    def apart(class_name: str) -> float:
        return abs(rate(class_name) - wanted) if class_name in known else inf

    return sorted(seen, key=apart)[:count]
