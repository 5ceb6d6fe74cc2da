"""The reference of the command line as Markdown, from the commands themselves: `python -m mini.cli.reference`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from mini.cli.commands import SECTIONS
from mini.cli.main import mini

_HEAD = """# The command line

Made from the commands by `./go docs`; a test compares the two. In a checkout the command is `bin/mini`.

RUN is a run's id, a beginning of it that no other has, a path, or `latest`, which is meant where there is none.
`NO_COLOR` turns colours off. `mini completion SHELL` makes bash, zsh and fish complete commands, options, runs, jobs,
columns and engines.

| exit code | |
|---|---|
| 0 | done |
| 1 | jobs failed, or something is damaged |
| 2 | wrong usage; nothing was started |
| 3 | still running |
| 4 | no such run or job |
| 130 | interrupted |
"""


def markdown() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD
    with click.Context(mini, info_name="mini") as context:
        for heading, section in SECTIONS.items():
            yield f"## {heading}\n"
            for name in section:
                command = mini.get_command(context, name)
                assert command is not None
                yield from _command(command, context)


def _command(command: click.Command, parent: click.Context) -> Iterator[str]:
    with click.Context(command, info_name=command.name, parent=parent) as context:
        yield f"### `{' '.join([context.command_path, *command.collect_usage_pieces(context)])}`\n"
        yield from (f"{_text(text)}\n" for text in (command.help, command.epilog) if text)
        rows = [
            record
            for parameter in command.get_params(context)
            if isinstance(parameter, click.Option)
            and "--help" not in parameter.opts
            and (record := parameter.get_help_record(context)) is not None
        ]
        if rows:
            yield "| option | |"
            yield "|---|---|"
            yield from (f"| `{name}` | {_cell(text)} |" for name, text in rows)
            yield ""


def _text(text: str) -> str:
    """A docstring, with what click is told not to wrap as a block of code."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        "```\n" + paragraph.removeprefix("\b\n") + "\n```" if paragraph.startswith("\b\n") else paragraph
        for paragraph in paragraphs
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    print(markdown(), end="")
