"""The user's own source photographs, when they are on disk: the bundle itself holds none."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import streamlit as st
from PIL import Image

from explorer.bundle import Bundle
from explorer.rgb import BAD_PICTURE, upright_rgb

ENDINGS = (".webp", ".JPEG", ".jpg", ".jpeg", ".png", ".JPG", ".PNG", ".bmp", ".gif", ".tif", ".tiff")
ROOT = Path(__file__).parent.parent
# Where ImageWoof is looked for, largest pictures first; relative to the project's folder.
IMAGEWOOF_PLACES = ("data/imagewoof2-320", "data/imagewoof2-160", "../shared/data/imagewoof-192")
THUMBNAIL = 192  # pixels, longer side


@dataclass(frozen=True)
class Photographs:
    """A folder of photographs that mirrors the source of a bundle."""

    root: Path

    def find(self, name: str) -> Path | None:
        """The file of a picture named ``name`` relative to the source, whatever its ending; None if absent.

        The folders count and the ending does not, so that archives in another format fit too. A tree
        without the first folder (train or val) fits as well.
        """
        wanted = PurePosixPath(name)
        if wanted.is_absolute() or ".." in wanted.parts:
            return None  # a bundle must not point outside the folder
        shorter = PurePosixPath(*wanted.parts[1:]) if len(wanted.parts) > 2 else wanted
        for relative in dict.fromkeys((wanted, shorter)):
            for ending in dict.fromkeys((wanted.suffix, *ENDINGS)):
                path = self.root / relative.with_suffix(ending)
                with suppress(OSError):  # of a folder that nobody may look into
                    if path.is_file():
                        return path
        return None

    def covers(self, bundle: Bundle) -> bool:
        """Whether at least one of twenty pictures, spread over the bundle, is here."""
        step = max(1, len(bundle.names) // 20)
        return any(self.find(name) for name in bundle.names[::step])


@st.cache_data(max_entries=4096, show_spinner=False)
def _thumbnail(path: str, stamp: float) -> np.ndarray | None:
    try:
        with Image.open(path) as image:
            image.draft("RGB", (THUMBNAIL, THUMBNAIL))
            upright = upright_rgb(image)
            upright.thumbnail((THUMBNAIL, THUMBNAIL))
            return np.asarray(upright)
    except BAD_PICTURE:
        return None  # the caller shows the round trip and says so


def thumbnail(path: Path) -> np.ndarray | None:
    """The whole photograph, not cropped, uint8 (h, w, 3) within 192x192; None when it cannot be read."""
    try:
        return _thumbnail(str(path), path.stat().st_mtime)
    except OSError:
        return None


def folder_of(typed: str) -> Path | None:
    """The folder that somebody typed, resolved; None where there is none, or nobody may look into it."""
    try:
        path = Path(typed).expanduser().resolve()
        return path if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # no permission, no such user, a name too long, a NUL
        return None


def likely_folders(source: str) -> list[Path]:
    """Folders where the photographs of a bundle's source may be, best first."""
    kind, _, rest = source.partition(":")
    if kind in ("folder", "imagewoof") and rest:
        with suppress(RuntimeError):  # no such user
            return [ROOT / Path(rest).expanduser()]
        return []
    return [ROOT / place for place in IMAGEWOOF_PLACES] if kind == "imagewoof" else []


def current_photographs(bundle: Bundle) -> Photographs | None:
    """The photographs found for a bundle; draws the folder box and what was found in the sidebar."""
    typed = st.sidebar.text_input(
        "Folder of source photographs",
        key="photograph_folder",
        persist_state="session",
        placeholder="found by itself where possible",
        help="The bundle holds no photographs. Name the folder they came from to see each one beside its "
        "round trip. Nothing is copied or sent.",
    ).strip()
    named = folder_of(typed) if typed else None
    # What was named for one bundle does not hide what another finds by itself.
    asked = map(folder_of, map(str, likely_folders(bundle.manifest["data"]["source"])))
    for folder in filter(None, (named, *asked)):
        photographs = Photographs(folder)
        if photographs.covers(bundle):
            st.sidebar.caption(f"Photographs: found in `{folder.name}`. Shown whole; the network saw a crop.")
            return photographs
    if typed and named is None:
        st.sidebar.warning("There is no such folder, or it cannot be read. Showing round trips.")
    elif typed:
        st.sidebar.warning("None of this bundle's pictures are in that folder. Showing round trips.")
    else:
        st.sidebar.caption("Photographs: none found. Real pictures are shown as round trips.")
    return None
