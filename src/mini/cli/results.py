"""`mini results`: the table of a run. Reads; never runs anything."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mini.apparatus.handle import Run
from mini.cli.parameters import (
    Count,
    app_option,
    complete_column,
    complete_columns,
    complete_condition,
    json_option,
    run_argument,
)
from mini.errors import OptionError, did_you_mean
from mini.runs import layout

if TYPE_CHECKING:
    import polars as pl


_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("results")
@run_argument()
@click.option(
    "--sort",
    metavar="COLUMN",
    shell_complete=complete_column,
    help="The lowest first; with - in front (--sort=-accuracy) the highest.",
)
@click.option("--columns", metavar="A,B", shell_complete=complete_columns, help="The columns to show.")
@click.option(
    "--where",
    metavar="COLUMN=VALUE",
    multiple=True,
    shell_complete=complete_condition,
    help="Only rows with this value, in which * matches anything. May be given several times.",
)
@click.option("--rows", type=Count(), metavar="N", default=50, help="How many to show (default 50).")
@click.option("--csv", type=_FILE, metavar="FILE", help="Write the table to a CSV file.")
@click.option("--parquet", type=_FILE, metavar="FILE", help="Write the table to a parquet file.")
@json_option
@click.option(
    "--tables", type=_FILE, metavar="FILE", help="Write the metrics.parquet of each job that is here to one such file."
)
@app_option
def results_command(
    run: str | None,
    app: str | None,
    sort: str | None,
    columns: str | None,
    where: Sequence[str],
    rows: int,
    csv: Path | None,
    parquet: Path | None,
    as_json: bool,
    tables: Path | None,
) -> int:
    """Show the table of a run as far as it is, or write it to a file. Runs nothing."""
    if sum(map(bool, (csv, parquet, as_json, tables))) > 1:
        raise OptionError("--csv, --parquet, --json and --tables are alternatives; give one of them")
    target = csv or parquet
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
