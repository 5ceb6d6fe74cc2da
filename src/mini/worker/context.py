"""What a job may ask of where it runs: its folder, and a way to say how far it is.

Both helpers also work with no apparatus at all, so a function that uses them can be called by hand.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mini.job import Pruned, Report
from mini.runs.history import History
from mini.runs.live import describe_step, is_pruned, read_live, write_live

_MOMENT = 0.2  # seconds until a job is said to be running
_INTERVAL = 0.2  # seconds between two writes of a job's live file
_MOST_REPORTS = 1000  # of a job, the latest
_MOST_SENT = 100  # reports in a live file, the latest


@dataclass
class Context:
    """The job this process is running.

    Args:
        index: The job's index.
        attempt: Which try this is, of those that `retries` allows.
        folder: The job's folder.
        record: Whether the folder is kept up to date with what the job does.
        row: Columns for the job's record; whoever runs inside the job may add some.
    """

    index: int
    attempt: int
    folder: Path | None
    record: bool
    row: dict[str, Any] = field(default_factory=dict)
    is_calling: bool = False
    """Whether its function runs just now; else it is being prepared, or recorded."""

    interruption: BaseException | None = None
    """What somebody raised in it who takes its place away: whatever the job made of that, it will run again."""

    tries: int = 1
    """How often it has begun, as far as its folder tells."""

    pruned: bool = False
    """Whether it is known that it shall end early; set by whoever hears of it, or by a look into its folder."""

    was_told: bool = False
    """Whether `Pruned` was raised in it."""

    reports: deque[Report] | None = None
    """What it said, where somebody decides by that how it goes on; else None."""

    _looked: float = 0.0
    _live: dict[str, Any] = field(default_factory=dict)
    _history: History | None = None
    _written: float = 0.0
    _over: bool = False
    _timer: threading.Timer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def live(self, *, force: bool = False, **values: Any) -> None:
        """Note what the job is doing, at most five times a second unless forced."""
        self._live.update(values)
        now = time.time()
        if self.folder is None or not self.record or (not force and now - self._written < _INTERVAL):
            return
        self._written = 0.0 if force else now  # what is forced delays nothing that the job says
        with self._lock:
            if self._over:
                return
            self._write(now)

    def add_to_history(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep what the job says of its metrics."""
        if self.folder is None or not self.record or self._over:
            return
        if self._history is None:
            self._history = History(self.folder)
        self._history.add(step, metrics)

    def begin(self, started: float) -> None:
        """Note that the job runs, once it has for a moment: most of a short job's time would go into that."""
        self._live["started"] = started
        self.tries = self.attempt
        if self.folder is None or not self.record:
            return
        before = read_live(self.folder)  # of one that had no end
        if before is not None:
            self.tries = max(self.tries, int(before.get("tries") or before.get("attempt") or 0) + 1)
        self._timer = threading.Timer(_MOMENT, self.live, kwargs={"force": True})
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """Note nothing more; the record is about to say it all."""
        with self._lock:
            self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._history is not None:
            self._history.close()

    def leave(self) -> None:
        """Note that the job runs no more and has no end: it will begin once more."""
        self.live(force=True)
        self.end()

    def report(self, step: int, total: int | None, metrics: Mapping[str, float]) -> None:
        """Note how far the job is.

        Raises:
            Pruned: It shall end early.
        """
        self.live(force=step == total, step=step, total=total, metrics=metrics)
        if metrics:
            self.add_to_history(step, metrics)
            if self.reports is not None:
                self.reports.append((step, metrics))
        if self._shall_end():
            self.was_told = True
            raise Pruned(self.described_step())

    def _shall_end(self) -> bool:
        if not self.pruned and self.record and self.folder is not None:
            now = time.monotonic()
            if now - self._looked >= _INTERVAL:
                self._looked = now
                self.pruned = is_pruned(self.folder)
        return self.pruned

    def described_step(self) -> str:
        """Where it ended early."""
        return describe_step(self._live.get("step"), self._live.get("total"))

    def _write(self, now: float) -> None:
        assert self.folder is not None
        beat = {"index": self.index, "attempt": self.attempt, "tries": self.tries, "pid": os.getpid(), "beat": now}
        write_live(self.folder, beat | self.said())

    def said(self) -> dict[str, Any]:
        """What the job said last of how far it is."""
        if self.reports is None:
            return dict(self._live)
        return self._live | {"reports": list(self.reports)[-_MOST_SENT:]}


_current: Context | None = None


def current() -> Context | None:
    """The job this process is running, or None."""
    return _current


def enter(context: Context | None) -> Context | None:
    """Make `context` the current job, and return the one before it."""
    global _current
    before, _current = _current, context
    return before


def job_dir() -> Path:
    """The folder of the running job, where everything it writes belongs.

    Returns:
        An existing folder: the job's own; in a plain Hydra application, Hydra's output directory; in any other
        process a new folder under `outputs/loose/`, the same one for the whole process.
    """
    if _current is not None and _current.folder is not None:
        folder = _current.folder
    else:
        folder = _hydra_output_dir() or _loose_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def attempt() -> int:
    """Which try of the running job this is.

    A job that writes checkpoints into `job_dir()` can go on from the last one if this is not the first try: the folder
    has what earlier tries left there.

    Returns:
        1 for the first. More if an earlier one failed and `retries` allowed another, or was interrupted: its container
        was taken away, or its process died.
    """
    return _current.tries if _current is not None else 1


def keep_reports() -> None:
    """Let what the running job says come to whoever started it, and not only the last of it."""
    if _current is not None:
        _current.reports = deque(maxlen=_MOST_REPORTS)


def progress(step: int, total: int | None = None, **metrics: float) -> None:
    """Say how far the running job is.

    Cheap enough to call for every batch: it writes at most a few times a second, and at the end. What is given as
    metrics is kept: every call is a row of the job's history, which `mini.history` reads.

    Args:
        step: How many steps are done.
        total: How many there are, if that is known.
        metrics: Numbers worth keeping, such as `loss`.

    Raises:
        Pruned: The job is a trial of a study and shall end early. It may catch this to save what it has, and must end.
    """
    values = {name: float(value) for name, value in metrics.items()}
    if _current is not None:
        _current.report(int(step), total, values)
    elif sys.stderr.isatty():
        _print_progress(step, total, values)


def _print_progress(step: int, total: int | None, metrics: Mapping[str, float]) -> None:
    figures = " ".join(f"{name}={value:.4g}" for name, value in metrics.items())
    of = f"/{total}" if total is not None else ""
    print(f"\r{step}{of} {figures}\033[K", end="\n" if step == total else "", file=sys.stderr, flush=True)


def _hydra_output_dir() -> Path | None:
    module = sys.modules.get("hydra.core.hydra_config")  # a job without Hydra must not pay for importing it
    if module is None or not module.HydraConfig.initialized():
        return None
    output_dir = module.HydraConfig.get().runtime.get("output_dir")
    return Path(output_dir) if output_dir else None


@cache
def _loose_folder() -> Path:
    return Path("outputs", "loose", f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}").absolute()
