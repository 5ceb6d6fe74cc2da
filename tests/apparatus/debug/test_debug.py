"""What only this process has: breakpoints, the debugger, and an interrupt that is the user's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mini import DebugApparatus, Job
from mini.job import State


def test_jobs_run_in_this_process():
    assert list(DebugApparatus().map(lambda _: os.getpid(), range(2))) == [os.getpid()] * 2


def test_nothing_runs_before_it_is_asked_for():
    results = DebugApparatus().map(os.mkdir, ["one"])
    assert not Path("one").exists()
    next(results)
    assert Path("one").is_dir()


def test_an_interrupt_is_the_users_and_the_job_is_recorded_as_cancelled(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    apparatus = DebugApparatus()
    stream = apparatus.start(apparatus.encode([Job(0, interrupt, folder=str(tmp_path / "0"), record=True)]))
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert f'"state":"{State.CANCELLED}"' in (tmp_path / "0" / "record.json").read_text()


@pytest.mark.parametrize(("options", "typed", "seen"), [("pdb=True", "p x\nq\n", "(Pdb) 41"), ("", "p x\nc\n", "42")])
def test_the_debugger_stops_where_it_should(tmp_path, options, typed, seen):
    script = tmp_path / "script.py"
    body = "1 / 0" if options else "breakpoint()"
    script.write_text(
        f"from mini import DebugApparatus\ndef f(x):\n    {body}\n    return x + 1\n"
        f"print(list(DebugApparatus({options}).map(f, [41], return_exceptions=True)))\n"
    )
    done = subprocess.run([sys.executable, script], input=typed, capture_output=True, text=True, timeout=60, check=True)
    assert seen in done.stdout
