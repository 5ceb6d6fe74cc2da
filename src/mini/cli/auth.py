"""`mini auth`: a token for Modal."""

from __future__ import annotations

import click


@click.command("auth")
@click.option("--check", is_flag=True, help="Say whether there is a token and whether Modal takes it.")
def auth_command(check: bool) -> int:
    """Get a token for Modal in the browser, and write it to Modal's own file. A token is never printed."""
    from mini.apparatus.modal import extra

    extra.require("mini auth")
    from mini.apparatus.modal import auth

    return auth.main(["--check"] if check else [])
