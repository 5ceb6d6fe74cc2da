"""A progress bar for `map`: on a terminal, in a notebook, or as lines where there is neither."""

from __future__ import annotations

import contextlib
import html
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, Self, TextIO

from mini.job import Outcome

_DELAY = 1.0  # seconds a map takes before it gets a bar that nobody asked for
_TICK = 0.5  # seconds between two updates of a bar in a notebook
_one = threading.Lock()  # two bars at once would write over each other


class _View(Protocol):
    def start(self, bar: Bar) -> None: ...
    def update(self, bar: Bar) -> None: ...
    def stop(self, bar: Bar) -> None: ...


class Bar:
    """How many of a number of jobs are over.

    Args:
        total: How many there are.
        show: True to show it at once and to leave it there; None for a terminal or a notebook only, when the jobs have
            taken a second; False for no bar.
        stream: Where to; None for standard error.
    """

    def __init__(self, total: int, show: bool | None = None, *, stream: TextIO | None = None) -> None:
        self.total, self.done, self.failed = total, 0, 0
        self._keep = show is True
        self._began = time.monotonic()
        self._view = _choose(show, stream or sys.stderr) if total else None
        self._lock = threading.Lock()
        self._over = self._started = False
        self._timer: threading.Timer | None = None

    @property
    def seconds(self) -> float:
        """Since the jobs were started."""
        return time.monotonic() - self._began

    @property
    def keep(self) -> bool:
        """Whether the bar stays when it is over."""
        return self._keep

    def watch(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Count outcomes as they pass."""
        for outcome in outcomes:
            self.advance(ok=outcome.ok)
            yield outcome

    def advance(self, *, ok: bool) -> None:
        """One job is over."""
        self.done += 1
        self.failed += not ok
        with self._lock:
            if self._view is not None and self._started:
                self._view.update(self)

    def __enter__(self) -> Self:
        if isinstance(self._view, _Notebook):
            self._view.reserve()  # in the thread that runs the cell, so that it is this cell's
        if self._view is not None:
            if self._keep:
                self._start()
            else:
                self._timer = threading.Timer(max(0.0, _DELAY - self.seconds), self._start)
                self._timer.daemon = True
                self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._over = True
            if self._view is not None and self._started:
                self._view.stop(self)
                _one.release()

    def _start(self) -> None:
        with self._lock:
            if self._view is not None and not self._over and _one.acquire(blocking=False):
                self._started = True
                self._view.start(self)


def _choose(show: bool | None, stream: TextIO) -> _View | None:
    if show is False:
        return None
    if is_notebook():
        return _Notebook()
    if stream.isatty():
        return _Terminal(stream)
    return _Lines(stream) if show else None


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    module = sys.modules.get("IPython")  # in a kernel it is always there
    shell = module.get_ipython() if module is not None else None
    return hasattr(shell, "kernel")


class _Terminal:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._progress: Any = None

    def start(self, bar: Bar) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        from mini.display import terminal

        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[red]{task.fields[note]}"),
            console=terminal.console(self._stream),
            transient=not bar.keep,
            redirect_stdout=sys.stdout.isatty(),  # what goes to a file must get there
        )
        self._task = self._progress.add_task("", total=bar.total, completed=bar.done, note=_note(bar))
        self._progress.start()

    def update(self, bar: Bar) -> None:
        self._progress.update(self._task, completed=bar.done, note=_note(bar))

    def stop(self, bar: Bar) -> None:
        self._progress.stop()


class _Notebook:
    """A bar of HTML, which a thread keeps up to date."""

    def __init__(self) -> None:
        self._update: Callable[[Any], None] = lambda _: None
        self._over = threading.Event()

    def reserve(self) -> None:
        shown: Any = importlib.import_module("IPython.display")
        handle = shown.display(shown.HTML(""), display_id=True)
        self._update = lambda text: handle.update(shown.HTML(text))

    def start(self, bar: Bar) -> None:
        threading.Thread(target=self._tick, args=(bar,), name="mini-bar", daemon=True).start()

    def _tick(self, bar: Bar) -> None:
        self._update(bar_html(bar))
        while not self._over.wait(_TICK):
            self._update(bar_html(bar))

    def update(self, bar: Bar) -> None:
        """The thread does."""

    def stop(self, bar: Bar) -> None:
        self._over.set()
        with contextlib.suppress(RuntimeError):  # the kernel is being shut down
            self._update(bar_html(bar) if bar.keep else "")


class _Lines:
    """A line for each tenth of the jobs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = 0

    def start(self, bar: Bar) -> None:
        """Nothing is over yet."""

    def update(self, bar: Bar) -> None:
        tenth = bar.done * 10 // bar.total
        if tenth > self._shown:
            self._shown = tenth
            note = _note(bar)
            print(f"[{bar.done}/{bar.total}] {bar.seconds:.0f} s{f', {note}' if note else ''}", file=self._stream)

    def stop(self, bar: Bar) -> None:
        self._stream.flush()


def _note(bar: Bar) -> str:
    return f"{bar.failed} failed" if bar.failed else ""


def bar_html(bar: Bar) -> str:
    """A bar as HTML."""
    seconds = bar.seconds
    left = f", {_clock(seconds / bar.done * (bar.total - bar.done))} left" if 0 < bar.done < bar.total else ""
    note = f' <span style="color:#c00">{html.escape(_note(bar))}</span>' if bar.failed else ""
    return (
        f'<progress max="{bar.total}" value="{bar.done}" style="width:20em;vertical-align:middle"></progress> '
        f"{bar.done}/{bar.total}, {_clock(seconds)}{left}{note}"
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
