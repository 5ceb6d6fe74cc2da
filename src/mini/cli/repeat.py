"""Giving the command of a run again, which runs the program that `run.json` names: the user is asked if need be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mini.cli import text
from mini.errors import UsageError
from mini.runs import manifest as manifests
from mini.runs.folder import RunFolder


def is_trusted(folder: RunFolder, manifest: Mapping[str, Any], yes: bool) -> bool:
    """Whether the program of a run may be run: this user began it on this machine, or agrees."""
    if manifests.is_from_here(folder.path, manifest):
        return True
    by = f"{manifest.get('user') or 'somebody'} on {manifest.get('host') or 'another machine'}"
    if manifests.BROUGHT in manifest:
        by += f", as {manifest[manifests.BROUGHT]} says"
    question = (
        f"{folder.id} was begun by {by}, in {manifest.get('cwd')}. "
        "This runs its program, with whatever is in it, as you. Go on?"
    )
    return text.confirm(question, yes)


def run(words: Sequence[str], manifest: Mapping[str, Any]) -> int:
    """Give a command again, where it was given.

    Args:
        words: The command, after the Python interpreter.
        manifest: The run's.

    Returns:
        Its exit code.

    Raises:
        UsageError: The folder it was given in is not there.
    """
    cwd = str(manifest.get("cwd") or ".")
    if not Path(cwd).is_dir():
        raise UsageError(
            f"the run was begun in {cwd}, which is not there; repeat its command from the project's folder"
        )
    return subprocess.run([sys.executable, *words], cwd=cwd).returncode
