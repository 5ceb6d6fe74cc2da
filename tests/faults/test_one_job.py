"""What one job does is its own affair: the others are done, and begin as if it had never been."""

import contextlib
import io
import json
import logging
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import audit
import pytest

from mini import Job, LocalApparatus, attempt, job_dir
from mini.batch import Placement, Silent, run_jobs
from mini.job import State
from mini.runs.folder import RunFolder

pytestmark = pytest.mark.timeout(300)
BAD = 1


def exit_with_0():
    os._exit(0)


def close_standard_files():
    os.close(1)
    os.close(2)


def close_standard_streams():
    sys.stdout.close()
    sys.stderr.close()


def close_standard_streams_and_fail():
    sys.stdout.close()
    raise ValueError("closed")


def close_all_files():
    os.closerange(0, 4096)


def print_what_no_terminal_shows():
    print("\udcff ✓ \x00")
    print("ü", file=sys.stderr)


def work_where_nothing_is():
    Path("gone").mkdir()
    os.chdir("gone")
    Path("../gone").rmdir()


def fork_and_return_twice():
    if os.fork() == 0:
        return
    with contextlib.suppress(ChildProcessError):
        os.wait()


def fork_and_fail_in_the_copy():
    if os.fork() == 0:
        raise ValueError("in the copy")
    with contextlib.suppress(ChildProcessError):
        os.wait()


def leave_odd_files():
    folder = job_dir()
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "up").symlink_to("..")
    Path(os.fsdecode(bytes(folder) + b"/caf\xe9")).write_text("x")
    with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(folder):
        bound.bind("socket")


def change_all():
    os.umask(0o777)
    os.environ["LEFT"] = "x"
    os.environ.pop("HOME", None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger().setLevel(logging.CRITICAL)
    logging.getLogger("of.nobody").setLevel(logging.CRITICAL)
    logging.disable(logging.CRITICAL)
    sys.path.insert(0, "/left")
    sys.argv[:] = ["left"]
    sys.stdout = io.StringIO()
    sys.setrecursionlimit(5000)
    os.close(0)
    random.seed(0)


DEEDS = [
    exit_with_0,
    close_standard_files,
    close_standard_streams,
    close_standard_streams_and_fail,
    close_all_files,
    print_what_no_terminal_shows,
    work_where_nothing_is,
    fork_and_return_twice,
    fork_and_fail_in_the_copy,
    leave_odd_files,
    change_all,
]


def state_of_process():
    umask = os.umask(0o022)
    os.umask(umask)
    root = logging.getLogger()
    return {
        "cwd": str(Path.cwd()),
        "umask": umask,
        "environment": sorted(item for item in os.environ.items() if item[0] != "MINI_WORKER"),  # each has its own
        "SIGINT": str(signal.getsignal(signal.SIGINT)),
        "SIGALRM": str(signal.getsignal(signal.SIGALRM)),
        "timer": signal.getitimer(signal.ITIMER_REAL)[0],
        "handlers": [type(handler).__name__ for handler in root.handlers],
        "levels": [root.level, logging.getLogger("of.nobody").level, root.manager.disable],
        "path": list(sys.path),
        "argv": list(sys.argv),
        "limit": sys.getrecursionlimit(),
        "stdin": os.fstat(0).st_rdev,
        "stdout": os.fstat(1).st_ino == (job_dir() / "log.txt").stat().st_ino,
    }


def job_of(deed):
    def work(x):
        if x == BAD:
            deed()
            return None
        print("job", x)
        time.sleep(0.6 if x == BAD + 1 else 0)
        # Another container has another name, and what it has made is at another place in memory.
        state = json.dumps(state_of_process()).replace(os.environ.get("MODAL_TASK_ID", "-none-"), "task")
        return re.sub(r"0x[0-9a-f]+|socket[^\"]*", "", state)

    return work


def run(apparatus, work, count=4):
    folder = RunFolder("outputs/run")
    jobs = [Job(i, work, (i,), folder=str(folder.path / str(i)), record=True) for i in range(count)]
    apparatus = apparatus.w()
    apparatus.before_each(audit.begun)
    return audit.watch(run_jobs([Placement(apparatus, jobs)], folder, Silent(), {}))


def one_process(kind, rehearsal):
    return rehearsal.w(max_containers=1) if kind == "rehearsal" else LocalApparatus(workers=1)


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
@pytest.mark.parametrize("kind", ["local", "rehearsal"])
def test_what_a_job_does_to_its_process_reaches_no_other(kind, deed, rehearsal):
    with one_process(kind, rehearsal) as apparatus:
        outcomes = run(apparatus, job_of(deed))
    assert [outcome.index for outcome in outcomes] == [0, 1, 2, 3]
    assert [outcome.state for outcome in outcomes if outcome.index != BAD] == [State.DONE] * 3
    first, *others = [json.loads(outcome.result()) for outcome in outcomes if outcome.index != BAD]
    assert others == [first, first]
    assert outcomes[BAD].state in (State.DONE, State.FAILED, State.LOST)
    for index in (0, 2, 3):
        assert Path(f"outputs/run/{index}/log.txt").read_text() == f"job {index}\n"


def test_a_process_that_exits_with_code_0_is_lost(rehearsal):
    with LocalApparatus(workers=2) as apparatus:
        outcomes = run(apparatus, lambda x: os._exit(0) if x == BAD else x)
    assert [outcome.state for outcome in outcomes] == [State.DONE, State.LOST, State.DONE, State.DONE]
    assert "exited with code 0" in str(outcomes[BAD].failure)


def test_a_fork_that_returns_is_not_the_job(tmp_path):
    def work(x):
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return pid != 0

    with LocalApparatus(workers=1) as apparatus:
        assert [outcome.result() for outcome in run(apparatus, work)] == [True] * 4


@pytest.mark.parametrize("kind", ["local", "rehearsal"])
def test_random_numbers_are_neither_those_of_the_job_before_nor_the_same_for_all(kind, rehearsal):
    def work(x):
        import numpy as np

        drawn = random.random(), float(np.random.random())
        random.seed(x)
        np.random.seed(x)
        return drawn

    with one_process(kind, rehearsal) as apparatus:
        outcomes = run(apparatus, work)
    drawn = [outcome.result() for outcome in outcomes]
    assert len({one for one, _ in drawn}) == len({other for _, other in drawn}) == 4
    assert all(drawn[x + 1][0] != random.Random(x).random() for x in range(3))


def test_a_fresh_process_for_each_job():
    with LocalApparatus(workers=1, fresh=True) as apparatus:
        pids = [outcome.result() for outcome in run(apparatus, lambda _: os.getpid())]
    assert len(set(pids)) == 4


def test_a_terminal_that_cannot_show_a_text_fails_no_job(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from mini import DebugApparatus, Job, LocalApparatus\n"
        "def say(x):\n    print('\\u2713 é', x)\n    return x\n"
        "for apparatus in (DebugApparatus(), LocalApparatus(workers=1)):\n"
        "    with apparatus:\n"
        "        job = Job(0, say, (1,), folder=f'jobs/{apparatus.kind}', record=True)\n"
        "        print(next(apparatus.start(apparatus.encode([job]))).result())\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for kind in ("debug", "local"):
        assert "✓ é 1" in (tmp_path / "jobs" / kind / "log.txt").read_text(encoding="utf-8")


# Preemption.


def interrupt_once(x):
    checkpoint = job_dir() / "checkpoint.txt"
    if checkpoint.exists():
        return {"from": checkpoint.read_text(), "attempt": attempt()}
    if x == BAD:
        checkpoint.write_text("41")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(600)
    return {"from": "", "attempt": attempt()}


def swallow_the_interrupt(x):
    try:
        return interrupt_once(x)
    except KeyboardInterrupt:
        return {"from": "half done", "attempt": 0}


@pytest.mark.parametrize("work", [interrupt_once, swallow_the_interrupt])
@pytest.mark.parametrize("options", [{}, {"group": 4}, {"retries": 1}], ids=["alone", "bundle", "retries"])
def test_a_job_whose_container_is_taken_away_runs_again_and_finds_what_it_wrote(rehearsal, work, options):
    outcomes = run(rehearsal.w(max_containers=1, **options), work)
    assert [outcome.state for outcome in outcomes] == [State.DONE] * 4
    assert [outcome.attempt for outcome in outcomes] == [1] * 4
    values = [outcome.result() for outcome in outcomes]
    assert values[BAD] == {"from": "41", "attempt": 2}
    assert [value for index, value in enumerate(values) if index != BAD] == [{"from": "", "attempt": 1}] * 3


def die_twice_and_fail_once(x):
    tries = job_dir() / "tries.txt"
    with tries.open("a") as file:
        file.write("x")
    if x != BAD:
        return attempt()
    import modal

    modal.Volume.from_name(os.environ["MINI_VOLUME"]).commit()
    match len(tries.read_text()):
        case 1 | 2:
            os.kill(os.getpid(), signal.SIGKILL)
        case 3:
            raise ValueError("this one is its own fault")
    return attempt()


def test_a_container_that_is_lost_uses_up_no_attempt(rehearsal):
    outcomes = run(rehearsal.w(max_containers=1, retries=1), die_twice_and_fail_once)
    assert [outcome.state for outcome in outcomes] == [State.DONE] * 4
    assert [outcome.attempt for outcome in outcomes] == [1, 2, 1, 1]


def test_attempts_that_take_too_long_are_used_up(rehearsal):
    outcomes = run(rehearsal.w(max_containers=1, retries=1, timeout=2), lambda x: time.sleep(600 * (x == BAD)))
    assert [outcome.state for outcome in outcomes] == [State.DONE, State.TIMEOUT, State.DONE, State.DONE]


def test_containers_that_are_lost_again_and_again_end_the_job(rehearsal):
    outcomes = run(rehearsal.w(max_containers=1, retries=1), lambda x: os._exit(1) if x == BAD else x)
    assert [outcome.state for outcome in outcomes] == [State.DONE, State.LOST, State.DONE, State.DONE]


def test_an_interrupt_that_a_job_raises_itself_is_its_own_failure(rehearsal):
    def work(x):
        if x == BAD:
            raise KeyboardInterrupt

    outcomes = run(rehearsal.w(max_containers=1), work)
    assert [outcome.state for outcome in outcomes] == [State.DONE, State.FAILED, State.DONE, State.DONE]


@pytest.mark.parametrize("kind", ["local", "rehearsal"])
def test_a_job_can_ask_which_attempt_it_is(kind, rehearsal):
    def work(x):
        if attempt() == 1:
            raise ValueError("not yet")
        return attempt()

    with one_process(kind, rehearsal) as apparatus:
        assert [outcome.result() for outcome in run(apparatus.w(retries=1), work, 2)] == [2, 2]
