"""Options, retries, folders, records, threads, event loops and the end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import time
from pathlib import Path

import pytest

from mini.apparatus.conformance import jobs
from mini.errors import OptionError, UsageError
from mini.job import Job, State
from mini.runs.history import read_blocks
from mini.worker.context import job_dir, progress


class LifecycleConformance:
    """What an apparatus does around its calls."""

    def test_before_each_runs_hooks_in_order(self, apparatus):
        @apparatus.before_each
        def first():
            os.environ["MINI_TEST_HOOK"] = "first"

        apparatus.before_each(lambda: os.environ.update(MINI_TEST_HOOK=os.environ["MINI_TEST_HOOK"] + " second"))
        assert apparatus.run(os.getenv, "MINI_TEST_HOOK") == "first second"
        os.environ.pop("MINI_TEST_HOOK", None)

    def test_a_hook_that_raises_fails_the_job(self, apparatus):
        apparatus.before_each(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            apparatus.run(jobs.double, 1)

    def test_an_unknown_option_names_the_near_ones(self, apparatus):
        with pytest.raises(OptionError, match=r"no option 'retry'; did you mean 'retries'"):
            apparatus.w(retry=3)

    @pytest.mark.parametrize("value", [-1, 1.5, "2", True])
    def test_impossible_retries_are_refused(self, apparatus, value):
        with pytest.raises(OptionError, match=r"retries=.*whole number"):
            apparatus.w(retries=value)

    def test_a_view_leaves_the_original_as_it_was(self, apparatus, tmp_path):
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

    def test_a_retry_can_succeed(self, apparatus, tmp_path):
        def second_time():
            marker = tmp_path / "marker"
            if not marker.exists():
                marker.touch()
                raise ConnectionError
            return "there"

        assert apparatus.w(retries=1).run(second_time) == "there"

    def test_options_of_other_apparatus_can_stay(self, apparatus):
        assert apparatus.w(gpu="A100", image=None).run(jobs.double, 2) == 4

    def test_jobs_have_folders_of_their_own_on_the_volume(self, apparatus):
        def write(x):
            (job_dir() / "file.txt").write_text(str(x))
            return str(job_dir())

        folders = list(apparatus.map(write, range(3)))
        assert len(set(folders)) == 3
        texts = [
            apparatus.volume.read(p).decode() for p in apparatus.volume.listdir(recursive=True) if p.endswith(".txt")
        ]
        assert sorted(texts) == ["0", "1", "2"]

    def test_a_job_without_files_leaves_none(self, apparatus):
        apparatus.run(jobs.double, 1)
        try:
            left = apparatus.volume.listdir(recursive=True)
        except FileNotFoundError:
            left = []
        assert left == []

    def test_progress_may_be_reported_anywhere(self, apparatus):
        assert apparatus.run(lambda: progress(1, 2, loss=0.5)) is None

    def test_a_recorded_job_leaves_its_record_and_its_log(self, apparatus):
        def speak(x):
            print("hello ✓")
            os.system("echo from a subprocess")
            progress(1, 2, loss=0.5)
            progress(2, 2, loss=0.25)
            return {"score": x}

        outcome = jobs.record(
            apparatus, Job(3, speak, (0.5,), folder=jobs.FOLDER, record=True, row={"overrides.x": "0.5"})
        )
        assert outcome.state is State.DONE
        recorded = json.loads(Path(jobs.FOLDER, "record.json").read_text())
        assert recorded["state"] == "done"
        assert recorded["row"] == {"overrides.x": "0.5", "metrics.score": 0.5}
        assert "hello ✓" in Path(jobs.FOLDER, "log.txt").read_text()
        assert not Path(jobs.FOLDER, "live.json").exists()
        (said,) = read_blocks(jobs.FOLDER)
        assert said.columns == ("loss",)
        assert [row.split(b",")[::2] for row in said.rows.splitlines()] == [[b"1", b"0.5"], [b"2", b"0.25"]]

    def test_an_error_names_the_job_and_its_log(self, apparatus):
        text = jobs.record(apparatus, Job(3, jobs.fail_on, (1, 1), folder=jobs.FOLDER, record=True)).describe()
        assert "job 3 failed: LookupError: no 1" in text
        assert f"log: {Path(jobs.FOLDER, 'log.txt').absolute()}" in text
        assert "LookupError" in Path(jobs.FOLDER, "log.txt").read_text()

    def test_closed_is_closed(self, apparatus):
        view = apparatus.w(retries=0)
        apparatus.close()
        apparatus.close()
        for closed in (apparatus, view):
            with pytest.raises(UsageError, match="closed; make a new one"):
                closed.run(jobs.double, 1)

    def test_it_works_from_several_threads(self, apparatus):
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            assert sorted(threads.map(lambda x: apparatus.run(jobs.double, x), range(8))) == list(range(0, 16, 2))

    def test_the_async_twins_work_in_a_running_loop(self, apparatus):
        async def main():
            mapped = [value async for value in apparatus.amap(jobs.double, range(4))]
            together = await asyncio.gather(apparatus.arun(jobs.double, 10), apparatus.arun(jobs.double, 20))
            return mapped, together

        assert asyncio.run(main()) == ([0, 2, 4, 6], [20, 40])

    def test_the_blocking_calls_work_in_a_running_loop(self, apparatus):
        async def notebook():
            return apparatus.run(jobs.double, 4), list(apparatus.map(jobs.double, [1]))

        assert asyncio.run(notebook()) == (8, [2])

    def test_leaving_a_map_early_stops_the_rest(self, apparatus, tmp_path):
        def touch(x):
            time.sleep(0.05)
            (tmp_path / f"{x}.started").touch()
            return x

        results = apparatus.map(touch, range(200))
        next(results)
        results.close()
        time.sleep(0.3)
        assert len(list(tmp_path.glob("*.started"))) < 50
        assert apparatus.run(jobs.double, 1) == 2
