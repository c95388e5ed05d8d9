"""Counts and distances that set held-out breeds beside seen ones. Nothing here draws a conclusion."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from explorer.bundle import Bundle
from explorer.latent import nearest
from explorer.neighbours import nearest_real, training_distances
from explorer.points import Point
from explorer.rates import Count, wilson_interval
from explorer.session import bundle_key


def said(count: Count) -> str:
    """A count for people, with its share and the share's 95 % Wilson interval."""
    if not count.n:
        return "not asked"
    low, high = wilson_interval(count.hits, count.n)
    return f"{count.hits:,} of {count.n:,}: {count.rate:.1%} [{low:.1%}, {high:.1%}]"


@dataclass(frozen=True)
class BreedDistances:
    """Euclidean distances in code space around one breed.

    to_training: float32 (n,), from each of its untrained images to the nearest training code.
    to_own_breed: float32 (n,), from each of those to the nearest other real image of the breed.
    generated: float32 (m,), from each generated sample to the nearest real image of the breed.
    """

    to_training: np.ndarray
    to_own_breed: np.ndarray
    generated: np.ndarray


def images_of(bundle: Bundle, breed: str, untrained: bool = False) -> np.ndarray:
    """Rows int64 of a breed's real images; without those that the networks were trained on if asked."""
    of_breed = bundle.labels == bundle.classes.index(breed)
    return np.flatnonzero(of_breed & (bundle.splits != "train") if untrained else of_breed)


@st.cache_data(hash_funcs={Bundle: lambda b: bundle_key(b.path)}, show_spinner="Measuring distances…")
def breed_distances(bundle: Bundle, breed: str) -> BreedDistances:
    """Distances around a breed, in code space."""
    rows, members = images_of(bundle, breed, untrained=True), images_of(bundle, breed)
    points = [Point("real", int(row)) for row in rows]
    return BreedDistances(
        to_training=training_distances(bundle, points),
        to_own_breed=nearest_real(bundle, points, among=members)[0][:, 0],
        generated=nearest(bundle.generated_codes, bundle.real_codes[members])[0][:, 0],
    )


def nearest_generated(bundle: Bundle, breed: str, count: int) -> np.ndarray:
    """Rows int64 (count,) of the generated samples nearest to any real image of the breed, nearest first."""
    return np.argsort(breed_distances(bundle, breed).generated, kind="stable")[:count]


@st.cache_data(hash_funcs={Bundle: lambda b: bundle_key(b.path)}, show_spinner="Measuring distances…")
def generated_to_training(bundle: Bundle) -> np.ndarray:
    """Distance float32 (m,) from each generated sample to the nearest training code."""
    return nearest(bundle.generated_codes, bundle.real_codes[bundle.splits == "train"])[0][:, 0]


def judge_calls(bundle: Bundle, breed: str) -> dict[str, Count]:
    """How often the judge's first guess among all ImageNet classes is the breed.

    By what it was shown: 'photo' and 'round_trip' of the breed's untrained images, 'generated' for all
    samples. n counts the pictures that it was asked about.
    """
    index = bundle.manifest["judge"]["class_index"][breed]
    of_breed = bundle.labels == bundle.classes.index(breed)
    counts = {}
    for kind in ("photo", "round_trip", "generated"):
        answers = bundle.judge[f"{kind}_top1"]
        answers = answers[answers != -1] if kind == "generated" else answers[of_breed & (answers != -1)]
        counts[kind] = Count(int((answers == index).sum()) if index is not None else 0, len(answers))
    return counts


def comparable_breeds(bundle: Bundle, count: int = 2) -> list[str]:
    """Seen breeds that the judge names on photographs about as often as the held-out ones.

    Without a judge, the first seen ones.
    """
    seen = [c for c in bundle.classes if c not in bundle.held_out]
    if bundle.manifest["judge"]["name"] is None:
        return seen[:count]

    def rate(breed: str) -> float:
        return judge_calls(bundle, breed)["photo"].rate

    wanted = np.mean([rate(breed) for breed in bundle.held_out])
    return sorted(seen, key=lambda breed: abs(rate(breed) - wanted))[:count]
