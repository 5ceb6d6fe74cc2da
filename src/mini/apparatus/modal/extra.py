"""What only the engines on Modal's client need, and is installed with the extra `modal`."""

from __future__ import annotations

import shutil

from mini.errors import UsageError


def require(what: str) -> None:
    """See that the extra is installed.

    Args:
        what: What needs it, such as `apparatus=modal`.

    Raises:
        UsageError: It is not; the message has the command that installs it.
    """
    from mini import distributions, project  # an engine that is only looked up needs neither

    missing = [name for name in ("modal", "packaging", "pathspec") if distributions.find(name) is None]
    if missing:
        extra = f"{distributions.OWN}[modal]"
        command = f"uv add '{extra}'" if project.lock() else f"pip install '{extra}'"
        raise UsageError(
            f"{what} needs {' and '.join(missing)}, which the extra `modal` brings and which this environment does "
            f"not have; run `{command}`"
        )


def uv() -> str | None:
    """The program uv: the one of the distribution of that name, else the one on the PATH; None where there is none."""
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError):  # not installed, or in a way of its own
        return shutil.which("uv")
