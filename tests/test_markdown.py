"""Tables in Markdown: what stands in a cell stays in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer import markdown

cells = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="\\"), max_size=20)


def columns(line: str) -> int:
    return line.replace("\\|", "").count("|") - 1


def test_a_table_by_hand():
    assert markdown.table([("a", "b"), ("x|y", 3), ("two\nlines", "")]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        r"| x\|y | 3 |",
        "| two lines |  |",
    ]


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=1)))
def test_every_row_has_as_many_cells_as_there_are_headings(rows):
    lines = markdown.table(rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert {columns(line) for line in lines} == {len(rows[0])}


def test_a_table_has_headings():
    with pytest.raises(ValueError, match="unpack"):
        markdown.table([])
