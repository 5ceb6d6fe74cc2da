"""Where a process crashed, as the kernel's log has it; not every user may read that."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

_LOG = Path("/dev/kmsg")
_RECORD = 8192  # bytes a record has at most


def crashed_in(pid: int) -> str:
    """The library, or program, in which a process crashed; empty where nobody says.

    Args:
        pid: As this machine counts.
    """
    try:
        log = os.open(_LOG, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    found = ""
    pattern = re.compile(rf"\[{pid}\](?::| ).* in (\S+?)\[".encode())
    with contextlib.suppress(BlockingIOError):
        while True:
            try:
                record = os.read(log, _RECORD)
            except BrokenPipeError:  # what was to be read next was overwritten
                continue
            except PermissionError:
                break
            match = pattern.search(record)
            found = match[1].decode(errors="replace") if match else found
    os.close(log)
    return found
