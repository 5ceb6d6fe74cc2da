"""A study is killed in its middle, again and again: no trial is lost, and none is told twice.

Twenty rounds by hand: `KILLS=20 pytest tests/studies/test_study_killed.py`.
"""

import collections
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

KILLS = int(os.environ.get("KILLS", "3"))
TRIALS = 3 * KILLS + 4
PROGRAM = """
import time, hydra, mini

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    for step in range(1, 6):
        time.sleep(0.05)
        mini.progress(step, 5, loss=config.x)
    return {"loss": config.x}

if __name__ == "__main__":
    main()
"""


def finished_trials():
    """By trial, how often the journal says that it is over; and how many trials there are."""
    told, begun = collections.Counter(), 0
    for line in Path("outputs/a/study.journal").read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # it is being written, or was when the process was killed
            continue
        begun += entry["op_code"] == 4
        if entry["op_code"] == 6 and entry["state"] != 0:
            told[entry["trial_id"]] += 1
    return told, begun


@pytest.mark.slow
@pytest.mark.timeout(120 + 60 * KILLS)
def test_no_trial_is_lost_or_told_twice():
    Path("pyproject.toml").write_text('[project]\nname = "killed"\n')
    Path("app.py").write_text(PROGRAM)
    Path("conf").mkdir()
    Path("conf/config.yaml").write_text("defaults: [mini, _self_]\nx: 0\n")
    command = [sys.executable, "app.py", "hydra/sweeper=study", "x=interval(0.0,1)", f"study.trials={TRIALS}"]
    command += ["study.metric=loss", "study.pruner=median", "apparatus.workers=2", "hydra.sweep.dir=outputs/a"]
    moments = random.Random(1)
    before = 0
    for round_number in range(KILLS):
        more = ["hydra.launcher.resume=a"] if round_number else []
        with Path(f"said-{round_number}").open("wb") as said:
            study = subprocess.Popen([*command, *more], stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        while not Path("outputs/a/study.journal").exists() or finished_trials()[0].total() <= before:
            assert study.poll() is None, Path(f"said-{round_number}").read_text()
            time.sleep(0.01)
        time.sleep(moments.random() * 0.3)
        study.send_signal(signal.SIGKILL)
        study.wait()
        before = finished_trials()[0].total()
    done = subprocess.run([*command, "hydra.launcher.resume=a"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    told, begun = finished_trials()
    assert begun == TRIALS, "no trial was begun in the place of one that was lost"
    assert dict(told) == dict.fromkeys(range(TRIALS), 1), "each was told once"
    table = pl.read_parquet("outputs/a/results.parquet")
    assert sorted(table["job"]) == list(range(TRIALS))
    assert set(table["state"]) <= {"done", "pruned"}
