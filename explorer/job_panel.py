"""Measuring a bundle's reachability from the page: start it in the background, watch it, stop it."""

import hashlib
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from explorer import jobs
from explorer.bundle import Bundle
from explorer.markdown import literal
from explorer.measured import REACHABILITY
from explorer.networks import PixelGanConfig
from explorer.new_class import measured_folders
from explorer.photographs import Photographs, folder_of
from explorer.session import PRETRAINED

ROOT = PRETRAINED.parent
RUNS_VARIABLE = "DUAL_SPACE_RUNS"  # where jobs keep what they made; runs/reachability by default
NEW_CLASS, JUDGE_IMAGES = "--new-class", "--judge-images"


@dataclass(frozen=True)
class Number:
    """A number of the form, by the option of the command that takes it."""

    option: str
    label: str
    least: int
    most: int
    first: int
    step: int
    help: str


NUMBERS = (
    Number(
        "--samples",
        "Samples of each source",
        100,
        1_000_000,
        10_000,
        1_000,
        "How many pictures of the generator, and of each control, the judges are asked about. More find "
        "rarer hits and narrow the intervals.",
    ),
    Number(
        "--targets",
        "Images searched for, of each class",
        1,
        1_000,
        32,
        8,
        "For so many real images of a class the search asks how near the generator can come. It takes the "
        "longer, the more there are.",
    ),
    Number(
        JUDGE_IMAGES,
        "Training of the judge, in images",
        64,
        10_000_000,
        160_000,
        10_000,
        "How many images a judge sees in its training, each as often as it comes round. Another number "
        "trains other judges.",
    ),
)


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


def _beginning_of_own(bundle: Bundle) -> str:
    """How folders of the bundle's own classes begin: another codec has other judges."""
    return f"codec-{_sha(bundle, 'autoencoder')}-"


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
    key = f"cancel/{job.folder}/{job.started}"
    refused = f"{key}/refused"  # kept, for all this is drawn anew before anybody could read it
    if st.button("Cancel", icon=":material/stop_circle:", key=key):
        try:
            with st.spinner("Stopping; it saves what it has…"):
                jobs.cancel(job)
        except jobs.JobError as error:
            st.session_state[refused] = _sentence(error)
        else:
            st.rerun()
    if refused in st.session_state:
        st.error(st.session_state[refused])


def _sentence(error: jobs.JobError) -> str:
    """What is wrong, with a capital at the start alone: a path may stand in the rest."""
    said = str(error)
    return literal(f"{said[:1].upper()}{said[1:]}.")


def show_job(bundle: Bundle, photographs: Photographs | None) -> None:
    """The job of this bundle, or what it takes to start one."""
    folder = job_folder(bundle)
    job = jobs.find(folder)
    found = jobs.status(job) if job else None
    if job and found and found.state == "running":
        watch(job)
        return
    if found and found.state == "failed":
        why = found.last_line or "it was ended from outside"
        st.error(literal(f"The last measurement failed: {why}."))
        st.caption(f"All it printed: `{folder / jobs.LOG}`")
    elif job and found and found.state == "cancelled":
        # Of a bundle that was replaced since it begins anew, in a folder of another name.
        begun = Path(job.progress).parent.name.startswith((_beginning_of_own(bundle), _beginning(bundle)))
        st.info(
            "The last measurement was cancelled."
            + (" Started with its numbers, as below, it goes on from there." if begun else "")
        )
    unfinished = job if found and found.state in ("failed", "cancelled") else None
    with st.expander("Measure it on this machine", icon=":material/experiment:"):
        show_form(bundle, photographs, folder, unfinished)


def _asked(job: jobs.Job | None, option: str) -> str:
    """What a job's command was given for an option; nothing if there is no job, or it was given none."""
    words = job.command if job else ()
    return words[words.index(option) + 1] if option in words[:-1] else ""


def show_form(
    bundle: Bundle, photographs: Photographs | None, folder: Path, unfinished: jobs.Job | None
) -> None:
    """Options and the start button. unfinished: a job that did not end; its options are those of the form."""
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
    # The folder tells bundles of the same networks apart, which the key does not.
    form = f"measure/{folder.name}/{bundle.key}/{unfinished.started if unfinished else 0}"
    numbers = {}
    for column, number in zip(st.columns(len(NUMBERS)), NUMBERS, strict=True):
        asked = _asked(unfinished, number.option)
        first = int(asked) if asked.isdecimal() else number.first
        value = column.number_input(
            number.label,
            number.least,
            number.most,
            first if number.least <= first <= number.most else number.first,
            number.step,
            key=form + number.option,
            persist_state="session",
            help=number.help,
        )
        numbers[number.option] = str(value)
    new = st.text_input(
        "Folder of a new class",
        _asked(unfinished, NEW_CLASS),
        key=form + NEW_CLASS,
        persist_state="session",
        placeholder="only if you ask about a class that this bundle's data does not have",
        help="Photographs of one class, in a folder that is called as the class is: the codec has never seen "
        "it, so it is asked about as a held-out one is. Its card appears on this page; the bundle stays as "
        "it is.",
    ).strip()
    # Judges of another codec or another length are other judges.
    judged_by = f"judges-{numbers[JUDGE_IMAGES]}"
    out, more = folder / f"{_beginning_of_own(bundle)}{judged_by}", []
    if new:
        path = folder_of(new)
        if path is None:
            st.error(literal(f"There is no folder {new}; give one that holds photographs of one class."))
            return
        where = hashlib.sha256(str(path).encode()).hexdigest()[:8]
        out, more = folder / f"{_beginning(bundle)}{where}-{judged_by}", [NEW_CLASS, str(path)]
    before = None if new else bundle.reachability  # of a new class the report stays out of the bundle
    if before is not None:
        more = ["--replace"]
    command = jobs.python(
        "training.reachability", str(bundle.path.resolve()), "--cheap", *source, *more,
        *(word for given in numbers.items() for word in given), "--out", str(out),
    )  # fmt: skip
    st.caption(f"`{shlex.join(('python', *command[1:]))}`")
    took_more = before is not None and not before["options"].get("cheap")
    # What somebody agreed to holds for one report of one bundle: the form's key knows nothing of reports.
    agreement = f"{form}/{bundle.manifest['files'].get(REACHABILITY, {}).get('sha256')}"
    agreed = not took_more or st.checkbox(
        "Replace the report above, which was measured with more", key=f"{agreement}/replace"
    )
    if st.button(
        "Start", icon=":material/play_arrow:", disabled=not agreed or not (bundle.held_out or new),
        key=f"{agreement}/start",
    ):  # fmt: skip
        try:
            jobs.start(folder, command, out / "progress.json", ROOT)
        except jobs.JobError as error:
            st.error(_sentence(error))
            return
        st.rerun()
