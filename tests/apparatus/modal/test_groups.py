"""Short jobs go to a container several at once, and nobody can tell but by the clock and the requests.

How many, `tests/apparatus/test_grouping.py` tests with a clock of its own.
"""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from mini.apparatus.modal import stream
from mini.apparatus.modal.stream import ModalStream
from mini.batch import Placement, Silent, run_jobs
from mini.errors import OptionError
from mini.job import Job, JobLost, State
from mini.runs.folder import RunFolder

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def sent(monkeypatch):
    """The sizes of the inputs of each call."""
    calls = []
    send = ModalStream._send

    def counted(stream, inputs):
        if inputs:
            calls.append([len(group) for group in inputs])
        send(stream, inputs)

    monkeypatch.setattr(ModalStream, "_send", counted)
    return calls


@pytest.fixture
def _patience(monkeypatch):
    """Jobs are held back until it is known how long the first take, however slowly this machine starts containers."""
    monkeypatch.setattr(stream, "_HOLD", 600.0)


@pytest.mark.usefixtures("_patience")
def test_the_first_jobs_go_alone_and_the_rest_when_they_have_said_how_long_jobs_take(rehearsal, sent):
    assert list(rehearsal.w(max_containers=2).map(lambda x: x + 1, range(500))) == list(range(1, 501))
    assert sent[0] == [1] * 16
    assert sum(sent[1]) == 484
    # The rest of a bundle that took long on this machine is sent again: each of them alone.
    assert {size for call in sent[2:] for size in call} <= {1}


@pytest.mark.usefixtures("_patience")
def test_long_jobs_are_not_sent_together(rehearsal, sent):
    assert list(rehearsal.w(max_containers=8).map(lambda x: time.sleep(0.6) or x, range(40))) == list(range(40))
    assert {size for call in sent for size in call} == {1}


def test_jobs_are_not_held_back_for_long(rehearsal, sent, monkeypatch, tmp_path):
    monkeypatch.setattr(stream, "_HOLD", 0.5)

    def all_at_once(x):
        (tmp_path / f"began-{x}").touch()
        while x < 16 and len(list(tmp_path.glob("began-*"))) <= 16:
            time.sleep(0.1)
        return x

    assert sorted(rehearsal.w(max_containers=18).map(all_at_once, range(40))) == list(range(40))
    assert [len(call) for call in sent] == [16, 24]


@pytest.mark.parametrize("options", [{"group": 1}, {"retries": 1}, {"single_use_containers": True}, {"timeout": 30}])
def test_some_jobs_always_go_alone(rehearsal, sent, options):
    assert list(rehearsal.w(max_containers=2, **options).map(abs, range(40))) == list(range(40))
    assert sent == [[1] * 40]


def test_a_size_can_be_asked_for(rehearsal, sent):
    assert list(rehearsal.w(max_containers=1, group=4).map(abs, range(10))) == list(range(10))
    assert sent == [[4, 4, 2]]
    with pytest.raises(OptionError, match="whole number, 1 or more"):
        rehearsal.w(group=0)


def test_jobs_that_turn_out_to_be_long_are_divided_again(rehearsal, sent, tmp_path):
    def work(x):
        with (tmp_path / str(x)).open("a") as file:
            file.write("x")
        time.sleep(0.7)
        return x

    assert list(rehearsal.w(max_containers=2, group=5).map(work, range(20))) == list(range(20))
    assert sent[0] == [5] * 4
    assert {size for call in sent[1:] for size in call} == {1}
    assert {path.read_text() for path in tmp_path.iterdir() if path.name.isdigit()} == {"x"}  # each ran once


def test_a_job_that_kills_its_container_is_lost_alone(rehearsal, sent):
    def work(x):
        if x == 77:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    outcomes = list(rehearsal.w(max_containers=2, group=10).map(work, range(120), return_exceptions=True))
    assert isinstance(outcomes.pop(77), JobLost)
    assert outcomes == [x for x in range(120) if x != 77]
    assert sent[0] == [10] * 12


def test_a_job_that_fails_fails_alone(rehearsal, sent):
    def work(x):
        if x % 50 == 7:
            raise ValueError(x)
        os.chdir("/")
        return x

    outcomes = list(rehearsal.w(max_containers=2, group=20).map(work, range(200), return_exceptions=True))
    assert [i for i, outcome in enumerate(outcomes) if isinstance(outcome, ValueError)] == [7, 57, 107, 157]
    assert sum(outcomes[i] == i for i in range(200) if i % 50 != 7) == 196
    assert sent[0] == [20] * 10


def test_every_job_of_a_group_leaves_its_record_once(rehearsal, sent):
    jobs = [
        Job(i, lambda x: {"square": x * x}, (i,), folder=str(Path(f"outputs/run/{i}").absolute()), record=True)
        for i in range(150)
    ]
    before = rehearsal.loopback.state.requests["VolumeCommit"]
    placements = [Placement(rehearsal.w(max_containers=2, group=25), jobs)]
    outcomes = run_jobs(placements, RunFolder("outputs/run"), Silent(), {})
    assert {outcome.state for outcome in outcomes} == {State.DONE}
    for i in range(150):
        record = json.loads(Path(f"outputs/run/{i}/record.json").read_text())
        assert (record["index"], record["row"]["metrics.square"]) == (i, i * i)
    assert sent[0] == [25] * 6
    assert rehearsal.loopback.state.requests["VolumeCommit"] - before < 150


def test_functions_are_not_mixed(rehearsal, sent):
    functions = [lambda x: ("even", x), lambda x: ("odd", x)]
    jobs = [Job(i, functions[i % 2], (i,)) for i in range(100)]
    outcomes = rehearsal.w(max_containers=2, group=8).start(rehearsal.encode(jobs))
    results = {outcome.index: outcome.result() for outcome in outcomes}
    assert results == {i: (("even", "odd")[i % 2], i) for i in range(100)}
    assert Counter(sent[0]) == Counter({8: 12, 2: 2})


def test_leaving_early_stops_all_calls(rehearsal):
    values = rehearsal.w(max_containers=2).map(lambda x: time.sleep(0 if x < 30 else 100) or x, range(80))
    assert next(values) == 0
    began = time.monotonic()
    values.close()
    assert time.monotonic() - began < 90
