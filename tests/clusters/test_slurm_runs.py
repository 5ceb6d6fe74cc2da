"""Runs of an application on a real Slurm: with their client and without it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mini import Run, State
from mini.apparatus.slurm.apparatus import SlurmApparatus
from mini.runs.status import RunState

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slurm")]

TRAIN = """
import os, time
from pathlib import Path
import hydra, helper, mini

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config):
    print("training", config.x)
    with open("begun", "a") as file:
        file.write(f"{config.x} {mini.attempt()}\\n")
    while config.wait and not Path("go").exists():
        time.sleep(0.05)
    if config.x == config.bad:
        raise ValueError("bad")
    return {"y": config.x * helper.FACTOR}

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/config.yaml").write_text("defaults: [mini, _self_]\nx: 0\nwait: false\nbad: -1\n")
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "helper.py").write_text("FACTOR = 2\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "sweep"\n')
    return tmp_path


def command(*overrides):
    return [sys.executable, "train.py", *overrides, "hydra.sweep.dir=outputs/run"]


def train(*overrides, code=0):
    done = subprocess.run(command(*overrides), capture_output=True, text=True, timeout=250)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def cli(*words):
    return subprocess.run([sys.executable, "-m", "mini.cli", *words], capture_output=True, text=True, timeout=120)


def until(condition, what):
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def begun():
    return Path("begun").read_text().split("\n")[:-1] if Path("begun").exists() else []


def test_local_and_slurm_are_one_run_and_one_table(project):
    train("apparatus=local,slurm", "x=1,2")
    table = Run.open("run").table().sort("job")
    assert table["y"].to_list() == [2, 4, 2, 4]
    assert set(table["overrides.apparatus"]) == {"local", "slurm"}
    leaves = [{path.name for path in Path(f"outputs/run/{job}").iterdir()} for job in (0, 2)]
    assert leaves[0] == leaves[1]
    assert not Path("outputs/run/slurm").exists()


def test_a_detached_run_has_the_code_of_its_beginning_and_is_seen_from_elsewhere(project):
    alone = "apparatus.group=1"  # each job in a process of its own, which imports what it needs
    train("apparatus=slurm", alone, "x=range(1,8)", "wait=true", "bad=3", "hydra.launcher.detach=true")
    until(lambda: len(begun()) >= 4, "the cluster has four cores")
    (project / "helper.py").write_text("FACTOR = 1000\n")
    until(lambda: cli("status", "run").stdout.count("running") >= 4, "jobs are said to run")
    said = cli("status", "run")
    assert said.returncode == 3
    assert "queued (Resources)" in said.stdout
    assert "training 1" in cli("logs", "run", "0").stdout
    Path("go").touch()
    status = Run.open("run").wait(200)
    assert (status.state, status.counts) == (RunState.FAILED, {"done": 6, "failed": 1})
    assert sorted(Run.open("run").table()["y"].drop_nulls()) == [2, 4, 8, 10, 12, 14]
    (project / "helper.py").write_text("FACTOR = 2\n")
    again = cli("retry", "run", "--yes")
    assert again.returncode == 1
    assert "6 of 7 jobs are done already" in again.stderr


def test_cancelling_a_detached_run_keeps_what_is_done(project):
    train("apparatus=slurm", "x=range(0,8)", "wait=true", "apparatus.array_parallelism=2", "hydra.launcher.detach=true")
    until(lambda: len(begun()) == 2, "two run")
    status = Run.open("run").cancel()
    assert status.counts == {"cancelled": 8}
    assert len(begun()) == 2


def test_a_detached_run_stops_after_so_many_failures_though_nobody_looks(project):
    limits = ["hydra.launcher.max_failures=1", "hydra.launcher.detach=true"]
    train("apparatus=slurm", "x=range(0,30)", "bad=0", "apparatus.array_parallelism=1", *limits)
    until(lambda: len(list(Path("outputs/run").glob("*/record.json"))) == 30, "all have a record")
    counts = Run.open("run").status().counts
    assert counts["failed"] == 1
    assert counts["cancelled"] > 20


def test_a_run_goes_on_when_its_client_is_killed(project):
    client = subprocess.Popen(
        command("apparatus=slurm", "x=range(0,6)", "wait=true"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(lambda: len(begun()) == 4, "four run")
    client.send_signal(signal.SIGKILL)
    client.wait()
    refused = train("apparatus=slurm", "x=range(0,6)", "wait=true", "hydra.launcher.resume=run", code=2).stderr
    assert "run is still running on slurm, without the command that began it" in refused
    Path("go").touch()
    status = Run.open("run").wait(200)
    assert (status.state, status.counts) == (RunState.DONE, {"done": 6})
    assert len(begun()) == 6, "none ran twice"


def test_an_interrupted_sweep_cancels_its_jobs(project):
    client = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal, runpy, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "sys.argv = sys.argv[1:]; sys.path.insert(0, ''); runpy.run_path('train.py', run_name='__main__')",
            *command("apparatus=slurm", "x=range(0,6)", "wait=true")[1:],
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: len(begun()) == 4, "four run")
    client.send_signal(signal.SIGINT)
    assert client.wait(60) == 130
    assert Run.open("run").status().counts == {"cancelled": 6}

    def queue():
        return subprocess.run(
            ["squeue", "--noheader", "--name=sweep-run", "--states=PENDING,RUNNING"], capture_output=True, text=True
        ).stdout

    until(lambda: not queue(), "Slurm still has jobs of the run")


def test_nothing_is_lost_and_nothing_twice_though_processes_are_killed(tmp_path):
    """Job steps' processes are killed at random while 60 jobs run; each result is there once, as its job made it."""

    def work(x):
        Path(tmp_path, "pids", str(os.getpid())).touch()
        time.sleep(0.05)
        with Path(tmp_path, "done").open("a") as file:
            file.write(f"{x}\n")
        return x * x

    (tmp_path / "pids").mkdir()
    dice = random.Random(7)
    with SlurmApparatus("test", retries=50) as apparatus:
        run = apparatus.spawn(work, range(60), name="kills")
        killed = 0
        while (status := run.status()).state is RunState.RUNNING:
            pids = list((tmp_path / "pids").iterdir())
            if pids and killed < 12:
                victim = dice.choice(pids)
                victim.unlink()
                try:
                    os.kill(int(victim.name), signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass
            time.sleep(0.2)
        assert status.counts == {State.DONE: 60}
        assert run.results() == [x * x for x in range(60)]
        assert killed > 0
    records = [json.loads(path.read_text()) for path in Path("outputs/kills").glob("*/record.json")]
    ended = (tmp_path / "done").read_text().split()
    again = sum(record["attempt"] > 1 for record in records)
    assert len(set(ended)) == 60
    assert len(ended) <= 60 + again, "a job that was done ran again"
