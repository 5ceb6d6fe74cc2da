"""Notices at the end of a run and at its first failure: on the desktop, to a webhook, by a command."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from omegaconf import OmegaConf

from mini.apparatus import options
from mini.apparatus.options import boolean, option, text, texts
from mini.errors import OptionError
from mini.job import Outcome
from mini.runs.folder import RunFolder
from mini.watcher import Relay, Watcher

_PATIENCE = 10.0  # seconds that a server or a command may take
EVENTS = ("end", "failure")


def _events(value: Any) -> tuple[str, ...]:
    chosen = texts(value)
    if not chosen or not set(chosen) <= set(EVENTS):
        raise ValueError(f"it must be a list of {' and '.join(EVENTS)}")
    return chosen


@dataclass(frozen=True)
class Notify:
    """`hydra.launcher.notify`: who is told of what."""

    desktop: bool = option(False, "show it on this desktop, with notify-send or osascript", boolean)
    webhook: str | None = option(None, "POST it as JSON to this address: Slack, Discord, Teams, ntfy or your own", text)
    command: str | None = option(None, "run this command, with the notice in its environment and its input", text)
    events: tuple[str, ...] = option(EVENTS, "`end`, when the run is over; `failure`, at its first failed job", _events)


def parse(value: Any) -> Notify | None:
    """Check what a config says.

    Args:
        value: `desktop`, an address, a mapping of the fields of `Notify`, or None for no notices.

    Raises:
        OptionError: A field is unknown, a value impossible, or there is no way to show notices on this desktop.
    """
    name = "hydra.launcher.notify"
    if value is None or value is False:
        return None
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    if isinstance(value, str):
        value = {"desktop": True} if value == "desktop" else {"webhook": value}
    chosen = options.parse(Notify, value, name)
    if not (chosen.desktop or chosen.webhook or chosen.command):
        raise OptionError(f"{name} names nobody to tell; set {name}.desktop, .webhook or .command")
    if chosen.webhook is not None and not urlsplit(chosen.webhook).scheme.startswith("http"):
        raise OptionError(f"{name}={chosen.webhook!r} is no address; it must be desktop, or begin with https://")
    if chosen.command is not None and shutil.which(shlex.split(chosen.command)[0]) is None:
        raise OptionError(f"{name}.command: there is no command {shlex.split(chosen.command)[0]!r}")
    if chosen.desktop and _desktop("", "") is None:
        raise OptionError(f"{name}: there is neither notify-send nor osascript here; use a webhook or a command")
    return chosen


@dataclass(frozen=True)
class Notice:
    """What somebody is told.

    Args:
        event: One of `EVENTS`.
        run: The run's name.
        text: The whole in a sentence.
        counts: How many jobs are in each state so far.
        folder: Where the run is.
        seconds: Since it began.
        job: The number of the job that failed.
    """

    event: str
    run: str
    text: str
    counts: Mapping[str, int]
    folder: str
    seconds: float
    job: int | None = None

    def as_json(self) -> bytes:
        """For programs; `text` is what Slack shows, and `content` what Discord does."""
        return json.dumps({**vars(self), "content": self.text}).encode()


def send(notify: Notify, notice: Notice) -> list[str]:
    """Tell whoever is to be told.

    Args:
        notify: Who that is.
        notice: What.

    Returns:
        A sentence for each way that did not work; no address in it, as that is often a secret.
    """
    ways: list[tuple[str, Callable[[], None]]] = []
    if notify.webhook is not None:
        host = urlsplit(notify.webhook).hostname
        ways.append((f"the webhook at {host}", lambda: _post(str(notify.webhook), notice)))
    if notify.command is not None:
        ways.append((f"the command {notify.command!r}", lambda: _run(shlex.split(str(notify.command)), notice)))
    if notify.desktop:
        ways.append(("the desktop", lambda: _run(_desktop(f"mini: {notice.run}", notice.text) or [], notice)))
    problems = []
    for name, way in ways:
        try:
            way()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            problems.append(f"{name} could not be told of the {notice.event} of {notice.run}: {_reason(error)}")
    return problems


def _post(address: str, notice: Notice) -> None:
    request = urllib.request.Request(address, notice.as_json(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=_PATIENCE):
        pass


def _run(words: list[str], notice: Notice) -> None:
    environment = {"MINI_EVENT": notice.event, "MINI_RUN": notice.run, "MINI_TEXT": notice.text}
    subprocess.run(
        words,
        input=notice.as_json(),
        env={**os.environ, **environment, "MINI_FOLDER": notice.folder},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=_PATIENCE,
        check=True,
    )


def _desktop(title: str, message: str) -> list[str] | None:
    if sys.platform == "darwin" and shutil.which("osascript"):
        quoted = (json.dumps(part, ensure_ascii=False) for part in (message, title))
        return ["osascript", "-e", "display notification {} with title {}".format(*quoted)]
    return ["notify-send", "--", title, message] if shutil.which("notify-send") else None


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"it answered {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    if isinstance(error, subprocess.CalledProcessError):
        return f"exit code {error.returncode} {error.stderr.decode(errors='replace').strip()[-200:]}".strip()
    return str(error)


class Notifier:
    """Tells of a run: once at its first failure, once at its end. A notice that cannot be sent fails nothing.

    Args:
        notify: Who is told: what a config says, or a `Notify`; None for nobody.
        folder: The run.

    Raises:
        OptionError: As for `parse`.
    """

    def __init__(self, notify: Any, folder: RunFolder) -> None:
        self.notify = notify if isinstance(notify, Notify) else parse(notify)
        self._run, self._folder = folder.id, str(folder.path)
        self._began = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._failed = False
        self._sending: list[threading.Thread] = []
        self._warn: Callable[[str], None] = lambda _: None

    def watching(self, watcher: Watcher) -> Watcher:
        """A watcher that also counts for this one."""
        self._warn = watcher.warn
        return _Counting(watcher, self) if self.notify is not None else watcher

    def finished(self, outcome: Outcome) -> None:
        """One job is over."""
        self._counts[outcome.state.value] += 1
        if not outcome.ok and not self._failed and outcome.state != "cancelled":
            self._failed = True
            self._tell("failure", f"job {outcome.index} of {self._run}: {outcome.failure}", outcome.index)

    def end(self) -> None:
        """The run is over; a second call does nothing."""
        if self._counts:
            counts = ", ".join(f"{count} {state}" for state, count in sorted(self._counts.items()))
            self._tell("end", f"{self._run} is over: {counts}")
            self._counts.clear()
        for thread in self._sending:
            thread.join(3 * _PATIENCE)

    def _tell(self, event: str, message: str, job: int | None = None) -> None:
        if self.notify is None or event not in self.notify.events:
            return
        seconds = round(time.monotonic() - self._began, 3)
        notice = Notice(event, self._run, message, dict(self._counts), self._folder, seconds, job)
        thread = threading.Thread(target=self._send, args=(self.notify, notice), name="mini-notify", daemon=True)
        thread.start()  # the batch does not wait for somebody's server
        self._sending.append(thread)

    def _send(self, notify: Notify, notice: Notice) -> None:
        for problem in send(notify, notice):
            self._warn(problem)


class _Counting(Relay):
    """Passes everything on, and counts."""

    def __init__(self, watcher: Watcher, notifier: Notifier) -> None:
        super().__init__(watcher)
        self._notifier = notifier

    def finished(self, outcome: Outcome) -> None:
        super().finished(outcome)
        self._notifier.finished(outcome)
