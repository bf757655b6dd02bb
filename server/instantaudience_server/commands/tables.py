"""Shows things to people."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; columns of nothing but numbers stand to the right."""
    cells = [[("" if cell is None else str(cell)) for cell in row] for row in rows]
    table = Table(title=Text(title), title_justify="left")
    for index, heading in enumerate(headings):
        numbers = all(row[index].lstrip("-").isdecimal() for row in cells if row[index])
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))  # as texts: what a cell holds is no markup
    Console(file=sys.stdout).print(table)
