"""Short jobs go to a worker process several at once, and nobody can tell but by the clock."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mini.apparatus.local import apparatus
from mini.apparatus.local.apparatus import LocalApparatus
from mini.apparatus.local.bundle import Bundle, Tokens
from mini.apparatus.local.pool import Pool
from mini.batch import Placement, Silent, run_jobs
from mini.job import Job, JobLost, Outcome, State
from mini.runs.folder import RunFolder

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def sizes(monkeypatch):
    """The sizes of the bundles that are sent; those after the first few have several jobs, however slow they are."""
    monkeypatch.setitem(apparatus._GROUPING, "seconds", 10_000.0)
    sizes = []
    submit = Pool.submit
    monkeypatch.setattr(Pool, "submit", lambda pool, bundle: sizes.append(len(bundle.parcels)) or submit(pool, bundle))
    return sizes


@pytest.fixture
def local():
    with LocalApparatus(workers=2) as apparatus:
        yield apparatus


def test_short_jobs_are_sent_together(local, sizes):
    assert list(local.map(lambda x: x + 1, range(2000))) == list(range(1, 2001))
    assert max(sizes) > 8


@pytest.mark.parametrize("options", [{"timeout": 30}, {"fresh": True}])
def test_some_jobs_always_go_alone(local, sizes, options):
    assert list(local.w(**options).map(abs, range(40))) == list(range(40))
    assert set(sizes) == {1}


@pytest.mark.parametrize("how", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(3)])
def test_a_job_that_kills_the_process_is_lost_alone_and_no_job_runs_twice(local, sizes, tmp_path, how):
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
    assert max(sizes) > 1


def test_no_job_waits_behind_a_long_one(local, sizes, tmp_path):
    def work(x):
        if x == 200:
            while len(list(tmp_path.glob("done-*"))) < 399:
                time.sleep(0.02)
        with (tmp_path / f"done-{x}").open("a") as file:
            file.write("x")
        return x

    assert list(local.map(work, range(400))) == list(range(400))
    assert {path.read_text() for path in tmp_path.glob("done-*")} == {"x"}
    assert max(sizes) > 1


def test_a_failed_job_of_a_group_is_tried_again_alone(local, sizes, tmp_path):
    def work(x):
        if x % 100 == 50 and not (tmp_path / f"seen-{x}").exists():
            (tmp_path / f"seen-{x}").touch()
            raise ValueError(x)
        return x

    assert list(local.w(retries=1).map(work, range(400))) == list(range(400))
    assert len(list(tmp_path.glob("seen-*"))) == 4
    assert max(sizes) > 1


def test_jobs_of_a_group_leave_their_records(local, sizes):
    jobs = [
        Job(i, lambda x: {"square": x * x}, (i,), folder=str(Path(f"outputs/run/{i}").absolute()), record=True)
        for i in range(400)
    ]
    folder = RunFolder("outputs/run")
    outcomes = run_jobs([Placement(local, jobs)], folder, Silent(), {})
    assert {outcome.state for outcome in outcomes} == {State.DONE}
    assert [record.row["metrics.square"] for _, record in folder.records()] == [i * i for i in range(400)]
    assert max(sizes, default=1) > 1


def test_leaving_early_ends_what_was_sent(local):
    values = local.map(lambda x: time.sleep(0 if x < 100 else 100) or x, range(1000))
    assert next(values) == 0
    began = time.monotonic()
    values.close()
    assert time.monotonic() - began < 90


def test_no_job_begins_after_a_run_was_stopped(local, sizes, tmp_path):
    def work(x):
        (tmp_path / f"began-{x}").touch()
        time.sleep(0 if x < 200 else 300)

    stream = local.start(local.encode([Job(i, work, (i,)) for i in range(1000)]))
    for _ in range(200):
        next(stream)
    while len(list(tmp_path.glob("began-*"))) < 202:
        time.sleep(0.05)
    threading.Timer(0.1, stream.close).start()
    rest = list(stream)  # waits in this thread, while another stops it
    local.close()
    assert len(list(tmp_path.glob("began-*"))) == 202
    assert {outcome.state for outcome in rest} <= {State.CANCELLED, State.DONE}
    assert max(sizes) > 1


def test_stopping_a_job_of_a_bundle_runs_the_others_once(local, sizes, tmp_path):
    def work(x):
        with (tmp_path / f"began-{x}").open("a") as file:
            file.write("x")
        while x == 100 or (x > 100 and not (tmp_path / "go").exists()):
            time.sleep(0.02)
        return x

    stream = local.start(local.encode([Job(i, work, (i,)) for i in range(400)]))
    while not (tmp_path / "began-100").exists():
        time.sleep(0.02)
    stream.stop(100)  # it runs
    stream.stop(399)  # it waits
    (tmp_path / "go").touch()
    outcomes = {outcome.index: outcome for outcome in stream}
    assert sorted(outcomes) == list(range(400))
    assert {x for x, outcome in outcomes.items() if outcome.state is State.CANCELLED} == {100, 399}
    assert {path.read_text() for path in tmp_path.glob("began-*")} == {"x"}
    assert not (tmp_path / "began-399").exists()
    assert max(sizes) > 1


def bundle_of(count):
    parcels = LocalApparatus().encode([Job(i, abs, (i,)) for i in range(count)])
    return Bundle(parcels, None, None, lambda *_: None, lambda *_: None, lambda *_: None)


def test_what_is_taken_back_does_not_begin():
    bundle, tokens = bundle_of(5), Tokens()
    assert bundle.take_back() == []  # no worker has it yet
    bundle.begin(tokens)
    assert os.read(tokens.reader, 1)  # as a worker does
    assert [parcel.job.index for parcel in bundle.take_back()] == [1, 2, 3, 4]
    assert bundle.take_back() == []
    assert bundle.current.job.index == 0
    hit, left = bundle.close()
    assert (hit.job.index, left) == (0, [])
    tokens.close()


def test_a_worker_that_ends_between_two_jobs_hits_none():
    bundle, tokens = bundle_of(3), Tokens()
    bundle.begin(tokens)
    assert os.read(tokens.reader, 1)
    bundle.finish(Outcome(0, State.DONE))
    hit, left = bundle.close()
    assert hit is None
    assert [parcel.job.index for parcel in left] == [1, 2]
    tokens.close()
