"""What a sweep may cost: said before it starts, asked above a threshold, told at its end."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

APPLICATION = """
import hydra

@hydra.main(version_base=None, config_path='conf', config_name='config')
def main(config):
    return {"y": config.x}

main()
"""
RATES = '[local]\nas_of = 2026-01-02\nsource = "our department"\ncpu = 1.0\nminimum_cpu = 1\n'
SWEEP = ("x=1,2",)


@pytest.fixture(autouse=True)
def _a_paid_machine():
    Path("pyproject.toml").write_text('[project]\nname = "price"\n')
    Path("main.py").write_text(APPLICATION)
    Path("conf").mkdir()
    Path("conf/config.yaml").write_text("defaults:\n  - mini\n  - _self_\nx: 0\n")
    Path("mini-rates.toml").write_text(RATES)


def application(*overrides, code=0, answer=None):
    """Without a terminal; with one, and a person who answers."""
    command = [sys.executable, "main.py", *SWEEP, *overrides]
    if answer is None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        printed, returned = done.stdout + done.stderr, done.returncode
    else:
        master, slave = pty.openpty()
        process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        os.write(master, answer)
        data = b""
        try:
            while part := os.read(master, 4096):
                data += part
        except OSError:  # the other end is closed
            pass
        returned = process.wait(120)
        os.close(master)
        printed = data.decode()
    assert returned == code, printed
    return printed


def test_a_paid_sweep_says_what_it_may_cost_and_what_it_has_cost():
    first = application("hydra.sweep.dir=outputs/a", "apparatus.timeout=100")
    assert "2 jobs on local: at most $200.00, if each takes its whole timeout: no earlier run of this task" in first
    assert "rates of 2026-01-02 from our department" in first
    second = application("hydra.sweep.dir=outputs/b", "apparatus.timeout=100")
    assert "the mean of 2 earlier jobs there" in second
    assert "of jobs, without start-up and idle time" in second.split("job  x")[1]
    manifest = json.loads(Path("outputs/b/run.json").read_text())
    assert manifest["places"][0]["apparatus"] == "local"
    assert manifest["places"][0]["jobs"] == 2


def test_without_a_terminal_nobody_is_asked():
    application("hydra.launcher.ask_above=1", "apparatus.timeout=100")


def test_a_person_who_says_no_starts_nothing():
    printed = application("hydra.sweep.dir=outputs/a", "hydra.launcher.ask_above=1", code=2, answer=b"n\n")
    assert "This is above hydra.launcher.ask_above=1. Start? [y/N]" in printed
    assert "not started" in printed
    assert not Path("outputs/a/run.json").exists()


def test_a_person_who_says_yes_starts_it():
    application("hydra.sweep.dir=outputs/a", "hydra.launcher.ask_above=1", answer=b"y\n")
    assert Path("outputs/a/run.json").exists()


def test_below_the_threshold_nobody_is_asked():
    assert "Start?" not in application("hydra.launcher.ask_above=1000", "apparatus.timeout=100", answer=b"")


def test_a_threshold_that_is_no_amount_is_refused():
    assert "must be an amount in dollars" in application("hydra.launcher.ask_above=much", code=2)


def test_a_machine_that_is_not_paid_says_nothing_of_cost():
    Path("mini-rates.toml").unlink()
    assert "$" not in application("hydra.launcher.ask_above=1")
