"""Shows things to people: tables that fit, with numbers and times in one piece, and long ones in a pager."""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, zip_longest

import click
from rich.cells import cell_len, chop_cells

WHOLE_CHARACTERS = 20
"""What is not longer is not broken into lines: numbers, times, states."""
WHOLE_WORD_CHARACTERS = 40
"""Nor is one word: an ID."""
LEAST_CHARACTERS = 6
"""A column of other texts has so many at least; then columns go on in a table below."""

_is_number = re.compile(r"[-+]?[0-9][0-9,.]*").fullmatch
_control = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Others' texts may have them: what steers a terminal, lines that break or turn around until somebody ends that."""

Cells = Sequence[str]


def print_table(title: str, headings: Cells, rows: Iterable[Sequence[object]]) -> None:
    """Print a table, in a pager where it is longer than the terminal; columns of numbers stand to the right.

    Where it is wider than the terminal, texts go on in further lines of their cells; and where that is not enough,
    columns in further tables, which all have the first one. Into a file, it is as wide as it is. Without rows, there is
    the title alone.
    """
    show_lines(table_lines(title, headings, rows, None, width_of_output()))


def show_lines(lines: Iterable[str]) -> None:
    """Print lines; on a terminal that has fewer, in a pager."""
    remaining = iter(lines)
    if sys.stdout.isatty():
        first = list(islice(remaining, shutil.get_terminal_size().lines))
        if len(first) == shutil.get_terminal_size().lines:
            click.echo_via_pager(f"{line}\n" for line in chain(first, remaining))
            return
        remaining = iter(first)
    click.echo("\n".join(remaining))


def harmless(lines: str) -> str:
    """What others wrote, without what would steer a terminal; tabs stay."""
    return "\t".join(map(_text, lines.split("\t")))


def width_of_output() -> int | None:
    """Characters of a line of the terminal, or what COLUMNS says; None where there is no bound."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return None


def table_lines(
    title: str, headings: Cells, rows: Iterable[Sequence[object]], footer: Sequence[object] | None, width: int | None
) -> Iterator[str]:
    """The lines of a table."""
    cells = [[_text(cell) for cell in row] for row in rows]
    last = [] if footer is None else [[_text(cell) for cell in footer]]
    if not cells and not last:
        yield title
        return
    columns = [_Column(heading, [row[index] for row in (*cells, *last)]) for index, heading in enumerate(headings)]
    least = [column.least for column in columns]
    # Without spaces beside the lines, all columns may fit.
    pad = "" if width is not None and _sum(least, "") <= width < _sum(least, " ") else " "
    for number, (indexes, widths) in enumerate(_groups(columns, width, pad)):
        yield title if number == 0 else f"{title}, continued"
        yield _rule("┏━┳┓", widths, pad)
        right = [columns[index].is_right for index in indexes]
        wrapped = [_wrapped(columns[index].heading, each) for index, each in zip(indexes, widths, strict=True)]
        for line in zip_longest(*wrapped, fillvalue=""):
            yield click.style(_row("┃", line, widths, right, pad), bold=True)
        yield _rule("┡━╇┩", widths, pad)
        for row in cells:
            yield from _row_lines([row[index] for index in indexes], widths, right, pad)
        for row in last:
            yield _rule("├─┼┤", widths, pad)
            yield from _row_lines([row[index] for index in indexes], widths, right, pad)
        yield _rule("└─┴┘", widths, pad)


class _Column:
    """A column: how wide it is, and how wide at least."""

    def __init__(self, heading: str, cells: Cells) -> None:
        self.heading = heading
        widths = [len(cell) if cell.isascii() else cell_len(cell) for cell in cells]
        widest = max(widths, default=0)
        self.is_right = any(cells) and all(_is_number(cell) for cell in cells if cell)
        is_whole = widest <= WHOLE_CHARACTERS or (
            widest <= WHOLE_WORD_CHARACTERS and not any(" " in cell for cell in cells)
        )
        word = max(map(cell_len, heading.split()), default=0)
        self.full = max(widest, cell_len(heading))
        self.least = max(word, widest if is_whole or self.is_right else min(widest, LEAST_CHARACTERS))


def _groups(columns: Sequence[_Column], width: int | None, pad: str) -> Iterator[tuple[list[int], list[int]]]:
    """Which columns stand in one table, and how wide they are."""
    left = list(range(len(columns)))
    first, *left = left
    while True:
        indexes = [first]
        while left and (width is None or _sum([columns[each].least for each in (*indexes, left[0])], pad) <= width):
            indexes.append(left.pop(0))
        if len(indexes) == 1 and left:  # too narrow even for two
            indexes.append(left.pop(0))
        yield indexes, _spread([columns[index] for index in indexes], width, pad)
        if not left:
            return


def _spread(columns: Sequence[_Column], width: int | None, pad: str) -> list[int]:
    """Their widths: the room that is left goes to those that lack the least."""
    widths = [column.full for column in columns]
    if width is None or _sum(widths, pad) <= width:
        return widths
    room = max(0, width - _sum([column.least for column in columns], pad))
    widths = [column.least for column in columns]
    for count, index in enumerate(sorted(range(len(columns)), key=lambda each: columns[each].full - widths[each])):
        more = min(columns[index].full - widths[index], room // (len(columns) - count))
        widths[index] += more
        room -= more
    return widths


def _sum(widths: Sequence[int], pad: str) -> int:
    """The width of a table with these columns."""
    return sum(widths) + (1 + 2 * len(pad)) * len(widths) + 1


def _text(cell: object) -> str:
    """A cell's text, without what would steer a terminal."""
    return "" if cell is None else _control.sub("\N{REPLACEMENT CHARACTER}", str(cell))


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of words, as many as fit; a word may be longer."""
    first, *words = text.split(" ")
    lines = [first]
    for word in words:
        if cell_len(lines[-1]) + 1 + cell_len(word) > width:
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return lines


def _row_lines(cells: Cells, widths: Sequence[int], right: Sequence[bool], pad: str) -> Iterator[str]:
    if all(
        len(cell) <= width and cell.isascii() and "\n" not in cell for cell, width in zip(cells, widths, strict=True)
    ):
        yield _row("│", cells, widths, right, pad)
        return
    folded = [
        [
            piece
            for line in cell.split("\n")
            for words in _wrapped(line, width)
            for piece in chop_cells(words, width) or [""]
        ]
        for cell, width in zip(cells, widths, strict=True)
    ]
    for line in zip_longest(*folded, fillvalue=""):
        yield _row("│", line, widths, right, pad)


def _row(border: str, cells: Cells, widths: Sequence[int], right: Sequence[bool], pad: str) -> str:
    padded = []
    for cell, width, is_right in zip(cells, widths, right, strict=True):
        room = " " * (width - (len(cell) if cell.isascii() else cell_len(cell)))
        padded.append(room + cell if is_right else cell + room)
    return border + pad + f"{pad}{border}{pad}".join(padded) + pad + border


def _rule(characters: str, widths: Sequence[int], pad: str) -> str:
    return (
        characters[0] + characters[2].join(characters[1] * (width + 2 * len(pad)) for width in widths) + characters[3]
    )
