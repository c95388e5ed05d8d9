"""Markdown: a text is shown as it is, and what stands in a cell of a table stays in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer import markdown
from tests.support import columns

cells = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="\\"), max_size=20)


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


def test_what_is_literal_by_hand():
    assert markdown.literal("fox 1: 5 (3 %)") == "fox 1: 5 (3 %)"
    assert markdown.literal(r"a*b_c$d[e]\f<g>&amp;~h~") == r"a\*b_c\$d\[e]\\f\<g>\&amp;\~h\~"
    assert markdown.literal(":red[a]: b:c 7:8") == r"\:red\[a]: b\:c 7:8"
    assert markdown.literal("on _x_ by `python *.py`, a ` b_c") == r"on \_x\_ by `python *.py`, a ` b_c"


def test_a_literal_backslash_before_a_bar_stays_in_its_cell():
    (*_, row) = markdown.table([("a",), (markdown.literal("x\\|y"),)]).splitlines()
    assert row == r"| x\\\|y |"
    assert columns(row) == 1


def test_a_table_has_headings():
    with pytest.raises(ValueError, match="unpack"):
        markdown.table([])
