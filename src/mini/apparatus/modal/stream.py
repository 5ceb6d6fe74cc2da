"""The outcomes of a map on Modal.

Every input of a call costs requests, whatever its job does; several short jobs to an input cost as much as one. How
long jobs take is known from the first of them, which are sent alone; the rest is held back until then, but for a
second only, so that long jobs do not wait. A group of jobs ends early when it takes longer than was thought, and
those of its jobs that did not begin are sent again, alone; so are those of a group whose container was lost.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mini.apparatus.base import Stream
from mini.apparatus.modal import container
from mini.apparatus.modal.errors import lost, translate
from mini.apparatus.modal.plugin import ModalOptions
from mini.apparatus.modal.session import Session, retries
from mini.apparatus.modal.volume import ModalVolume
from mini.errors import MiniError
from mini.job import Job, Outcome
from mini.runs import layout, records
from mini.worker.pickling import Parcel

_BURST = 0.002  # seconds in which results gather
_CLOSING = 3.0  # seconds
_SHORT_TIMEOUT = 60.0  # seconds; one that is shorter is to be kept to, and a group would use some of it
_FIRST = 16  # jobs that are sent alone, to see how long they take
_ENOUGH = 8  # of them say it
_HOLD = 1.0  # seconds the others wait for that
_AT_ONCE = 1000  # inputs of a call that Modal's client has under way
_LARGEST = 64  # jobs of a group
_WIDTH = 8  # containers that jobs are divided among where nothing is said of how many there are


class ModalStream(Stream):
    """Sends jobs, and reads what comes back in threads: Modal's client swallows an interrupt that reaches it.

    Args:
        session: Whose apps they are.
        options: As the apparatus has them.
        function: The generic function.
        parcels: The jobs.
        message: Makes an input of some parcels of one function.
    """

    def __init__(
        self,
        session: Session,
        options: ModalOptions,
        function: Any,
        parcels: Sequence[Parcel],
        message: Callable[[Sequence[Parcel]], bytes],
    ) -> None:
        self._session, self._options, self._function, self._message = session, options, function, message
        self._parcels = {parcel.job.index: parcel for parcel in parcels}
        self._waiting = set(self._parcels)
        self._unsent = list(self._parcels)
        self._seconds: list[float] = []
        self._calls: list[_Call] = []
        self._arrived: queue.SimpleQueue[tuple[_Call, Any]] = queue.SimpleQueue()
        self._ready: list[Outcome] = []
        self._closed = False
        group = options.group
        short = options.timeout < _SHORT_TIMEOUT
        alone = short or bool(retries(options.retries)) or options.single_use_containers
        self._group = 1 if alone else group
        if self._group is None and len(parcels) > 2 * _FIRST:
            self._send_alone(_FIRST)
            self._held = True
        else:
            self._held = False
            self._send_rest(self._group or 1)

    def __next__(self) -> Outcome:
        while not self._ready and self._waiting and not self._closed:
            taken = self._take()
            if self._closed:
                break
            if taken is None:  # nothing was heard for a while
                self._held = False
                self._send_alone(_AT_ONCE)
                continue
            call, item = taken
            if isinstance(item, bytes):
                self._receive(call, pickle.loads(item))
            elif isinstance(item, _Broken):
                raise translate(item.error, "run the jobs") from item.error
            elif isinstance(item, BaseException):
                call.errors.append(item)
            else:
                self._calls.remove(call)
                self._end(call)
        if self._ready and not self._closed:
            return self._ready.pop(0)
        raise StopIteration

    def _receive(self, call: _Call, received: Outcome | list[Outcome]) -> None:
        outcomes = received if isinstance(received, list) else [received]
        for outcome in outcomes:
            call.id = call.id or outcome.where.get("call")
            if outcome.index in self._waiting:
                self._waiting.remove(outcome.index)
                self._ready.append(_at_home(outcome))
            self._seconds.append(outcome.seconds or 0.0)
        if isinstance(received, list):
            members = call.group_of(outcomes[0].index)
            self._send([[index] for index in members if index in self._waiting])
        if self._unsent and len(self._seconds) >= _ENOUGH:
            self._send_rest(self._group_size())

    def _group_size(self) -> int:
        """How many of the jobs that were held back to send at once."""
        usual = statistics.median(self._seconds)
        at_most = max(1, len(self._unsent) // (4 * (self._options.max_containers or _WIDTH)))
        return max(1, min(_LARGEST, at_most, int(container.GROUP_SECONDS / 2 / max(usual, 1e-3))))

    def _send_alone(self, count: int) -> None:
        now, self._unsent = self._unsent[:count], self._unsent[count:]
        self._send([[index] for index in now])

    def _send_rest(self, size: int) -> None:
        self._held = False
        by_function: dict[str, list[int]] = {}
        for index in self._unsent:
            by_function.setdefault(self._parcels[index].shared.digest, []).append(index)
        self._unsent = []
        self._send([same[i : i + size] for same in by_function.values() for i in range(0, len(same), size)])

    def _send(self, inputs: list[list[int]]) -> None:
        """Make one call of these inputs, each the indices of its jobs."""
        if inputs:
            call = _Call(inputs)
            self._calls.append(call)
            messages = [self._message([self._parcels[index] for index in group]) for group in inputs]
            call.thread = threading.Thread(target=self._read, args=(call, messages), name="mini-modal-map", daemon=True)
            call.thread.start()

    def _read(self, call: _Call, messages: list[bytes]) -> None:
        try:
            for result in self._function.map(messages, order_outputs=False, return_exceptions=True):
                self._arrived.put((call, result))
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._arrived.put((call, _Broken(error)))
        self._arrived.put((call, None))

    def _take(self) -> tuple[_Call, Any] | None:
        """The next of what was read; None if jobs are held back and nothing comes.

        To wake for each of a burst would slow down the threads that read it.
        """
        with contextlib.suppress(queue.Empty):
            return self._arrived.get_nowait()
        time.sleep(_BURST)
        with contextlib.suppress(queue.Empty):
            return self._arrived.get(timeout=_HOLD if self._held else None)
        return None

    def _end(self, call: _Call) -> None:
        """A call is over. What became of its jobs that have no outcome?"""
        groups = [[index for index in group if index in self._waiting] for group in call.inputs if len(group) > 1]
        self._send([[index] for group in groups for index in group if not self._under_way(index)])
        missing = {
            group[0]: place
            for place, group in enumerate(call.inputs)
            if len(group) == 1 and group[0] in self._waiting and not self._under_way(group[0])
        }
        if missing and call.errors:
            self._settle(call, missing)
        elif missing:
            self._waiting -= missing.keys()  # the call was stopped
        if self._unsent and not self._calls:
            self._send_rest(1)

    def _under_way(self, index: int) -> bool:
        return any(index in group for call in self._calls for group in call.inputs)

    def _settle(self, call: _Call, missing: Mapping[int, int]) -> None:
        """Find out whose the errors are that came instead of outcomes, and record what became of those jobs.

        Results come in no order, and an error does not say whose it is. Where all errors mean the same it does not
        matter; else the call is asked for each of its inputs that has no outcome.
        """
        timeout = float(self._options.timeout)
        meanings = [lost(error, timeout) for error in call.errors]
        alike = len({(state, failure.type) for state, failure in meanings}) == 1
        settled: list[Outcome] = []
        for (index, place), meaning in zip(sorted(missing.items()), meanings, strict=False):
            job = self._parcels[index].job
            state, failure = meaning
            if not alike and call.id is not None:
                found = self._session.result(call.id, place)
                if isinstance(found, bytes):
                    settled.append(pickle.loads(found))
                    continue
                state, failure = lost(found, timeout)
            elif not alike:
                failure = replace(failure, message=f"{failure.message} (or as one of its neighbours ended)")
            settled.append(_lost(job, state, failure))
        self._waiting -= missing.keys()
        rows = {index: self._parcels[index].job.row for index in missing}
        with contextlib.suppress(MiniError):  # the volume cannot be reached; the caller is told of each job any way
            settled = list(_record(self._session.volume, settled, rows))
        self._ready.extend(map(_at_home, settled))

    def close(self) -> None:
        """Stop what has not finished."""
        unfinished, self._closed = bool(self._waiting) and not self._closed, True
        calls = list(self._calls)
        for call in calls:
            self._arrived.put((call, None))
        if unfinished:
            for known in [call.id for call in calls if call.id] if all(call.id for call in calls) else [None]:
                self._session.cancel(known, self._options)
        # Modal's client tells the server that it has all it wants, after its last result.
        for call in calls:
            call.thread.join(_CLOSING)


@dataclass(eq=False)
class _Call:
    """One call of the generic function.

    Args:
        inputs: The indices of the jobs in each input.
    """

    inputs: list[list[int]]
    id: str | None = None
    errors: list[BaseException] = field(default_factory=list)
    thread: threading.Thread = field(init=False)

    def group_of(self, index: int) -> list[int]:
        """The jobs that were sent with one."""
        return next(group for group in self.inputs if index in group)


class _Broken(BaseException):
    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def _record(
    volume: ModalVolume, outcomes: Sequence[Outcome], rows: Mapping[int, Mapping[str, Any]]
) -> Iterator[Outcome]:
    """Write the records of jobs whose containers could not; where one did before it was lost, that one stands."""
    new = []
    for outcome in outcomes:
        if outcome.folder is None or outcome.ok:
            yield outcome
            continue
        with tempfile.TemporaryDirectory() as temporary:
            recorded = None
            with contextlib.suppress(MiniError, FileNotFoundError):
                data = volume.read(str(PurePosixPath(outcome.folder, layout.RECORD).relative_to(container.OUTPUTS)))
                Path(temporary, layout.RECORD).write_bytes(data)
                recorded = replace(records.read_record(Path(temporary)).outcome, folder=outcome.folder)
        if recorded is not None and recorded.ok:
            yield recorded
        else:
            new.append(outcome)
            yield outcome
    with tempfile.TemporaryDirectory() as temporary:
        for outcome in new:
            assert outcome.folder is not None
            folder = Path(temporary, *PurePosixPath(outcome.folder).relative_to(container.OUTPUTS).parts)
            records.write_record(replace(outcome, folder=str(folder)), rows.get(outcome.index, {}))
        if new:
            volume.upload(temporary, "")


def _at_home(outcome: Outcome) -> Outcome:
    """The outcome with its folder as it is, or will be, on this machine."""
    return replace(outcome, folder=str(Path(outcome.folder).absolute())) if outcome.folder else outcome


def _lost(job: Job, state: Any, failure: Any) -> Outcome:
    folder = job.folder if job.record else None
    return Outcome(
        job.index, state, failure=failure, ended=time.time(), attempt=job.attempt, folder=folder, key=job.key
    )
