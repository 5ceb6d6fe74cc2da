"""`mini results`: the table of a run. Reads; never runs anything."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini.apparatus.handle import Run
from mini.errors import OptionError, did_you_mean
from mini.runs import layout

if TYPE_CHECKING:
    import polars as pl


def results(
    run: str | None,
    *,
    app: str | None,
    sort: str | None,
    columns: str | None,
    where: Sequence[str],
    rows: int,
    target: Path | None,
    as_json: bool,
    tables: Path | None = None,
) -> int:
    """The table of a run as far as it is; written nowhere unless asked."""
    from mini import combine
    from mini.display import terminal

    opened = Run.open(run, app=app)
    now = opened.status()  # of a run elsewhere, brings the records
    if tables is not None:
        if app is not None:
            opened.pull(f"*/{layout.TABLE}")
        combine.write_tables(opened.folder, tables)
        rest = f"; `mini pull {opened.id} --app {app}` brings their other files" if app is not None else ""
        print(f"the tables of the jobs → {tables}{rest}")
        return now.exit_code
    table, problems = combine.table(opened.folder)
    for condition in where:
        table = _where(table, condition)
    table, complaint = terminal.best_first(table, sort)
    if complaint:
        raise OptionError(complaint)
    chosen = [name.strip() for name in columns.split(",")] if columns else None
    for name in chosen or ():
        if name not in table.columns:
            raise OptionError(f"--columns: there is no column {name!r}; {did_you_mean(name, table.columns)}")
    if as_json:
        print((table.select(chosen) if chosen else table).write_json())
    elif target is not None:
        _write(table.select(chosen) if chosen else table, target)
        print(f"{table.height} rows → {target}")
    elif not table.is_empty():
        out = terminal.console()
        out.print(terminal.results(table, terminal.columns(table, chosen), rows))
        if table.height > rows:
            out.print(f"… {table.height - rows} more rows; --rows shows them")
    damaged = dict.fromkeys([*map(str, problems), *now.damaged])
    for damage in damaged:
        print(f"warning: {damage}", file=sys.stderr)
    return now.exit_code or int(bool(damaged))


def _where(table: pl.DataFrame, condition: str) -> pl.DataFrame:
    """The rows for which COLUMN=VALUE holds; the value may be a pattern."""
    import polars as pl

    column, equals, value = condition.partition("=")
    if not equals:
        raise OptionError(f"--where {condition}: write COLUMN=VALUE, such as state=failed or overrides.model=large")
    name = column if column in table.columns else f"overrides.{column}"
    if name not in table.columns:
        raise OptionError(f"--where {condition}: there is no column {column!r}; {did_you_mean(column, table.columns)}")
    texts = [None if cell is None else str(cell) for cell in table[name]]
    return table.filter(
        pl.Series([text is not None and fnmatch.fnmatchcase(text, value) for text in texts], dtype=pl.Boolean)
    )


def _write(table: pl.DataFrame, target: Path) -> None:
    writers: dict[str, Callable[[Path], Any]] = {
        ".csv": table.write_csv,
        ".parquet": table.write_parquet,
        ".json": table.write_json,
    }
    if target.suffix not in writers:
        raise OptionError(f"{target} ends in none of {', '.join(writers)}")
    writers[target.suffix](target)
