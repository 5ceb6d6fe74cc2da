"""The outcomes of a map on Modal.

Every input of a call costs requests, whatever its job does; several short jobs to an input cost as much as one. How
long jobs take is known from the first of them, which are sent alone; the rest is held back until then, but for a
second only, so that long jobs do not wait. A bundle of jobs ends early when it takes longer than was thought, and
those of its jobs that did not begin are sent again, alone; so are those of a bundle whose container was lost.

Modal cannot cancel one input. A job that shall stop is marked where its container looks every few seconds.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mini.apparatus.grouping import Grouping
from mini.apparatus.modal import beat, container
from mini.apparatus.modal.errors import lost, translate
from mini.apparatus.modal.plugin import ModalOptions
from mini.apparatus.modal.session import Session, retries
from mini.apparatus.modal.settled import at_home, record, unsaid
from mini.apparatus.stream import Stream
from mini.errors import MiniError, UsageError
from mini.job import Failure, Job, Outcome, State
from mini.worker.pickling import Parcel

_INLINE = 2048  # bytes; functions that need no more for all inputs travel with them, and have no place of their own
_BURST = 0.002  # seconds in which results gather
_CLOSING = 3.0  # seconds
_SHORT_TIMEOUT = 60.0  # seconds; one that is shorter is to be kept to, and a bundle would use some of it
_FIRST = 16  # jobs that are sent alone, to see how long they take
_HOLD = 1.0  # seconds the others wait for that
_AT_ONCE = 1000  # inputs of a call that Modal's client has under way
UNLIMITED_WIDTH = 8
"""The containers that jobs are divided among where nothing is said of how many there are."""
_LOOK = 2.0  # seconds until the first look at how far the jobs are, and between two
_STOPPING = 15.0  # seconds a container has to say that it stopped a job; after them the job was in none


def grouping(options: ModalOptions) -> Grouping:
    """How jobs with these options travel.

    Args:
        options: As the apparatus has them.
    """
    short = options.timeout < _SHORT_TIMEOUT
    alone = short or bool(retries(options.retries)) or options.single_use_containers
    return Grouping(
        width=options.max_containers or UNLIMITED_WIDTH,
        seconds=container.GROUP_SECONDS / 2,
        enough=_FIRST // 2,
        hold=_HOLD,
        fixed=1 if alone else options.group,
    )


class ModalStream(Stream):
    """Sends jobs, and reads what comes back in threads: Modal's client swallows an interrupt that reaches it.

    Args:
        session: Whose apps they are.
        options: As the apparatus has them.
        parcels: The jobs.
    """

    def __init__(self, session: Session, options: ModalOptions, parcels: Sequence[Parcel]) -> None:
        self._session, self._options = session, options
        self._grouping = grouping(options)
        self._held = False
        self._stored: set[str] = set()
        self._parcels: dict[int, Parcel] = {}
        self._waiting: set[int] = set()
        self._unsent: list[int] = []
        self._stopping: dict[int, float] = {}
        self._calls: list[_Call] = []
        self._arrived: queue.SimpleQueue[tuple[_Call, Any] | None] = queue.SimpleQueue()
        self._ready: list[Outcome] = []
        self._said: dict[int, Mapping[str, Any]] = {}
        self._over = threading.Event()
        self._watching = False
        self._lock = threading.RLock()
        self.add(parcels)

    # What its user calls.

    def add(self, parcels: Sequence[Parcel]) -> None:
        """Start more jobs.

        Raises:
            UsageError: The stream is closed.
            CloudError: Modal does not take them.
        """
        with self._lock:
            if self._over.is_set():
                raise UsageError("this stream is closed, and takes no more jobs; start them anew")
            self._store(parcels)
            self._parcels |= {parcel.job.index: parcel for parcel in parcels}
            self._waiting |= {parcel.job.index for parcel in parcels}
            self._unsent += [parcel.job.index for parcel in parcels]
            self._send_some()
            if not self._watching and any(parcel.job.record for parcel in parcels):
                self._watching = True
                threading.Thread(target=self._watch, name="mini-modal-progress", daemon=True).start()

    def stop(self, index: int) -> None:
        """Stop one job: where it has not been sent, at once; else its container does it, within seconds.

        Args:
            index: The job's index.
        """
        with self._lock:
            if index not in self._waiting or index in self._stopping or self._over.is_set():
                return
            if index in self._unsent:
                self._unsent.remove(index)
                self._settle_stopped([index])
                return
            self._stopping[index] = self._grouping.now() + _STOPPING
            self._arrived.put(None)
        self._session.mark(_key(self._parcels[index]))

    def prune(self, job: Job) -> None:
        """Let a job end early: its container hears of it within seconds.

        Args:
            job: The job.
        """
        with self._lock:
            if job.index not in self._waiting or self._over.is_set():
                return
        self._session.mark(_key(self._parcels[job.index]), early=True)

    def progress(self) -> Mapping[int, Mapping[str, Any]]:
        """What the running jobs said last to a place where this stream looks every two seconds."""
        with self._lock:
            return {index: said for index, said in self._said.items() if index in self._waiting}

    def __next__(self) -> Outcome:
        while not self._over.is_set():
            with self._lock:
                if self._ready:
                    return self._ready.pop(0)
                if not self._waiting:
                    break
                patience = self._patience()
            taken = self._take(patience)
            with self._lock:
                if self._over.is_set():
                    break
                if taken is not None:
                    self._handle(*taken)
                self._give_up()
        raise StopIteration

    def close(self) -> None:
        """Stop what has not finished."""
        with self._lock:
            unfinished = bool(self._waiting) and not self._over.is_set()
            self._over.set()
            calls = list(self._calls)
            self._arrived.put(None)
        if unfinished:
            for known in [call.id for call in calls if call.id] if all(call.id for call in calls) else [None]:
                self._session.cancel(known, self._options)
        # Modal's client tells the server that it has all it wants, after its last result.
        for call in calls:
            call.thread.join(_CLOSING)

    # What comes back.

    def _patience(self) -> float | None:
        """Seconds to wait for something to arrive; None where nothing else is to be done meanwhile."""
        until = [max(0.0, deadline - self._grouping.now()) for deadline in self._stopping.values()]
        return min([*until, *([self._grouping.hold] if self._held else [])], default=None)

    def _take(self, patience: float | None) -> tuple[_Call, Any] | None:
        """The next of what was read; None if nothing comes.

        To wake for each of a burst would slow down the threads that read it.
        """
        with contextlib.suppress(queue.Empty):
            return self._arrived.get_nowait()
        time.sleep(_BURST)
        with contextlib.suppress(queue.Empty):
            return self._arrived.get(timeout=patience)
        return None

    def _handle(self, call: _Call, item: Any) -> None:
        if isinstance(item, bytes):
            self._receive(call, pickle.loads(item))
        elif isinstance(item, _Broken):
            raise translate(item.error, "run the jobs") from item.error
        elif isinstance(item, BaseException):
            call.errors.append(item)
        else:
            self._calls.remove(call)
            self._end(call)

    def _receive(self, call: _Call, received: Outcome | list[Outcome]) -> None:
        outcomes = received if isinstance(received, list) else [received]
        for outcome in outcomes:
            call.id = call.id or outcome.where.get("call")
            if outcome.index in self._waiting:
                self._finish(outcome.index)
                self._ready.append(at_home(outcome, self._session.homes))
            self._grouping.finished(outcome.seconds)
        if isinstance(received, list):
            members = call.bundle_of(outcomes[0].index)
            self._send([[index] for index in members if index in self._waiting])
        if self._unsent and self._grouping.is_known:
            self._send_some()

    def _finish(self, index: int) -> None:
        self._waiting.discard(index)
        self._stopping.pop(index, None)
        self._said.pop(index, None)

    def _give_up(self) -> None:
        """Hold jobs back no longer than is good for them, and wait for no container that stops nothing."""
        if self._held and self._grouping.hold == 0:
            self._send_some()
        late = [index for index, deadline in self._stopping.items() if self._grouping.now() >= deadline]
        if late:
            self._settle_stopped(late)

    def _settle_stopped(self, indices: Sequence[int]) -> None:
        """Record that jobs were stopped that no container has."""
        failure = Failure("Cancelled", "it was stopped before it began")
        self._record([unsaid(self._parcels[index].job, State.CANCELLED, failure) for index in indices])
        self._arrived.put(None)

    # Sending.

    def _store(self, parcels: Sequence[Parcel]) -> None:
        """Put functions that are not to travel with every input where containers find them."""
        if sum(len(parcel.shared.data) for parcel in parcels) > _INLINE:
            shared = {parcel.shared.digest: parcel.shared.data for parcel in parcels}
            self._session.store(shared)
            self._stored |= shared.keys()

    def _message(self, together: Sequence[Parcel]) -> bytes:
        shared = together[0].shared
        function = None if shared.digest in self._stored else shared.data
        return container.message(shared.digest, function, [parcel.data for parcel in together])

    def _send_some(self) -> None:
        """Send the jobs that wait: all once it is known how long they take; until then no more than are needed."""
        waiting = len(self._unsent)
        self._held = not self._grouping.is_known and self._grouping.hold > 0 and waiting > 2 * _FIRST
        if self._held:
            self._send_alone(_FIRST)
        elif self._grouping.is_known or waiting <= _AT_ONCE:
            self._send_rest()
        else:
            self._send_alone(_AT_ONCE)

    def _send_alone(self, count: int) -> None:
        now, self._unsent = self._unsent[:count], self._unsent[count:]
        self._send([[index] for index in now])

    def _send_rest(self) -> None:
        size = self._grouping.size(len(self._unsent))
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
            messages = [self._message([self._parcels[index] for index in bundle]) for bundle in inputs]
            function = self._session.function(self._options)
            call.thread = threading.Thread(
                target=self._read, args=(call, function, messages), name="mini-modal-map", daemon=True
            )
            call.thread.start()

    def _read(self, call: _Call, function: Any, messages: list[bytes]) -> None:
        try:
            for result in function.map(messages, order_outputs=False, return_exceptions=True):
                self._arrived.put((call, result))
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._arrived.put((call, _Broken(error)))
        self._arrived.put((call, None))

    # How far the jobs are.

    def _watch(self) -> None:
        while not self._over.wait(_LOOK):
            with self._lock:
                keys = {_key(self._parcels[index]): index for index in self._waiting if self._parcels[index].job.record}
            if keys:
                said = self._session.progress()
                with self._lock:
                    self._said = {keys[key]: values for key, values in said.items() if key in keys}

    # Calls that are over.

    def _end(self, call: _Call) -> None:
        """A call is over. What became of its jobs that have no outcome?"""
        bundles = [[index for index in bundle if index in self._waiting] for bundle in call.inputs if len(bundle) > 1]
        self._send([[index] for bundle in bundles for index in bundle if not self._under_way(index)])
        missing = {
            bundle[0]: place
            for place, bundle in enumerate(call.inputs)
            if len(bundle) == 1 and bundle[0] in self._waiting and not self._under_way(bundle[0])
        }
        if missing and call.errors:
            self._settle(call, missing)
        elif missing:  # the call was stopped
            for index in missing:
                self._finish(index)
        if self._unsent and not self._calls:
            self._send_some()

    def _under_way(self, index: int) -> bool:
        return any(index in bundle for call in self._calls for bundle in call.inputs)

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
            settled.append(unsaid(job, state, failure))
        for index in missing:
            self._finish(index)
        self._record(settled)

    def _record(self, outcomes: Sequence[Outcome]) -> None:
        """Record what no container could, and hand it on."""
        settled = list(outcomes)
        rows = {outcome.index: self._parcels[outcome.index].job.row for outcome in settled}
        with contextlib.suppress(MiniError):  # the volume cannot be reached; the caller is told of each job any way
            settled = list(record(self._session.volume, settled, rows))
        for outcome in settled:
            self._finish(outcome.index)
            self._ready.append(at_home(outcome, self._session.homes))


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

    def bundle_of(self, index: int) -> list[int]:
        """The jobs that were sent with one."""
        return next(bundle for bundle in self.inputs if index in bundle)


class _Broken(BaseException):
    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def _key(parcel: Parcel) -> str:
    return beat.key(parcel.shared.digest, parcel.job.folder, parcel.job.index)
