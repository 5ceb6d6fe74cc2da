"""The contract of an apparatus, and everything that is the same for all of them."""

from __future__ import annotations

import abc
import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from mini.apparatus import handle, options
from mini.apparatus.ordered import Starting, in_order, in_order_async, next_outcome
from mini.apparatus.stream import Stream
from mini.apparatus.volume import Volume
from mini.errors import OptionError, UsageError, did_you_mean
from mini.job import Job
from mini.limits import Limits
from mini.runs.folder import RunFolder
from mini.worker import pickling
from mini.worker.pickling import Parcel

Hook = Callable[[], Any]
_batches = itertools.count()


class Apparatus(abc.ABC):
    """Where functions run.

    `run` and `map` behave like those of `concurrent.futures.Executor`: work starts at the call, iterables are zipped,
    results come in the order of the input, an exception is raised where its result would have come. A failure of one
    job never stops the others. Every apparatus is a context manager, may be used from several threads and from a
    running event loop, and cannot be used after it was closed.

    Args:
        name: What its files are filed under.
        volume: Where the files of its jobs go.
        options: As `w` takes them.

    Raises:
        OptionError: An option is unknown or its value impossible.
    """

    kind: ClassVar[str]
    """The name of the apparatus in config."""

    options_type: ClassVar[type[Any]]
    """What `w` takes: a frozen dataclass, its fields made with `mini.apparatus.options.option`."""

    files_are_here: ClassVar[bool] = True
    """Whether jobs write their files straight into the run folder on this machine."""

    keeps_files: ClassVar[bool] = True
    """Whether what jobs wrote is still there when this process was killed."""

    can_be_driven: ClassVar[bool] = True
    """Whether a process without a terminal can take this one's place, for a run that is detached."""

    goes_on_alone: ClassVar[bool] = False
    """Whether a run can go on with no process of this machine: then there is `detach`."""

    def __init__(self, name: str = "mini", **options: Any) -> None:
        self.name = name
        self.options: Any = self._with(self.options_type(), options)
        self._hooks: tuple[Hook, ...] = ()
        self._closed = _Flag()

    # What a user calls.

    def run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call `fn(*args, **kwargs)` there and wait for its value.

        Args:
            fn: Any function that can be pickled by value; closures and lambdas too.
            args: Positional arguments.
            kwargs: Keyword arguments.

        Returns:
            What the function returned.

        Raises:
            UnpicklableError: The function or an argument cannot travel; nothing was started.
            JobError: The job has no value, and its own exception could not be rebuilt.
            Exception: What the function raised; its cause is a `JobError` with the remote traceback.
        """
        with self._starting(fn, [(args, kwargs)]) as stream:
            return next(stream).result()

    def map(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        kwargs: Mapping[str, Any] | None = None,
        return_exceptions: bool = False,
        progress: bool | None = None,
    ) -> Iterator[Any]:
        """Call `fn` for each tuple of the zipped iterables.

        Args:
            fn: As for `run`.
            iterables: Read to the end of the shortest before anything starts.
            kwargs: Keyword arguments of every call.
            return_exceptions: Yield the exception of a failed job in its place, instead of raising it.
            progress: Whether to show a progress bar. None: on a terminal or in a notebook, if it takes over a second.

        Returns:
            An iterator over the values, in the order of the input. Leaving it early stops what has not finished.

        Raises:
            UnpicklableError: The function or an argument cannot travel; nothing was started.
        """
        return in_order(self._starting_map(fn, iterables, kwargs), self._shown(progress), return_exceptions)

    def spawn(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> handle.Run:
        """As `map`, for work that outlives the caller: the jobs go on when this process is gone.

        Args:
            fn: As for `run`.
            iterables: As for `map`.
            kwargs: As for `map`.
            name: Of the run, a folder under `outputs/`; None for the time and a few letters.

        Returns:
            A handle; `Run.open(run.id)` gives it again, in any process.

        Raises:
            UnpicklableError: The function or an argument cannot travel; nothing was started.
            RunFolderError: There is a run of that name.
            UsageError: This apparatus has nothing that outlives the caller.
        """
        if not iterables:
            raise UsageError("spawn needs at least one iterable, as map does")
        self._require_open()
        calls = [(args, kwargs or {}) for args in zip(*iterables, strict=False)]
        return handle.spawn(self, fn, calls, name)

    async def arun(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As `run`, without blocking the event loop. Cancelling it stops the job."""
        with self._starting(fn, [(args, kwargs)]) as stream:
            outcome = await asyncio.get_running_loop().run_in_executor(None, next_outcome, stream)
            assert outcome is not None
            return outcome.result()

    def amap(
        self,
        fn: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        kwargs: Mapping[str, Any] | None = None,
        return_exceptions: bool = False,
        progress: bool | None = None,
    ) -> AsyncIterator[Any]:
        """As `map`, as an asynchronous iterator. Work starts at the call; cancelling stops the jobs."""
        return in_order_async(self._starting_map(fn, iterables, kwargs), self._shown(progress), return_exceptions)

    def w(self, **options: Any) -> Self:
        """The same apparatus with other options.

        Args:
            options: The fields of the engine's options dataclass.

        Returns:
            A view that shares workers and volume with this one; closing either closes both.

        Raises:
            OptionError: An option is unknown or its value impossible.
        """
        return self.view(self._with(self.options, options))

    def before_each(self, hook: Hook) -> Hook:
        """Call `hook()` in the worker before each job, in the order of registration. Usable as a decorator.

        A hook that raises fails the job. It travels like a function: by value if need be.
        """
        self._hooks = (*self._hooks, hook)
        return hook

    def without_hooks(self) -> Self:
        """A view whose jobs call no hook: for work of ours, such as combining, which is no job of the user's."""
        view = self.view(self.options)
        view._hooks = ()
        return view

    @property
    @abc.abstractmethod
    def volume(self) -> Volume:
        """Where the jobs leave their files."""

    def close(self) -> None:
        """Stop the workers. What was running is lost; a second call does nothing."""
        if not self._closed.value:
            self._closed.value = True
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What the rest of the package calls.

    @property
    def width(self) -> int:
        """How many jobs it runs at a time, or as many as are good for it to have at a time where there is no limit."""
        return 1

    def view(self, options: Any) -> Self:
        """As `w`, with all options at once.

        Args:
            options: An instance of `options_type`.
        """
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view.options = options
        return view

    def encode(self, jobs: Sequence[Job]) -> list[Parcel]:
        """Make jobs ready to travel; starts nothing.

        Args:
            jobs: With distinct indices.

        Raises:
            UnpicklableError: A function or an argument cannot travel.
        """
        functions = {id(job.fn): job.fn for job in jobs}
        shared = {key: pickling.encode_shared(fn, self._hooks) for key, fn in functions.items()}
        return [pickling.encode(job, shared[id(job.fn)]) for job in jobs]

    def start(self, parcels: Sequence[Parcel]) -> Stream:
        """Start encoded jobs. A failed job is tried again as often as `retries` says.

        Returns:
            A stream of one outcome for each job, in the order they finish.

        Raises:
            UsageError: The apparatus is closed.
        """
        self._require_open()
        return self._start(parcels)

    def require_detachable(self) -> None:
        """Refuse what cannot go on without this process, before anything is recorded.

        Raises:
            UsageError: Nothing of this apparatus outlives the caller.
        """
        if not (self.can_be_driven or self.goes_on_alone):
            raise UsageError(f"nothing of apparatus={self.kind} outlives the command; use local or modal")

    def detach(
        self, folder: RunFolder, parts: Sequence[tuple[Self, Sequence[Parcel]]], limits: Limits
    ) -> dict[str, Any]:
        """Start the encoded jobs of a run where they go on without this process; only if `goes_on_alone`.

        Args:
            folder: The run, begun.
            parts: Views of this apparatus, and the jobs of each.
            limits: When the run shall stop; kept by the engine, whether somebody looks or not.

        Returns:
            What the engine's `attach` needs to find them again: JSON values.
        """
        raise NotImplementedError

    def ready(self) -> None:  # noqa: B027 - here nothing has to be got ready
        """Get ready to start jobs, so that what is wrong is known before a run is recorded."""

    def manifest(self) -> dict[str, Any]:
        """What `run.json` says of it: JSON values."""
        return {}

    def place(self, run: Path) -> str | None:
        """Where the folder of a run is for its jobs, relative to where they start; None where it is the same folder.

        Args:
            run: The folder here.
        """
        return None

    def announce(self, folder: RunFolder) -> None:  # noqa: B027 - here the run folder is where the jobs are
        """Make a run known where its jobs will be.

        Args:
            folder: The run, begun.
        """

    def collect(self, folder: RunFolder, jobs: Sequence[Job]) -> None:  # noqa: B027 - here the files are at home
        """Bring the files of a run home, when its jobs are over.

        Args:
            folder: The run.
            jobs: Those that ran on this apparatus.
        """

    # What a backend implements.

    @abc.abstractmethod
    def _start(self, parcels: Sequence[Parcel]) -> Stream:
        """Start the jobs of a batch."""

    def _close(self) -> None:  # noqa: B027 - not every apparatus has workers
        """Stop the workers."""

    @abc.abstractmethod
    def _folder(self, batch: str, index: int) -> str | None:
        """Where a job that is not part of a run may leave files."""

    # Its own.

    def _require_open(self) -> None:
        if self._closed.value:
            raise UsageError(f"this {type(self).__name__} is closed; make a new one")

    def _starting(self, fn: Callable[..., Any], calls: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]]) -> Starting:
        batch = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(_batches)}"
        jobs = [
            Job(index, fn, args, kwargs, folder=self._folder(batch, index))
            for index, (args, kwargs) in enumerate(calls)
        ]
        self._require_open()
        return Starting(self.start(self.encode(jobs)), len(jobs))

    def _shown(self, progress: bool | None) -> bool | None:
        """Whether a map gets a bar; not by itself where the jobs print to this terminal."""
        prints = not self.can_be_driven or getattr(self.options, "logs", False)
        return False if prints and progress is None else progress

    def _starting_map(
        self, fn: Callable[..., Any], iterables: Sequence[Iterable[Any]], kwargs: Mapping[str, Any] | None
    ) -> Starting:
        if not iterables:
            raise UsageError("map needs at least one iterable; for a single call there is run(fn, ...)")
        return self._starting(fn, [(args, kwargs or {}) for args in zip(*iterables, strict=False)])

    def _with(self, before: Any, given: Mapping[str, Any]) -> Any:
        valid = options.fields(self.options_type)
        checked = {}
        for name, value in given.items():
            if name not in valid:
                raise OptionError(f"{type(self).__name__} has no option {name!r}; {did_you_mean(name, valid)}")
            checked[name] = valid[name].checked(value, name)
        return replace(before, **checked)


class _Flag:
    """A boolean that views share."""

    value = False
