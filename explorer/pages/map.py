"""The Map page: real and generated codes on one fixed map; select points to see their pictures."""

import numpy as np
import streamlit as st

from explorer.bundle import Bundle
from explorer.decoding import decode
from explorer.gallery import Card, Picture, gallery, real_pictures
from explorer.map_figure import COLOUR_BY, Layer, layers, map_figure, selected_points
from explorer.markdown import literal
from explorer.neighbours import nearest_real, selection_table, stratified
from explorer.networks import CascadeConfig
from explorer.palette import current_theme
from explorer.photographs import Photographs, current_photographs
from explorer.player.ends import NUMBERED, still_there
from explorer.points import NewSamples, Point, class_title, label_of, pictures_of
from explorer.quality import quality
from explorer.sampling import draw_samples
from explorer.session import current_bundle, generation_of

SHOWN = 48  # pictures of a selection
NEIGHBOURS = 3
MOST_NEW = 1000  # new samples at once
CLEARED = "times_cleared"  # a chart gives up its selection only for another one


def remember_selection(key: str, drawn: list[Layer]) -> None:
    """Keep the chart's selection for this page and the Journey."""
    st.session_state["selected"] = selected_points(st.session_state[key].selection, drawn)


def draw_map(bundle: Bundle, colour_by: str, new: NewSamples | None, snapshot: int | None) -> None:
    """The chart and its caption."""
    drawn = layers(bundle, new, snapshot)
    # What a browser still says of another bundle's chart is not taken for this one's selection.
    key = f"map_chart/{bundle.key}/{st.session_state.get(CLEARED, 0)}"
    st.plotly_chart(
        map_figure(drawn, bundle, colour_by, current_theme()),
        key=key,
        on_select=lambda: remember_selection(key, drawn),
        selection_mode=("points", "box", "lasso"),
        config={
            "displaylogo": False,
            "scrollZoom": True,
            "toImageButtonOptions": {"filename": f"{bundle.name}-map", "scale": 2},
        },
        alt="Map of real, held-out and generated images; points that are near look alike to the autoencoder.",
    )
    st.caption(
        "Draw around points, or click one. Double click clears. Click in the legend to hide or show. "
        "The map is an illustration: no number is computed from it. Distances are measured in code space."
    )


def show_faithfulness(bundle: Bundle) -> None:
    """How faithful the map is: what training measured, with n."""
    faithfulness = bundle.manifest["metrics"]["map"]
    with st.expander("How faithful is this map?"):
        st.markdown(
            f"UMAP of the {faithfulness['components']} leading components of {len(bundle.labels):,} real "
            "codes, fitted once. Generated and new samples are placed between their nearest real codes; "
            "nothing is fitted again.\n\n"
            f"- Trustworthiness towards the whole codes (15 neighbours, n = {faithfulness['n']:,}; 0.5 is "
            "chance, 1 is perfect): "
            f"{faithfulness['trustworthiness']:.3f} for the map, "
            f"{faithfulness['trustworthiness_placed']:.3f} for real codes placed as if they were new.\n"
            f"- Median distance from a code so placed to its own point (n = {faithfulness['n']:,}): "
            f"{faithfulness['placed_to_own_position']:.3f} of that between random points."
        )


def show_quality(bundle: Bundle) -> None:
    """How good the generated pictures are, where the evaluation was run."""
    if bundle.evaluation is not None:
        with st.expander("How good are the generated ones?"):
            st.markdown(quality(bundle.evaluation))


def pick_snapshot(bundle: Bundle) -> int | None:
    """Slider over the training's snapshots; None at its end, where the final samples are."""
    last = len(bundle.snapshot_images)
    if not last:
        return None

    stage = "the first stage" if isinstance(bundle.gan_config, CascadeConfig) else "the GAN"

    def moment(index: int) -> str:
        return f"{bundle.snapshot_images[index]:,} images" if index < last else "end"

    index = st.select_slider(
        "Generated samples at",
        range(last + 1),
        last,
        format_func=moment,
        key=f"snapshot/{bundle.key}",
        persist_state="session",
        help=f"Watch {stage} learn: the same {len(bundle.snapshot_z)} samples at moments of its training, "
        "by training images seen. They cannot be picked. At the end: the final "
        f"{len(bundle.generated_z):,}.",
    )
    return index if index < last else None


def random_seed() -> None:
    """Put a random seed into the seed box."""
    st.session_state["seed"] = int(np.random.default_rng().integers(0, 2**31))


def generate_controls(bundle: Bundle) -> None:
    """New samples from a seed, at once, on the same map."""
    with st.container(border=True):
        numbers = st.container(horizontal=True, vertical_alignment="bottom")
        # Without limits of its own: beyond them the box would say one number, and hand over the one before.
        count = numbers.number_input(
            f"New samples, 1–{MOST_NEW:,}",
            value=24,
            step=1,
            key="new_count",
            persist_state="session",
            help="How many pictures the generator draws, each from random numbers of its own. They are "
            "placed on the map and selected.",
        )
        fits = 1 <= count <= MOST_NEW
        seed = numbers.number_input("Seed", 0, 2**31 - 1, key="seed", persist_state="session")
        if not fits:
            st.error(f"{count:,} new samples cannot be drawn at once: give a number from 1 to {MOST_NEW:,}.")
        generate_box, others = st.container(), st.container(horizontal=True)
        others.button("Random", on_click=random_seed, help="A random seed")
        if generate_box.button("Generate", type="primary", width="stretch") and fits:
            generation = generation_of(bundle)
            with st.spinner("Drawing samples and placing them on the map…"):
                new = draw_samples(bundle, generation, count, seed)
            st.session_state["new_samples"] = new
            st.session_state["selected"] = [Point("new", i) for i in range(count)]
            st.rerun()
        if others.button("Clear", help="Remove new samples and the selection"):
            st.session_state["new_samples"], st.session_state["selected"] = None, []
            st.session_state[CLEARED] = st.session_state.get(CLEARED, 0) + 1
            st.rerun()


def selection_cards(
    bundle: Bundle, shown: list[Point], new: NewSamples | None, found: Photographs | None
) -> list[Card]:
    """Pictures of points, with their nearest real images."""
    generation = generation_of(bundle)
    distances, rows = nearest_real(bundle, shown, new, NEIGHBOURS)
    pictures = pictures_of(bundle, generation, shown, new)
    unique, where = np.unique(rows, return_inverse=True)
    neighbours = decode(generation.autoencoder, bundle.real_codes[unique])[where.reshape(rows.shape)]
    cards = []
    for i, point in enumerate(shown):
        label, note = label_of(bundle, point), ""
        if point.kind == "real":
            own, note = real_pictures(bundle, point.index, pictures[i], found)
        else:
            own = [Picture(pictures[i], "generated", f"picture of {label}")]
        near = []
        for row, distance, picture in zip(rows[i], distances[i], neighbours[i], strict=True):
            name = label_of(bundle, Point("real", int(row)))
            near.append(Picture(picture, f"{name}\n{distance:.2f}", f"round trip of {name}"))
        cards.append(Card(label, own, near, note))
    return cards


def add_by_number(bundle: Bundle) -> None:
    """Add a real picture to the selection by its class and number: the map itself takes a pointer."""
    classes = [i for i in range(len(bundle.classes)) if (bundle.labels == i).any()]
    row = st.container(horizontal=True, vertical_alignment="bottom")
    label = row.selectbox(
        "Class",
        classes,
        format_func=lambda i: class_title(bundle, i),
        key=f"map/{bundle.name}/class",
        persist_state="session",
        width=260,
    )
    members = np.flatnonzero(bundle.labels == label)
    n = len(members)
    number = row.number_input(
        f"Number, 1–{n:,}",
        1,
        n,
        key=f"map/{bundle.name}/number",
        persist_state="session",
        help=NUMBERED,
        width=180,
    )
    if row.button("Add", help="Add this real picture to the selected points"):
        point = Point("real", int(members[number - 1]))
        selected = st.session_state.get("selected") or []
        st.session_state["selected"] = list(dict.fromkeys([*selected, point]))


def show_selection(bundle: Bundle, new: NewSamples | None, found: Photographs | None) -> None:
    """What is selected: a picker, a summary, a table to download and the pictures."""
    st.subheader("Selected points")
    add_by_number(bundle)
    selected = still_there(new)
    if not selected:
        st.info(
            "Nothing is selected. Draw around some points on the map, add pictures by class and number, or "
            "generate new samples."
        )
        return
    shown = stratified(bundle, selected, SHOWN)
    text, button = st.columns([4, 1], vertical_alignment="center")
    if len(shown) < len(selected):
        text.warning(
            f"{len(selected):,} points are selected; {len(shown)} are shown, "
            "taken evenly from every kind and class. The table holds all."
        )
    else:
        text.markdown(f"{len(selected):,} {'point' if len(selected) == 1 else 'points'}, all shown.")
    button.download_button(
        "Table (CSV)",
        # Computed on the click: for thousands of points it takes a moment.
        data=lambda: selection_table(bundle, selected, new).to_csv(index=False),
        file_name=f"{bundle.name}-selection.csv",
        mime="text/csv",
        on_click="ignore",
        width="stretch",
    )
    with st.spinner("Drawing pictures…"):
        cards = selection_cards(bundle, shown, new, found)
    st.caption(
        "Small pictures: the nearest real images, as round trips, with their distance in code space "
        "(Euclidean). A real image is not its own neighbour."
    )
    st.html(gallery(cards, neighbours_title="Nearest real images"))


st.title("Map")
bundle = current_bundle()
found = current_photographs(bundle)
m, n = len(bundle.generated_z), len(bundle.labels)
held = f" Held out of training: {literal(', '.join(bundle.held_out))}." if bundle.held_out else ""
note = generation_of(bundle).note
st.markdown(f"{n:,} real images and {m:,} generated ones, as the autoencoder's codes.{held} {note}")
beside = st.container(horizontal=True)  # see style.css
chart, controls = beside.container(key="map itself"), beside.container(key="map controls")
with controls:
    colour = st.radio("Colour by", COLOUR_BY, horizontal=True, key="colour_by", persist_state="session")
    moment = pick_snapshot(bundle)
    generate_controls(bundle)
    show_faithfulness(bundle)
new_samples: NewSamples | None = st.session_state.get("new_samples")
with chart:
    draw_map(bundle, colour, new_samples, moment)
show_quality(bundle)
show_selection(bundle, new_samples, found)
