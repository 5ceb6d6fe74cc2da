"""`mini`: what a person asks of runs and images, from a terminal."""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from mini.cli.commands import COMMANDS, SECTIONS
from mini.errors import MiniError, NoSuchRun, did_you_mean
from mini.errors import UsageError as WrongUsage

_EPILOG = (
    "RUN is a run's id, a beginning of it that no other has, a path, or `latest`, which is meant where there is none."
    "\n\n\b\n"
    "Exit codes: 0 done, 1 failed jobs, 2 wrong usage, 3 still running,\n"
    "4 no such run or job, 130 interrupted."
)
_NEWLINE = "\n"
COMPLETE = "_MINI_COMPLETE"
"""The environment variable in which a shell's completion script says what it wants."""


class _Formatter(click.HelpFormatter):
    """Help in colours, which `click.echo` takes out where they are not wanted."""

    def write_heading(self, heading: str) -> None:
        super().write_heading(click.style(heading, bold=True))

    def write_dl(self, rows: Iterable[tuple[str, str]], *args: Any, **kwargs: Any) -> None:
        super().write_dl([(click.style(first, fg="cyan"), second) for first, second in rows], *args, **kwargs)


class _Context(click.Context):
    formatter_class = _Formatter


class _Mini(click.Group):
    """The commands, each imported when it is given."""

    context_class = _Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        entry = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"mini.cli.{entry.module}"), f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        command.context_class = _Context
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no command {args[0]!r}; {did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, COMMANDS))
        for heading, section in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), entry.summary) for name, entry in section.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        named = [
            CompletionItem(name, help=entry.summary) for name, entry in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(cls=_Mini, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hydra-apparatus", prog_name="mini")
def mini() -> None:
    """Look at runs and their results, and change them.

    Only the commands that say so change anything.
    """


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
    if os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(mini, {}, "mini", COMPLETE, os.environ[COMPLETE])
    given = sys.argv[1:] if arguments is None else arguments
    coloured = False if os.environ.get("NO_COLOR") else None  # None: on a terminal
    try:
        with mini.make_context("mini", list(given) or ["--help"], color=coloured) as context:
            return int(mini.invoke(context) or 0)
    except click.exceptions.Exit as done:
        return done.exit_code if given else 2  # `mini` alone
    except click.ClickException as error:
        return _fail(_sentence(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:  # whoever read this has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except NoSuchRun as error:
        return _fail(str(error), 4)
    except WrongUsage as error:
        return _fail(str(error), 2)
    except MiniError as error:
        return _fail(str(error), 1)


def _fail(text: str, code: int) -> int:
    from mini.display.text import printable

    click.echo(f"error: {printable(text, _NEWLINE)}", err=True)
    return code


def _sentence(error: click.ClickException) -> str:
    """What is wrong with the words of the command, and where it says how they are written."""
    text = error.format_message()
    context = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption):
        text = f"there is no option {error.option_name}"
        known = [name for one in context.command.get_params(context) for name in one.opts] if context else ()
        near = difflib.get_close_matches(error.option_name.lstrip("-"), [name.lstrip("-") for name in known], n=2)
        text += f"; did you mean {' or '.join(f'--{name}' for name in near)}?" if near else ""
    text = text[:1].lower() + text[1:].removesuffix(".")
    return f"{text}\n`{context.command_path} --help` says how it is used" if context is not None else text
