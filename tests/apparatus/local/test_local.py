"""What only a pool of processes has: deaths, timeouts, threads and GPUs."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mini import Job, LocalApparatus
from mini.errors import OptionError
from mini.job import JobLost, JobTimeout, State
from mini.machine import cores


def die(how, x):
    if x != 1:
        return x
    if how == "exit":
        os._exit(7)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)
    return None


@pytest.mark.parametrize(
    ("how", "why"), [("exit", "exited with code 7"), ("segfault", "SIGSEGV"), ("kill", "out of memory")]
)
def test_a_worker_that_dies_fails_its_job_alone(local, how, why):
    results = list(local.map(die, [how] * 6, range(6), return_exceptions=True))
    assert results[:1] + results[2:] == [0, 2, 3, 4, 5]
    assert isinstance(results[1], JobLost)
    assert why in str(results[1])


def test_a_job_over_its_timeout_is_stopped_and_the_others_are_not(local):
    def sleep(seconds):
        time.sleep(seconds)
        return seconds

    results = list(local.w(timeout=1).map(sleep, [0, 60, 0.1], return_exceptions=True))
    assert results[0::2] == [0, 0.1]
    assert isinstance(results[1], JobTimeout)
    assert isinstance(results[1], TimeoutError)
    assert "more than 1 s" in str(results[1])


def test_a_timeout_raised_by_the_function_itself_is_its_own_failure(local):
    def impatient():
        raise TimeoutError("the database did not answer")

    with pytest.raises(TimeoutError, match="database") as caught:
        local.run(impatient)
    assert not isinstance(caught.value, JobTimeout)


def test_the_record_of_a_dead_worker_is_written_and_keeps_its_log(local, tmp_path):
    def speak_and_die():
        print("last words")
        os._exit(1)

    job = Job(0, speak_and_die, folder=str(tmp_path / "0"), record=True)
    (outcome,) = local.start(local.encode([job]))
    assert outcome.state is State.LOST
    assert '"state":"lost"' in (tmp_path / "0" / "record.json").read_text()
    assert "last words" in (tmp_path / "0" / "log.txt").read_text()


def test_a_dead_worker_is_retried(local, tmp_path):
    def die_once():
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os._exit(1)
        return "alive"

    job = Job(0, die_once, folder=str(tmp_path / "0"), record=True)
    view = local.w(retries=1)
    (outcome,) = view.start(view.encode([job]))
    assert (outcome.result(), outcome.attempt) == ("alive", 2)
    assert '"attempt":2' in (tmp_path / "0" / "record.json").read_text()


def test_a_flood_of_output_arrives_whole(local, tmp_path):
    def flood():
        for i in range(10_000):
            print(f"line {i} ✓")
        os.write(2, b"x" * 1_000_000)

    job = Job(0, flood, folder=str(tmp_path / "0"), record=True)
    (outcome,) = local.start(local.encode([job]))
    assert outcome.ok
    log = (tmp_path / "0" / "log.txt").read_text()
    assert log.startswith("line 0 ✓\n")
    assert "line 9999 ✓\n" in log
    assert log.count("x" * 1_000_000) == 1


def test_what_subprocesses_print_is_in_the_log(local, tmp_path):
    job = Job(0, os.system, ("echo from below",), folder=str(tmp_path / "0"), record=True)
    assert next(local.start(local.encode([job]))).ok
    assert "from below" in (tmp_path / "0" / "log.txt").read_text()


def test_logging_is_in_the_log(local, tmp_path):
    def speak():
        import logging

        logging.getLogger("x").info("noted")

    assert next(local.start(local.encode([Job(0, speak, folder=str(tmp_path / "0"), record=True)]))).ok
    assert "[x][INFO] - noted" in (tmp_path / "0" / "log.txt").read_text()


def test_never_more_processes_than_workers(tmp_path):
    with LocalApparatus(workers=2) as two:
        assert len(set(two.map(lambda _: time.sleep(0.05) or os.getpid(), range(12)))) <= 2
        assert len(set(two.w(workers=1).map(lambda _: os.getpid(), range(4)))) == 1


@pytest.mark.parametrize("workers", [0, -1, "two"])
def test_impossible_workers_are_refused(workers):
    with pytest.raises(OptionError, match=r"workers=.*whole number, 1 or more"):
        LocalApparatus(workers=workers)


def test_native_threads_share_the_cores(local, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    counts = set(local.map(lambda _: os.environ["OMP_NUM_THREADS"], range(4)))
    assert counts == {str(max(1, cores() // 2))}


def test_each_worker_sees_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with LocalApparatus(workers=2) as apparatus:
        seen = list(apparatus.map(lambda _: (time.sleep(0.2), os.environ["CUDA_VISIBLE_DEVICES"])[1], range(4)))
    assert set(seen) == {"4", "7"}


def test_a_dead_worker_hands_its_gpu_on(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")

    def visible(x):
        time.sleep(0.1)
        if x == 0:
            os._exit(1)
        return os.environ["CUDA_VISIBLE_DEVICES"]

    with LocalApparatus(workers=2) as apparatus:
        seen = list(apparatus.map(visible, range(8), return_exceptions=True))
    assert set(seen[1:]) == {"0", "1"}


def test_a_job_may_have_several_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    with LocalApparatus() as apparatus:
        assert apparatus.w(gpu="A100:2").workers <= 2
        assert apparatus.w(gpu="A100:2").run(os.getenv, "CUDA_VISIBLE_DEVICES") == "0,1"


def test_cancelling_an_async_job_stops_it(local, tmp_path):
    async def main():
        task = asyncio.ensure_future(local.arun(lambda: (time.sleep(300), (tmp_path / "late").touch())))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 60
    time.sleep(3)
    assert not (tmp_path / "late").exists()


def test_a_script_without_a_guard_works(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from mini import LocalApparatus\n"
        "OFFSET = 5\n"
        "def f(x):\n    return x + OFFSET\n"
        "print('top')\n"
        "with LocalApparatus(workers=2) as a:\n    print(list(a.map(f, range(3))))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "top\n[5, 6, 7]\n"


def test_workers_end_with_a_program_that_forgets_to_close(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os\nfrom mini import LocalApparatus\nprint(LocalApparatus().run(os.getpid))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


@pytest.mark.parametrize("program", ["/bin/false", "/no/such/python"])
def test_a_worker_that_cannot_start_is_an_error_and_no_loop(monkeypatch, program):
    monkeypatch.setattr("sys.executable", program)
    monkeypatch.setattr("multiprocessing.spawn._python_exe", program)
    with LocalApparatus(workers=2) as apparatus:
        for error in apparatus.map(abs, range(3), return_exceptions=True):
            assert isinstance(error, JobLost)
            assert "no worker process could be started" in str(error)
