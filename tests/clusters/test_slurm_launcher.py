"""Hydra's own suite for launchers, and an Optuna study, on a real Slurm."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from hydra.test_utils.launcher_common_tests import LauncherTestSuite

from mini import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("slurm"),
    # The suites ask for the behaviour of Hydra 1.1, of which Hydra warns.
    pytest.mark.filterwarnings("ignore::hydra.errors.Hydra14MigrationWarning"),
    pytest.mark.filterwarnings("ignore:\\s*Future Hydra versions will no longer change working directory"),
]

Plugins.instance()  # Hydra 1.4 imports a plugin once, and the suites forget what is registered after they began

SLURM = ["hydra.launcher.apparatus=slurm"]


@pytest.mark.parametrize(("launcher_name", "overrides"), [("apparatus", list(SLURM))])
class TestLauncher(LauncherTestSuite):
    pass


def test_a_study_of_optuna_runs_on_slurm(tmp_path):
    Path("conf").mkdir()
    Path("conf/config.yaml").write_text(
        "defaults: [mini, {override hydra/sweeper: optuna}, _self_]\nx: 0.0\n"
        "hydra: {sweeper: {n_trials: 6, n_jobs: 3, direction: minimize, sampler: {seed: 1}, "
        "params: {x: 'interval(-1,1)'}}}\n"
    )
    Path("pyproject.toml").write_text('[project]\nname = "study"\n')
    Path("train.py").write_text(
        "import hydra\n@hydra.main(version_base=None, config_path='conf', config_name='config')\n"
        "def main(config):\n    return config.x**2\nif __name__ == '__main__':\n    main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "train.py", "-m", "apparatus=slurm", "hydra.sweep.dir=outputs/run"],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert Run.open("run").status().counts == {"done": 6}
