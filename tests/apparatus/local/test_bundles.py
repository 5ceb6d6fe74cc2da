"""Short jobs go to a worker process several at once, and nobody can tell but by the clock."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mini.apparatus.local.apparatus import LocalApparatus, _Pool
from mini.apparatus.local.bundle import Group
from mini.batch import Group as BatchGroup
from mini.batch import Silent, run
from mini.job import Job, JobLost, State
from mini.runs.folder import RunFolder

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def groups(monkeypatch):
    """The sizes of the groups that are sent."""
    sizes = []
    made = _Pool.group
    monkeypatch.setattr(_Pool, "group", lambda pool, parcels: sizes.append(len(parcels)) or made(pool, parcels))
    return sizes


@pytest.fixture
def local():
    with LocalApparatus(workers=2) as apparatus:
        yield apparatus


def test_short_jobs_are_sent_together(local, groups):
    assert list(local.map(lambda x: x + 1, range(2000))) == list(range(1, 2001))
    assert max(groups) > 8


@pytest.mark.parametrize("options", [{"timeout": 30}])
def test_jobs_with_a_timeout_go_alone(local, groups, options):
    assert list(local.w(**options).map(abs, range(200))) == list(range(200))
    assert groups == []


def test_where_files_cannot_be_locked_jobs_go_alone(groups, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with LocalApparatus(workers=2) as apparatus:
        assert list(apparatus.map(abs, range(200))) == list(range(200))
    assert groups == []


def test_long_jobs_go_alone(local, groups):
    assert list(local.map(lambda x: time.sleep(0.03) or x, range(40))) == list(range(40))
    assert groups == []


@pytest.mark.parametrize("how", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(3)])
def test_a_job_that_kills_the_process_is_lost_alone_and_no_job_runs_twice(local, groups, tmp_path, how):
    def work(x):
        with (tmp_path / str(x)).open("a") as file:
            file.write("x")
        if x in (300, 301, 420):
            how()
        return x

    outcomes = list(local.map(work, range(500), return_exceptions=True))
    assert [x for x in range(500) if isinstance(outcomes[x], JobLost)] == [300, 301, 420]
    assert [x for x in outcomes if not isinstance(x, JobLost)] == [x for x in range(500) if x not in (300, 301, 420)]
    assert {path.read_text() for path in tmp_path.iterdir() if path.name.isdigit()} == {"x"}
    assert max(groups) > 1


def test_no_job_waits_behind_a_long_one(local, groups, tmp_path):
    def work(x):
        if x == 200:
            while len(list(tmp_path.glob("done-*"))) < 399:
                time.sleep(0.02)
        with (tmp_path / f"done-{x}").open("a") as file:
            file.write("x")
        return x

    assert list(local.map(work, range(400))) == list(range(400))
    assert {path.read_text() for path in tmp_path.glob("done-*")} == {"x"}
    assert max(groups) > 1


def test_a_failed_job_of_a_group_is_tried_again_alone(local, groups, tmp_path):
    def work(x):
        if x % 100 == 50 and not (tmp_path / f"seen-{x}").exists():
            (tmp_path / f"seen-{x}").touch()
            raise ValueError(x)
        return x

    assert list(local.w(retries=1).map(work, range(400))) == list(range(400))
    assert len(list(tmp_path.glob("seen-*"))) == 4
    assert max(groups) > 1


def test_jobs_of_a_group_leave_their_records(local, groups):
    jobs = [
        Job(i, lambda x: {"square": x * x}, (i,), folder=str(Path(f"outputs/run/{i}").absolute()), record=True)
        for i in range(400)
    ]
    folder = RunFolder("outputs/run")
    outcomes = run([BatchGroup(local, jobs)], folder, Silent(), {})
    assert {outcome.state for outcome in outcomes} == {State.DONE}
    assert [record.row["metrics.square"] for _, record in folder.records()] == [i * i for i in range(400)]
    assert max(groups, default=1) > 1


def test_leaving_early_ends_what_was_sent(local):
    values = local.map(lambda x: time.sleep(0 if x < 100 else 20) or x, range(1000))
    assert next(values) == 0
    began = time.monotonic()
    values.close()
    assert time.monotonic() - began < 10


def test_no_job_begins_after_a_run_was_stopped(local, groups, tmp_path):
    def work(x):
        (tmp_path / f"began-{x}").touch()
        time.sleep(0 if x < 200 else 30)

    stream = local.start(local.encode([Job(i, work, (i,)) for i in range(1000)]))
    for _ in range(200):
        next(stream)
    threading.Timer(0.1, stream.close).start()
    rest = list(stream)  # waits in this thread, while another stops it
    time.sleep(1)
    # Two ran, and pebble's pipe held two more, which it ends by ending the worker that takes them.
    assert len(list(tmp_path.glob("began-*"))) <= 200 + 2 + 2 + 2
    assert stream._waiting == {}
    stream._send_again(local.encode([Job(0, work, (0,))]))  # as a group that was ended just then would
    assert not stream._queued
    assert {outcome.state for outcome in rest} <= {State.CANCELLED, State.DONE}
    assert max(groups) > 1


def test_what_is_taken_back_does_not_begin(tmp_path):
    jobs = [Job(i, abs, (i,)) for i in range(5)]
    parcels = LocalApparatus().encode(jobs)
    group = Group(parcels, tmp_path / "group")
    assert [parcel.job.index for parcel in group.take_back()] == [1, 2, 3, 4]
    assert group.take_back() == []
    (tmp_path / "group").write_bytes(b"\x80\x05cut off")
    assert group.close() == []
    assert not (tmp_path / "group").exists()
