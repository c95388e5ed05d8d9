"""The Held-out page: verdicts on the classes that training never saw, and the raw material."""

import shlex
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from explorer.bundle import Bundle, BundleError
from explorer.comparison import (
    also_seen,
    class_distances,
    comparable_classes,
    generated_to_training,
    images_of,
    judge_calls,
    nearest_generated,
    said,
)
from explorer.decoding import decode
from explorer.gallery import Card, Picture, gallery, real_pictures
from explorer.job_panel import new_class_folders, show_job
from explorer.markdown import literal
from explorer.networks import PixelGanConfig
from explorer.new_class import read_measured
from explorer.photographs import Photographs, current_photographs
from explorer.points import Point, label_of, pictures_of
from explorer.rates import share
from explorer.reachability import ALPHA, pictures_needed
from explorer.session import current_bundle, generation_of
from explorer.verdict import percent
from explorer.verdict_cards import show_verdicts

SHOWN = 12  # pictures of each kind and class
HOW_TO = """No verdict yet: this page shows pictures and counts, not a conclusion. Hours to days make one:

`python -m training.reachability {path}`
"""
OF_PIXELS = (
    "No verdict here: this bundle holds a GAN on pixels. It is asked beside a latent GAN: add "
    "`--generators latent pixel` to `python -m training.reachability BUNDLE`, of a latent GAN over the same "
    "data."
)


def how_to(bundle: Bundle) -> str:
    """How a verdict is come by, and whether there are images enough for one."""
    seen = int((bundle.splits == "val").sum())
    needed = pictures_needed(ALPHA)
    few = (
        f"Its {seen:,} validation images of seen classes are too few for a verdict at a false-alarm rate of "
        f"{percent(ALPHA)}: half of them set the thresholds, which takes {needed}."
    )
    return HOW_TO.format(path=shlex.quote(str(bundle.path))) + (few if seen // 2 < needed else "")


def role(bundle: Bundle, class_name: str) -> str:
    """A class's name with the part it played."""
    return f"{class_name} ({'held out' if class_name in bundle.held_out else 'seen'})"


def middle(values: np.ndarray) -> str:
    """Median, the middle nine tenths, and n of distances."""
    if not len(values):
        return "none"
    low, median, high = np.percentile(values, [5, 50, 95])
    return f"{median:.1f} ({low:.1f} to {high:.1f}), n = {len(values):,}"


def show_codec(bundle: Bundle) -> None:
    """How well the decoder can show each class: fidelity of the round trip."""
    st.subheader("How well can the decoder show it?")
    rows = {}
    for part, values in bundle.manifest["metrics"]["codec"].items():
        name = part if part not in bundle.classes else role(bundle, part)
        rows["all seen classes, validation" if part == "seen val" else name] = {
            "images, n": f"{values['n']:,}",
            "PSNR, dB": f"{values['psnr']:.2f}",
            "SSIM": f"{values['ssim']:.3f}",
            "sharpness": f"{values['sharpness']:.2f}",
        } | {
            title: share(values[key], values["n"])
            for key, title in (
                ("recognised_original", "named right, original"),
                ("recognised_round_trip", "named right, round trip"),
            )
            if key in values
        }
    st.table(pd.DataFrame.from_dict(rows, orient="index"))
    st.caption(
        "Round trip: encode, then decode. PSNR and SSIM: higher is nearer to the original. Sharpness: ratio "
        "to the original's."
        + (
            " Named right: share to which the ImageNet classifier gives their own class, among these "
            f"{len(bundle.classes)}; in brackets its 95 % Wilson interval. (The verdict's judges are others, "
            "and recognise what passes their thresholds.)"
            if any("recognised_original" in v for v in bundle.manifest["metrics"]["codec"].values())
            else ""
        )
    )


def show_judge(bundle: Bundle, classes: list[str]) -> None:
    """What the ImageNet judge calls photographs, round trips and generated samples."""
    st.subheader("What does an ImageNet classifier call them?")
    name = bundle.manifest["judge"]["name"]
    if name is None:
        st.info("The ImageNet judge does not know these classes, so it was not asked.")
        return
    rows = {}
    for class_name in classes:
        calls = judge_calls(bundle, class_name)
        known = bundle.manifest["judge"]["class_index"][class_name] is not None
        rows[role(bundle, class_name)] = {
            title: said(calls[kind]) if known else "no name of ImageNet's"
            for kind, title in (
                ("photo", "photographs of it"),
                ("round_trip", "their round trips"),
                ("generated", "all generated samples"),
            )
        }
    st.table(pd.DataFrame.from_dict(rows, orient="index"))
    st.caption(
        "Pictures whose first guess, of ImageNet's 1,000 names, is that of the class; in brackets the 95 % "
        "Wilson interval of the share. Photographs are judged cropped, as the autoencoder got them; those of "
        f"seen classes are validation images. Judge: {name}, which is in no loss. It errs, too: read "
        "its rates on other pictures beside its rate on photographs."
    )


def show_distances(bundle: Bundle, classes: list[str]) -> None:
    """Distances in code space, with the scale that they need."""
    st.subheader("How near do generated samples come?")
    rows = {}
    for class_name in classes:
        distances = class_distances(bundle, class_name)
        rows[role(bundle, class_name)] = {
            "its images to the nearest training code": middle(distances.to_training),
            "its images to the nearest other one of the class": middle(distances.to_own_class),
            f"its {SHOWN} nearest generated samples": middle(np.sort(distances.generated)[:SHOWN]),
        }
    st.table(pd.DataFrame.from_dict(rows, orient="index"))
    st.caption(
        "Euclidean distances between codes: median (5 % to 95 %). Its images: those that no network was "
        "trained on. A sample's distance is that to the nearest real image of the class. Those of the "
        f"last column were picked as the nearest of {len(bundle.generated_z):,}: compare that column "
        "downwards, from class to class, never along a row with the others. For scale, all "
        f"generated samples to the nearest training code: {middle(generated_to_training(bundle))}."
    )


def original_cards(bundle: Bundle, class_name: str, photographs: Photographs | None) -> list[Card]:
    """Untrained images of a class, evenly spread, as round trips and, where on disk, photographs."""
    rows = images_of(bundle, class_name, untrained=True)
    rows = rows[np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int)]
    pictures = decode(generation_of(bundle).autoencoder, bundle.real_codes[rows])
    cards = []
    for row, picture in zip(rows, pictures, strict=True):
        shown, note = real_pictures(bundle, int(row), picture, photographs)
        cards.append(Card(f"#{row}", shown, note=note))
    return cards


def generated_cards(bundle: Bundle, class_name: str) -> list[Card]:
    """The generated samples nearest to a class, with distance and the judge's guess."""
    distances = class_distances(bundle, class_name).generated
    rows = nearest_generated(bundle, class_name, SHOWN)
    points = [Point("generated", int(row)) for row in rows]
    pictures = pictures_of(bundle, generation_of(bundle), points)
    cards = []
    for row, point, picture in zip(rows, points, pictures, strict=True):
        caption = f"distance {distances[row]:.2f}"
        guess = int(bundle.judge["generated_top1"][row])
        if guess != -1:
            confidence = float(bundle.judge["generated_confidence"][row])
            caption += f"\n{bundle.judge_category(guess)} {confidence:.0%}"
        alt = f"picture of {label_of(bundle, point)}"
        cards.append(Card(f"#{row}", [Picture(picture, caption, alt)]))
    return cards


def show_class(bundle: Bundle, class_name: str, photographs: Photographs | None) -> None:
    """Pictures of one class: real and nearest generated."""
    st.subheader(literal(role(bundle, class_name)))
    total = len(images_of(bundle, class_name, untrained=True))
    originals = original_cards(bundle, class_name, photographs)
    part = "held-out images" if class_name in bundle.held_out else "validation images"
    what = "photographs and round trips" if photographs else "round trips"
    st.markdown(f"**Real**: {len(originals)} of its {total:,} {part}, as {what}.")
    st.html(gallery(originals, side=96))
    generated = generated_cards(bundle, class_name)
    judged = ""
    index = bundle.manifest["judge"]["class_index"][class_name]
    if bundle.manifest["judge"]["name"] and index is not None:
        guesses = bundle.judge["generated_top1"][nearest_generated(bundle, class_name, SHOWN)]
        called = int((guesses == index).sum())
        judged = (
            ", and the judge's first guess with its probability. "
            f"It calls {called} of these {len(guesses)} {literal(class_name)}"
        )
    st.markdown(
        f"**Generated**: the {len(generated)} of {len(bundle.generated_z):,} samples nearest to any of its "
        f"{len(images_of(bundle, class_name)):,} real images, with the distance in code space{judged}."
    )
    st.html(gallery(generated, side=96))


def show_new_classes(bundle: Bundle) -> None:
    """A card for each class that was measured here beside those of the bundle."""
    latest: dict[str, tuple[Bundle, dict[str, Any]]] = {}
    for folder in new_class_folders(bundle):
        try:
            new, report = read_measured(folder, bundle)
        except BundleError as error:
            st.warning(literal(f"{error}."))
            continue
        latest[new.name] = new.beside(bundle), report
    if not latest:
        return
    st.header("New classes")
    st.caption(
        "Measured on this machine, with the generator in this bundle. Photographs from elsewhere may differ "
        "from the bundle's in more than the class, and judges learn whatever tells them apart."
    )
    for name, (beside, report) in latest.items():
        show_verdicts(beside, report, None, name)


st.title("Held-out")
bundle = current_bundle()
photographs = current_photographs(bundle)
if not bundle.held_out:
    st.info("This bundle has no held-out class: training saw all of them.")
    show_job(bundle, photographs)
    show_new_classes(bundle)
    st.stop()
names = literal(", ".join(bundle.held_out))
st.markdown(
    f"Training never saw: **{names}**. What do the decoder and the generator make of that? Seen classes "
    f"stand beside as a scale. {generation_of(bundle).note}"
)
if twins := also_seen(bundle):
    one, other = (literal(label_of(bundle, Point("real", row))) for row in twins[0])
    held_out = int((bundle.splits == "held_out").sum())
    st.caption(
        f"But for {len(twins):,} of {held_out:,} held-out pictures, which the data have under a seen class, "
        f"too: {one} is {other}{'' if len(twins) == 1 else ', to name the first'}."
    )
if bundle.reachability is None:
    of_pixels = isinstance(bundle.gan_config, PixelGanConfig)
    st.info(OF_PIXELS if of_pixels else how_to(bundle), icon=":material/balance:")
else:
    show_verdicts(bundle, bundle.reachability, photographs)
show_job(bundle, photographs)
show_new_classes(bundle)
st.header("Raw material")
st.caption("Pictures, counts and distances of the bundle as it is; no conclusion is drawn from them here.")
seen = [c for c in bundle.classes if c not in bundle.held_out]
chosen = st.multiselect(
    "Seen classes for scale",
    seen,
    default=comparable_classes(bundle),
    max_selections=4,
    key=f"scale {bundle.key}",
    persist_state="session",
    help="At first, those that the judge recognises on photographs about as often as the held-out ones; "
    "where it knows none, the first two.",
)
classes = [*bundle.held_out, *chosen]
show_codec(bundle)
show_judge(bundle, classes)
show_distances(bundle, classes)
for class_name in classes:
    show_class(bundle, class_name, photographs)
