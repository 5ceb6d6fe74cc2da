"""The commands of `mini`: for each the module that has it, as `NAME_command`, and its line in `mini --help`.

A module is imported when one of its commands is given, so that no command waits for what another needs. A new command
is a function with click's decorators in the module of its family, and a line here.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """Where a command is.

    Args:
        module: In `mini.cli`.
        summary: What it does, in a line.
    """

    module: str
    summary: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "How runs go": {
        "ls": Entry("look", "List the runs here."),
        "status": Entry("look", "Count the jobs by state, and list each unfinished one with its progress and age."),
        "watch": Entry("look", "Follow a run that another process drives, until it ends."),
        "logs": Entry("look", "Print a job's log, or the ends of the logs of those that failed."),
    },
    "What came out": {
        "results": Entry("results", "Show the table of a run, or write it to a file."),
        "report": Entry("report", "Write a run, or a comparison of several, as one HTML page."),
        "ui": Entry("report", "Serve the pages of all runs here: look, compare, cancel, retry."),
    },
    "Changing runs": {
        "cancel": Entry("change", "Stop what runs, keep what is done."),
        "retry": Entry("change", "Run again what failed, was lost or cancelled."),
        "explain": Entry("explain", "Say why a job would run again, or not."),
        "pull": Entry("change", "Bring files home from the engine that keeps them."),
        "rm": Entry("change", "Remove a run that does not run."),
    },
    "Before a run": {
        "image": Entry("image", "Show what a container would be built from; offline, builds nothing."),
        "completion": Entry("completion", "Print the completion script for a shell."),
    },
}
"""The sections of `mini --help`."""

COMMANDS: dict[str, Entry] = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
"""All of them, by name."""
