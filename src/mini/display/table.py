"""A table that fits its width: numbers are whole, columns give way by importance, what is left out is said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mini.display.text import printable

_GAP = 2  # blanks between two columns
_SHORTEST = 12  # characters that are left of text, at least
_SHORTEST_HEAD = 8
_LONGEST_HEAD = 24
_NUMBER = re.compile(r"[-+]?(\d[\d_.,]*|\.\d+|inf|nan)(e[-+]?\d+)?%?( ± \S+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """A column of a table in the terminal.

    Args:
        name: Anybody's text.
        cells: Its cells, as they are to be shown, each in a line and `printable`.
        right: Whether they end, rather than begin, below each other.
        rank: How little it matters: columns of a higher rank give way first.
        whole: Whether its cells are never cut, such as names that are copied.
        folds: Whether its cells go on in further lines where they have no room.
    """

    name: str
    cells: Sequence[str]
    right: bool = False
    rank: int = 0
    whole: bool = False
    folds: bool = False

    @property
    def natural(self) -> int:
        """The width that shows all of it."""
        return max(cell_len(printable(self.name)), *(cell_len(cell) for cell in self.cells), 1)

    @property
    def least(self) -> int:
        """The width below which it is of no use: numbers are never cut, and text leaves something to recognise."""
        cells = [cell_len(c) if self.whole or _NUMBER.fullmatch(c) else min(cell_len(c), _SHORTEST) for c in self.cells]
        head = self.name if self.whole or self.folds else _last_part(self.name)
        return max(min(cell_len(printable(head)), _LONGEST_HEAD if self.folds else _SHORTEST_HEAD), *cells, 1)


def fit(columns: Sequence[Column], width: int | None) -> tuple[list[tuple[Column, int]], list[str]]:
    """Choose the columns that have room, and how wide each is.

    Args:
        columns: In the order to show them.
        width: What there is; None for any.

    Returns:
        The columns with their widths, and the names of those without room.
    """
    if width is None:
        return [(column, column.natural) for column in columns], []
    by_rank = sorted(range(len(columns)), key=lambda i: (columns[i].rank, i))
    widths: dict[int, int] = {}
    room = width + _GAP
    for i in by_rank:
        needed = columns[i].least + _GAP
        if needed <= room or not widths:
            widths[i] = columns[i].least
            room -= needed
    for i in (i for i in by_rank if i in widths):
        more = max(0, min(room, columns[i].natural - widths[i]))
        widths[i] += more
        room -= more
    shown = [(columns[i], widths[i]) for i in sorted(widths)]
    return shown, [column.name for i, column in enumerate(columns) if i not in widths]


def show(out: Console, columns: Sequence[Column], *, hint: str = "") -> None:
    """Print a table as wide as the console, and what has no room in it.

    Args:
        out: Where to.
        columns: In the order to show them.
        hint: What shows the rest, such as `--columns shows them`.
    """
    shown, left_out = fit(columns, out.width)
    view = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for column, width in shown:
        view.add_column(
            Text(_head(column.name, width)),
            justify="right" if column.right else "left",
            no_wrap=not column.folds,
            overflow="fold" if column.folds else "ellipsis",
            width=width,
        )
    for cells in zip(*(column.cells for column, _ in shown), strict=True):
        view.add_row(*(Text(cell) for cell in cells))
    out.print(view)
    if left_out:
        names = ", ".join(printable(name.removeprefix("overrides.")) for name in left_out)
        what = f"{len(left_out)} more columns" if len(left_out) > 1 else "1 more column"
        out.print(Text(f"… {what}: {names}{f'; {hint}' if hint else ''}", style="dim"))


def _last_part(name: str) -> str:
    """What of a dotted name says most."""
    return printable(name).rpartition(".")[2] or printable(name)


def _head(name: str, width: int) -> str:
    """A column's name in so many cells: whole, or without what stands before its last dots."""
    whole = shortest = printable(name)
    while cell_len(shortest) > width and "." in shortest.strip("."):
        shortest = shortest.partition(".")[2]
    return shortest if cell_len(shortest) <= width else _last_part(whole)
