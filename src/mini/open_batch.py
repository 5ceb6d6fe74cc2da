"""A run that takes jobs while it runs: whoever drives it decides by what came of the earlier ones."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from mini import batch
from mini.apparatus.base import Apparatus
from mini.apparatus.stream import Stream
from mini.batch import BatchInterrupted, Guard, Mirror, Stopped
from mini.job import Job, Outcome
from mini.limits import Limits
from mini.runs.folder import RunFolder
from mini.watcher import Watcher


class OpenBatch:
    """The jobs of a run, added one by one, each wherever it shall run.

    Nothing is recorded before the first job is known to be able to start. A single engine is read by the caller's
    thread, where a debugger works best. At the end what has not finished is stopped, and files come home.

    Args:
        folder: The run.
        watcher: Told of each job that is over.
        manifest: Makes what `run.json` says, from the first apparatus; None for a run that has begun.
        limits: When to stop before the end.
        prepare: Called when the run is recorded, before its first job starts.
    """

    def __init__(
        self,
        folder: RunFolder,
        watcher: Watcher,
        manifest: Callable[[Apparatus], Mapping[str, Any]] | None,
        *,
        limits: Limits | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._watcher, self._manifest = folder, watcher, manifest
        self._prepare = prepare
        self._streams: list[Stream] = []
        self._elsewhere: list[Stream] = []
        self._by_options: dict[tuple[int, object], tuple[Apparatus, Stream]] = {}
        self._places: dict[int, tuple[Apparatus, list[Job]]] = {}
        self._jobs: dict[int, Job] = {}
        self._running: dict[int, Stream] = {}
        self._outcomes: list[Outcome] = []
        self._guard = Guard(self._streams, folder, limits or Limits())
        self._mirror = Mirror(self._elsewhere, [])
        self._merged = _Merged()
        self._stack = contextlib.ExitStack()
        self._has_begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for stream in self._streams:
                stream.close()
            if self._outcomes:
                for apparatus, _ in self._places.values():
                    apparatus.announce(self._folder)  # the list of jobs has grown
                batch.collect(list(self._places.values()), self._folder, self._outcomes, self._watcher)
            batch.cancel(self._jobs, self._outcomes)
        finally:
            self._stack.close()
        if isinstance(error, KeyboardInterrupt) and not isinstance(error, Stopped):
            raise BatchInterrupted("interrupted", self._outcomes, len(self._jobs)) from error

    @property
    def running(self) -> Mapping[int, Job]:
        """The jobs that are not over, by index."""
        return {index: self._jobs[index] for index in list(self._running)}

    def add(self, apparatus: Apparatus, job: Job, *, is_new: bool = True) -> None:
        """Start one more job.

        Args:
            apparatus: Where it runs.
            job: With an index that no other has, and a folder.
            is_new: Whether it is not in the run's list yet, and its folder must be empty.

        Raises:
            UsageError: Something is wrong with the job or its folder; it was not started.
            CloudError: The cloud is not ready.
            Stopped: The run was stopped.
        """
        if is_new:
            self._folder.require_free([job])
        parcels = apparatus.encode([job])
        if not self._has_begun:
            apparatus.ready()
            self._begin(apparatus)
        self._require_going()
        if is_new:
            self._folder.add_jobs([job])
        self._jobs[job.index] = job
        self._mirror.add(job)
        if id(apparatus.volume) not in self._places:
            apparatus.announce(self._folder)
        self._places.setdefault(id(apparatus.volume), (apparatus, []))[1].append(job)
        key = (id(apparatus.volume), apparatus.options)
        if key in self._by_options:
            stream = self._by_options[key][1]
            self._running[job.index] = stream
            stream.add(parcels)
            self._merged.more(stream)
            return
        self._folder.add_engines([apparatus.kind])
        stream = apparatus.start(parcels)
        self._by_options[key] = (apparatus, stream)
        self._running[job.index] = stream
        self._streams.append(stream)
        if not apparatus.files_are_here:
            self._elsewhere.append(stream)
        self._merged.more(stream)

    def _begin(self, apparatus: Apparatus) -> None:
        if self._manifest is not None:
            self._folder.begin(self._manifest(apparatus))
        self._stack.enter_context(self._folder.driving())
        self._prepare()
        for context in (self._watcher, self._guard, self._mirror):
            self._stack.enter_context(context)
        self._has_begun = True

    def _require_going(self) -> None:
        if self._guard.why is not None:
            raise Stopped(self._guard.why, self._outcomes, len(self._jobs))

    def next(self) -> Outcome:
        """Wait for the next job that is over. Some must be running.

        Raises:
            Stopped: A limit was met, or somebody cancelled the run.
            StorageError: A job's outcome cannot be recorded, as the disk is full.
            CloudError: The connection was lost on the way.
        """
        try:
            outcome = self._merged.next()
        except StopIteration:
            why = self._guard.why or "stopped"
            raise Stopped(why, self._outcomes, len(self._jobs)) from None
        self._running.pop(outcome.index, None)
        self._outcomes.append(outcome)
        self._mirror.finished(outcome)
        self._watcher.finished(outcome)
        self._guard.finished(outcome)
        return outcome

    def progress(self) -> Mapping[int, Mapping[str, Any]]:
        """What the running jobs said last, by index."""
        return {index: said for stream in list(self._streams) for index, said in stream.progress().items()}

    def prune(self, index: int) -> None:
        """Let `mini.progress` raise `Pruned` in a job. Nothing happens if it is over."""
        stream = self._running.get(index)
        if stream is not None:
            stream.prune(self._jobs[index])

    def stop(self, index: int) -> None:
        """Stop one job. Nothing happens if it is over."""
        stream = self._running.get(index)
        if stream is not None:
            stream.stop(index)


class _Merged:
    """Several streams as one, each read by a thread that waits while its stream has no more; a single one by none."""

    def __init__(self) -> None:
        self._arrived: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self._expected: dict[Stream, int] = {}
        self._read_by_thread: set[Stream] = set()
        self._changed = threading.Condition()

    def more(self, stream: Stream) -> None:
        """One more job was started on a stream."""
        with self._changed:
            self._expected[stream] = self._expected.get(stream, 0) + 1
            self._changed.notify_all()

    def next(self) -> Outcome:
        """Wait for the next outcome of any.

        Raises:
            StopIteration: A stream was closed.
        """
        if len(self._expected) == 1:
            (stream,) = self._expected
            outcome = next(stream)
            self._expected[stream] -= 1
            return outcome
        for stream in self._expected.keys() - self._read_by_thread:
            self._read_by_thread.add(stream)
            threading.Thread(target=self._read, args=(stream,), name="mini-stream", daemon=True).start()
        item = self._arrived.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _read(self, stream: Stream) -> None:
        while True:
            with self._changed:
                while not self._expected[stream]:
                    self._changed.wait()
            try:
                outcome = next(stream)
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                self._arrived.put(error)
                return
            with self._changed:
                self._expected[stream] -= 1
            self._arrived.put(outcome)
