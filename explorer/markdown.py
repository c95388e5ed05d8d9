"""Tables in Markdown, whatever their cells hold."""

from collections.abc import Iterable, Sequence


def table(rows: Iterable[Sequence[object]]) -> str:
    """Markdown of a table, its headings first. A cell may hold ``|``, and is kept to one line."""
    headings, *others = ([_cell(cell) for cell in row] for row in rows)
    lines = [headings, ["---"] * len(headings), *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split("\n"))
