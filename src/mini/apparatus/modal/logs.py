"""What the containers of an open app print, shown here while they run."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any

_LAST = 10.0  # seconds for the last lines to arrive after an app is over


class LogViewer:
    """Writes what the containers of an app print to standard error, whole lines at a time.

    Modal's own display (`modal.enable_output`) draws on the terminal as the display of a batch does, and each wipes
    out what the other has drawn. Lines that are written to `sys.stderr` stand above it.

    Args:
        app: A `modal.App`.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._thread: threading.Thread | None = None
        self._begun: dict[tuple[str, ...], str] = {}

    def start(self) -> None:
        """Begin, once the app is open."""
        self._thread = threading.Thread(target=self._show, name="mini-modal-logs", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the last line is shown; the app is over."""
        if self._thread is not None:
            self._thread.join(_LAST)

    def _show(self) -> None:
        with contextlib.suppress(Exception):  # the connection is gone, and with it whatever else there would be
            for entry in self._app.logs.stream():
                self._add(tuple(entry.context_ids), entry.message)
        for rest in self._begun.values():
            _write(rest + "\n")

    def _add(self, source: tuple[str, ...], text: str) -> None:
        """Show the lines that are complete; the beginning of another waits for the rest of it."""
        lines = (self._begun.pop(source, "") + text).splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            self._begun[source] = lines.pop()
        _write("".join(lines))


def _write(text: str) -> None:
    if text:
        sys.stderr.write(text)
        sys.stderr.flush()
