"""The Journey page: travel from one picture to another, through code space or through the GAN's z space."""

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from plotly.colors import hex_to_rgb

from explorer import decoding
from explorer import photographs as photos
from explorer.bundle import Bundle
from explorer.gallery import Card, Picture, gallery
from explorer.legible import colour_axes
from explorer.palette import BACKGROUND, TEXT, Theme, current_theme, kind_colours
from explorer.player import background, player
from explorer.player.ends import pick_end, swap
from explorer.player.journey import (
    REFERENCE_SAMPLE,
    STRIP,
    End,
    Journey,
    Route,
    code_path,
    file_stem,
    to_csv,
    travel,
    usual_distance,
    z_path,
)
from explorer.points import NewSamples, Point, label_of
from explorer.session import current_bundle, generation_of

CODES, Z = "code space", "the GAN's z space"
STRAIGHT, SPHERICAL = "straight", "spherical"


@st.cache_data(max_entries=64, show_spinner="Drawing the path and placing it on the map…")
def cached_travel(key: str, route: Route, _bundle: Bundle) -> Journey:
    """``travel``, once per bundle and path."""
    return travel(_bundle, generation_of(_bundle), route)


@st.cache_data(max_entries=16, show_spinner="Measuring how far unseen pictures are from the training set…")
def cached_usual_distance(key: str, split: str, _bundle: Bundle) -> tuple[float, int]:
    """``usual_distance``, once per bundle and split."""
    return usual_distance(_bundle, split)


def choose_path(bundle: Bundle, a: End, b: End) -> tuple[Route, str]:
    """Draw the path's options; return it and what it is called."""
    has_z = a.z is not None and b.z is not None
    generation = generation_of(bundle)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        # Through z at first where the decoder would not show the samples themselves.
        first = Z if has_z and generation.decoded else CODES
        space = st.segmented_control(
            "Through",
            [CODES, Z],
            default=first,
            key=f"journey/{bundle.name}/space/{'z' if has_z else 'codes'}",
            persist_state="session",
            required=True,
            disabled=not has_z,
        )
        shape = st.segmented_control(
            "Path",
            [STRAIGHT, SPHERICAL],
            default=STRAIGHT,
            key="journey/shape",
            persist_state="session",
            required=True,
        )
        st.button("Swap A and B", icon=":material/swap_horiz:", on_click=swap, args=(bundle,))
        if not has_z:
            st.caption("Both ends need a z: only generated pictures have one.")
    if space == Z:
        route = z_path(generation, a, b, shape == SPHERICAL)
    else:
        route = code_path(a, b, shape == SPHERICAL)
    return route, f"{shape} through {space}"


def end_card(
    bundle: Bundle, side: str, end: End, picture: np.ndarray, hand: str, found: photos.Photographs | None
) -> Card:
    """One end as the user knows it: a real picture's photograph, where there is one, and what is drawn.

    hand: who draws it.
    """
    real = end.point is not None and end.point.kind == "real"
    shown = [Picture(picture, "round trip" if real else f"by {hand}", f"{side}: {end.name}")]
    path = found.find(bundle.names[end.point.index]) if found and real and end.point else None
    photograph = photos.thumbnail(path) if path else None
    if photograph is not None:
        shown.insert(0, Picture(photograph, "photograph", f"photograph of {side}: {end.name}"))
    return Card(f"{side}: {end.name}", shown)


def film_strip(bundle: Bundle, journey: Journey) -> str:
    """HTML of the strip: pictures along the path, each above the training picture nearest to it."""
    autoencoder = generation_of(bundle).autoencoder
    rows = journey.neighbours[STRIP]
    t = np.linspace(0, 1, len(rows))
    cards = []
    for i, near in enumerate(decoding.decode(autoencoder, bundle.real_codes[rows])):
        name = label_of(bundle, Point("real", int(rows[i])))
        own = Picture(journey.pictures[STRIP][i], f"t = {t[i]:.3g}", f"picture at t = {t[i]:.3g}")
        distance = journey.distances[STRIP][i]
        neighbour = Picture(near, f"{name}\n{distance:.1f}", f"round trip of {name}")
        cards.append(Card("", [own], [neighbour]))
    return gallery(cards, side=78, neighbour_side=78, neighbours_title="nearest")


def mark_usual(figure: go.Figure, bundle: Bundle, theme: Theme) -> float:
    """Draw what is usual for unseen pictures as lines; return the highest, 0 where there is none.

    The higher line has its label above and the lower one below: no line goes through the other's label.
    """
    kinds = (
        ("val", "seen", "seen classes, validation"),
        ("held_out", "held out", "held-out classes"),
    )
    usual = [(*cached_usual_distance(bundle.key, split, bundle), kind, name) for split, kind, name in kinds]
    lines = sorted((line for line in usual if line[1]), reverse=True)  # those of any pictures, highest first
    for i, (median, n, kind, name) in enumerate(lines):
        colour = kind_colours(theme)[kind]
        behind = f"rgba{(*hex_to_rgb(BACKGROUND[theme]), 0.85)}"  # a curve may cross the words
        words = f"<span style='color:{colour}'>■</span> median of {name}: {median:.1f} (n = {n:,})"
        figure.add_hline(
            median,
            line={"color": colour, "dash": "dash"},
            annotation={"text": words, "font": {"color": TEXT[theme]}, "bgcolor": behind},
            annotation_position="bottom right" if i else "top right",
        )
    return lines[0][0] if lines else 0.0


def distance_chart(bundle: Bundle, journey: Journey) -> go.Figure:
    """Distance to the nearest training code along the path, with what is usual for unseen pictures."""
    theme = current_theme()
    t = np.linspace(0, 1, len(journey.distances))
    figure = go.Figure(
        go.Scatter(
            x=t,
            y=journey.distances,
            mode="lines",
            line={"color": TEXT[theme], "width": 2},
            hovertemplate="t = %{x:.2f}<br>distance %{y:.1f}<extra></extra>",
        )
    )
    top = max(float(journey.distances.max()), mark_usual(figure, bundle, theme))
    figure.update_layout(
        height=280,
        margin={"l": 0, "r": 0, "t": 10, "b": 0},
        xaxis={"title": "t, from A (0) to B (1)", "range": [0, 1]},
        yaxis={"title": "distance", "range": [0, 1.15 * top]},
    )
    colour_axes(figure, TEXT[theme])
    return figure


def downloads(journey: Journey, codes: np.ndarray, words: str, stem: str) -> None:
    """The strip as PNG, the journey as GIF and its codes as CSV, each made when it is asked for.

    words: what a reader of the codes needs to know. stem: the files' name.
    """
    scale = max(1, 256 // journey.pictures.shape[1])
    strip = journey.pictures[STRIP]
    with st.container(horizontal=True):
        for label, ending, mime, make in (
            (
                "Strip (PNG)",
                "png",
                "image/png",
                lambda: decoding.png(decoding.grid(strip, len(strip)), scale),
            ),
            ("Animation (GIF)", "gif", "image/gif", lambda: decoding.gif(journey.pictures, scale=scale)),
            ("Codes (CSV)", "csv", "text/csv", lambda: to_csv(codes, words)),
        ):
            st.download_button(
                label,
                data=make,
                file_name=f"{stem}.{ending}",
                mime=mime,
                on_click="ignore",
                icon=":material/download:",
            )


st.title("Journey")
bundle = current_bundle()
found = photos.current_photographs(bundle)
new: NewSamples | None = st.session_state.get("new_samples")
with st.container(horizontal=True, gap="large", key="journey ends"):  # see style.css
    a, b = pick_end(bundle, "A", new), pick_end(bundle, "B", new)
route, path_name = choose_path(bundle, a, b)
journey = cached_travel(bundle.key, route, bundle)
generation = generation_of(bundle)
hand = "the decoder" if route.z is None else generation.drawn_by
decoded = generation.decoded if route.z is None and (a.z is not None or b.z is not None) else ""

player(a, b, journey, background(bundle, new, current_theme()))
st.caption(
    f"Pictures are drawn by {hand}; real ones are shown as round trips through the autoencoder. {decoded} "
    "On the map, the path lies between its nearest real codes, so it may jump where the map does; the map "
    "is an illustration."
)
if found:
    cards = [
        end_card(bundle, side, end, picture, hand, found)
        for side, end, picture in (("A", a, journey.pictures[0]), ("B", b, journey.pictures[-1]))
    ]
    st.html(gallery(cards))

st.subheader("Film strip")
st.caption(
    "Nine pictures of the path. Below each: its nearest training picture and how far that is in code space."
)
st.html(film_strip(bundle, journey))
words = f"bundle: {bundle.name}; A: {a.name}; B: {b.name}; {path_name}"
stem = file_stem(bundle.name, "journey", a.name, "to", b.name, path_name)
downloads(journey, route.codes, words, stem)

st.subheader("Distance to the training set")
st.caption(
    "Euclidean distance in code space to the nearest training picture. It is 0 at an end that is a training "
    "picture itself. Dashed: medians of the same distance for pictures that the networks never saw, over a "
    f"random sample of {REFERENCE_SAMPLE} of each kind, or all n where there are fewer."
)
st.plotly_chart(distance_chart(bundle, journey), config={"displayModeBar": False})
