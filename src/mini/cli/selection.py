"""Which runs a command that can take several is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from mini import project
from mini.apparatus.handle import Run
from mini.cli.parameters import Count, complete_run, complete_tag
from mini.errors import NoSuchRun, OptionError, did_you_mean
from mini.runs import lookup, notes
from mini.runs.folder import RunFolder


@dataclass(frozen=True)
class Selection:
    """The runs that were asked for.

    Args:
        runs: By name.
        everything: All there are.
        last: So many of the latest.
        tag: Those that have it.
        app: The engine that keeps the run.
    """

    runs: Sequence[str]
    everything: bool
    last: int | None
    tag: str | None
    app: str | None = None

    @property
    def is_one(self) -> bool:
        """Whether it is about one run, named or the latest."""
        return len(self.runs) <= 1 and not (self.everything or self.last is not None or self.tag)

    def one(self) -> Run:
        """The one run."""
        return Run.open(next(iter(self.runs), None), app=self.app)

    def folders(self) -> list[RunFolder]:
        """The runs that are here, the latest first; in the order they were named in where they were.

        Raises:
            NoSuchRun: There is none.
            OptionError: They were asked for in two ways, or are not here.
        """
        if self.app is not None:
            raise OptionError("--app takes one run; `mini pull RUN --app ENGINE` brings several here")
        home = project.outputs()
        if self.runs:
            if self.everything or self.last is not None or self.tag:
                raise OptionError("give runs by name, or with --all, --last or --tag, and not both")
            found = [lookup.find(home, run) for run in self.runs]
            return list({folder.path: folder for folder in found}.values())
        found = [folder for path in lookup.list_runs(home) if (folder := RunFolder(path)).has_run()]
        if self.tag:
            known = {tag for folder in found for tag in notes.read_notes(folder.path).tags}
            if self.tag not in known:
                there = did_you_mean(self.tag, known) if known else "`mini tag RUN TAG` gives a run one"
                raise NoSuchRun(f"no run here has the tag {self.tag!r}; {there}")
            found = [folder for folder in found if self.tag in notes.read_notes(folder.path).tags]
        found = found if self.last is None else found[: self.last]
        if not found:
            raise NoSuchRun(f"there is no run under {home}")
        return found


def several_runs(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the parameters `runs`, `everything`, `last` and `tag`."""
    for decorate in (
        click.option("--tag", metavar="TAG", shell_complete=complete_tag, help="Runs that have this tag."),
        click.option("--last", type=Count(), metavar="N", help="The N latest runs."),
        click.option("--all", "everything", is_flag=True, help="All runs here."),
        click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=complete_run),
    ):
        command = decorate(command)
    return command
