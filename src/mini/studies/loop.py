"""The loop of a study: a trial starts when another ends, and those that are losing end early."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mini.apparatus.base import Apparatus
from mini.apparatus.stream import pruned
from mini.errors import MiniError, RecordError
from mini.job import Failure, Job, Outcome, Report, State
from mini.open_batch import OpenBatch
from mini.runs import live, records, study_state
from mini.runs.folder import RunFolder
from mini.runs.values import metrics
from mini.studies.metrics import Metrics, NotANumber
from mini.studies.optimizer import Optimizer
from mini.studies.options import StudyOptions
from mini.studies.stopping import Stopping

if TYPE_CHECKING:
    from optuna.trial import Trial

_LOOK = 0.25  # seconds between two looks at what the running trials said


class Placing(Protocol):
    """Makes the job of a trial."""

    def __call__(self, values: Mapping[str, Any], index: int) -> tuple[Apparatus, Job]:
        """Where a trial runs, and its job.

        Args:
            values: What was chosen, by name.
            index: The job's.

        Raises:
            UsageError: They make no job.
        """


@dataclass
class _Running:
    trial: Trial
    steps: set[int] = field(default_factory=set)
    """Those that were reported."""
    pruned: float | None = None
    """Since when it shall end early, by the monotonic clock."""
    is_stopped: bool = False


class Loop:
    """Runs the trials of a study to its end.

    Args:
        optimizer: The study.
        options: Its options.
        batch: Where the jobs run.
        folder: The run.
        place: Makes the job of a trial.
        say: Tells the user something.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        options: StudyOptions,
        batch: OpenBatch,
        folder: RunFolder,
        place: Placing,
        say: Callable[[str], None],
    ) -> None:
        self._optimizer, self._options, self._batch, self._folder = optimizer, options, batch, folder
        self._place, self._say = place, say
        self._metrics, self._stopping = Metrics(options), Stopping(options)
        self._running: dict[int, _Running] = {}
        self._is_judged = False
        self._room = options.parallel
        self._lock = threading.Lock()
        self._said: set[str] = set()

    def run(self) -> list[Outcome]:
        """Run it.

        Returns:
            The outcomes of the trials that ran now, in the order they ended.

        Raises:
            UsageError: A trial cannot be made, or the first has not what the study needs; those that ran are stopped.
            Stopped: A limit was met, or somebody cancelled the run.
        """
        unfinished = self._optimizer.unfinished()
        over = self._count_what_was()
        waiting = [one for one in unfinished if not self._settle(*one)]
        listed = {line.index for line in self._folder.jobs()} if self._folder.has_run() else set()
        begun = over + len(unfinished)
        outcomes: list[Outcome] = []
        with self._judging():
            while True:
                while waiting and self._has_room():
                    trial, index = waiting.pop(0)
                    self._begin(trial, index, is_new=index not in listed)
                while (
                    not waiting and begun < self._optimizer.limit and self._has_room() and self._stopping.why() is None
                ):
                    self._begin(*self._optimizer.ask(), is_new=True)
                    begun += 1
                if not self._running:
                    break
                outcomes.append(self._finish(self._batch.next()))
        self._note()
        if (why := self._stopping.why()) is not None:
            self._say(f"the study ended early: {why}")
        return outcomes

    def _has_room(self) -> bool:
        return self._room is None or len(self._running) < self._room

    def _begin(self, trial: Trial, index: int, *, is_new: bool) -> None:
        apparatus, job = self._place(self._optimizer.choose(trial), index)
        if not is_new and job.folder is not None:
            said = live.read_live(Path(job.folder)) or {}
            attempt = max(int(said.get("attempt") or 0), self._attempt(job))
            job = replace(job, attempt=attempt + 1)
        with self._lock:
            self._running[index] = _Running(trial)
        if self._room is None:
            self._room = max(1, apparatus.width)
        self._batch.add(apparatus, job, is_new=is_new)

    def _attempt(self, job: Job) -> int:
        with contextlib.suppress(FileNotFoundError, RecordError):
            return records.read_record(Path(str(job.folder))).outcome.attempt
        return 0

    # What became of a trial.

    def _finish(self, outcome: Outcome) -> Outcome:
        with self._lock:
            running = self._running.pop(outcome.index)
            self._report(running, outcome.reports)
        if outcome.ok and not self._is_judged:
            self._metrics.require_steps(outcome)
        self._tell(running.trial, outcome, was_pruned=running.pruned is not None)
        self._is_judged = self._is_judged or outcome.ok
        return outcome

    def _tell(self, trial: Trial, outcome: Outcome, *, was_pruned: bool = False) -> None:
        values, constraints, attributes = None, {}, self._metrics.attributes(outcome)
        is_pruned = outcome.state is State.PRUNED or (was_pruned and outcome.state is State.CANCELLED)
        if outcome.ok:
            try:
                values, constraints = self._metrics.values(outcome), self._metrics.constraints(outcome)
            except NotANumber as error:
                self._say(f"trial {outcome.index} counts as failed: {error}")
        elif not is_pruned and outcome.failure is not None:
            attributes["error"] = str(outcome.failure)
        self._optimizer.tell(trial, values, is_pruned=is_pruned, attributes=attributes, constraints=constraints)
        self._stopping.told(values, outcome.seconds or 0.0, is_failure=values is None and not is_pruned)
        self._note()

    def _settle(self, trial: Trial, index: int) -> bool:
        """Tell of a trial that was over before it could be told; False of one that must run."""
        for line, record in self._folder.records() if self._folder.has_run() else ():
            if line.index != index:
                continue
            folder = Path(line.folder)
            if isinstance(record, records.Record) and record.outcome.state is not State.CANCELLED:
                try:
                    self._tell(trial, records.read_value(folder, record.outcome))
                except RecordError:
                    return False
                return True
            if live.is_pruned(folder):
                self._record_pruned(trial, line.index, folder, line.row, line.key)
                self._optimizer.tell(trial, None, is_pruned=True)
                return True
        return False

    def _record_pruned(self, trial: Trial, index: int, folder: Path, row: Mapping[str, Any], key: str) -> None:
        said = live.read_live(folder) or {}
        stopped = Outcome(
            index,
            State.CANCELLED,
            failure=Failure("Cancelled", ""),
            ended=time.time(),
            attempt=int(said.get("attempt") or 1),
            folder=str(folder),
            key=key,
        )
        outcome = pruned(stopped, said.get("step"), said.get("total"))
        records.write_record(outcome, {**row, **metrics(said.get("metrics"))})

    def _count_what_was(self) -> int:
        """Count the trials of this run that were told before it was broken off."""
        over = 0
        for frozen, _ in sorted(self._optimizer.trials(), key=lambda pair: pair[1]):
            if frozen.state.is_finished():
                over += 1
                values = tuple(frozen.values) if frozen.values is not None and frozen.state.name == "COMPLETE" else None
                self._stopping.told(values, 0.0, is_failure=frozen.state.name == "FAIL")
                self._is_judged = self._is_judged or values is not None
        return over

    def _note(self) -> None:
        """Leave how the study goes for those who look."""
        best = self._optimizer.best()
        state: dict[str, Any] = {"metric": self._options.metric, "direction": self._options.direction}
        if best is not None:
            state["best"] = {"job": best.job, "value": best.value, "params": best.params}
        elif self._options.objectives > 1:
            state["front"] = [one.job for one in self._optimizer.front()]
        study_state.write(self._folder.path, state)

    # Ending early.

    @contextlib.contextmanager
    def _judging(self) -> Iterator[None]:
        """Meanwhile look at what the running trials say, if any of them may end early."""
        if self._options.pruner is None:
            yield
            return
        over = threading.Event()
        thread = threading.Thread(target=self._judge, args=(over,), name="mini-pruner", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _judge(self, over: threading.Event) -> None:
        while not over.wait(_LOOK):
            try:
                self._look()
            except MiniError as error:  # such as a connection that is lost for a moment
                if str(error) not in self._said:
                    self._say(f"warning: no trial ends early for now: {error}")
                self._said.add(str(error))

    def _look(self) -> None:
        for index, said in self._batch.progress().items():
            reports = [(int(step), values) for step, values in said.get("reports") or ()]
            with self._lock:
                running = self._running.get(index)
                if running is None or running.pruned is not None or not self._report(running, reports):
                    continue
                running.pruned = time.monotonic()
            self._batch.prune(index)
        self._stop_late()

    def _stop_late(self) -> None:
        now = time.monotonic()
        with self._lock:
            late = [
                index
                for index, one in self._running.items()
                if one.pruned is not None and not one.is_stopped and now - one.pruned >= self._options.grace
            ]
            for index in late:
                self._running[index].is_stopped = True
        for index in late:
            self._batch.stop(index)

    def _report(self, running: _Running, reports: tuple[Report, ...] | list[Report]) -> bool:
        """Note what a trial said; whether it shall end early by any of it."""
        if self._options.metric is None or self._options.objectives > 1:
            return False
        name = self._options.metric[0]
        for step, values in reports:
            if step in running.steps or name not in values:
                continue
            running.steps.add(step)
            if self._optimizer.report(running.trial, float(values[name]), step) and running.pruned is None:
                return True
        return False
