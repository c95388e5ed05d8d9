"""Widgets whose values outlive a visit to another page, and folders that somebody typed into one."""

from collections.abc import Container
from pathlib import Path
from typing import Any

import streamlit as st

KEPT = "kept"  # dict of the widgets' values: Streamlit drops a widget's own when another page is shown


def restore(key: str, first: Any, valid: Container[Any] | None = None) -> str:
    """Give a widget its value before it is drawn: its own, the one kept, or the first. Returns the key.

    valid: what the value may be, anything if None. A widget that was given its value by ``index`` or
    ``value`` instead would be another one after each change, and forget every second.
    """
    value = st.session_state.get(key, kept().get(key, first))
    st.session_state[key] = first if valid is not None and value not in valid else value
    return key


def keep(key: str, value: Any) -> Any:
    """Keep a widget's value, and return it."""
    kept()[key] = value
    return value


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
