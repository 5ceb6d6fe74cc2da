"""What `mini ui` serves: the list of the project's runs, and what is on the page of some of them, as they are now.

Reads files, and asks an engine where a run goes on elsewhere. Never loads a job and never unpickles.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mini.apparatus.handle import Run
from mini.errors import MiniError, UsageError
from mini.report import contents
from mini.runs import layout, lookup, manifest, status
from mini.runs.folder import RunFolder
from mini.runs.status import RunState, Status

_LOOK = 10.0  # seconds between two questions to an engine elsewhere
_STARTING = 2.0  # seconds to wait for a retry that fails at once
_KEPT = 4  # pages whose content is kept


class Runs:
    """The runs of a project.

    Args:
        home: The folder they are in.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, ...], tuple[str, bytes]] = {}
        self._statuses: dict[str, tuple[float, Status]] = {}
        self._listed: dict[str, tuple[str, dict[str, Any]]] = {}

    def find(self, name: str) -> RunFolder:
        """A run by its whole name.

        Raises:
            NoSuchRun: There is none.
        """
        known = {path.name: path for path in lookup.list_runs(self._home)}
        if name not in known:
            lookup.choose([], name, str(self._home))
        return RunFolder(known[name])

    def listed(self) -> list[dict[str, Any]]:
        """All runs, the latest first: what the list shows of them."""
        found, kept = [], {}
        with self._lock:
            for path in lookup.list_runs(self._home):
                folder = RunFolder(path)
                if not folder.has_run():
                    continue
                sign = _signature([folder]) if folder.is_driven() else _signature_at_rest(folder)
                before = self._listed.get(path.name)
                try:
                    entry = before[1] if before is not None and before[0] == sign else _entry(folder)
                except (MiniError, OSError):
                    continue
                kept[path.name] = (sign, entry)
                found.append(entry)
            self._listed = kept
        return found

    def contents(self, folders: Sequence[RunFolder], known: str | None) -> tuple[str, bytes | None]:
        """What is on the page of some runs.

        Args:
            folders: The runs.
            known: The tag of what the asker has.

        Returns:
            The tag of what is now, and the content, None if the asker has it: the length of the JSON as a 32-bit
            little-endian number, the JSON padded with spaces, and the curves.

        Raises:
            RunFolderError: There is no run.
        """
        with self._lock:
            statuses = {folder.id: self._status(folder) for folder in folders}
            tag = _signature(folders)
            if tag == known:
                return tag, None
            key = tuple(folder.id for folder in folders)
            if key in self._kept and self._kept[key][0] == tag:
                return self._kept[key]
            running = any(one.state is RunState.RUNNING for one in statuses.values())
            read = contents.read(folders, compute_importance=not running, statuses=statuses)
            text = json.dumps(read.values, separators=(",", ":"), allow_nan=False).encode()
            text += b" " * (-len(text) % 4)
            data = len(text).to_bytes(4, "little") + text + read.arrays
            self._kept[key] = (tag, data)
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
            return tag, data

    def _status(self, folder: RunFolder) -> Status:
        """How a run goes; an engine elsewhere is asked now and then."""
        if not folder.is_driven() and (folder.path / layout.DRIVER).exists():
            asked, before = self._statuses.get(folder.id, (0.0, None))
            if before is not None and time.monotonic() - asked < _LOOK:
                return before
            with contextlib.suppress(MiniError):
                now = Run(folder).status()
                self._statuses[folder.id] = (time.monotonic(), now)
                return now
        return status.read_status(folder)

    def cancel(self, name: str) -> str:
        """Stop a run; what is done is kept. Says what came of it."""
        run = Run(self.find(name))
        if run.status().state is not RunState.RUNNING:
            return f"{name} is not running"
        now = run.cancel()
        return f"{name}: {', '.join(f'{count} {state}' for state, count in now.counts.items())}"

    def retry(self, name: str) -> str:
        """Run again what is not done, in a process of its own. Says what came of it.

        Raises:
            UsageError: Somebody else began the run, or it cannot be repeated.
        """
        folder = self.find(name)
        if not manifest.is_from_here(folder.path, folder.manifest()):
            raise UsageError(f"{name} was not begun by you on this machine; `mini retry {name}` asks, in a terminal")
        command = [sys.executable, "-m", "mini.cli", "retry", str(folder.path)]
        log = folder.path / layout.RETRY_LOG
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        threading.Thread(target=process.wait, name="mini-retry", daemon=True).start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if code := process.wait(_STARTING):
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise UsageError(f"the retry ended with exit code {code}: {' '.join(last)} (see {log})")
        return f"{name} runs again what is not done; what it says is in {layout.RETRY_LOG}"

    def file(self, name: str, path: str) -> Path | str:
        """A file or a folder in a run's folder; the text of a log that is kept elsewhere.

        Raises:
            NoSuchRun: There is no such run.
            FileNotFoundError: There is no such file in its folder.
        """
        folder = self.find(name)
        home = folder.path.resolve()
        found = (home / path).resolve()
        if not found.is_relative_to(home):
            raise FileNotFoundError(path)
        if not found.exists():
            if found.name == layout.LOG:
                for job in folder.jobs():
                    if Path(job.folder).resolve() == found.parent:
                        return Run(folder).logs(job.index)
            raise FileNotFoundError(path)
        return found


def _entry(folder: RunFolder) -> dict[str, Any]:
    now = status.read_status(folder)
    asked = folder.manifest()
    command = [str(word) for word in asked.get("command") or ()]
    return {
        "id": now.id,
        "state": now.state.value,
        "counts": dict(now.counts),
        "total": now.total,
        "began": now.began,
        "engines": list(now.apparatus),
        "task": str(asked.get("task") or ""),
        "command": " ".join([*(Path(word).name for word in command[:1]), *command[1:]]),
        "tags": [],
        "note": "",
    }


def _signature(folders: Sequence[RunFolder]) -> str:
    """Changes whenever what a page shows of these runs does."""
    digest = hashlib.blake2b(digest_size=12)
    for folder in folders:
        digest.update(_signature_at_rest(folder).encode())
        for job in folder.jobs():
            for name in (layout.RECORD, layout.LIVE, layout.HISTORY):
                digest.update(_stamp(f"{job.folder}/{name}"))
    return digest.hexdigest()


def _signature_at_rest(folder: RunFolder) -> str:
    """The same, of a run that nobody drives: its records may be renewed by a look, and then its table is."""
    names = (layout.RUN, layout.JOBS, layout.RESULTS, layout.RECORDS, layout.CANCEL)
    stamps = b"".join(_stamp(f"{folder.path}/{name}") for name in names)
    return f"{folder.path}{stamps.decode()}{folder.is_driven()}"


def _stamp(path: str) -> bytes:
    try:
        found = os.stat(path)  # noqa: PTH116 - a path object for each would take longer
    except OSError:
        return b"-"
    return b"%d:%d;" % (found.st_mtime_ns, found.st_size)
