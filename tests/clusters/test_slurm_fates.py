"""What becomes of jobs on a real Slurm whose process, task or node does not live to say it."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

import mini
from mini import Job, State
from mini.apparatus.slurm.apparatus import SlurmApparatus
from mini.runs.folder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slurm")]


@pytest.fixture
def apparatus():
    with SlurmApparatus("test", probe=False) as made:
        yield made


class Started:
    """Recorded jobs of a run, and their stream."""

    def __init__(self, apparatus, calls):
        self.folder = RunFolder("outputs/run")
        jobs = [
            Job(i, fn, args, folder=str(self.folder.path / str(i)), record=True) for i, (fn, args) in enumerate(calls)
        ]
        parcels = apparatus.encode(jobs)
        self.folder.begin({})
        self.folder.add_jobs(jobs)
        self.stream = apparatus.start(parcels)

    def state(self, job):
        return json.loads((self.folder.path / str(job) / "record.json").read_text())


def until(condition, what, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def slurm_job(path):
    """The number of Slurm's job in which a job said that it runs."""
    until(Path(path).exists, f"{path} is not there")
    return Path(path).read_text()


def say_and_wait(path, first_only=False):
    """Say which of Slurm's jobs this is, and wait; a second time return how often it was tried."""
    mini.job_dir()
    if first_only and mini.attempt() > 1:
        return {"attempt": mini.attempt(), "left": Path("left").read_text() if Path("left").exists() else ""}
    number = os.environ["SLURM_JOB_ID"]
    Path(f"{path}.new").write_text(number)
    Path(f"{path}.new").rename(path)
    try:
        time.sleep(1000)
    except KeyboardInterrupt:
        Path("left").write_text("a checkpoint")
        raise
    return None


def test_a_job_that_kills_its_process_is_lost_alone_and_tried_again(apparatus, tmp_path):
    def die(x):
        if x == 1:
            os._exit(3)
        if x == 2 and mini.attempt() == 1:
            os.kill(os.getpid(), 9)
        return x

    run = Started(apparatus.w(retries=1), [(die, (x,)) for x in range(4)])
    outcomes = {outcome.index: outcome for outcome in run.stream}
    assert {index: outcome.state for index, outcome in outcomes.items()} == {
        **dict.fromkeys((0, 2, 3), State.DONE),
        1: State.LOST,
    }
    assert (outcomes[1].attempt, outcomes[2].attempt) == (2, 2)
    assert "exited with code 3" in outcomes[1].failure.message
    assert run.state(1)["state"] == "lost"


def test_before_the_time_limit_a_job_may_save_and_is_queued_again_as_it_was(apparatus, tmp_path):
    run = Started(apparatus.w(time="10m", requeues=1), [(say_and_wait, (str(tmp_path / "job"), True))])
    number = slurm_job(tmp_path / "job")
    subprocess.run(["scancel", "--signal=USR2", "--batch", number], check=True)  # as Slurm does, at that time
    (outcome,) = run.stream
    assert outcome.result() == {"attempt": 2, "left": "a checkpoint"}
    assert outcome.attempt == 1, "what is no fault of the job's is no attempt of `retries`"


def test_a_job_that_meets_its_last_time_limit_has_a_state_of_its_own(apparatus, tmp_path):
    run = Started(apparatus.w(time="10m", requeues=0), [(say_and_wait, (str(tmp_path / "job"),))])
    subprocess.run(["scancel", "--signal=USR2", "--batch", slurm_job(tmp_path / "job")], check=True)
    (outcome,) = run.stream
    assert outcome.state is State.TIMEOUT
    assert "apparatus.time" in outcome.failure.message
    assert run.state(0)["state"] == "timeout"


def test_a_preempted_job_goes_on_later(apparatus, tmp_path):
    run = Started(apparatus.w(cpus_per_task=2), [(say_and_wait, (str(tmp_path / str(i)), True)) for i in (0, 1)])
    for i in (0, 1):
        slurm_job(tmp_path / str(i))
    urgent = ["srun", "--partition=urgent", "--cpus-per-task=2", "--quiet", "true"]
    subprocess.run(urgent, check=True, timeout=120)
    until(lambda: any((tmp_path / "outputs/run" / str(i) / "record.json").exists() for i in (0, 1)), "none went on")
    outcome = next(run.stream)
    assert outcome.result()["attempt"] == 2
    run.stream.close()


def test_what_others_cancel_is_cancelled(apparatus, tmp_path):
    run = Started(apparatus.w(retries=3), [(say_and_wait, (str(tmp_path / "job"),))])
    subprocess.run(["scancel", slurm_job(tmp_path / "job")], check=True)
    (outcome,) = run.stream
    assert (outcome.state, outcome.failure.type) == (State.CANCELLED, "Cancelled")


def test_memory_beyond_what_was_asked_for_is_told_from_other_deaths(apparatus):
    def fill():
        kept = [bytearray(2**20 * 50) for _ in range(20)]
        time.sleep(60)
        return len(kept)

    run = Started(apparatus.w(mem="300M"), [(fill, ())])
    (outcome,) = run.stream
    assert (outcome.state, outcome.failure.type) == (State.LOST, "OutOfMemory")


def test_a_job_whose_node_fails_goes_on_on_another(apparatus, slurm, tmp_path):
    run = Started(apparatus, [(say_and_wait, (str(tmp_path / "job"), True))])
    slurm_job(tmp_path / "job")
    for node in ("node1", "node2"):
        slurm.node_down(node)
    for node in ("node1", "node2"):
        slurm.node_up(node)
    (outcome,) = run.stream
    assert outcome.result()["attempt"] == 2


def test_a_line_of_setup_that_fails_is_shown(apparatus):
    run = Started(apparatus.w(setup=("echo no such module >&2", "exit 3")), [(abs, (1,))])
    (outcome,) = run.stream
    assert outcome.state is State.LOST
    assert "no such module" in outcome.failure.message


def test_the_processes_of_a_job_know_each_other_and_the_first_records(apparatus):
    def meet():
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        print("rank", os.environ["RANK"])
        own = Path(mini.job_dir(), f"seen-{os.environ['RANK']}")
        own.with_suffix(".new").write_text(json.dumps([os.environ[name] for name in names]))
        own.with_suffix(".new").rename(own)
        until(lambda: len(list(mini.job_dir().glob("seen-?"))) == 4, "the others did not come")
        return os.environ["RANK"]

    run = Started(apparatus.w(nodes=2, tasks_per_node=2), [(meet, ()), (meet, ())])
    assert [outcome.result() for outcome in run.stream] == ["0", "0"]
    seen = [json.loads(path.read_text()) for path in sorted(Path("outputs/run/0").glob("seen-?"))]
    assert [words[:3] for words in seen] == [[str(i), "4", str(i % 2)] for i in range(4)]
    assert len({tuple(words[3:]) for words in seen}) == 1
    assert "rank 3" in Path("outputs/run/0/log-3.txt").read_text()


def test_a_process_that_fails_fails_its_job_and_ends_the_others(apparatus):
    def fail():
        if os.environ["RANK"] == "1":
            raise LookupError("no data")
        time.sleep(1000)

    run = Started(apparatus.w(tasks_per_node=2), [(fail, ())])
    (outcome,) = run.stream
    assert (outcome.state, outcome.failure.type) == (State.FAILED, "LookupError")
    assert "process 1 of 2" in outcome.failure.message


def no_job_in_the_queue():
    queue = subprocess.run(
        ["squeue", "--noheader", "--states=PENDING,RUNNING,COMPLETING"], capture_output=True, text=True, check=True
    )
    return not queue.stdout.strip()


def test_processes_with_nothing_to_do_do_not_wait_for_a_job(apparatus, tmp_path):
    """As the second job is stopped before its task begins, its processes find none."""

    def wait_for_go():
        until((tmp_path / "go").exists, "nobody said go")
        return os.environ["RANK"]

    run = Started(apparatus.w(tasks_per_node=2, array_parallelism=1), [(wait_for_go, ()), (wait_for_go, ())])
    run.stream.stop(1)
    (tmp_path / "go").touch()
    outcomes = {outcome.index: outcome for outcome in run.stream}
    assert (outcomes[0].result(), outcomes[1].state) == ("0", State.CANCELLED)
    until(no_job_in_the_queue, "a step goes on")


def test_a_process_that_fails_after_the_first_is_done_changes_nothing(apparatus):
    def fail_late():
        if os.environ["RANK"] == "0":
            return "done"
        until((mini.job_dir() / "record.json").exists, "the first did not end")
        raise LookupError("too late")

    run = Started(apparatus.w(tasks_per_node=2), [(fail_late, ())])
    (outcome,) = run.stream
    assert outcome.result() == "done"
    until(no_job_in_the_queue, "a step goes on")


def test_before_the_time_limit_a_job_of_several_processes_may_save_too(apparatus, tmp_path):
    path = str(tmp_path / "job")

    def train():
        if os.environ["RANK"] == "0":
            until(lambda: mini.attempt() > 1 or (mini.job_dir() / "ready").exists(), "the other does not come")
            return say_and_wait(path, first_only=True)
        if mini.attempt() == 1:
            (mini.job_dir() / "ready").touch()
            time.sleep(1000)
        return None

    run = Started(apparatus.w(time="10m", tasks_per_node=2), [(train, ())])
    subprocess.run(["scancel", "--signal=USR2", f"{slurm_job(tmp_path / 'job')}"], check=True)  # to the step
    (outcome,) = run.stream
    assert outcome.result() == {"attempt": 2, "left": "a checkpoint"}
