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
        "report": Entry("report", "Write a run, or a comparison of several, as one HTML page."),
        "ui": Entry("report", "Serve the pages of all runs here: look, compare, cancel, retry."),
        "results": Entry("results", "Show the table of a run, or of several, or write it to a file."),
        "best": Entry("results", "Show the jobs with the best value of a metric, in all runs."),
        "diff": Entry("diff", "Say what two runs differ in: config, code, lock, image, metrics."),
        "plot": Entry("plot", "Draw a metric of a run's jobs over their steps."),
        "tag": Entry("notes", "Give a run tags, or take them away."),
        "note": Entry("notes", "Write a note about a run, or print it."),
        "export": Entry("export", "Write a run for TensorBoard, MLflow, wandb, or as CSV or parquet; offline."),
    },
    "Changing runs": {
        "cancel": Entry("change", "Stop what runs, keep what is done."),
        "retry": Entry("change", "Run again what failed, was lost or cancelled."),
        "explain": Entry("explain", "Say why a job would run again, or not."),
        "pull": Entry("change", "Bring files home from the engine that keeps them."),
        "rm": Entry("remove", "Remove runs that do not run."),
        "gc": Entry("remove", "Remove runs of which nothing is left to keep, after showing what would go."),
    },
    "Before a run": {
        "init": Entry("init", "Set up a project: in an empty folder, or beside a Hydra application."),
        "doctor": Entry("doctor", "Say what works here, and what to do about what does not."),
        "auth": Entry("auth", "Get a token for Modal, or try the one that is there."),
        "image": Entry("image", "Show what a container would be built from; offline, builds nothing."),
        "completion": Entry("completion", "Print the completion script for a shell."),
    },
}
"""The sections of `mini --help`."""

COMMANDS: dict[str, Entry] = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
"""All of them, by name."""
