"""Measuring a bundle's reachability from the page: start it in the background, watch it, stop it."""

import hashlib
import os
import shlex
import time
from pathlib import Path

import streamlit as st

from explorer import jobs
from explorer.bundle import Bundle
from explorer.networks import PixelGanConfig
from explorer.new_class import measured_folders
from explorer.photographs import Photographs
from explorer.session import PRETRAINED
from explorer.widgets import folder_of

ROOT = PRETRAINED.parent
RUNS_VARIABLE = "DUAL_SPACE_RUNS"  # where jobs keep what they made; runs/reachability by default


def job_folder(bundle: Bundle) -> Path:
    """Where the jobs of a bundle keep what they made."""
    path = bundle.path.resolve()
    # Absolute: a job runs in another folder than the app may.
    runs = Path(os.environ.get(RUNS_VARIABLE) or ROOT / "runs" / "reachability").resolve()
    return runs / f"{bundle.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _sha(bundle: Bundle, network: str) -> str:
    return bundle.manifest["files"][f"{network}.safetensors"]["sha256"][:8]


def _beginning(bundle: Bundle) -> str:
    """How folders of new classes begin: what was measured with another codec or generator is not shown."""
    return f"new-{_sha(bundle, 'autoencoder')}-{_sha(bundle, 'generator')}-"


def new_class_folders(bundle: Bundle) -> list[Path]:
    """Folders of what was measured of new classes with this bundle."""
    return measured_folders(job_folder(bundle), _beginning(bundle))


def source_of(bundle: Bundle, photographs: Photographs | None) -> list[str] | None:
    """Words that tell the command where the photographs are; None where they are not found."""
    kind = str(bundle.manifest["data"]["source"]).partition(":")[0]
    if kind not in ("folder", "imagewoof"):
        return []
    if photographs is not None:
        return ["--source", f"{kind}:{photographs.root.resolve()}"]
    return None


@st.fragment(run_every=2)
def watch(job: jobs.Job) -> None:
    """The progress of a running job; draws the page anew when it ends."""
    found = jobs.status(job)
    if found.state != "running":
        st.rerun()
    minutes = (time.time() - job.started) / 60
    stage = f"stage {found.done + 1} of {found.of}: {found.doing}" if found.of else found.doing
    st.progress(found.done / max(1, found.of), f"Measuring, {stage} ({minutes:.0f} min)")
    if found.last_line:
        st.caption(f"`{found.last_line[:200]}`")
    st.caption("It goes on when this page is closed, and is found again when it is opened.")
    if st.button("Cancel", icon=":material/stop_circle:"):
        with st.spinner("Stopping; it saves what it has…"):
            jobs.cancel(job)
        st.rerun()


def show_job(bundle: Bundle, photographs: Photographs | None) -> None:
    """The job of this bundle, or what it takes to start one."""
    folder = job_folder(bundle)
    job = jobs.find(folder)
    found = jobs.status(job) if job else None
    if job and found and found.state == "running":
        watch(job)
        return
    if found and found.state == "failed":
        st.error(f"The last measurement failed: {found.last_line or 'it was ended from outside'}.")
        st.caption(f"All it printed: `{folder / jobs.LOG}`")
    elif found and found.state == "cancelled":
        st.info("The last measurement was cancelled. Started with the same numbers, it goes on where it was.")
    with st.expander("Measure it on this machine", icon=":material/experiment:"):
        show_form(bundle, photographs, folder)


def show_form(bundle: Bundle, photographs: Photographs | None, folder: Path) -> None:
    """Options and the start button."""
    st.markdown(
        "The cheap rungs: judges are trained, and asked about round trips, about samples of **the generator "
        "in this bundle** and of controls, and about what a search finds in its range. Nothing else is "
        "trained, so what is *produced* stays inconclusive: that takes five seeds, and five "
        "oracles. The sentence then says what the codec and the search tell."
        + ("" if bundle.held_out else " This bundle holds out no class, so name a new one.")
    )
    if isinstance(bundle.gan_config, PixelGanConfig):
        st.info("This bundle holds a GAN on pixels: open the bundle of a latent GAN over the same data.")
        return
    source = source_of(bundle, photographs)
    if source is None:
        st.info("It takes the photographs that the bundle was made from: name their folder in the sidebar.")
        return
    if not (ROOT / "training").is_dir():
        st.info("The training scripts are not installed beside this app.")
        return
    columns = st.columns(3)
    samples = columns[0].number_input("Samples of each source", 100, 1_000_000, 10_000, 1_000)
    targets = columns[1].number_input("Images searched for, of each class", 1, 1_000, 32, 8)
    images = columns[2].number_input("Training of the judge, in images", 64, 10_000_000, 160_000, 10_000)
    new = st.text_input(
        "Folder of a new class",
        placeholder="only if you ask about a class that this bundle's data does not have",
        help="Photographs of one class, in a folder that is called as the class is: the codec has never seen "
        "it, so it is asked about as a held-out one is. Its card appears on this page; the bundle stays as "
        "it is.",
    ).strip()
    # Judges of another codec or another length are other judges.
    codec, judged_by = _sha(bundle, "autoencoder"), f"judges-{images}"
    out, more = folder / f"codec-{codec}-{judged_by}", []
    if new:
        path = folder_of(new)
        if path is None:
            st.error(f"There is no folder {new}; give one that holds photographs of one class.")
            return
        where = hashlib.sha256(str(path).encode()).hexdigest()[:8]
        out, more = folder / f"{_beginning(bundle)}{where}-{judged_by}", ["--new-class", str(path)]
    before = None if new else bundle.reachability  # of a new class the report stays out of the bundle
    if before is not None:
        more = ["--replace"]
    command = jobs.python(
        "training.reachability", str(bundle.path.resolve()), "--cheap", *source, *more,
        "--samples", str(samples), "--targets", str(targets), "--judge-images", str(images),
        "--out", str(out),
    )  # fmt: skip
    st.caption(f"`{shlex.join(('python', *command[1:]))}`")
    took_more = before is not None and not before["options"].get("cheap")
    agreed = not took_more or st.checkbox("Replace the report above, which was measured with more")
    if st.button("Start", icon=":material/play_arrow:", disabled=not agreed or not (bundle.held_out or new)):
        try:
            jobs.start(folder, command, out / "progress.json", ROOT)
        except jobs.JobError as error:
            st.error(f"{str(error).capitalize()}.")
            return
        st.rerun()
