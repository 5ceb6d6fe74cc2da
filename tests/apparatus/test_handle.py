"""Runs that outlive the command, on this machine: begun, left, looked at, stopped, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from mini import LocalApparatus, Run, progress
from mini.errors import NoSuchRun, RunFolderError, UsageError
from mini.job import Job, Outcome, State
from mini.runs.folder import RunFolder
from mini.runs.records import read_record, write_record
from mini.runs.status import RunState, read_status

APPLICATION = Path(__file__).parents[1] / "launcher" / "application.py"
pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def _a_project():
    Path("pyproject.toml").write_text('[project]\nname = "runs"\n')


def mini(*arguments, code=0):
    done = subprocess.run([sys.executable, "-m", "mini.cli", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def application(*overrides, code=0):
    done = subprocess.run([sys.executable, APPLICATION, *overrides], capture_output=True, text=True, timeout=80)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_goes_on_when_its_program_is_gone(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import time\nfrom mini import LocalApparatus\n"
        "def slow(x):\n    time.sleep(0.5)\n    return x * x\n"
        "if __name__ == '__main__':\n    print(LocalApparatus(workers=2).spawn(slow, range(6)).id)\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    run = Run.open(done.stdout.strip())
    assert run.status().state is RunState.RUNNING
    with pytest.raises(UsageError, match="no result yet; wait"):
        run.results()
    assert run.wait(60).counts == {"done": 6}
    assert run.results() == [x * x for x in range(6)]
    assert Path("outputs", run.id, "results.parquet").exists()


def test_waiting_may_end_before_the_run(tmp_path):
    with LocalApparatus(workers=1) as apparatus:
        run = apparatus.spawn(time.sleep, [30], name="long")
    with pytest.raises(TimeoutError):
        run.wait(0.2)
    assert run.cancel().counts == {"cancelled": 1}
    assert run.status().state is RunState.STOPPED


def test_progress_and_logs_of_a_run_that_goes_on(tmp_path):
    def work(x):
        print("working on", x, flush=True)
        progress(3, 10, loss=0.5)
        while not (tmp_path / "go").exists():
            time.sleep(0.05)

    with LocalApparatus(workers=1) as apparatus:
        run = apparatus.spawn(work, [7, 8], name="work")
    until(lambda: run.status().unfinished[0].live.get("step") == 3)
    first, second = run.status().unfinished
    assert (first.state, second.state) == (State.RUNNING, State.QUEUED)
    assert first.live["metrics"] == {"loss": 0.5}
    assert first.age >= 0
    assert "working on 7" in run.logs(0)
    shown = mini("status", code=3)
    assert "3/10 loss=0.5" in shown
    (tmp_path / "go").touch()
    assert run.wait(30).counts == {"done": 2}


def test_retry_runs_what_failed_and_nothing_else(tmp_path):
    def count(x):
        with (tmp_path / f"ran-{x}").open("a") as file:
            file.write("x")
        if x == 1 and not (tmp_path / "mended").exists():
            raise ValueError(x)
        return x

    with LocalApparatus(workers=2) as apparatus:
        run = apparatus.spawn(count, range(3), name="three")
    assert run.wait(30).counts == {"done": 2, "failed": 1}
    (tmp_path / "mended").touch()
    run.retry()
    assert run.wait(30).counts == {"done": 3}
    assert [(tmp_path / f"ran-{x}").read_text() for x in range(3)] == ["x", "xx", "x"]
    assert read_record(Path("outputs/three/1")).outcome.attempt == 2


def test_a_name_is_taken_once(tmp_path):
    with LocalApparatus(workers=1) as apparatus:
        apparatus.spawn(abs, [1], name="same").wait(30)
        with pytest.raises(RunFolderError, match="same"):
            apparatus.spawn(abs, [1], name="same")


@pytest.mark.slow
def test_a_client_that_is_killed_loses_nothing_and_nothing_is_done_twice(tmp_path):
    script = tmp_path / "counting.py"
    script.write_text(
        "import time, hydra\nfrom pathlib import Path\n"
        "@hydra.main(version_base='1.3', config_path=None)\n"
        "def main(cfg):\n"
        "    Path(cfg.marks, f'{cfg.x}').open('a').write('x')\n"
        "    time.sleep(0.05)\n    return cfg.x\n"
        "main()\n"
    )
    (tmp_path / "marks").mkdir()
    command = [
        *(sys.executable, script, "-m", "hydra/launcher=apparatus", f"+marks={tmp_path}/marks", "+x=range(0,200)"),
    ]
    client = subprocess.Popen(
        [*command, "hydra.sweep.dir=outputs/first"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(lambda: len(list(Path("outputs/first").glob("*/record.json"))) > 30, 60)
    client.kill()
    client.wait()
    until(lambda: not RunFolder("outputs/first").is_driven())
    time.sleep(1)  # its workers see that it is gone
    one = read_status(RunFolder("outputs/first"))
    assert one.state is RunState.STOPPED
    finished = {path.parent.name for path in Path("outputs/first").glob("*/record.json")}
    done = subprocess.run(
        [*command, "hydra.sweep.dir=outputs/second", "hydra.launcher.resume=first"],
        capture_output=True,
        text=True,
        timeout=80,
    )
    assert f"{len(finished)} of 200 jobs are done already" in done.stderr
    assert read_status(RunFolder("outputs/second")).counts == {"done": 200}
    ran = {path.name: path.read_text() for path in (tmp_path / "marks").iterdir()}
    assert len(ran) == 200
    assert all(ran[name] == "x" for name in finished), "what was done ran once"
    assert [read_record(Path(f"outputs/second/{i}")).outcome.result() for i in range(200)] == list(range(200))


def test_a_result_that_arrives_while_a_run_is_cancelled_is_never_lost(tmp_path):
    # Two processes write the same record at the same time, a hundred times.
    program = (
        "import sys\nfrom mini.runs.records import write_record\nfrom mini.job import Outcome, State\n"
        "for i in range(100):\n"
        "    sys.stdin.readline()\n"
        "    write_record(Outcome(i, State.DONE, pickled=b'N.', folder=f'{sys.argv[1]}/{i}'), {'metrics.value': i})\n"
        "    print(flush=True)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for i in range(100):
        worker.stdin.write("\n")
        worker.stdin.flush()
        write_record(Outcome(i, State.CANCELLED, folder=str(tmp_path / str(i))), {})
        worker.stdout.readline()
        assert read_record(tmp_path / str(i)).outcome.state is State.DONE
        write_record(Outcome(i, State.CANCELLED, folder=str(tmp_path / str(i))), {})
        assert read_record(tmp_path / str(i)).outcome.state is State.DONE
    worker.communicate()


def test_a_sweep_may_be_left(tmp_path):
    said = application("x=0,1,2", "do=raise", "hydra.launcher.detach=true", "hydra.sweep.dir=outputs/left")
    for command in ("mini status left", "mini watch left", "mini results left"):
        assert command in said
    watched = mini("watch", "left", code=1)
    assert "left: failed, 2 done, 1 failed" in watched
    assert "ValueError: x is 1" in mini("logs", "left")
    table = json.loads(mini("results", "left", "--json", code=1))
    assert [row["state"] for row in table] == ["done", "failed", "done"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["apparatus=debug"], "nothing of apparatus=debug outlives the command"),
        (["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2"], "this sweeper waits for results"),
        (["apparatus=local,debug"], "nothing of apparatus=debug outlives the command"),
    ],
)
def test_what_cannot_be_left_is_refused(overrides, said):
    shown = application("x=1,2", "hydra.launcher.detach=true", *overrides, code=2)
    assert said in shown
    assert not list(Path("outputs").glob("*/run.json"))


def test_resume_takes_over_what_is_done_with_its_files_and_its_value():
    application("x=0,1,2", "do=raise", "hydra.sweep.dir=outputs/a", code=1)
    said = application("x=0,5,2", "do=raise", "hydra.sweep.dir=outputs/b", "hydra.launcher.resume=latest")
    assert "2 of 3 jobs are done already" in said
    assert "[1/1] #1 done" in said
    taken = read_record(Path("outputs/b/2"))
    assert taken.outcome.where["taken_from"].endswith("outputs/a/2")
    assert (taken.outcome.index, taken.outcome.result()["thrice"]) == (2, 6)
    assert Path("outputs/b/0/.hydra/config.yaml").exists()
    assert read_status(RunFolder("outputs/b")).counts == {"done": 3}


def test_a_sweep_begun_elsewhere_is_finished_here():
    anywhere = ("hydra.launcher.reuse=anywhere",)
    application("x=0,1", "do=raise", "apparatus=debug", "hydra.sweep.dir=outputs/a", code=1)
    said = application("x=0,1", "do=raise", "apparatus=local", "hydra.launcher.resume=a", *anywhere, code=1)
    assert "1 of 2 jobs are done already" in said
    assert "1 job taken over: made on debug" in said


def test_retry_from_the_command_line_is_in_place():
    application("x=0,1,2", "do=raise", "hydra.sweep.dir=outputs/a", code=1)
    shown = mini("retry", "a", "--job", "1", code=1)
    assert "[1/1] #1 failed" in shown
    assert read_record(Path("outputs/a/1")).outcome.attempt == 2
    assert read_record(Path("outputs/a/0")).outcome.attempt == 1
    assert mini("ls").count("\n") == 2


@pytest.mark.parametrize(
    ("option", "said"),
    [("max_failures=2", "stopped after 2 failures"), ("budget=1s", "stopped at the end of its budget")],
)
def test_a_sweep_is_stopped_at_its_limits(option, said):
    do = "do=raise" if "failures" in option else "do=interrupt"
    x = f"x={','.join('1' * 20)}" if "failures" in option else "x=5,6,7"
    shown = application(x, do, f"hydra.launcher.{option}", "apparatus.workers=1", "hydra.sweep.dir=outputs/a", code=1)
    assert said in shown
    counts = read_status(RunFolder("outputs/a")).counts
    assert f"{counts.get('failed', 0)} of {sum(counts.values())} jobs had finished" in shown
    assert "Cancelled: " not in shown, "what was stopped is counted, and not listed"
    assert counts["cancelled"] >= 3
    assert set(counts) <= {"cancelled", "failed"}


def begun(name, count, **asked):
    folder = RunFolder(f"outputs/{name}")
    folder.begin({"began": 1.0, "apparatus": ["local"], **asked})
    jobs = [Job(i, abs, folder=str(folder.path / str(i)), row={"overrides.x": str(i)}) for i in range(count)]
    folder.add_jobs(jobs)
    return folder


def record(folder, index, state=State.DONE):
    write_record(
        Outcome(index, state, pickled=b"N.", folder=str(folder.path / str(index))),
        {"overrides.x": str(index), "metrics.value": index},
    )


def test_a_job_whose_worker_is_gone_is_lost_and_the_rest_is_queued():
    folder = begun("gone", 4)
    record(folder, 0)
    (folder.path / "1").mkdir()
    (folder.path / "1" / "live.json").write_text('{"started": 1.0, "attempt": 1}')
    one = read_status(folder)
    assert one.counts == {"done": 1, "lost": 1, "queued": 2}
    assert one.state is RunState.STOPPED
    assert "mini retry gone" in mini("status", code=1)


def test_without_the_cache_nothing_changes():
    folder = begun("cache", 3)
    for i in range(3):
        record(folder, i)
        (folder.path / str(i) / "live.json").write_text('{"step": 1}')
    before = read_status(folder).as_json(), mini("results", "cache")
    for i in range(3):
        (folder.path / str(i) / "live.json").unlink()
    assert (read_status(folder).as_json(), mini("results", "cache")) == before


def test_what_is_damaged_is_named_and_the_rest_is_shown():
    folder = begun("damaged", 3)
    record(folder, 0)
    record(folder, 2)
    (folder.path / "1").mkdir()
    (folder.path / "1" / "record.json").write_text("{")
    shown = mini("status", "damaged", code=1)
    assert "2 done, 1 unreadable" in shown
    assert f"{folder.path}/1/record.json is damaged" in shown
    assert "1/record.json is damaged" in mini("results", "damaged", code=1)
    (folder.path / "run.json").write_text("{")
    assert "run.json is damaged" in mini("status", "damaged", code=1)


def test_a_run_of_a_newer_version_is_refused():
    folder = begun("newer", 1)
    (folder.path / "run.json").write_text('{"version": 99}')
    assert "newer version of this package" in mini("status", "newer", code=2)


def test_runs_are_found_by_what_they_are_called():
    for name in ("20260101-aaa", "20260101-aab", "20270101-ccc"):
        begun(name, 1)
    assert Run.open("2027").id == "20270101-ccc"
    assert Run.open().id == "20270101-ccc"
    assert "begin with '2026': 20260101-aa" in mini("status", "2026", code=4)
    assert "did you mean '20260101-aab'" in mini("status", "20260101-aax", code=4)
    with pytest.raises(NoSuchRun):
        Run.open("nothing")
    assert "has no job 7" in mini("logs", "2027", "7", code=4)


def test_no_run_at_all():
    assert "there is no run under" in mini("status", code=4)
    assert mini("ls").startswith("run ")


def test_results_can_be_chosen_sorted_and_written(tmp_path):
    folder = begun("table", 4)
    for i in range(4):
        record(folder, i)
    shown = mini("results", "--sort=-value", "--where", "x=[123]", "--columns", "job,value").splitlines()
    assert [line.split() for line in shown] == [["job", "value"], ["3", "3"], ["2", "2"], ["1", "1"]]
    mini("results", "--csv", "t.csv")
    assert Path("t.csv").read_text().startswith("job,state")
    pl.DataFrame({"epoch": [1]}).write_parquet(folder.path / "2" / "metrics.parquet")
    assert "all.parquet" in mini("results", "--tables", "all.parquet")
    assert pl.read_parquet("all.parquet").rows() == [(2, 1)]
    assert "did you mean 'value'" in mini("results", "--columns", "vlaue", code=2)
    assert "did you mean 'value'" in mini("results", "--where", "vlaue=1", code=2)
    assert mini("status", "--json") == mini("status", "table", "--json")


def test_removing_asks_and_never_removes_what_runs():
    begun("old", 1)
    assert "Say so with --yes" in mini("rm", "old", code=1)
    assert Path("outputs/old").exists()
    with LocalApparatus(workers=1) as apparatus:
        run = apparatus.spawn(time.sleep, [30], name="busy")
    assert "is running; `mini cancel busy` first" in mini("rm", "busy", "--yes", code=2)
    assert "still running" in mini("retry", "busy", code=3)
    assert "1 cancelled" in mini("cancel", "busy")
    mini("rm", "busy", "--yes")
    assert not run.folder.path.exists()


def test_two_drivers_never_meet():
    with LocalApparatus(workers=1) as apparatus:
        run = apparatus.spawn(time.sleep, [30], name="busy")
        with pytest.raises(RunFolderError, match="another process runs busy now"), run.folder.driving():
            pass
        with pytest.raises(UsageError, match="still running"):
            run.retry()
    run.cancel()


def test_the_command_works_from_a_folder_of_the_checkout():
    script = Path(__file__).parents[2] / "bin" / "mini"
    begun("here", 1)
    Path("deep/er").mkdir(parents=True)
    done = subprocess.run([script, "ls"], cwd="deep/er", capture_output=True, text=True, timeout=60)
    assert "here" in done.stdout, done.stderr


def test_a_driver_that_is_killed_leaves_a_run_that_can_be_retried(tmp_path):
    def slow(x):
        with (tmp_path / f"ran-{x}").open("a") as file:
            file.write("x")
        time.sleep(0.2)

    with LocalApparatus(workers=2) as apparatus:
        run = apparatus.spawn(slow, range(12), name="killed")
    until(lambda: run.status().counts.get("done", 0) >= 3)
    found = subprocess.run(["pgrep", "-f", f"mini.driver {run.folder.path}"], capture_output=True, text=True)
    os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
    until(lambda: not run.folder.is_driven())
    time.sleep(1)
    before = run.status()
    assert before.state is RunState.STOPPED
    done = {path.parent.name for path in run.folder.path.glob("*/record.json")}
    run.retry()
    assert run.wait(30).counts == {"done": 12}
    times = Counter({name: len((tmp_path / f"ran-{name}").read_text()) for name in done})
    assert set(times.values()) == {1}
