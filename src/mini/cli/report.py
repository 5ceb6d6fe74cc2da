"""`mini report`: a run as a page; `mini ui`: all runs as pages that are served here. Read; never load a job."""

from __future__ import annotations

import contextlib
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import click

from mini import project
from mini.apparatus.handle import Run
from mini.cli.parameters import app_option, complete_run
from mini.errors import UsageError

_PORT = 8642  # so that a tab of yesterday is found again; any other where it is in use


@click.command("report")
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=complete_run)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file (default report.html in the run's folder).",
)
@app_option
def report_command(runs: Sequence[str], output: Path | None, app: str | None) -> int:
    """Write a run as one HTML page, or one page that compares several runs.

    The page opens in any browser and needs no network. It has the table, the curves, what was asked and how it went.
    """
    from mini.report import run_page

    opened = [Run.open(run, app=app) for run in runs or (None,)]
    code = max(one.status().exit_code for one in opened)  # of a run elsewhere, brings the records
    print(run_page.write([one.folder for one in opened], output))
    return code if code == 3 else 0


@click.command("ui")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="The port (default 8642, else any).")
@click.option("--open", "show", is_flag=True, help="Open a browser.")
def ui_command(port: int | None, show: bool) -> int:
    """Serve the pages of this project's runs, live, to this user on this machine.

    There runs are found and compared, cancelled and run again. Ctrl-C ends it; the runs go on.
    """
    from mini.report.server import Server

    try:
        server = Server(project.name(), project.outputs(), _PORT if port is None else port)
    except OSError as error:
        if port is not None:
            raise UsageError(f"port {port}: {error.strerror or error}; choose another with --port") from error
        server = Server(project.name(), project.outputs())
    with server:
        print(f"{server.address}\nServed to this user on this machine; Ctrl-C ends it.", flush=True)
        if show:
            webbrowser.open(server.address)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0
