"""Where a run on Modal is combined: beside its jobs if these asked for no other container."""

import json
from pathlib import Path

import pytest

from mini.batch import Placement, Silent, run_jobs
from mini.job import Job, State
from mini.runs.folder import RunFolder

pytestmark = pytest.mark.timeout(300)


def apps_of_a_run(apparatus, fn):
    """Run a job, see that its record comes home, and count the apps that were opened for it."""
    requests = apparatus.loopback.state.requests
    job = Job(0, fn, (2,), folder=str(Path("outputs/run/0").absolute()), record=True)
    (outcome,) = run_jobs([Placement(apparatus, [job])], RunFolder("outputs/run"), Silent(), {})
    assert outcome.state is State.DONE
    assert json.loads(Path("outputs/run/0/record.json").read_text())["row"]["metrics.square"] == 4
    return requests["AppCreate"]


def test_a_run_is_combined_in_the_app_of_its_jobs(rehearsal):
    assert apps_of_a_run(rehearsal.w(logs=True), lambda x: {"square": x * x}) == 1


def test_jobs_that_ask_for_more_leave_combining_to_a_small_container(rehearsal):
    assert apps_of_a_run(rehearsal.w(cpu=1.0), lambda x: {"square": x * x}) == 2


def test_a_container_that_its_job_has_spoilt_is_not_needed(rehearsal, capsys):
    def spoil(x):
        from mini import combine

        combine.write = None  # as whatever a job leaves behind in its process
        return {"square": x * x}

    assert apps_of_a_run(rehearsal, spoil) == 2
    assert "combined in a new container" in capsys.readouterr().err
