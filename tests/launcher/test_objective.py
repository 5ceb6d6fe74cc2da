"""What a sweeper gets of a returned mapping, and what is refused."""

import subprocess
import sys

import pytest

from mini.errors import UsageError
from mini.launcher.objective import Objective

OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
RETURNED = {"accuracy": 0.5, "val": {"loss": 2.0}, "test.f1": 0.7}

APPLICATION = """
import hydra

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    return {"accuracy": cfg.x * 2.0, "val": {"loss": 1.0}}

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    ("names", "picked"),
    [
        (None, RETURNED),
        ("accuracy", 0.5),
        ("val.loss", 2.0),
        ("test.f1", 0.7),
        (["accuracy", "val.loss"], (0.5, 2.0)),
    ],
)
def test_what_is_picked(names, picked):
    assert Objective(names, "hydra.BasicSweeper").pick(RETURNED) == picked


@pytest.mark.parametrize(
    ("names", "value", "said"),
    [
        ("accurcy", RETURNED, "did you mean 'accuracy'?"),
        ("val.lss", RETURNED, "did you mean 'loss'?"),
        ("accuracy", 0.5, "the task returned a float; return a dict, or leave the objective out"),
        (None, RETURNED, "hydra.launcher.objective=NAME (or [NAME,NAME]), of accuracy, val, test.f1"),
    ],
)
def test_what_cannot_be_picked_is_refused(names, value, said):
    with pytest.raises(UsageError) as caught:
        Objective(names, OPTUNA).pick(value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("names", "directions"), [(["a", "b"], "minimize"), ("a", ["minimize", "maximize"]), (["a"], ["minimize"] * 2)]
)
def test_as_many_objectives_as_directions(names, directions):
    with pytest.raises(UsageError, match="a study needs a direction for each objective"):
        Objective(names, OPTUNA, directions)


@pytest.mark.parametrize("names", [3, [], ["a", 1], {"a": "b"}])
def test_names_are_names(names):
    with pytest.raises(UsageError, match="must be a name, or a list of names"):
        Objective(names, OPTUNA)


def study(folder, *overrides):
    (folder / "app.py").write_text(APPLICATION)
    (folder / "config.yaml").write_text("defaults: [mini, _self_]\nx: 1\n")
    command = [sys.executable, "app.py", "-m", "hydra/sweeper=optuna", "x=interval(0,10)", "hydra.sweeper.n_trials=6"]
    command += ["hydra.sweeper.n_jobs=1", "hydra.sweep.dir=run", *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_a_study_finds_its_objective(tmp_path):
    done = study(tmp_path, "hydra.launcher.objective=accuracy", "hydra.sweeper.direction=maximize")
    assert done.returncode == 0, done.stderr
    assert "Best value" in done.stdout
    assert len(list((tmp_path / "run").glob("*/record.json"))) == 6


def test_a_mapping_is_refused_after_the_first_job(tmp_path):
    done = study(tmp_path)
    assert done.returncode == 2
    assert "say which one it is with hydra.launcher.objective=NAME" in done.stderr
    assert len(list((tmp_path / "run").glob("*/record.json"))) == 1


def test_nothing_starts_with_too_few_directions(tmp_path):
    done = study(tmp_path, "hydra.launcher.objective=[accuracy,val.loss]")
    assert done.returncode == 2
    assert "a direction for each objective" in done.stderr
    assert not (tmp_path / "run" / "0").exists()
