"""A short version of the kill loops; `python -m tests.faults.kill_loop` plays as many rounds as one likes."""

import sys
from dataclasses import asdict

import kill_loop
import pytest

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


@pytest.mark.parametrize(
    ("fault", "engine", "jobs"),
    [("client", "local", 60), ("workers", "local", 60), ("driver", "detached", 60), ("containers", "rehearsal", 24)],
)
def test_random_signals_lose_nothing_run_nothing_twice_and_leave_nothing(fault, engine, jobs, record_property):
    row = kill_loop.play(fault, engine, 1, jobs, seed="of the tests")
    record_property("fault", asdict(row))
    assert row.is_clean, row.notes
