"""Short jobs go to a container several at once, and nobody can tell but by the clock and the requests."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from mini.apparatus.modal.stream import ModalStream
from mini.batch import Placement, Silent, run_jobs
from mini.errors import OptionError
from mini.job import Job, JobLost, State
from mini.runs.folder import RunFolder

pytestmark = pytest.mark.timeout(120)


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


def test_short_jobs_are_sent_together_once_it_is_known_that_they_are(rehearsal, sent):
    assert list(rehearsal.w(max_containers=2).map(lambda x: x + 1, range(500))) == list(range(1, 501))
    first, rest = sent
    assert first == [1] * 16
    assert len(rest) < 20
    assert sum(rest) == 484


@pytest.mark.parametrize("options", [{"group": 1}, {"retries": 1}, {"single_use_containers": True}, {"timeout": 30}])
def test_some_jobs_always_go_alone(rehearsal, sent, options):
    assert list(rehearsal.w(max_containers=2, **options).map(abs, range(40))) == list(range(40))
    assert sent == [[1] * 40]


def test_a_size_can_be_asked_for(rehearsal, sent):
    assert list(rehearsal.w(max_containers=1, group=4).map(abs, range(10))) == list(range(10))
    assert sent == [[4, 4, 2]]
    with pytest.raises(OptionError, match="whole number, 1 or more"):
        rehearsal.w(group=0)


def test_long_jobs_are_not_held_back_and_not_sent_together(rehearsal, sent):
    assert list(rehearsal.w(max_containers=8).map(lambda x: time.sleep(0.6) or x, range(40))) == list(range(40))
    assert {size for call in sent for size in call} == {1}


def test_jobs_that_turn_out_to_be_long_are_divided_again(rehearsal, sent, tmp_path):
    def work(x):
        with (tmp_path / str(x)).open("a") as file:
            file.write("x")
        time.sleep(0.7 if x >= 16 else 0)
        return x

    assert list(rehearsal.w(max_containers=2).map(work, range(60))) == list(range(60))
    assert max(sent[1]) > 2
    assert len(sent) > 2
    assert {path.read_text() for path in tmp_path.iterdir() if path.name.isdigit()} == {"x"}  # each ran once


def test_a_job_that_kills_its_container_is_lost_alone(rehearsal, sent):
    def work(x):
        if x == 77:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    outcomes = list(rehearsal.w(max_containers=2).map(work, range(120), return_exceptions=True))
    assert isinstance(outcomes.pop(77), JobLost)
    assert outcomes == [x for x in range(120) if x != 77]
    assert max(sent[1]) > 1


def test_a_job_that_fails_fails_alone(rehearsal, sent):
    def work(x):
        if x % 50 == 7:
            raise ValueError(x)
        os.chdir("/")
        return x

    outcomes = list(rehearsal.w(max_containers=2).map(work, range(200), return_exceptions=True))
    assert [i for i, outcome in enumerate(outcomes) if isinstance(outcome, ValueError)] == [7, 57, 107, 157]
    assert sum(outcomes[i] == i for i in range(200) if i % 50 != 7) == 196
    assert max(sent[1]) > 1


def test_every_job_of_a_group_leaves_its_record_once(rehearsal, sent):
    jobs = [
        Job(i, lambda x: {"square": x * x}, (i,), folder=str(Path(f"outputs/run/{i}").absolute()), record=True)
        for i in range(150)
    ]
    before = rehearsal.loopback.state.requests["VolumeCommit"]
    outcomes = run_jobs([Placement(rehearsal.w(max_containers=2), jobs)], RunFolder("outputs/run"), Silent(), {})
    assert {outcome.state for outcome in outcomes} == {State.DONE}
    for i in range(150):
        record = json.loads(Path(f"outputs/run/{i}/record.json").read_text())
        assert (record["index"], record["row"]["metrics.square"]) == (i, i * i)
    assert max(sent[1]) > 1
    assert rehearsal.loopback.state.requests["VolumeCommit"] - before < 150


def test_functions_are_not_mixed(rehearsal, sent):
    functions = [lambda x: ("even", x), lambda x: ("odd", x)]
    jobs = [Job(i, functions[i % 2], (i,)) for i in range(100)]
    stream = rehearsal.w(max_containers=2, group=8).start(rehearsal.encode(jobs))
    results = {outcome.index: outcome.result() for outcome in stream}
    assert results == {i: (("even", "odd")[i % 2], i) for i in range(100)}
    assert Counter(sent[0]) == Counter({8: 12, 2: 2})


def test_leaving_early_stops_all_calls(rehearsal):
    values = rehearsal.w(max_containers=2).map(lambda x: time.sleep(0 if x < 30 else 20) or x, range(80))
    assert next(values) == 0
    began = time.monotonic()
    values.close()
    assert time.monotonic() - began < 15
