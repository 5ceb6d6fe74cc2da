"""A run that is left on this machine: one driver, whatever engines the run has."""

import subprocess
import sys
import time
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


@pytest.mark.parametrize(("snapshot", "values"), [("true", [2, 4, 6]), ("false", [2, 4000, 6000])])
def test_an_edit_while_jobs_wait_changes_nothing(tmp_path, snapshot, values):
    """Each job is a process of its own, which imports the module that is edited when the first is under way."""
    Path("conf").mkdir()
    Path("conf/config.yaml").write_text("defaults: [mini, _self_]\nx: 0\n")
    Path("pyproject.toml").write_text('[project]\nname = "edited"\n')
    Path("helper.py").write_text("FACTOR = 2\n")
    Path("app.py").write_text(
        "import time\nfrom pathlib import Path\nimport hydra, helper\n"
        "@hydra.main(version_base=None, config_path='conf', config_name='config')\ndef main(config):\n"
        "    Path('begun').touch()\n    while not Path('go').exists():\n        time.sleep(0.05)\n"
        "    return {'y': config.x * helper.FACTOR}\nif __name__ == '__main__':\n    main()\n"
    )
    overrides = ["x=1,2,3", "apparatus.workers=1", "apparatus.fresh=true", f"apparatus.snapshot={snapshot}"]
    detached = [*overrides, "hydra.launcher.detach=true", "hydra.sweep.dir=outputs/run"]
    subprocess.run([sys.executable, "app.py", *detached], capture_output=True, timeout=60, check=True)
    deadline = time.monotonic() + 60
    while not Path("begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    Path("helper.py").write_text("FACTOR = 2000\n")
    Path("go").touch()
    assert Run.open("run").wait(60).counts == {"done": 3}
    assert Run.open("run").table().sort("job")["y"].to_list() == values
