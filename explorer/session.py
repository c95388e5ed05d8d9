"""What every page needs: the bundle chosen in the sidebar, opened once, and its networks."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from explorer.bundle import MANIFEST, Bundle, BundleError
from explorer.bundle_reading import list_bundles, open_bundle
from explorer.markdown import literal

if TYPE_CHECKING:
    from explorer.generation import Generation

PRETRAINED = Path(__file__).parent.parent / "pretrained"
BUNDLE_DIR_VARIABLE = "DUAL_SPACE_BUNDLES"
DEFAULT_BUNDLE = "imagewoof64"
# Points of one bundle mean nothing in another.
_KEYS_OF_A_BUNDLE = ("selected", "new_samples")
_GONE = "bundle_gone"  # the name of one that was shown and is there no longer, until the page says so


def bundle_folders() -> list[Path]:
    """``pretrained/``, then folders of the environment variable (os.pathsep between), then --bundle-dir."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--bundle-dir", type=Path, action="append", default=[])
    options, _ = parser.parse_known_args(sys.argv[1:])
    extra = [p for p in os.environ.get(BUNDLE_DIR_VARIABLE, "").split(os.pathsep) if p]
    return [PRETRAINED, *map(Path, extra), *options.bundle_dir]


# The manifest's time stamp is part of the key: a bundle that was trained anew is opened anew.
@st.cache_resource(
    max_entries=8, show_spinner="Opening the bundle: checking its files and loading its latents…"
)
def _open(path: str, stamp: float) -> Bundle:
    return open_bundle(Path(path))


@st.cache_resource(max_entries=8, show_spinner="Loading the networks…")
def _generation(key: str, _bundle: Bundle) -> "Generation":
    from explorer.generation import load_generation

    return load_generation(_bundle)


def _pick(found: dict[str, Path]) -> str:
    """Name of the bundle to show: this session's, the address's (?bundle=) where the session begins or the
    user went back to it, the default. An address without one says nothing: a page visited begins so.
    """
    _leave_what_is_gone(found)
    asked = st.query_params.get("bundle")
    if asked is not None and asked not in found:
        st.sidebar.warning(literal(f"There is no bundle called {asked}."))
    elif asked is not None and ("bundle" not in st.session_state or _went_back()):
        st.session_state["bundle"] = asked
    first = next(name for name in (DEFAULT_BUNDLE, *found) if name in found)
    names = list(found)
    name = st.sidebar.selectbox("Bundle", names, names.index(first), key="bundle", persist_state="session")
    # The address can be shared and reloaded. Another page begins without: there only what is not the default
    # is added, since each addition is one more step back. (``bind`` would leave no steps to go back.)
    if asked != name and (asked is not None or name != first):
        st.query_params["bundle"] = name
    if gone := st.session_state.pop(_GONE, None):
        # On the page itself: on a telephone the sidebar is closed.
        said = f"There is no bundle called {gone} any more. This is {name}; nothing was done with it."
        st.warning(literal(said))
    return name


def _went_back() -> bool:
    """Whether the user came to this address by Back or Forward, as far as Streamlit says so."""
    return getattr(get_script_run_ctx(), "is_history_navigation", False)


def _leave_what_is_gone(found: dict[str, Path]) -> None:
    """Where the bundle that was shown is gone, run the page again without what was clicked.

    It was meant for that bundle, and would be done with another one.
    """
    shown = st.session_state.get("bundle")
    if shown is None or shown in found:
        return
    st.session_state[_GONE] = shown
    del st.session_state["bundle"]
    if st.query_params.get("bundle") == shown:
        del st.query_params["bundle"]
    st.rerun()


def current_bundle() -> Bundle:
    """The bundle picked in the sidebar (drawn here, on every page). Stops the page if it cannot be opened."""
    folders = bundle_folders()
    for folder in folders:
        if not os.path.isdir(folder):  # nor one that nobody may look into, where Path's own would raise
            st.sidebar.warning(f"There is no folder `{folder}` to look for bundles in.")
    found = list_bundles(*folders)
    if not found:
        st.error(
            f"No bundle found in {', '.join(map(str, folders))}; train one with python -m training.pipeline."
        )
        st.stop()
    path = found[_pick(found)]
    manifest = path / MANIFEST
    try:
        bundle = _open(str(path), manifest.stat().st_mtime if manifest.is_file() else 0.0)
    except BundleError as error:
        st.error(literal(f"{error}."))
        st.info("Choose another bundle in the sidebar.")
        st.stop()
    shown = path, bundle.key
    if st.session_state.setdefault("bundle_shown", shown) != shown:
        st.session_state["bundle_shown"] = shown
        for key in _KEYS_OF_A_BUNDLE:
            st.session_state.pop(key, None)
    return bundle


def generation_of(bundle: Bundle) -> "Generation":
    """Autoencoder and generator of an opened bundle, shared by all users: read them, never train them."""
    return _generation(bundle.key, bundle)
