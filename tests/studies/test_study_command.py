"""Studies of a small application: real commands."""

import json
import subprocess
import sys
from pathlib import Path

import optuna
import polars as pl
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage

from mini import Run
from mini.errors import UsageError
from mini.runs.folder import RunFolder

pytestmark = pytest.mark.timeout(300)

PROGRAM = """
import time, hydra, mini

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    accuracy = 0.0
    for step in range(1, config.steps + 1):
        accuracy = config.x * step
        mini.progress(step, config.steps, accuracy=accuracy)
        if config.wait and config.x < 0.5:
            time.sleep(0.02)
    if config.x == -1:
        raise RuntimeError("out of order")
    return {"accuracy": accuracy, "loss": -accuracy, "size": len(config.model.size)}

if __name__ == "__main__":
    main()
"""


@pytest.fixture(autouse=True)
def _a_project():
    Path("pyproject.toml").write_text('[project]\nname = "studied"\n')
    Path("app.py").write_text(PROGRAM)
    Path("conf/model").mkdir(parents=True)
    Path("conf/config.yaml").write_text(
        "defaults: [mini, model: small, _self_]\nx: 0.5\nname: a\nsteps: 3\nwait: false\n"
    )
    for name in ("small", "large"):
        Path(f"conf/model/{name}.yaml").write_text(f"size: {name}\n")


def app(*overrides, code=0, folder="a"):
    command = [sys.executable, "app.py", "hydra/sweeper=study", f"hydra.sweep.dir=outputs/{folder}", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def table(folder="a"):
    return pl.read_parquet(f"outputs/{folder}/results.parquet").sort("job")


def trials(folder="a"):
    storage = JournalStorage(JournalFileBackend(f"outputs/{folder}/study.journal"))
    return optuna.load_study(study_name=None, storage=storage).trials


def test_a_study_is_one_run_that_optuna_opens():
    said = app(
        *("x=tag(log,interval(0.01,1))", "model=choice(small,large)", "study.trials=6", "study.seed=1"),
        *("study.metric=accuracy", "study.direction=maximize", "apparatus.workers=2"),
    )
    shown = table()
    assert shown["job"].to_list() == list(range(6))
    assert set(shown["config.model.size"]) <= {"small", "large"}
    best = shown.sort("accuracy", descending=True)
    assert f"job {best['job'][0]}" in said.split("best accuracy:")[1]
    told = trials()
    assert [one.user_attrs["job"] for one in told] == list(range(6))
    assert {one.state.name for one in told} == {"COMPLETE"}
    assert [one.values[0] for one in told] == shown["accuracy"].to_list()
    assert [one.params["x"] for one in told] == shown["config.x"].to_list()


def test_a_trial_that_is_losing_ends_early_and_is_no_failure():
    app(
        *("x=choice(1.0,0.1)", "study.enqueue=[{x:1.0},{x:0.1}]", "study.trials=2", "study.parallel=1", "wait=true"),
        *("steps=2000", "study.metric=accuracy", "study.direction=maximize", "study.pruner=asha"),
    )
    done, pruned = table().to_dicts()
    assert (done["state"], pruned["state"]) == ("done", "pruned")
    assert 0 < pruned["accuracy"] < done["accuracy"], "the row of a pruned trial has its last metrics"
    assert "ended early, at step" in pruned["error"]
    assert [one.state.name for one in trials()] == ["COMPLETE", "PRUNED"]
    listed = subprocess.run(
        [sys.executable, "-m", "mini.cli", "status", "a"], capture_output=True, text=True, timeout=60
    )
    assert listed.returncode == 0
    assert "1 done, 1 pruned" in listed.stdout


def test_a_study_goes_on_where_it_was():
    space = ("x=interval(0.1,1.0)", "study.metric=accuracy", "study.direction=maximize", "apparatus.workers=2")
    app(*space, "study.trials=3")
    app(*space, "study.trials=5", "hydra.launcher.resume=a", folder="other")
    assert len(trials()) == table().height == 5
    assert not Path("outputs/other").exists()
    said = app("x=interval(0.1,2.0)", *space[1:], "study.trials=6", "hydra.launcher.resume=a", code=2)
    assert "is a study of another space: x was" in said
    assert len(trials()) == 5


def test_what_was_not_told_is_told_once_and_what_did_not_end_runs_again():
    space = ("x=interval(0.1,1.0)", "study.metric=accuracy", "study.direction=maximize", "apparatus.workers=1")
    app(*space, "study.trials=3")
    journal, record = Path("outputs/a/study.journal"), Path("outputs/a/2/record.json")
    for has_ended in (True, False):
        # As if the process had been killed before it told of the last trial, in the middle of a line.
        lines = journal.read_bytes().splitlines(keepends=True)
        last = max(number for number, line in enumerate(lines) if json.loads(line)["op_code"] == 6)
        journal.write_bytes(b"".join(lines[:last]) + lines[last][:10])
        Path("outputs/a/study.journal.lock").touch()
        ran = json.loads(record.read_text())["started"]
        if not has_ended:
            record.unlink()
        app(*space, "study.trials=3", "hydra.launcher.resume=a")
        told = trials()
        assert [one.state.name for one in told] == ["COMPLETE"] * 3
        assert [one.user_attrs["job"] for one in told] == list(range(3))
        assert (json.loads(record.read_text())["started"] == ran) == has_ended


def test_a_second_study_knows_the_trials_of_the_first():
    space = ("x=interval(0.1,1.0)", "study.metric=accuracy", "study.direction=maximize", "apparatus.workers=1")
    app(*space, "study.trials=2")
    app(*space, "study.trials=1", "study.from=a", folder="b")
    told = trials("b")
    assert [one.user_attrs.get("from") for one in told] == ["a", "a", None]
    assert table("b").height == 1


def test_a_function_chooses():
    Path("search.py").write_text(
        "def space(config, trial):\n"
        "    x = trial.suggest_float('x', 0.1, 1.0)\n"
        "    return {'steps': 5 if x < config.x else 2}\n"
    )
    app("study.space=search.space", "study.trials=3", "study.metric=loss", "apparatus.workers=1")
    for row in table().to_dicts():
        assert row["config.steps"] == (5 if row["config.x"] < 0.5 else 2)


def test_what_hydra_optuna_sweeper_calls_it_is_understood():
    Path("conf/config.yaml").write_text(
        "defaults: [mini, model: small, override hydra/sweeper: study, _self_]\nx: 0.5\nsteps: 1\nwait: false\n"
        "hydra:\n  sweeper:\n    n_trials: 3\n    n_jobs: 1\n    direction: [maximize, minimize]\n"
        "    sampler:\n      _target_: optuna.samplers.RandomSampler\n      seed: 3\n"
        "    params:\n      x: interval(0.25, 1.0)\n    metric: [accuracy, size]\n"
    )
    command = [sys.executable, "app.py", "-m", "hydra.sweep.dir=outputs/a"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [len(one.values) for one in trials()] == [2, 2, 2]


def test_a_grid_ends_with_its_last_point_and_a_range_without_its_end():
    app("x=range(0.1,0.3,0.1)", "model=glob(*)", "study.sampler=grid", "study.trials=50", "study.metric=loss")
    assert sorted(
        set(zip(*table()["config.x", "config.model.size"].to_dict(as_series=False).values(), strict=True))
    ) == [
        *((0.1, "large"), (0.1, "small"), (0.2, "large"), (0.2, "small")),
    ]
    assert table().height == 4


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["study.metric=loss"], "this study has nothing to choose"),
        (["x=interval(0,1)", "study.trails=3"], "study.trails is not an option of a study; did you mean 'trials'?"),
        (["x=interval(0,1)", "study.metric=[accuracy,size]"], "give one direction for each metric"),
        (["name=interval(0,1)"], "an interval is of numbers, and name is a text ('a')"),
        (["model=interval(0,1)"], "model is a config group; choose from it with model=choice(large,small)"),
        (["x=interval(1,0)"], "x=interval(1,0) is not possible"),
        (["y=interval(0,1)"], "'y'"),
        (["model=choice(small,lrge)"], "lrge"),
        (["x=interval(0,1)", "study.pruner=asha"], "study.pruner=asha needs study.metric=NAME"),
        (["x=interval(0,1)", "study.sampler=tpee"], "it must be one of tpe, random"),
        (["x=interval(0.0,1)", "study.sampler=grid"], "needs choices and ranges, and x is an interval"),
        (["x=interval(0,1)", "study.sampler_args={seeds:1}"], "study.sampler=tpe takes no 'seeds'"),
        (["x=interval(0,1)", "study.space=nothing.there"], "study.space=nothing.there: there is no such function"),
        (["x=interval(0,1)", "hydra.launcher.resume=b"], "there is no run"),
        (["x=interval(0,1)", "study.enqueue=[{y:1}]"], "study.enqueue: y is not in the space"),
        (["x=interval(0,1)", "study.enqueue=[{x:2}]"], "study.enqueue: x=2 is not from 0.0 to 1.0"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_nothing_starts(overrides, said):
    lines = app(*overrides, code=2).splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not Path("outputs/a").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["study.metric=acuracy"], "study.metric=acuracy: job 0 has no 'acuracy'; did you mean 'accuracy'?"),
        ([], "job 0 returned a mapping, and the study needs a number; say which with study.metric=NAME, of accuracy"),
        (["study.metric=size", "study.pruner=median"], "and job 0 reported accuracy; call mini.progress"),
    ],
)
def test_what_the_first_trial_has_not_is_said_after_it(overrides, said):
    shown = app("x=interval(0.1,1.0)", "study.trials=9", "study.parallel=1", *overrides, code=2)
    assert said in shown
    assert len(trials()) == 1
    assert table().height == 1, "what was done is kept"


def test_a_study_that_is_left_goes_on_and_another_sweep_begins_from_its_best():
    space = ("x=interval(0.1,1.0)", "study.metric=accuracy", "study.direction=maximize", "apparatus.workers=1")
    said = app(*space, "study.trials=3", "hydra.launcher.detach=true")
    assert "a goes on by itself" in said
    again = ("hydra.launcher.after=a", "x=${mini.best:a,accuracy,x}", "hydra.sweep.dir=outputs/b")
    done = subprocess.run([sys.executable, "app.py", *again], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(trials()) == 3, "it waited"
    best = table().sort("accuracy", descending=True).row(0, named=True)
    (row,) = table("b").to_dicts()
    assert (row["config.x"], row["config.hydra.launcher.after"]) == (best["config.x"], "a")
    assert next(one["job"] for one in Run(RunFolder("outputs/a")).best(5)) == best["job"]
    with pytest.raises(UsageError, match="is the highest or the lowest size the best"):
        Run(RunFolder("outputs/a")).best(5, "size")
