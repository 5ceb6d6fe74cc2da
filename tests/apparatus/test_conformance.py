"""What every apparatus does, whichever it is."""

import asyncio
import concurrent.futures
import json
import os
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mini import Job, JobError, job_dir, progress
from mini.errors import OptionError, UnpicklableError, UsageError
from mini.job import JobCancelled, JobFailed, State
from mini.runs.folder import RunFolder

FACTOR = 3
JOB = "outputs/run/3"


def double(x):
    return 2 * x


def fail_on(bad, x):
    if x == bad:
        raise LookupError(f"no {x}")
    return x


class TwoArguments(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raise_two():
    raise TwoArguments("a", "b")


def test_run_returns_the_value(apparatus):
    assert apparatus.run(divmod, 7, 2) == (3, 1)


def test_run_passes_keywords(apparatus):
    assert apparatus.run(int, "ff", base=16) == 255


def test_map_keeps_the_order_of_the_input(apparatus):
    def later_first(x):
        time.sleep(0.02 * (5 - x))
        return x

    assert list(apparatus.map(later_first, range(5))) == [0, 1, 2, 3, 4]


def test_map_zips_to_the_shortest(apparatus):
    assert list(apparatus.map(pow, [2, 3, 4], [2, 2])) == [4, 9]


def test_map_takes_keywords_for_all(apparatus):
    assert list(apparatus.map(int, ["10", "11"], kwargs={"base": 2})) == [2, 3]


def test_map_of_nothing_is_empty(apparatus):
    assert list(apparatus.map(double, [])) == []


def test_map_needs_an_iterable(apparatus):
    with pytest.raises(UsageError, match=r"at least one iterable.*run\(fn"):
        apparatus.map(double)


def test_map_reads_a_generator_at_the_call(apparatus):
    seen = []
    results = apparatus.map(double, (seen.append(i) or i for i in range(3)))
    assert seen == [0, 1, 2]
    assert list(results) == [0, 2, 4]


def test_closures_lambdas_and_classes_travel(apparatus):
    offset = 10

    class Local:
        def __init__(self, x):
            self.x = x

    made = list(apparatus.map(lambda x: Local(x + offset), [1, 2]))
    assert [m.x for m in made] == [11, 12]
    assert all(isinstance(m, Local) for m in made)


def test_globals_that_a_function_uses_travel(apparatus):
    assert apparatus.run(lambda: FACTOR * 2) == 6


def test_imports_inside_the_function_work(apparatus):
    def inside():
        import decimal

        return decimal.Decimal("1.5") * 2

    assert apparatus.run(inside) == 3


def test_arguments_are_copies(apparatus):
    box = [1]
    assert apparatus.run(lambda b: b.append(2) or b, box) == [1, 2]
    assert box == [1]


def test_the_exception_keeps_its_type_message_and_remote_traceback(apparatus):
    with pytest.raises(LookupError, match="no 2") as caught:
        list(apparatus.map(fail_on, [2, 2, 2], [1, 2, 3]))
    cause = caught.value.__cause__
    assert isinstance(cause, JobError)
    assert "in fail_on" in str(cause)
    assert cause.outcome.index == 1


def test_results_before_a_failure_come_first(apparatus):
    results = apparatus.map(fail_on, [1, 1], [0, 1])
    assert next(results) == 0
    with pytest.raises(LookupError):
        next(results)


def test_failures_can_be_values(apparatus):
    first, second, third = apparatus.map(fail_on, [1] * 3, range(3), return_exceptions=True)
    assert (first, third) == (0, 2)
    assert isinstance(second, LookupError)


def test_an_exception_that_cannot_be_rebuilt_is_a_job_failed_with_its_text(apparatus):
    with pytest.raises(JobFailed, match=r"TwoArguments: a and b"):
        apparatus.run(raise_two)


def test_sys_exit_fails_that_job_only(apparatus):
    def leave(x):
        if x == 1:
            raise SystemExit(3)
        return x

    results = list(apparatus.map(leave, range(3), return_exceptions=True))
    assert results[0::2] == [0, 2]
    assert isinstance(results[1], JobFailed)
    assert "SystemExit: 3" in str(results[1])


def test_a_value_that_cannot_be_pickled_says_so(apparatus):
    with pytest.raises(TypeError, match="value returned by job 0"):
        apparatus.run(lambda: threading.Lock())


def test_an_unpicklable_closure_is_named_before_anything_starts(apparatus, tmp_path):
    db = sqlite3.connect(":memory:")

    def train(x):
        (tmp_path / "started").touch()
        return db, x

    with pytest.raises(UnpicklableError, match=r"closure variable `db` of `train` is a sqlite3.Connection"):
        apparatus.map(train, [1, 2])
    db.close()
    assert not (tmp_path / "started").exists()


def test_an_unpicklable_argument_of_the_last_job_stops_the_first(apparatus, tmp_path):
    def touch(_):
        (tmp_path / "started").touch()

    with pytest.raises(UnpicklableError, match="argument 0 of job 1"):
        apparatus.map(touch, [1, threading.Lock()])
    assert not (tmp_path / "started").exists()


def test_before_each_runs_hooks_in_order(apparatus):
    @apparatus.before_each
    def first():
        os.environ["MINI_TEST_HOOK"] = "first"

    apparatus.before_each(lambda: os.environ.update(MINI_TEST_HOOK=os.environ["MINI_TEST_HOOK"] + " second"))
    assert apparatus.run(os.getenv, "MINI_TEST_HOOK") == "first second"
    os.environ.pop("MINI_TEST_HOOK", None)


def test_a_hook_that_raises_fails_the_job(apparatus):
    apparatus.before_each(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        apparatus.run(double, 1)


def test_an_unknown_option_names_the_near_ones(apparatus):
    with pytest.raises(OptionError, match=r"no option 'retry'; did you mean 'retries'"):
        apparatus.w(retry=3)


@pytest.mark.parametrize("value", [-1, 1.5, "2", True])
def test_impossible_retries_are_refused(apparatus, value):
    with pytest.raises(OptionError, match=r"retries=.*whole number"):
        apparatus.w(retries=value)


def test_a_view_leaves_the_original_as_it_was(apparatus, tmp_path):
    tries = tmp_path / "tries"

    def count():
        with tries.open("a") as file:
            file.write("x")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the count says which
        apparatus.w(retries=2).run(count)
    assert tries.read_text() == "xxx"
    with pytest.raises(ValueError):  # noqa: PT011
        apparatus.run(count)
    assert tries.read_text() == "xxxx"


def test_a_retry_can_succeed(apparatus, tmp_path):
    def second_time():
        marker = tmp_path / "marker"
        if not marker.exists():
            marker.touch()
            raise ConnectionError
        return "there"

    assert apparatus.w(retries=1).run(second_time) == "there"


def test_options_of_other_apparatus_can_stay(apparatus):
    assert apparatus.w(gpu="A100", image=None, timeout=60).run(double, 2) == 4


def test_jobs_have_folders_of_their_own_on_the_volume(apparatus):
    def write(x):
        (job_dir() / "file.txt").write_text(str(x))
        return str(job_dir())

    folders = list(apparatus.map(write, range(3)))
    assert len(set(folders)) == 3
    texts = [apparatus.volume.read(p).decode() for p in apparatus.volume.listdir(recursive=True) if p.endswith(".txt")]
    assert sorted(texts) == ["0", "1", "2"]


def test_a_job_without_files_leaves_none(apparatus):
    apparatus.run(double, 1)
    assert not Path("volume").exists()


def test_progress_may_be_reported_anywhere(apparatus):
    assert apparatus.run(lambda: progress(1, 2, loss=0.5)) is None


def test_a_recorded_job_leaves_its_record_and_its_log(apparatus):
    def speak(x):
        print("hello ✓")
        os.system("echo from a subprocess")
        progress(1, 1)
        return {"score": x}

    outcome = record(apparatus, Job(3, speak, (0.5,), folder=JOB, record=True, row={"overrides.x": "0.5"}))
    assert outcome.state is State.DONE
    recorded = json.loads(Path(JOB, "record.json").read_text())
    assert recorded["state"] == "done"
    assert recorded["row"] == {"overrides.x": "0.5", "metrics.score": 0.5}
    assert "hello ✓" in Path(JOB, "log.txt").read_text()
    assert not Path(JOB, "live.json").exists()


def test_an_error_names_the_job_and_its_log(apparatus):
    text = record(apparatus, Job(3, fail_on, (1, 1), folder=JOB, record=True)).describe()
    assert "job 3 failed: LookupError: no 1" in text
    assert f"log: {Path(JOB, 'log.txt').absolute()}" in text
    assert "LookupError" in Path(JOB, "log.txt").read_text()


def record(apparatus, job):
    """Run one job as a part of a run, and bring its files home."""
    job = replace(job, folder=str(Path(job.folder).absolute()))
    folder = RunFolder("outputs/run")
    parcels = apparatus.encode([job])
    folder.begin({})
    folder.add_jobs([job])
    apparatus.announce(folder)
    (outcome,) = apparatus.start(parcels)
    apparatus.collect(folder, [job])
    return outcome


def test_closed_is_closed(apparatus):
    view = apparatus.w(retries=0)
    apparatus.close()
    apparatus.close()
    for closed in (apparatus, view):
        with pytest.raises(UsageError, match="closed; make a new one"):
            closed.run(double, 1)


def test_it_works_from_several_threads(apparatus):
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(lambda x: apparatus.run(double, x), range(8))) == list(range(0, 16, 2))


def test_the_async_twins_work_in_a_running_loop(apparatus):
    async def main():
        mapped = [value async for value in apparatus.amap(double, range(4))]
        together = await asyncio.gather(apparatus.arun(double, 10), apparatus.arun(double, 20))
        return mapped, together

    assert asyncio.run(main()) == ([0, 2, 4, 6], [20, 40])


def test_the_blocking_calls_work_in_a_running_loop(apparatus):
    async def notebook():
        return apparatus.run(double, 4), list(apparatus.map(double, [1]))

    assert asyncio.run(notebook()) == (8, [2])


def test_leaving_a_map_early_stops_the_rest(apparatus, tmp_path):
    def touch(x):
        time.sleep(0.05)
        (tmp_path / f"{x}.started").touch()
        return x

    results = apparatus.map(touch, range(200))
    next(results)
    results.close()
    time.sleep(0.3)
    assert len(list(tmp_path.glob("*.started"))) < 50
    assert apparatus.run(double, 1) == 2


# The contract of a stream: more jobs, fewer jobs, and how far they are.


def recorded(apparatus, fn, count):
    """Jobs of a run, encoded."""
    folder = RunFolder("outputs/run")
    jobs = [Job(i, fn, (i,), folder=str(folder.path / str(i)), record=True) for i in range(count)]
    folder.begin({})
    folder.add_jobs(jobs)
    apparatus.announce(folder)
    return apparatus.encode(jobs)


def read_record(apparatus, index):
    """The record of a job where the job left it."""
    here = Path(f"outputs/run/{index}/record.json")
    return json.loads(here.read_bytes() if here.exists() else apparatus.volume.read(f"run/{index}/record.json"))


@pytest.fixture
def one_at_a_time(apparatus):
    """Each apparatus in turn, with one worker."""
    how = {"local": {"workers": 1}, "rehearsal": {"max_containers": 1}}
    return apparatus.w(**how.get(apparatus.kind, {}))


def wait_until(condition):
    while not condition():
        time.sleep(0.05)


def test_a_stream_takes_more_jobs_at_any_time(apparatus):
    stream = apparatus.start(apparatus.encode([Job(0, double, (1,))]))
    stream.add(apparatus.encode([Job(1, double, (2,))]))
    assert {outcome.index: outcome.result() for outcome in stream} == {0: 2, 1: 4}
    assert next(stream, None) is None
    stream.add(apparatus.encode([Job(2, double, (3,)), Job(3, double, (4,))]))
    assert {outcome.index: outcome.result() for outcome in stream} == {2: 6, 3: 8}
    stream.close()
    stream.close()
    with pytest.raises(UsageError, match="closed"):
        stream.add(apparatus.encode([Job(4, double, (5,))]))


def test_a_stream_may_begin_without_a_job(apparatus):
    stream = apparatus.start([])
    assert next(stream, None) is None
    stream.add(apparatus.encode([Job(7, double, (1,))]))
    assert [outcome.index for outcome in stream] == [7]


def test_a_job_that_waits_can_be_stopped_and_the_others_go_on(one_at_a_time, tmp_path):
    def work(x):
        (tmp_path / f"began-{x}").touch()
        while not (tmp_path / "go").exists():
            time.sleep(0.05)
        if x == 2:
            time.sleep(600)
        return x

    stream = one_at_a_time.start(recorded(one_at_a_time, work, 4))
    if one_at_a_time.kind != "debug":
        wait_until((tmp_path / "began-0").exists)
    stream.stop(2)
    (tmp_path / "go").touch()
    outcomes = {outcome.index: outcome for outcome in stream}
    assert {index: outcome.state for index, outcome in outcomes.items()} == {
        0: State.DONE,
        1: State.DONE,
        2: State.CANCELLED,
        3: State.DONE,
    }
    assert isinstance(outcomes[2].exception(), JobCancelled)
    if one_at_a_time.kind != "rehearsal":  # there the container hears of it a moment after it has begun
        assert not (tmp_path / "began-2").exists()


def test_a_job_that_runs_can_be_stopped_and_the_others_go_on(one_at_a_time, tmp_path):
    if one_at_a_time.kind == "debug":
        pytest.skip("a job that runs is in somebody's debugger")

    def work(x):
        with (tmp_path / f"began-{x}").open("a") as file:
            file.write("x")
        if x == 1:
            print("working", flush=True)
            time.sleep(600)
        return x

    stream = one_at_a_time.start(recorded(one_at_a_time, work, 3))
    wait_until((tmp_path / "began-1").exists)
    stream.stop(1)
    stream.stop(1)
    states = {outcome.index: outcome.state for outcome in stream}
    assert states == {0: State.DONE, 1: State.CANCELLED, 2: State.DONE}
    assert {path.read_text() for path in tmp_path.glob("began-*")} == {"x"}
    record = read_record(one_at_a_time, 1)
    assert record["state"] == "cancelled"


def test_to_stop_a_job_that_is_over_changes_nothing(apparatus):
    stream = apparatus.start(apparatus.encode([Job(i, double, (i,)) for i in range(3)]))
    first = next(stream)
    stream.stop(first.index)
    stream.stop(99)
    rest = list(stream)
    assert {outcome.index: outcome.result() for outcome in [first, *rest]} == {0: 0, 1: 2, 2: 4}


def test_a_running_job_of_a_run_says_how_far_it_is(apparatus, tmp_path):
    def work(x):
        while not (tmp_path / "go").exists():
            progress(3, 12, loss=0.5)
            time.sleep(0.1)
        return x

    stream = apparatus.start(recorded(apparatus, work, 1))
    said = []

    def look():
        wait_until(lambda: stream.progress().get(0, {}).get("step") == 3)
        said.append(stream.progress()[0])
        (tmp_path / "go").touch()

    thread = threading.Thread(target=look)
    thread.start()
    (outcome,) = stream
    thread.join()
    assert outcome.ok
    assert (said[0]["total"], said[0]["metrics"], said[0]["attempt"]) == (12, {"loss": 0.5}, 1)
    assert said[0]["started"] <= said[0]["beat"] <= time.time()
    assert stream.progress() == {}


def test_jobs_of_a_closed_stream_stop(apparatus, tmp_path):
    if apparatus.kind == "debug":
        pytest.skip("nobody is there to close it while a job runs")

    def work(x):
        (tmp_path / f"began-{x}").touch()
        time.sleep(600)

    stream = apparatus.start(apparatus.encode([Job(0, work, (0,))]))
    wait_until((tmp_path / "began-0").exists)
    threading.Timer(0.2, stream.close).start()
    assert [outcome.state for outcome in stream] in ([], [State.CANCELLED])
