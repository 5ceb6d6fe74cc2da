"""What a notebook shows of a run: HTML, in which nothing that jobs wrote is interpreted."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mini import combine
from mini.runs import status
from mini.runs.folder import RunFolder

if TYPE_CHECKING:
    import polars as pl

_ROWS = 20
_COLORS: Mapping[str, str] = {"done": "#287d3c", "failed": "#b3261e", "running": "#1a5fb4", "stopped": "#8a5a00"}


def run_html(folder: RunFolder) -> str:
    """A run as HTML: its state, its counts, and the beginning of its table.

    Asks nobody but the files here, so that showing a variable is quick and cannot fail for want of a network.

    Args:
        folder: The run.
    """
    now = status.read_status(folder)
    counts = ", ".join(f"{count} {state}" for state, count in now.counts.items()) or "no jobs"
    color = _COLORS.get(now.state.value, "inherit")
    head = (
        f"<div><b>{_text(now.id)}</b> "
        f'<span style="color:{color}">{_text(now.state.value)}</span> '
        f"{_text(counts)} · {_text(', '.join(now.apparatus))}</div>"
    )
    if not now.total:
        return head
    return head + table_html(combine.table(folder)[0])


def table_html(frame: pl.DataFrame, rows: int = _ROWS) -> str:
    """A table of results as HTML, with the columns that the terminal shows.

    Args:
        frame: As `combine.table` makes it.
        rows: The most to show.
    """
    from mini.display import terminal  # not at the top: whoever makes an apparatus must not pay for importing rich

    if frame.is_empty():
        return ""
    shown = terminal.columns(frame)
    names = "".join(f"<th>{_text(name.removeprefix('overrides.'))}</th>" for name in shown)
    lines = [
        "<tr>" + "".join(f"<td>{_text(terminal.format_cell(cell))}</td>" for cell in row) + "</tr>"
        for row in frame.select(shown).head(rows).iter_rows()
    ]
    rest = f"<div>… and {frame.height - rows} more rows</div>" if frame.height > rows else ""
    return f"<table><thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table>{rest}"


def _text(text: str) -> str:
    from mini.display import terminal

    return html.escape(terminal.printable(text))
