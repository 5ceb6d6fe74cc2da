"""A run that is left on this machine: one driver, whatever engines the run has."""

import subprocess
import sys
from pathlib import Path

import pytest

from mini import Run

APPLICATION = Path(__file__).parents[1] / "launcher" / "application.py"
pytestmark = pytest.mark.timeout(180)


@pytest.mark.slow
def test_a_detached_run_may_have_several_engines_and_kinds_of_gpu(in_project):
    overrides = ["apparatus=local,rehearsal", "gpu=none,t4", "x=1,2", "hydra.launcher.detach=true"]
    done = subprocess.run(
        [sys.executable, APPLICATION, *overrides, "hydra.sweep.dir=outputs/mixed"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "mini watch mixed" in done.stdout, done.stderr
    run = Run.open("mixed")
    assert run.wait(120).counts == {"done": 8}
    table = run.table()
    assert table["overrides.apparatus"].to_list() == ["local"] * 4 + ["rehearsal"] * 4
    assert set(table["overrides.gpu"]) == {"none", "t4"}
    assert [Path("outputs/mixed", str(i), "log.txt").exists() for i in range(8)] == [True] * 8


def test_a_driver_keeps_the_limits_of_its_run(in_project):
    overrides = ["x=1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "do=raise", "apparatus.workers=1"]
    subprocess.run(
        [
            *(sys.executable, APPLICATION, *overrides),
            *("hydra.launcher.detach=true", "hydra.launcher.max_failures=2", "hydra.sweep.dir=outputs/limited"),
        ],
        capture_output=True,
        timeout=60,
        check=True,
    )
    now = Run.open("limited").wait(60)
    assert now.counts["failed"] < 20
    assert now.counts["failed"] + now.counts["cancelled"] == 20
