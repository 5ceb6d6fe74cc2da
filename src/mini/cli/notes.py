"""`mini tag` and `mini note`: what a person says of a run."""

from __future__ import annotations

import click

from mini import project
from mini.cli.parameters import complete_tag, run_argument
from mini.display.text import printable
from mini.runs import lookup, notes
from mini.runs.notes import Notes


@click.command("tag")
@run_argument(required=True)
@click.argument("tags", nargs=-1, metavar="[TAG]...", shell_complete=complete_tag)
@click.option("--remove", metavar="TAG", multiple=True, shell_complete=complete_tag, help="Take this one away.")
def tag_command(run: str, tags: tuple[str, ...], remove: tuple[str, ...]) -> int:
    """Give a run tags, and print those it has. `mini ls` shows them, and `mini results --tag TAG` finds them.

    `mini gc` keeps a run that has a tag.
    """
    folder = lookup.find(project.outputs(), run)
    said = notes.tag(folder.path, tags, remove)
    print(f"{folder.id}: {', '.join(said.tags) or 'no tags'}")
    return 0


@click.command("note")
@run_argument(required=True)
@click.argument("text", required=False, metavar="[TEXT]")
def note_command(run: str, text: str | None) -> int:
    """Write a note about a run in place of the one it has, or print it. An empty TEXT removes it."""
    folder = lookup.find(project.outputs(), run)
    if text is not None:
        notes.write_notes(folder.path, Notes(notes.read_notes(folder.path).tags, text.strip()))
    print(f"{folder.id}: {printable(notes.read_notes(folder.path).note) or 'no note'}")
    return 0
