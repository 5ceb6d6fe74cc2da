"""`mini`: what a person asks of runs and images, from a terminal. Reads; only what says so changes anything."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mini.errors import MiniError, NoSuchRun, UsageError

_EPILOG = "Exit codes: 0 done, 1 failed jobs, 2 wrong usage, 3 still running, 4 no such run or job, 130 interrupted."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Without the program's name; None for those of this process.

    Returns:
        The exit code, as `--help` lists them.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show must not keep the rest from being shown
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.do(chosen))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read this has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except NoSuchRun as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except MiniError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _commands(family: str) -> Any:
    """A family of commands, imported when one of them is given."""
    return importlib.import_module(f"mini.cli.{family}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mini", description=__doc__, allow_abbrev=False, epilog=_EPILOG)
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, what: str, run: str | None = "?") -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=what, description=what, allow_abbrev=False)
        if run is not None:
            added.add_argument("run", metavar="RUN", nargs=run or None, help="an id, a beginning of one; the latest")
        if name in ("ls", "status", "watch", "results", "logs", "cancel", "pull", "retry", "rm"):
            added.add_argument(
                "--app", metavar="ENGINE", help="a run that is not here but kept by an engine, such as modal"
            )
        return added

    ls = verb("ls", "the runs here", None)
    ls.add_argument("--json", action="store_true", help="for programs")
    ls.set_defaults(do=lambda chosen: _commands("look").ls(app=chosen.app, as_json=chosen.json))

    status = verb("status", "counts, and each unfinished job with its progress and age")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(
        do=lambda chosen: _commands("look").show_status(chosen.run, app=chosen.app, as_json=chosen.json)
    )

    watch = verb("watch", "show how a run goes that somebody else drives, until it ends")
    watch.set_defaults(do=lambda chosen: _commands("look").watch(chosen.run, app=chosen.app))

    results = verb("results", "the table; reads, never runs")
    results.add_argument("--sort", metavar="COLUMN", help="best first; with - in front (--sort=-accuracy) the highest")
    results.add_argument("--columns", metavar="A,B", help="the columns to show")
    results.add_argument(
        "--where", metavar="COLUMN=VALUE", action="append", default=[], help="only such rows; * matches"
    )
    results.add_argument("--rows", type=int, default=50, help="how many to show (50)")
    output = results.add_mutually_exclusive_group()
    output.add_argument("--csv", type=Path, dest="target", metavar="FILE")
    output.add_argument("--parquet", type=Path, dest="target", metavar="FILE")
    output.add_argument("--json", action="store_true", help="for programs")
    output.add_argument(
        "--tables",
        type=Path,
        metavar="FILE",
        help="as one parquet file, the metrics.parquet of each job that is here",
    )
    results.set_defaults(
        do=lambda chosen: _commands("results").results(
            chosen.run,
            app=chosen.app,
            sort=chosen.sort,
            columns=chosen.columns,
            where=chosen.where,
            rows=chosen.rows,
            target=chosen.target,
            as_json=chosen.json,
            tables=chosen.tables,
        )
    )

    logs = verb("logs", "a job's log; without JOB the ends of those that failed")
    logs.add_argument("job", metavar="JOB", nargs="?", type=int)
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the job is over")
    logs.set_defaults(
        do=lambda chosen: _commands("look").logs(chosen.run, chosen.job, app=chosen.app, follow=chosen.follow)
    )

    cancel = verb("cancel", "stop what runs, keep what is done")
    cancel.set_defaults(do=lambda chosen: _commands("change").cancel(chosen.run, app=chosen.app))

    retry = verb("retry", "run again what failed, was lost or cancelled")
    retry.add_argument("--job", type=int, metavar="N", help="only this one")
    retry.add_argument("--apparatus", metavar="NAME", help="run it there instead")
    retry.add_argument(
        "--stale", choices=("rerun", "warn", "keep"), help="what is done with results of other code (rerun)"
    )
    retry.add_argument("--yes", action="store_true", help="do not ask")
    retry.set_defaults(
        do=lambda chosen: _commands("change").retry(
            chosen.run,
            job=chosen.job,
            apparatus=chosen.apparatus,
            stale=chosen.stale,
            app=chosen.app,
            yes=chosen.yes,
        )
    )

    explain = verb("explain", "why a job would run again, or not: its config, its place, its code", "")
    explain.add_argument("job", metavar="JOB", type=int)
    explain.add_argument("--yes", action="store_true", help="do not ask")
    explain.set_defaults(do=lambda chosen: _commands("explain").explain(chosen.run, chosen.job, yes=chosen.yes))

    pull = verb("pull", "outputs home from the volume; a second time only what is new")
    pull.add_argument("--include", metavar="GLOB", help="only such paths of the run, such as '*/checkpoint.npz'")
    pull.set_defaults(
        do=lambda chosen: _commands("change").pull(chosen.run, app=chosen.app or "modal", include=chosen.include)
    )

    rm = verb("rm", "remove a run that does not run, after asking", "")
    rm.add_argument("--yes", action="store_true", help="do not ask")
    rm.set_defaults(do=lambda chosen: _commands("change").rm(chosen.run, app=chosen.app, yes=chosen.yes))

    image = verb("image", "what a container would be built from; offline, builds nothing", None)
    image.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for the application, such as image=cuda")
    image.add_argument("--diff", metavar="RUN", help="only what changed since the image of that run, layer by layer")
    image.add_argument("--config", default="conf/config.yaml", help="the application's config (conf/config.yaml)")
    image.add_argument("--script", metavar="FILE", type=Path, help="what starts the application; its neighbours ship")
    image.add_argument("--json", action="store_true", help="for programs")
    image.set_defaults(do=_image)
    return parser


def _image(chosen: argparse.Namespace) -> int:
    from mini import project
    from mini.apparatus.modal import extra

    extra.require("mini image")
    from mini.apparatus.modal.image import report

    root = project.root()
    return report.show(
        root, root / chosen.config, chosen.overrides, diff=chosen.diff, as_json=chosen.json, script=chosen.script
    )
