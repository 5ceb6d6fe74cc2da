"""`mini image`: what a container would be built from."""

from __future__ import annotations

from pathlib import Path

import click

from mini import project
from mini.cli.parameters import complete_run, json_option


@click.command("image")
@click.argument("overrides", nargs=-1, metavar="[OVERRIDE]...")
@click.option(
    "--diff",
    metavar="RUN",
    shell_complete=complete_run,
    help="Only what changed since the image of that run, layer by layer.",
)
@click.option(
    "--config",
    metavar="FILE",
    default="conf/config.yaml",
    show_default=True,
    type=click.Path(dir_okay=False),
    help="The application's config.",
)
@click.option(
    "--script",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What starts the application; its neighbours ship.",
)
@json_option
def image_command(overrides: tuple[str, ...], diff: str | None, config: str, script: Path | None, as_json: bool) -> int:
    """Show what a container would be built from: layers, pins, each file that ships, and what does not and why.

    Works offline, and builds nothing. An OVERRIDE is as for the application, such as image=cuda.
    """
    from mini.apparatus.modal import extra

    extra.require("mini image")
    from mini.apparatus.modal.image import report

    root = project.root()
    return report.show(root, root / config, list(overrides), diff=diff, as_json=as_json, script=script)
