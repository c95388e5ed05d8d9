"""Widgets whose values outlive a visit to another page, and folders that somebody typed into one."""

from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import streamlit as st

PAGE = "page"  # that was shown last
SHOWN = "shown"  # dict of whether the present run has drawn it, by the keys of widgets that the browser shows
KEPT = "kept"  # dict of the widgets' values: Streamlit drops a widget's own when another page is shown
GIVEN = "given"  # dict of how often a widget was given a value, by the key that its page knows it by


def restore(key: str, first: Any, valid: Container[Any] | None = None) -> str:
    """Give a widget its value before it is drawn: its own, the one kept, or the first. Returns its key.

    valid: what the value may be, anything if None. A widget that was given its value by ``index`` or
    ``value`` instead would be another one after each change, and forget every second.
    """
    value, key = chosen(key, first), _present(key)
    fits = valid is None or value in valid
    # Where the browser shows the widget already it is not given its value again: that would go over what the
    # user has chosen since this run began.
    if not fits or key not in st.session_state or key not in _shown():
        st.session_state[key] = value if fits else first
    return key


def keep(key: str, value: Any) -> Any:
    """Keep a widget's value, and return it."""
    kept()[key] = value
    _shown()[key] = True
    return value


def give(key: str, value: Any) -> None:
    """Give a widget another value; None: what it begins with. For callbacks, and before it is drawn.

    It becomes another widget: what a browser that does not know of it yet says of the one before is not
    taken for the user's choice.
    """
    given = st.session_state.setdefault(GIVEN, {})
    given[key] = given.get(key, 0) + 1
    if value is not None:
        kept()[_present(key)] = value


def chosen(key: str, otherwise: Any = None) -> Any:
    """A widget's value as the browser last said, or the one kept."""
    key = _present(key)
    return st.session_state.get(key, kept().get(key, otherwise))


def _present(key: str) -> str:
    times = st.session_state.get(GIVEN, {}).get(key, 0)
    return f"{key}/given {times}" if times else key


@contextmanager
def whole_run(page: str) -> Iterator[None]:
    """Around all that a run of a page draws: knows from then on which widgets the browser shows.

    page: its name. What another page showed is gone, and so is what a run did not draw that came to its end;
    of an interrupted run the browser goes on to show the rest.
    """
    shown = _shown()
    if st.session_state.get(PAGE) != page:
        shown.clear()
        st.session_state[PAGE] = page
    shown.update(dict.fromkeys(shown, False))
    yield
    for key in [key for key, drawn in shown.items() if not drawn]:
        del shown[key]


def _shown() -> dict[str, bool]:
    """Keys of the widgets that the browser shows; whether the present run has drawn them."""
    return st.session_state.setdefault(SHOWN, {})


def kept() -> dict[str, Any]:
    """What was kept in this session, by the widgets' keys."""
    return st.session_state.setdefault(KEPT, {})


def folder_of(typed: str) -> Path | None:
    """The folder that somebody typed, resolved; None where there is none, or nobody may look into it."""
    try:
        path = Path(typed).expanduser().resolve()
        return path if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # no permission, no such user, a name too long, a NUL
        return None
