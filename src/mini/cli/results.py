"""`mini results` and `mini best`: the tables of runs. Read; never run anything."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mini import combine, project
from mini.cli.parameters import (
    Count,
    app_option,
    complete_column,
    complete_columns,
    complete_condition,
    json_option,
)
from mini.cli.selection import Selection, several_runs
from mini.combine import several
from mini.errors import OptionError, did_you_mean
from mini.runs import layout, notes

if TYPE_CHECKING:
    import polars as pl

_FILE = click.Path(dir_okay=False, path_type=Path)
_HINT = "--columns or a wider terminal shows them"


@click.command("results")
@several_runs
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
@click.option(
    "--group-by",
    metavar="A,B",
    shell_complete=complete_columns,
    help="A row for each combination of these: how many, mean ± standard deviation, and the best by --sort.",
)
@click.option(
    "--over", metavar="A,B", shell_complete=complete_columns, help="The same, by all that was swept but these."
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
    runs: Sequence[str],
    everything: bool,
    last: int | None,
    tag: str | None,
    sort: str | None,
    columns: str | None,
    where: Sequence[str],
    group_by: str | None,
    over: str | None,
    rows: int,
    csv: Path | None,
    parquet: Path | None,
    as_json: bool,
    tables: Path | None,
    app: str | None,
) -> int:
    """Show the table of a run as far as it is, or of several, or write it to a file. Runs nothing.

    The table is as wide as the terminal: numbers are never cut, and columns without room are named below it.
    """
    if sum(map(bool, (csv, parquet, as_json, tables))) > 1:
        raise OptionError("--csv, --parquet, --json and --tables are alternatives; give one of them")
    if group_by is not None and over is not None:
        raise OptionError("--group-by and --over are alternatives; give one of them")
    selection = Selection(runs, everything, last, tag, app)
    if tables is not None:
        return _write_tables(selection, tables)
    table, code, damaged = _read(selection)
    for condition in where:
        table = _where(table, condition)
    if group_by is not None or over is not None:
        table, sort = _grouped(table, group_by, over, sort), None
    from mini.display import terminal

    table, complaint = terminal.best_first(table, sort)
    if complaint:
        raise OptionError(complaint.removeprefix("results.sort="))
    chosen = _names(columns, table, "--columns") if columns is not None else None
    target = csv or parquet
    if as_json:
        print((table.select(chosen) if chosen else table).write_json())
    elif target is not None:
        _write(table.select(chosen) if chosen else table, target, ".csv" if csv else ".parquet")
        print(f"{table.height} rows → {target}")
    elif not table.is_empty():
        if selection.is_one:
            _show_notes(selection)
        _show(table, chosen, rows, is_grouped=group_by is not None or over is not None)
    for damage in damaged:
        click.echo(f"warning: {terminal.printable(damage)}", err=True)
    return code or int(bool(damaged))


@click.command("best")
@click.argument("metric", shell_complete=complete_column)
@several_runs
@click.option("--max", "highest", flag_value=True, type=bool, default=None, help="The highest value is the best.")
@click.option("--min", "highest", flag_value=False, type=bool, help="The lowest value is the best.")
@click.option("--rows", type=Count(), metavar="N", default=10, help="How many to show (default 10).")
@json_option
def best_command(
    metric: str,
    runs: Sequence[str],
    everything: bool,
    last: int | None,
    tag: str | None,
    highest: bool | None,
    rows: int,
    as_json: bool,
) -> int:
    """Show the jobs with the best value of METRIC in all runs here, or in those that are named.

    Say with --max or --min what is better.
    """
    from mini.combine import groups
    from mini.display import terminal

    if highest is None:
        raise OptionError(f"is a high {metric} better, or a low one? Say so with --max or --min")
    table, _, damaged = _read(Selection(runs, everything or not (runs or tag or last is not None), last, tag))
    numbers = groups.metrics(table)
    if metric not in numbers:
        raise OptionError(f"no job here returned a number called {metric!r}; {did_you_mean(metric, numbers)}")
    table, _ = terminal.best_first(table, f"-{metric}" if highest else metric)
    table = table.drop_nulls(metric).head(rows)
    given = [name for name in table.columns if name.startswith("overrides.") and table[name].null_count() < len(table)]
    shown = ["run", "job", metric, *given]
    if as_json:
        print(table.select(*shown, "folder").write_json())
    else:
        terminal.print_results(terminal.console(), *_with_tags(table, shown), rows)
    for damage in damaged:
        click.echo(f"warning: {terminal.printable(damage)}", err=True)
    return int(bool(damaged))


def _read(selection: Selection) -> tuple[pl.DataFrame, int, list[str]]:
    """The table of what was asked for, the exit code, and what is damaged."""
    if selection.is_one:
        opened = selection.one()
        now = opened.status()  # of a run elsewhere, brings the records
        table, problems = combine.table(opened.folder)
        return table, now.exit_code, list(dict.fromkeys([*map(str, problems), *now.damaged]))
    tables: list[tuple[str, pl.DataFrame]] = []
    damaged: list[str] = []
    code = 0
    for folder in selection.folders():
        table, problems = combine.table(folder)
        tables.append((folder.id, table))
        damaged += map(str, problems)
        code = 3 if folder.is_driven() else code
    return several.concat(tables), code, damaged


def _write_tables(selection: Selection, target: Path) -> int:
    if not selection.is_one:
        raise OptionError("--tables takes one run")
    opened = selection.one()
    now = opened.status()
    if selection.app is not None:
        opened.pull(f"*/{layout.TABLE}")
    combine.write_tables(opened.folder, target)
    rest = f"; `mini pull {opened.id} --app {selection.app}` brings their other files" if selection.app else ""
    print(f"the tables of the jobs → {target}{rest}")
    return now.exit_code


def _grouped(table: pl.DataFrame, group_by: str | None, over: str | None, sort: str | None) -> pl.DataFrame:
    from mini.combine import groups
    from mini.display import terminal

    if group_by is not None:
        by = _names(group_by, table, "--group-by")
    else:
        leaving_out = _names(over or "", table, "--over")
        by = [name for name in groups.swept(table) if name not in leaving_out]
    numbers = groups.metrics(table)
    if sort and sort.removeprefix("-") not in numbers:
        raise OptionError(f"--sort={sort}: of a group the best number is wanted; {did_you_mean(sort, numbers)}")
    grouped = groups.group(table, by, sort)
    if not sort:
        return grouped
    return terminal.best_first(grouped, f"-{sort[1:]}.mean" if sort.startswith("-") else f"{sort}.mean")[0]


def _show(table: pl.DataFrame, chosen: Sequence[str] | None, rows: int, *, is_grouped: bool) -> None:
    from mini.display import terminal

    out = terminal.console()
    if is_grouped and chosen is None:
        terminal.print_groups(out, table, rows, _HINT)
    else:
        table, shown = (table, chosen) if chosen else _with_tags(table, terminal.columns(table))
        terminal.print_results(out, table, shown, rows, _HINT)
    if table.height > rows:
        out.print(f"… {table.height - rows} more rows; --rows shows them")


def _show_notes(selection: Selection) -> None:
    """What a person said of the run."""
    from mini.display import terminal

    said = notes.read_notes(selection.one().folder.path)
    if said.tags or said.note:
        print("  ".join(filter(None, [",".join(said.tags), terminal.printable(said.note)])))


def _with_tags(table: pl.DataFrame, shown: Sequence[str]) -> tuple[pl.DataFrame, list[str]]:
    """The table and its columns with the tags of its runs, where any has one."""
    import polars as pl

    if table.columns[0] != several.RUN:
        return table, list(shown)
    home = project.outputs()
    tags = {run: ",".join(notes.read_notes(home / run).tags) for run in table[several.RUN].unique()}
    if not any(tags.values()):
        return table, list(shown)
    name = "tags" if "tags" not in table.columns else "run tags"
    return table.with_columns(pl.Series(name, [tags[run] for run in table[several.RUN]])), [*shown, name]


def _names(text: str, table: pl.DataFrame, option: str) -> list[str]:
    """The columns of an option such as `--columns a,b`."""
    from mini.combine import groups

    found = []
    for name in (part.strip() for part in text.split(",")):
        full = groups.find_column(name, table.columns)
        if full is None:
            raise OptionError(f"{option}: there is no column {name!r}; {did_you_mean(name, table.columns)}")
        found.append(full)
    return found


def _where(table: pl.DataFrame, condition: str) -> pl.DataFrame:
    """The rows for which COLUMN=VALUE holds; the value may be a pattern."""
    import polars as pl

    from mini.combine import groups

    column, equals, value = condition.partition("=")
    if not equals:
        raise OptionError(f"--where {condition}: write COLUMN=VALUE, such as state=failed or overrides.model=large")
    name = groups.find_column(column, table.columns)
    if name is None:
        raise OptionError(f"--where {condition}: there is no column {column!r}; {did_you_mean(column, table.columns)}")
    texts = [None if cell is None else str(cell) for cell in table[name]]
    return table.filter(
        pl.Series([text is not None and fnmatch.fnmatchcase(text, value) for text in texts], dtype=pl.Boolean)
    )


def _write(table: pl.DataFrame, target: Path, kind: str) -> None:
    try:
        (table.write_csv if kind == ".csv" else table.write_parquet)(target)
    except OSError as error:
        raise OptionError(f"cannot write {target}: {error.strerror or error}") from error
