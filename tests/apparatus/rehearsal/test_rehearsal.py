"""Modal's own client and container runtime, against the control plane on loopback."""

import os
import threading

import pytest

from mini import JobError, job_dir
from mini.errors import OptionError, UnpicklableError, UsageError

FACTOR = 3


def fail_on(bad, x):
    if x == bad:
        raise LookupError(f"no {x}")
    return x


def test_map_keeps_the_order_of_the_input(rehearsal):
    assert list(rehearsal.map(lambda x: FACTOR * x, range(50))) == [3 * x for x in range(50)]


def test_a_failure_is_its_jobs_alone_and_keeps_type_and_traceback(rehearsal):
    first, second, third = rehearsal.map(fail_on, [1] * 3, range(3), return_exceptions=True)
    assert (first, third) == (0, 2)
    assert isinstance(second, LookupError)
    assert isinstance(second.__cause__, JobError)
    assert "in fail_on" in str(second.__cause__)


def test_jobs_write_to_the_volume(rehearsal, tmp_path):
    def write(x):
        (job_dir() / "file.txt").write_text(str(x))

    list(rehearsal.map(write, range(3)))
    files = [path for path in rehearsal.volume.listdir(recursive=True) if path.endswith("file.txt")]
    assert sorted(rehearsal.volume.read(path) for path in files) == [b"0", b"1", b"2"]
    rehearsal.volume.download("test", tmp_path / "home")
    assert sorted(path.read_text() for path in (tmp_path / "home").rglob("file.txt")) == ["0", "1", "2"]


def test_a_container_has_neither_the_callers_path_nor_its_token(rehearsal, monkeypatch):
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "secret")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    path, token = rehearsal.run(lambda: (os.environ["PYTHONPATH"], os.environ.get("MODAL_TOKEN_SECRET")))
    assert "/nowhere" not in path
    assert token is None


def test_the_gpu_asked_for_is_in_the_definition(rehearsal):
    assert rehearsal.w(gpu="A100:2").run(abs, -1) == 1
    (function,) = rehearsal.loopback.state.functions.values()
    assert (function.definition.resources.gpu_config.gpu_type, function.definition.resources.gpu_config.count) == (
        "A100",
        2,
    )


def test_the_function_travels_once(rehearsal):
    big = os.urandom(100_000)
    assert sum(rehearsal.map(lambda x: len(big) + x, range(20))) == 20 * 100_000 + 190
    sent = rehearsal.loopback.state.bytes_in
    assert sent["DictUpdate"] < 120_000
    assert sent["FunctionPutInputs"] < 20 * 500


def test_a_killed_container_loses_no_job(rehearsal):
    assert rehearsal.run(abs, -1) == 1
    rehearsal.loopback.faults.kill_every = 10
    assert list(rehearsal.map(lambda x: 2 * x, range(60))) == [2 * x for x in range(60)]


@pytest.mark.parametrize(
    ("options", "said"), [({"tiemout": 3}, "did you mean 'timeout'"), ({"retries": -1}, "whole number")]
)
def test_impossible_options_are_refused(rehearsal, options, said):
    with pytest.raises(OptionError, match=said):
        rehearsal.w(**options)


def test_an_unpicklable_argument_sends_nothing(rehearsal):
    with pytest.raises(UnpicklableError, match="argument 0 of job 0"):
        rehearsal.run(abs, threading.Lock())
    assert rehearsal._stage.loopback is None


def test_closed_is_closed(rehearsal):
    rehearsal.run(abs, 1)
    rehearsal.close()
    with pytest.raises(UsageError, match="closed; make a new one"):
        rehearsal.run(abs, 1)


def test_a_failed_job_is_tried_again_by_modals_retries(rehearsal, tmp_path):
    tries = tmp_path / "tries"

    def second_time():
        with tries.open("a") as file:
            file.write("x")
        if tries.read_text() == "x":
            raise ConnectionError
        return "there"

    assert rehearsal.w(retries=1).run(second_time) == "there"
    assert tries.read_text() == "xx"


def test_the_last_attempts_failure_is_the_jobs(rehearsal):
    with pytest.raises(LookupError, match="no 1") as caught:
        rehearsal.w(retries=1).run(fail_on, 1, 1)
    assert caught.value.__cause__.outcome.attempt == 2
