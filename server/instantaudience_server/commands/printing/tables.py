"""Tables that fit the terminal, without breaking numbers and times; long ones go through a pager."""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, zip_longest

import click
from rich.cells import cell_len, chop_cells

WHOLE_CHARACTERS = 20
"""Shorter texts (numbers, times, states) are not broken into lines."""
WHOLE_WORD_CHARACTERS = 40
"""Neither are single words (IDs) up to this length."""
LEAST_CHARACTERS = 6
"""Minimum width of other columns; if the table is too wide even so, columns move to a further table."""

_is_number = re.compile(r"[-+]?[0-9][0-9,.]*").fullmatch
_control = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters that others' texts may contain: terminal escapes, line breaks, and bidirectional overrides."""

Cells = Sequence[str]


def print_table(title: str, headings: Cells, rows: Iterable[Sequence[object]]) -> None:
    """Print a table, through a pager if it is longer than the terminal. Columns of numbers are right-aligned.

    If the table is wider than the terminal, cells are wrapped; if that is not sufficient, columns move to further
    tables, which repeat the first column. Output to a file is not limited in width. Without rows, only the title is
    printed.
    """
    show_lines(table_lines(title, headings, rows, None, width_of_output()))


def show_lines(lines: Iterable[str]) -> None:
    """Print lines, through a pager if the terminal has fewer."""
    remaining = iter(lines)
    if sys.stdout.isatty():
        first = list(islice(remaining, shutil.get_terminal_size().lines))
        if len(first) == shutil.get_terminal_size().lines:
            click.echo_via_pager(f"{line}\n" for line in chain(first, remaining))
            return
        remaining = iter(first)
    click.echo("\n".join(remaining))


def harmless(lines: str) -> str:
    """Replace control characters in untrusted text; tabs and line feeds stay."""
    return "\t".join(map(_text, lines.split("\t")))


def width_of_output() -> int | None:
    """Width of the terminal, or the value of COLUMNS; None for unlimited."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS"):
        return shutil.get_terminal_size().columns
    return None


def table_lines(
    title: str, headings: Cells, rows: Iterable[Sequence[object]], footer: Sequence[object] | None, width: int | None
) -> Iterator[str]:
    """Format a table as lines."""
    cells = [[_text(cell) for cell in row] for row in rows]
    last = [] if footer is None else [[_text(cell) for cell in footer]]
    if not cells and not last:
        yield title
        return
    columns = [_Column(heading, [row[index] for row in (*cells, *last)]) for index, heading in enumerate(headings)]
    least = [column.least for column in columns]
    # Omit the padding if only that makes all columns fit.
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
    """A column's content width and minimum width."""

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
    """Distribute columns over tables; yields the column indexes of each table, and their widths."""
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
    """The widths of columns: spare room goes first to those that lack the least."""
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
    """Total width of a table with these columns."""
    return sum(widths) + (1 + 2 * len(pad)) * len(widths) + 1


def _text(cell: object) -> str:
    """The text of a cell, without control characters."""
    return "" if cell is None else _control.sub("\N{REPLACEMENT CHARACTER}", str(cell))


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap text at spaces; a longer word gets a line of its own."""
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
