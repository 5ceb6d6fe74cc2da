"""`mini auth`: set a token up through Modal's own flow. `mini auth --check`: say whether the token there is works.

A token is never printed.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence

from mini._tls import ensure_grpc_trusts_system_ca
from mini.apparatus.modal import preflight
from mini.apparatus.modal.client import connect, disconnect
from mini.errors import MiniError

_USAGE = """mini auth            get a token in the browser, and write it to Modal's own file
mini auth --check    say whether there is a token and whether Modal takes it"""


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: What follows `mini auth`.

    Returns:
        The exit code: 0 a token works, 1 it does not or Modal cannot be reached, 2 wrong usage.
    """
    if list(arguments) not in ([], ["--check"]):
        print(_USAGE, file=sys.stderr)
        return 2
    try:
        ensure_grpc_trusts_system_ca()
        if arguments:
            check()
        else:
            login()
    except (MiniError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def check() -> None:
    """Say where the token comes from and that Modal takes it.

    Raises:
        TokenError: There is none, or it was refused.
        ConnectionRefused: Modal cannot be reached.
    """
    from modal.config import config, user_config_path

    token = preflight.require_token()
    url = preflight.choose(config.get("server_url"))
    disconnect(connect(url, token))
    source = "MODAL_TOKEN_ID and MODAL_TOKEN_SECRET" if "MODAL_TOKEN_ID" in os.environ else user_config_path
    print(f"The token of {source} works with {url}.")


def login() -> None:
    """Run `modal token new` in this process, where the system's certificates are trusted.

    Raises:
        ConnectionRefused: Modal cannot be reached.
    """
    from modal.config import config

    preflight.choose(config.get("server_url"))
    sys.argv = ["modal", "token", "new"]
    try:
        runpy.run_module("modal", run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        if leaving.code:
            raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
