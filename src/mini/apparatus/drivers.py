"""Starting the process that drives a run when whoever began it is gone."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from mini.errors import UsageError
from mini.runs import layout
from mini.runs.folder import RunFolder

_STARTING = 30.0  # seconds a driver may take to begin


def start_driver(folder: RunFolder, command: Sequence[str] = (), cwd: Path | None = None) -> None:
    """Start the process that drives a run on this machine, in a session of its own.

    Args:
        folder: The run, begun.
        command: What drives it; if nothing is given, `mini.driver`.
        cwd: Where the command is given; None for here.

    Raises:
        UsageError: It does not start; with the end of its log.
    """
    log_file = folder.path / layout.DRIVER_LOG
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            list(command) or [sys.executable, "-m", "mini.driver", str(folder.path)],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # no zombie, should this process outlive it
    deadline = time.monotonic() + _STARTING
    while not folder.is_driven() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if process.poll() not in (None, 0):
        raise UsageError(f"the driver of {folder.id} did not start: {log_file.read_text(errors='replace')[-2000:]}")
