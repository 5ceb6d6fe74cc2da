"""`mini export`: a run in the format of another tool."""

from __future__ import annotations

from pathlib import Path

import click

from mini.apparatus.handle import Run
from mini.cli.parameters import app_option, run_argument
from mini.export import FORMATS, export


@click.command("export")
@run_argument()
@click.option("--to", "form", type=click.Choice(list(FORMATS)), required=True, help="The format.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="A new folder; by default RUN-FORMAT.")
@app_option
def export_command(run: str | None, form: str, out: Path | None, app: str | None) -> int:
    """Write a run in the format of another tool: its parameters, its results, and what its jobs said while they ran.

    Works offline and sends nothing. tensorboard, mlflow and wandb need the extra of that name.
    """
    opened = Run.open(run, app=app)
    opened.status()  # of a run elsewhere, brings the records
    target = out or Path(f"{opened.id}-{form}")
    print(f"{target}: {export(opened.folder, form, target)}")
    return 0
