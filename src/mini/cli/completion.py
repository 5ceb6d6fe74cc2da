"""`mini completion`: the script that makes a shell complete `mini`'s words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from mini.cli.main import COMPLETE, mini

SHELLS = ("bash", "zsh", "fish")


_WHERE = """\b
bash:  mini completion bash > ~/.local/share/bash-completion/completions/mini
zsh:   mini completion zsh > "${fpath[1]}/_mini"
fish:  mini completion fish > ~/.config/fish/completions/mini.fish"""


@click.command("completion", epilog=_WHERE)
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> int:
    """Print the completion script for a shell: commands, options, runs, jobs, columns and engines."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(mini, {}, "mini", COMPLETE).source())
    return 0
