"""Tables fit, and what must stay whole does."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.commands.printing.tables import table_lines
from rich.cells import cell_len

NUMBERS = [("2026-11-26 22:00", "1,642,225,000", "15", "100.0"), ("2026-11-26 23:00", "9", "16,000,000", "0.1")]
HEADINGS = ("hour (UTC)", "unknown segments", "failed calls", "match rate")


@given(st.integers(36, 140))
def test_numbers_and_times_are_never_cut(width: int) -> None:
    lines = list(table_lines("member 1", HEADINGS, NUMBERS, None, width))
    assert all(len(re.sub("\x1b\\[[0-9;]*m", "", line)) <= width for line in lines)
    cells = {cell.strip() for line in lines for cell in line.split("│")}
    assert {cell for row in NUMBERS for cell in row} <= cells


def test_into_a_file_a_table_is_as_wide_as_it_is() -> None:
    text = "so many words that no terminal has them all in one line " * 3
    lines = list(table_lines("t", ("a", "b"), [(1, text)], None, None))
    assert f"│ 1 │ {text} │" in lines


def test_without_rows_there_is_the_title_alone() -> None:
    assert list(table_lines("segments: 0", ("id", "name"), [], None, 80)) == ["segments: 0"]


def test_texts_go_on_in_further_lines() -> None:
    lines = list(table_lines("t", ("id", "name"), [(1, "some words, and one_that_is_longer_than_it_can_be")], None, 24))
    assert [line for line in lines if line.startswith("│")] == [
        "│  1 │ some words, and │",
        "│    │ one_that_is_lon │",
        "│    │ ger_than_it_can │",
        "│    │ _be             │",
    ]


def test_cells(subtests: pytest.Subtests) -> None:
    """They take the room that they take on a terminal, and steer none."""
    for cell, shown in [
        ("é", "é "),
        ("日本", "日本"),
        ("\x1b[31mred", "�[31mred"),
        ("a\tb", "a�b"),
        (None, "  "),
        ("\udcff", "� "),
        ("\u202eb", "�b"),
    ]:
        with subtests.test(cell=cell, shown=shown):
            lines = list(table_lines("t", ("ab",), [(cell,)], None, 80))
            assert f"│ {shown} │" in lines
            assert len({cell_len(re.sub("\x1b\\[[0-9;]*m", "", line)) for line in lines[1:]}) == 1


def test_a_sum_stands_apart() -> None:
    lines = list(table_lines("t", ("a", "b"), [("x", "1,000")], ("total", "1,000"), 80))
    assert lines[-3:] == ["├───────┼───────┤", "│ total │ 1,000 │", "└───────┴───────┘"]
