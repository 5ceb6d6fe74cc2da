"""What a job of a Hydra application sees, and what the sweep leaves, compared with Hydra's basic launcher."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from omegaconf import OmegaConf

APPLICATION = Path(__file__).with_name("application.py")


def run(*overrides, code=0, **options):
    done = subprocess.run(
        [sys.executable, APPLICATION, "hydra.sweep.dir=outputs/out", *overrides],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done


def returned(index, folder="outputs/out"):
    return {
        name.removeprefix("metrics."): value
        for name, value in json.loads(Path(folder, str(index), "record.json").read_text())["row"].items()
        if name.startswith("metrics.")
    }


@pytest.fixture(params=["local", "debug", "rehearsal"])
def kind(request, in_project):
    return f"apparatus={request.param}"


def test_a_job_sees_its_place(kind, tmp_path):
    run(kind, "x=1,2")
    seen = returned(1)
    assert seen["num"] == 1
    assert seen["id"] == "1"
    assert seen["job_name"] == "application"
    assert seen["output_dir"] == str(Path(seen["cwd"]) / "outputs" / "out" / "1")
    assert (seen["cwd"] == str(tmp_path)) == (kind != "apparatus=rehearsal")
    assert (seen["thrice"], seen["via_hydra"]) == (6, 1)
    assert seen["mode"] == "RunMode.MULTIRUN"
    assert seen["overrides"] == f"{kind},x=2"


def test_chdir_and_env_are_honoured(kind):
    run(kind, "hydra.job.chdir=true", "+hydra.job.env_set.SET_FOR_JOB=yes")
    seen = returned(0)
    assert seen["env"] == "yes"
    assert seen["cwd"].endswith("outputs/out/0")


@pytest.mark.parametrize("kind", ["apparatus=debug", "apparatus=rehearsal"])
def test_callbacks_are_called_around_each_job(kind, tmp_path, in_project):
    run(
        "x=1,2",
        kind,
        *(["apparatus.isolated=packages"] if "rehearsal" in kind else []),  # the notes are on this machine
        f"+hydra.callbacks.note={{_target_:application.Recorder,path:{tmp_path / 'notes'}}}",
        env={**__import__("os").environ, "PYTHONPATH": str(APPLICATION.parent)},
    )
    *jobs, last = Path("notes").read_text().splitlines()
    assert last == "over"
    for x in (1, 2):  # containers run side by side
        assert [line for line in jobs if str(x) in line] == [f"start {x}", f"end {x} COMPLETED"]


def test_the_files_are_those_of_the_basic_launcher(kind):
    run(kind, "x=1,2", "group=two")
    run(kind, "x=1,2", "group=two", "hydra/launcher=basic", "hydra.sweep.dir=basic")
    for job in "01":
        for name in ("config.yaml", "overrides.yaml"):
            ours, theirs = (Path(top, job, ".hydra", name).read_text() for top in ("outputs/out", "basic"))
            assert ours == theirs
        ours, theirs = (OmegaConf.load(f"{top}/{job}/.hydra/hydra.yaml").hydra for top in ("outputs/out", "basic"))
        for node in (ours, theirs):  # where they must differ
            node.sweep.dir = node.runtime.output_dir = node.launcher = None
            node.overrides.hydra = node.runtime.choices["hydra/launcher"] = None
        assert ours == theirs
    assert OmegaConf.load("outputs/out/multirun.yaml").hydra.overrides.task == [kind, "x=1,2", "group=two"]


def test_the_job_log_of_hydra_is_there(kind):
    run(kind)
    assert "x is 1" in Path("outputs/out/0/application.log").read_text()
    assert "x is 1" in Path("outputs/out/0/log.txt").read_text()


def test_the_folder_of_a_job_may_be_named_after_its_overrides(kind):
    run(kind, "x=1,2", "hydra.sweep.subdir=x-${x}-${hydra.job.num}")
    assert Path("outputs/out/x-2-1/record.json").exists()


def test_one_table_with_every_job(kind):
    done = run(kind, "x=1,2", "group=one,two")
    table = pl.read_parquet("outputs/out/results.parquet")
    assert table.height == 4
    assert table["overrides.group"].to_list() == ["one", "two", "one", "two"]
    assert table["config.x"].to_list() == [1, 1, 2, 2]
    assert table["config.group.extra"].to_list() == [None, "[1, 2]", None, "[1, 2]"]
    assert table["state"].unique().to_list() == ["done"]
    assert "config.gpu.name" not in table.columns
    assert "4 done → outputs/out/results.parquet" in done.stdout


def test_a_failed_job_stops_no_other_and_is_told_once(kind):
    done = run(kind, "x=0,1,2", "do=raise", code=1)
    text = done.stdout
    assert "2 done, 1 failed" in text
    assert "#1 failed  " in text
    assert "ValueError: x is 1" in text
    assert "log: " in text
    assert "hydra/_internal" not in done.stdout + done.stderr
    assert "raise ValueError" in Path("outputs/out/1/log.txt").read_text()


def test_exit_in_a_job_is_its_own_failure(kind):
    done = run(kind, "do=exit", code=1)
    assert "SystemExit: 5" in done.stdout


def test_nan_is_a_result_and_never_the_best(kind):
    done = run(kind, "x=0,1,2", "do=diverge", "results.sort=-loss")
    assert pl.read_parquet("outputs/out/results.parquet")["loss"].to_list() == pytest.approx(
        [0, float("nan"), 2], nan_ok=True
    )
    rows = [line.split()[0] for line in done.stdout.splitlines()[-4:-1]]
    assert rows == ["2", "0", "1"], done.stdout + done.stderr


def test_several_specs_run_side_by_side():
    run("x=1,2", "apparatus=local,debug", "gpu=t4,none")
    assert pl.read_parquet("outputs/out/results.parquet").height == 8


def test_the_run_says_what_was_asked():
    run("x=1,2")
    asked = json.loads(Path("outputs/out/run.json").read_text())
    assert asked["overrides"] == ["x=1,2"]
    assert asked["apparatus"] == ["local"]
    assert asked["jobs"] == 2


def test_two_runs_that_begin_together_do_not_meet(tmp_path):
    commands = [
        subprocess.Popen([sys.executable, APPLICATION, f"x={x}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for x in (1, 2)
    ]
    for command in commands:
        command.communicate(timeout=60)
    assert len(list(Path("outputs").glob("*/results.parquet"))) == 2


def test_optuna_drives_a_study_and_the_workers_stay(tmp_path):
    run(
        "hydra/sweeper=optuna",
        "do=square",
        "x=range(0,6)",
        "hydra.sweeper.n_trials=8",
        "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.sampler.seed=1",
    )
    records = [json.loads(path.read_text()) for path in Path("outputs/out").glob("*/record.json")]
    assert len(records) == 8
    assert len({record["where"]["pid"] for record in records}) <= 2
    best = OmegaConf.load("outputs/out/optimization_results.yaml")
    assert best.best_value == min(record["row"]["metrics.value"] for record in records)
    assert pl.read_parquet("outputs/out/results.parquet").height == 8
