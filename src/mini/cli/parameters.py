"""The arguments and options that several commands have, and what a shell may complete them to."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from mini import project
from mini.errors import MiniError
from mini.runs import layout, lookup, notes
from mini.runs.folder import RunFolder

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_MOST = 100  # completions of one word

Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def _completer(offered: Callable[[click.Context, str], Iterator[tuple[str, str]]]) -> Completer:
    """Completions from a generator of words and their explanations. What goes wrong offers nothing."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found: list[CompletionItem] = []
        with contextlib.suppress(MiniError, OSError, ValueError):
            words = (pair for pair in offered(context, incomplete) if pair[0].startswith(incomplete))
            found.extend(CompletionItem(word, help=text) for word, text in itertools.islice(words, _MOST))
        return found

    return complete


@_completer
def complete_run(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Runs, the latest first, each with when it began and what it was."""
    from mini.cli import text

    yield lookup.LATEST, "the run that began last"
    for path in lookup.list_runs(project.outputs()):
        if path.name.startswith(incomplete):
            manifest = RunFolder(path).manifest()
            yield path.name, f"{text.when(manifest.get('began'))}, {manifest.get('jobs', '?')} jobs"


def _run_of(context: click.Context) -> RunFolder:
    """The run of the command that is being completed."""
    named = context.params.get("run") or context.params.get("runs")
    if isinstance(named, tuple):
        named = named[0] if named else None
    return lookup.find(project.outputs(), named or lookup.LATEST)


@_completer
def complete_job(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The jobs of the run, with what they were given."""
    from mini.cli import text

    for line in _run_of(context).jobs():
        yield str(line.index), text.overrides(line.row)


def _columns(context: click.Context) -> list[str]:
    import polars as pl

    from mini import combine

    folder = _run_of(context)
    table = folder.path / layout.RESULTS
    return list(pl.read_parquet_schema(table)) if table.exists() else combine.table(folder)[0].columns


@_completer
def complete_column(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The columns of the run's table; with a minus in front where there is one already."""
    minus = "-" if incomplete.startswith("-") else ""
    for name in _columns(context):
        yield minus + name, ""


@_completer
def complete_columns(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The same, several with commas between them."""
    before, comma, _ = incomplete.rpartition(",")
    for name in _columns(context):
        if name not in before.split(","):
            yield before + comma + name, ""


@_completer
def complete_condition(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Columns, with the sign that a value follows."""
    for name in _columns(context):
        yield f"{name}=", ""


@_completer
def complete_tag(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The tags that runs here have."""
    for tag in sorted({tag for path in lookup.list_runs(project.outputs()) for tag in notes.read_notes(path).tags}):
        yield tag, ""


@_completer
def complete_engine(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The engines there are."""
    from mini.apparatus import registry

    for kind in registry.kinds():
        yield kind, ""


def run_argument(*, required: bool = False) -> Callable[[Any], Any]:
    """The run that a command is about.

    Args:
        required: False where the latest is meant if none is named.
    """
    return click.argument("run", required=required, metavar="RUN" if required else "[RUN]", shell_complete=complete_run)


def job_argument(*, required: bool = False) -> Callable[[Any], Any]:
    """A job of that run, by its number.

    Args:
        required: Whether there must be one.
    """
    metavar = "JOB" if required else "[JOB]"
    return click.argument("job", type=int, required=required, metavar=metavar, shell_complete=complete_job)


class Count(click.IntRange):
    """How many; not less than none."""

    name = "whole number"

    def __init__(self) -> None:
        super().__init__(min=0)


app_option = click.option(
    "--app",
    metavar="ENGINE",
    shell_complete=complete_engine,
    help="A run that is not here but kept by an engine, such as modal.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
