"""What goes wrong on the far side, and what a user is told of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mini import RehearsalApparatus, job_dir
from mini.batch import Placement, Silent, run_jobs
from mini.errors import ImageError, ResultTooLarge, UsageError
from mini.job import Job, JobCancelled, JobLost, JobTimeout, State
from mini.runs.folder import RunFolder

PROJECT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def faults(rehearsal):
    _ = rehearsal.loopback  # starts it
    return rehearsal.loopback.faults


def jobs(fn, count, **options):
    return [
        Job(i, fn, (i,), folder=str(Path(f"outputs/run/{i}").absolute()), record=True, **options) for i in range(count)
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)  # a container is started anew a hundred times: a busy machine takes its time
def test_a_thousand_jobs_with_a_container_killed_every_tenth_input_leave_a_thousand_records(rehearsal, faults):
    faults.kill_every = 10
    alone = rehearsal.w(group=1)
    outcomes = run_jobs(
        [Placement(alone, jobs(lambda x: {"square": x * x}, 1000))], RunFolder("outputs/run"), Silent(), {}
    )
    assert [outcome.result()["square"] for outcome in outcomes] == [x * x for x in range(1000)]
    records = [json.loads(Path(f"outputs/run/{i}/record.json").read_text()) for i in range(1000)]
    assert [record["row"]["metrics.square"] for record in records] == [x * x for x in range(1000)]


def test_a_timeout_is_that_jobs_alone_and_is_recorded(rehearsal):
    def sleep(x):
        time.sleep(30 if x == 1 else 0)

    outcomes = run_jobs(
        [Placement(rehearsal.w(timeout=1, max_containers=2), jobs(sleep, 3, row={"overrides.x": "1"}))],
        RunFolder("outputs/run"),
        Silent(),
        {},
    )
    assert [outcome.state for outcome in outcomes] == [State.DONE, State.TIMEOUT, State.DONE]
    with pytest.raises(JobTimeout, match="more than 1 s"):
        outcomes[1].result()
    record = json.loads(Path("outputs/run/1/record.json").read_text())
    assert (record["state"], record["row"]["overrides.x"]) == ("timeout", "1")


def test_errors_of_different_kinds_find_their_jobs(rehearsal, tmp_path):
    def behave(x):
        if x == 1:
            time.sleep(60)
        if x == 3:
            (tmp_path / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    outcomes = list(rehearsal.w(timeout=2, max_containers=2).map(behave, range(5), return_exceptions=True))
    assert (outcomes[0], outcomes[2], outcomes[4]) == (0, 2, 4)
    assert isinstance(outcomes[1], JobTimeout)
    assert isinstance(outcomes[3], JobLost)
    assert len(list(tmp_path.glob("[0-9]*"))) == 9  # one attempt, and the eight in other containers that Modal makes


def test_a_builtin_timeout_error_of_the_function_is_a_failure_like_any_other(rehearsal):
    def slow():
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine") as caught:
        rehearsal.run(slow)
    assert caught.value.__cause__.outcome.state is State.FAILED


def test_out_of_memory_is_said(rehearsal, faults):
    faults.out_of_memory = True
    with pytest.raises(JobLost, match=r"ran out of memory; ask for more with memory="):
        rehearsal.run(abs, -1)


def test_a_container_that_does_not_start_fails_its_jobs(rehearsal, faults):
    faults.startup_exit = 3
    with pytest.raises(JobLost, match="containers exited before they were ready"):
        rehearsal.run(abs, -1)


def test_an_image_that_cannot_be_built_shows_the_end_of_its_log(rehearsal, faults):
    faults.build_log = "Collecting torch\nERROR: No matching distribution found for torch==99\n"
    with pytest.raises(ImageError, match=r"could not be built(.|\n)*No matching distribution found for torch==99"):
        rehearsal.run(abs, -1)


def test_an_image_that_cannot_be_built_leaves_no_run(rehearsal, faults):
    faults.build_log = "no\n"
    with pytest.raises(ImageError):
        run_jobs([Placement(rehearsal, jobs(abs, 1))], RunFolder("outputs/run"), Silent(), {})
    assert not Path("outputs/run/run.json").exists()


def test_dropped_connections_are_made_again(rehearsal, faults):
    faults.drop_first = 3
    assert list(rehearsal.map(abs, [-1, -2])) == [1, 2]


def test_a_slow_server_is_waited_for(rehearsal, faults):
    faults.delay = 0.2
    assert rehearsal.run(abs, -1) == 1


def test_a_module_that_was_not_shipped_is_named_with_what_was(rehearsal):
    def needs():
        import a_module_nobody_has

        return a_module_nobody_has

    with pytest.raises(ModuleNotFoundError, match="a_module_nobody_has"):
        rehearsal.run(needs)


@pytest.mark.parametrize("path", ["/", "/root", "/tmp", "relative"])
def test_a_mount_point_modal_forbids_is_refused(rehearsal, path):
    with pytest.raises(UsageError, match="open an app on Modal"):
        rehearsal.w(volumes={path: "data"}).run(abs, 1)


def test_another_volume_is_there_where_it_was_asked_for(rehearsal, tmp_path):
    def write():
        Path("/data-of-the-test/file").write_text("x")
        return sorted(path.name for path in Path("/data-of-the-test").iterdir())

    assert rehearsal.w(volumes={"/data-of-the-test": "data"}).run(write) == ["file"]
    assert not Path("/data-of-the-test/file").exists()


def test_a_secret_that_is_not_there_is_named(rehearsal):
    with pytest.raises(Exception, match="no-such-secret"):
        rehearsal.w(secrets=["no-such-secret"]).run(abs, 1)


def test_environment_variables_reach_the_job(rehearsal, monkeypatch):
    monkeypatch.setenv("OF_HERE", "here")
    apparatus = rehearsal.w(env={"GIVEN": "1"}, pass_env=["OF_HERE"])
    assert apparatus.run(lambda: (os.environ["GIVEN"], os.environ["OF_HERE"])) == ("1", "here")
    with pytest.raises(UsageError, match="pass_env names NOT_HERE"):
        rehearsal.w(pass_env=["NOT_HERE"]).run(abs, 1)


def test_a_result_over_the_limit_says_where_it_belongs(rehearsal):
    with pytest.raises(ResultTooLarge, match=r"job 0 returned 2.0 MiB.*limit is 1 MiB; write it to job_dir\(\)"):
        rehearsal.w(result_limit=1).run(bytes, 2 * 2**20)
    assert len(rehearsal.run(bytes, 3 * 2**20)) == 3 * 2**20


def test_what_was_written_before_a_failure_is_kept(rehearsal):
    def write(x):
        (job_dir() / "half.txt").write_text("half")
        raise ValueError(x)

    run_jobs([Placement(rehearsal, jobs(write, 1))], RunFolder("outputs/run"), Silent(), {})
    assert Path("outputs/run/0/half.txt").read_text() == "half"


def test_large_files_stay_on_the_volume_and_records_come_home(rehearsal):
    def write(x):
        (job_dir() / "large.bin").write_bytes(os.urandom(3 * 2**20))
        (job_dir() / "small.txt").write_text(str(x))
        return x

    run_jobs([Placement(rehearsal.w(pull=1), jobs(write, 2))], RunFolder("outputs/run"), Silent(), {})
    assert {p.name for p in Path("outputs/run/1").iterdir()} == {"record.json", "log.txt", "small.txt"}
    assert len(rehearsal.volume.read("run/1/large.bin")) == 3 * 2**20
    names = {name.rsplit("/")[-1] for name in rehearsal.volume.listdir("run")}
    assert {"run.json", "jobs.jsonl", "results.parquet"} <= names
    assert ".home.tar.gz" not in names


def test_leaving_cancels_the_remote_calls(rehearsal):
    results = rehearsal.w(max_containers=1).map(time.sleep, [0.01, 60, 60])
    next(results)
    results.close()
    deadline = time.monotonic() + 20
    calls = rehearsal.loopback.state.calls.values()
    while not all(item.output for call in calls for item in call.inputs.values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert rehearsal.loopback.state.requests["FunctionCallCancel"] == 1


def test_a_cancelled_call_is_told_apart(rehearsal):
    import threading

    stream = rehearsal.start(rehearsal.encode([Job(0, time.sleep, (60,))]))

    def cancel():
        import modal

        while not rehearsal.loopback.state.calls:
            time.sleep(0.05)
        time.sleep(1)
        (call,) = rehearsal.loopback.state.calls
        modal.FunctionCall.from_id(call, client=rehearsal._session.client()).cancel()

    threading.Thread(target=cancel).start()
    outcome = next(stream)
    assert outcome.state is State.CANCELLED
    with pytest.raises(JobCancelled):
        outcome.result()


def test_an_expired_result_is_told_apart(rehearsal):
    rehearsal.run(abs, 1)
    rehearsal.loopback.faults.expire = True
    (call,) = rehearsal.loopback.state.calls
    assert type(rehearsal._session.result(call, 0)).__name__ == "OutputExpiredError"


def test_logs_are_shown_when_asked_for(tmp_path):
    program = (
        "from pathlib import Path\nfrom mini import RehearsalApparatus\n"
        f"with RehearsalApparatus('test', project=Path({str(PROJECT)!r}), logs=True) as a:\n"
        "    a.run(lambda: print('from the container ✓'))\n"
        "    import time; time.sleep(1)\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "from the container ✓" in shown.stdout + shown.stderr


def test_the_module_serves_any_modal_program(tmp_path):
    served = subprocess.Popen([sys.executable, "-m", "mini.loopback"], stdout=subprocess.PIPE, text=True)
    try:
        environment = dict(word.split("=", 1) for word in served.stdout.readline().split())
        program = (
            "import modal\n"
            "app = modal.App('any')\n"
            "square = app.function(serialized=True, image=modal.Image.debian_slim())(lambda x: x * x)\n"
            "with app.run():\n"
            "    print(list(square.map(range(4))), square.spawn(5).get())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == "[0, 1, 4, 9] 25\n", done.stderr
    finally:
        served.send_signal(signal.SIGINT)
        assert served.wait(20) == 0
        served.stdout.close()


def test_two_runs_at_once_do_not_meet():
    with RehearsalApparatus("same", project=PROJECT) as one, RehearsalApparatus("same", project=PROJECT) as other:
        assert one.run(abs, -1) == other.run(abs, -1) == 1
        assert one.loopback.url != other.loopback.url
