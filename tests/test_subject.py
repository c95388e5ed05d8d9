"""Subject boxes: their geometry, their table, and the table that ships."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support import one_sentence, write_classes
from training.cli import UserError
from training.subject import (
    BOXES_DIR,
    Box,
    Options,
    box_from_map,
    box_key,
    main,
    read_boxes,
    write_boxes,
)

SHIPPED = BOXES_DIR / "imagewoof.csv"
sides = st.integers(20, 900)
maps = arrays(
    np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(-5, 5, width=32)
)


def blob(rows: int, columns: int, row: float, column: float, spread: float) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * spread**2)).astype(np.float32)


@given(maps, sides, sides)
def test_every_box_is_a_square_inside_the_image_and_within_its_bounds(evidence, width, height):
    box = box_from_map(evidence, width, height)
    side = box.width * width
    assert side == pytest.approx(box.height * height)
    assert box.left >= 0
    assert box.top >= 0
    assert box.left + box.width <= 1 + 1e-9
    assert box.top + box.height <= 1 + 1e-9
    assert 0.4 - 1e-9 <= side / min(width, height) <= 1 + 1e-9


@given(sides, sides)
def test_a_centred_blob_gives_a_centred_box(width, height):
    box = box_from_map(blob(9, 9, 4, 4, 1.0), width, height)
    assert box.left + box.width / 2 == pytest.approx(0.5)
    assert box.top + box.height / 2 == pytest.approx(0.5)


@given(sides, sides, st.sampled_from([0.0, -1.0]))
def test_no_evidence_gives_the_central_square(width, height, level):
    box = box_from_map(np.full((9, 9), level, np.float32), width, height)
    shorter = min(width, height)
    expected = Box(
        (width - shorter) / 2 / width, (height - shorter) / 2 / height, shorter / width, shorter / height
    )
    assert box == pytest.approx(expected)


@pytest.mark.parametrize(("row", "column"), [(2, 2), (2, 6), (6, 2), (5, 3)])
def test_a_box_follows_its_blob(row, column):
    box = box_from_map(blob(9, 9, row, column, 0.8), 300, 300)
    assert box.left + box.width / 2 == pytest.approx((column + 0.5) / 9, abs=0.03)
    assert box.top + box.height / 2 == pytest.approx((row + 0.5) / 9, abs=0.03)


def test_a_wider_blob_gives_a_larger_box_between_the_bounds():
    sizes = [box_from_map(blob(36, 36, 17.5, 17.5, s), 300, 300).width for s in (0.3, 6, 9, 30)]
    assert sizes[0] == pytest.approx(0.4)  # twice the smallest half side
    assert sizes[0] < sizes[1] < sizes[2] < sizes[3]
    assert sizes[3] == pytest.approx(1, abs=0.05)


def test_weak_evidence_elsewhere_does_not_move_the_box():
    alone = blob(9, 9, 2, 2, 0.8)
    np.testing.assert_allclose(
        box_from_map(np.maximum(alone, 0.4 * blob(9, 9, 7, 7, 0.8)), 200, 200),
        box_from_map(alone, 200, 200),
        atol=0.01,
    )


def test_a_table_of_boxes_is_read_as_it_was_written(tmp_path):
    boxes = {"b": Box(0.1, 0.2, 0.5, 0.6667), "a": Box(0, 0, 1, 1)}
    path = tmp_path / "boxes.csv"
    write_boxes(path, boxes)
    assert read_boxes(path) == boxes
    assert path.read_text().splitlines()[:2] == [
        "stem,left,top,width,height",
        "a,0.0000,0.0000,1.0000,1.0000",
    ]


def test_boxes_go_by_the_stems_of_files_unless_two_are_alike():
    apart, alike = ["a/1.png", "b/2.jpg"], ["a/1.png", "b/1.png"]
    assert [box_key(apart)(name) for name in apart] == ["1", "2"]
    assert [box_key(alike)(name) for name in alike] == alike
    assert box_key([*alike, "a/2.png"])("a/2.png") == "2"  # others keep theirs


def test_the_shipped_boxes_are_written_for_imagewoof_alone(tmp_path):
    write_classes(tmp_path / "pets", {"cat": (200, 40, 40)})
    with pytest.raises(UserError, match=r"--out boxes\.csv") as caught:
        main(Options(source=f"folder:{tmp_path / 'pets'}"))
    assert one_sentence(caught.value)


@pytest.mark.parametrize("content", [None, "stem,left\nx,1\n", "stem,left,top,width,height\nx,a,b,c,d\n"])
def test_an_unreadable_table_is_one_sentence_that_names_it(tmp_path, content):
    path = tmp_path / "boxes.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"boxes\.csv") as caught:
        read_boxes(path)
    assert one_sentence(caught.value)


def test_the_shipped_boxes_cover_imagewoof_and_lie_inside_every_photograph():
    with SHIPPED.open() as file:
        assert sum(1 for _ in csv.reader(file)) == 12_954 + 1
    boxes = read_boxes(SHIPPED)
    assert len(boxes) == 12_954
    table = np.array(list(boxes.values()))
    rounding = 1e-4
    assert (table >= 0).all()
    assert (table[:, 2:] >= 0.1).all()  # 0.4 of the shorter side, in photographs up to 4:1
    assert (table[:, :2] + table[:, 2:] <= 1 + rounding).all()
    assert not any("." in stem or "/" in stem for stem in boxes)
