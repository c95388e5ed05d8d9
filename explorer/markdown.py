"""Markdown of texts and tables, whatever they hold."""

import re
from collections.abc import Iterable, Sequence

# Code, in which nothing is special; and what is, with ``:red`` of Streamlit. ``_`` within a word is not, and
# ``|`` in tables alone.
_CODE_OR_SPECIAL = re.compile(r"(`[^`]*`)|([\\*$\[<&~]|(?<!\w)_|_(?!\w)|:(?=[A-Za-z]))")


def literal(text: str) -> str:
    """Markdown that shows a text as it is, names in it too, but for `` `code` ``, and what Streamlit replaces
    whether it is escaped or not: arrows, ``:emoji:``, links.
    """
    return _CODE_OR_SPECIAL.sub(lambda found: found[1] or f"\\{found[2]}", text)


def table(rows: Iterable[Sequence[object]]) -> str:
    """Markdown of a table, its headings first. A cell may hold ``|``, and is kept to one line."""
    headings, *others = ([_cell(cell) for cell in row] for row in rows)
    lines = [headings, ["---"] * len(headings), *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split("\n"))
