"""`start`: a stream of outcomes that takes more jobs, stops one, and says how far the running ones are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mini.apparatus.base import Apparatus
from mini.apparatus.conformance import jobs
from mini.errors import UsageError
from mini.job import Job, State
from mini.runs import records
from mini.runs.folder import RunFolder

_PATIENCE = 120.0  # seconds; a machine may be busy, and no test depends on how fast it is


class StreamConformance:
    """What the rest of the package relies on."""

    def test_a_stream_has_one_outcome_for_each_job(self, apparatus):
        stream = apparatus.start(apparatus.encode([Job(i, jobs.double, (i,)) for i in (4, 7, 9)]))
        assert {outcome.index: outcome.result() for outcome in stream} == {4: 8, 7: 14, 9: 18}

    def test_a_stream_takes_more_jobs_while_it_is_read(self, apparatus):
        stream = apparatus.start(apparatus.encode([Job(0, jobs.double, (0,))]))
        values = {}
        for outcome in stream:
            values[outcome.index] = outcome.result()
            if len(values) < 4:
                stream.add(apparatus.encode([Job(len(values), jobs.double, (len(values),))]))
        assert values == {0: 0, 1: 2, 2: 4, 3: 6}

    def test_a_stream_that_had_ended_goes_on_with_more_jobs(self, apparatus):
        stream = apparatus.start([])
        assert list(stream) == []
        stream.add(apparatus.encode([Job(5, jobs.double, (1,))]))
        assert [outcome.index for outcome in stream] == [5]

    def test_a_closed_stream_takes_no_more_jobs(self, apparatus):
        stream = apparatus.start(apparatus.encode([Job(0, jobs.double, (0,))]))
        list(stream)
        stream.close()
        stream.close()
        with pytest.raises(UsageError, match="closed"):
            stream.add(apparatus.encode([Job(1, jobs.double, (1,))]))

    def test_a_job_that_waits_can_be_stopped(self, apparatus, tmp_path):
        calls = [(jobs.touch, (str(tmp_path / str(i)), 2.0)) for i in range(3)]
        stream = self.run_of(self.one_at_a_time(apparatus), calls).stream
        stream.stop(2)
        states = {outcome.index: outcome.state for outcome in stream}
        assert states == {0: State.DONE, 1: State.DONE, 2: State.CANCELLED}
        if self.stops_before_the_begin:
            assert not (tmp_path / "2").exists()

    def test_to_stop_a_job_that_is_over_changes_nothing(self, apparatus):
        stream = apparatus.start(apparatus.encode([Job(i, jobs.double, (i,)) for i in range(2)]))
        first = next(stream)
        stream.stop(first.index)
        stream.stop(99)
        (second,) = stream
        assert {first.state, second.state} == {State.DONE}

    def test_a_job_that_runs_can_be_stopped_and_the_others_go_on(self, apparatus, tmp_path):
        if not self.runs_beside_its_caller:
            pytest.skip("jobs of this engine run while their caller waits")
        folder = self.run_of(apparatus, [(jobs.wait_for, (str(tmp_path / "never"),)), (jobs.double, (1,))])
        with _Reader(folder.stream) as reader:
            self.until(lambda: 0 in folder.stream.progress())
            folder.stream.stop(0)
            outcomes = reader.outcomes()
        assert {outcome.index: outcome.state for outcome in outcomes} == {0: State.CANCELLED, 1: State.DONE}
        apparatus.collect(folder.run, folder.jobs)
        assert records.read_record(Path(str(folder.jobs[0].folder))).outcome.state is State.CANCELLED

    def test_a_running_job_hears_that_it_shall_end_early(self, apparatus):
        if not self.runs_beside_its_caller:
            pytest.skip("jobs of this engine run while their caller waits")
        folder = self.run_of(apparatus, [(jobs.go_on, ())])
        with _Reader(folder.stream) as reader:
            self.until(lambda: 0 in folder.stream.progress())
            folder.stream.prune(folder.jobs[0])
            (outcome,) = reader.outcomes()
        assert outcome.state is State.PRUNED
        apparatus.collect(folder.run, folder.jobs)
        record = records.read_record(Path(str(folder.jobs[0].folder)))
        assert record.outcome.state is State.PRUNED
        assert record.row["metrics.loss"] == 0.5

    def test_a_running_job_says_how_far_it_is(self, apparatus, tmp_path):
        if not self.runs_beside_its_caller:
            pytest.skip("jobs of this engine run while their caller waits")
        folder = self.run_of(apparatus, [(jobs.wait_for, (str(tmp_path / "go"), 3))])
        with _Reader(folder.stream) as reader:
            self.until(lambda: folder.stream.progress().get(0, {}).get("step") == 3)
            said = folder.stream.progress()[0]
            assert (said["total"], said["metrics"]) == (10, {"loss": 0.5})
            assert said["started"] <= said["beat"]
            (tmp_path / "go").touch()
            (outcome,) = reader.outcomes()
        assert outcome.ok
        assert folder.stream.progress() == {}

    def test_a_stream_can_be_closed_by_another_thread(self, apparatus, tmp_path):
        if not self.runs_beside_its_caller:
            pytest.skip("jobs of this engine run while their caller waits")
        stream = apparatus.start(apparatus.encode([Job(0, jobs.wait_for, (str(tmp_path / "never"),))]))
        threading.Timer(0.5, stream.close).start()
        assert list(stream) == []

    # What a subclass may change.

    runs_beside_its_caller = True
    """False for an engine that runs a job only while somebody waits for it."""

    stops_before_the_begin = True
    """False for an engine whose jobs hear that they shall stop only a moment after they have begun."""

    def one_at_a_time(self, apparatus: Apparatus) -> Apparatus:
        """A view that runs one job at a time, if the engine has an option for that."""
        return apparatus

    # Helpers.

    def run_of(self, apparatus: Apparatus, calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]) -> _Started:
        """Start recorded jobs of a run."""
        folder = RunFolder("outputs/run")
        recorded = [
            Job(i, fn, args, folder=str(folder.path / str(i)), record=True) for i, (fn, args) in enumerate(calls)
        ]
        parcels = apparatus.encode(recorded)
        folder.begin({})
        folder.add_jobs(recorded)
        apparatus.announce(folder)
        return _Started(folder, recorded, apparatus.start(parcels))

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.05)


class _Started:
    def __init__(self, run: RunFolder, jobs: Sequence[Job], stream: Any) -> None:
        self.run, self.jobs, self.stream = run, jobs, stream


class _Reader:
    """Reads a stream to its end in a thread."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._read: list[Any] = []
        self._thread = threading.Thread(target=lambda: self._read.extend(stream), daemon=True)

    def __enter__(self) -> _Reader:
        self._thread.start()
        return self

    def outcomes(self) -> Sequence[Any]:
        self._thread.join(_PATIENCE)
        assert not self._thread.is_alive(), "the stream did not end"
        return self._read

    def __exit__(self, *_: object) -> None:
        self._stream.close()
