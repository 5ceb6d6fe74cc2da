"""What a notebook shows: of runs and of maps, in a real kernel."""

import math
import queue
import time
from pathlib import Path

import matplotlib as mpl
import pytest
from jupyter_client.manager import start_new_kernel

import mini
from mini import Run, State
from mini.display.notebook import run_html
from mini.errors import OptionError, UsageError
from mini.job import Failure, Job, Outcome
from mini.runs import layout
from mini.runs.folder import RunFolder
from mini.runs.records import write_record

mpl.use("agg")

HOSTILE = "<img src=x onerror=alert(1)>"


def make_run(name="run", seeds=(0, 1), rates=(0.001, 0.01, 0.1)):
    folder = RunFolder(Path("outputs", name))
    jobs = [
        Job(
            i,
            print,
            folder=str(folder.path / str(i)),
            row={"overrides.optimizer.lr": str(rate), "overrides.seed": str(seed), "overrides.model": HOSTILE},
        )
        for i, (rate, seed) in enumerate((rate, seed) for rate in rates for seed in seeds)
    ]
    folder.begin({"apparatus": ["local"], "began": time.time()})
    folder.add_jobs(jobs)
    for job in jobs:
        rate, seed = float(job.row["overrides.optimizer.lr"]), int(job.row["overrides.seed"])
        done = Outcome(job.index, State.DONE, b"N.", None, 1.0, 2.0, folder=job.folder)
        columns = {"config.optimizer.lr": rate, "config.seed": seed, "metrics.loss": rate * 10 + seed}
        write_record(done, {**job.row, **columns})
    return folder


@pytest.fixture
def run():
    Path("pyproject.toml").write_text('[project]\nname = "notebook"\n')
    return Run(make_run())


def test_results_of_a_run_its_id_its_path_and_the_latest_are_the_same(run):
    assert mini.results(run).height == 6
    for name in ("run", "ru", run.folder.path, None):
        assert mini.results(name).equals(mini.results(run))


def test_a_run_is_shown_as_its_state_and_its_table(run):
    shown = run._repr_html_()
    assert "6 done" in shown
    assert "<th>optimizer.lr</th>" in shown
    assert shown.count("<tr>") == 7


def test_nothing_that_a_job_wrote_is_html(run):
    job = Job(6, print, folder=str(run.folder.path / "6"), row={"overrides.model": HOSTILE, f"overrides.{HOSTILE}": 1})
    run.folder.add_jobs([job])
    failed = Outcome(6, State.FAILED, None, Failure("ValueError", HOSTILE), 1.0, 2.0, folder=job.folder)
    write_record(failed, job.row)
    assert "<img" not in run_html(run.folder)
    assert "&lt;img" in run_html(run.folder)


def test_a_plot_has_the_mean_of_the_jobs_that_share_a_value(run):
    axes = run.plot("loss", "optimizer.lr")
    line = axes.containers[0].lines[0]
    assert list(line.get_xdata()) == [0.001, 0.01, 0.1]
    assert list(line.get_ydata()) == pytest.approx([0.51, 0.6, 1.5])
    assert axes.get_xscale() == "log"
    low, high = axes.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(math.sqrt(0.5))
    mpl.pyplot.close(axes.figure)


def test_a_plot_by_a_column_has_a_line_for_each_of_its_values(run):
    axes = run.plot("loss", by="seed")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["seed=0", "seed=1"]
    assert axes.get_xlabel() == "optimizer.lr"
    assert run.plot("loss", axes=axes) is axes
    mpl.pyplot.close(axes.figure)


def test_a_plot_over_steps_is_the_mean_of_the_curves(run):
    for index in range(4):
        folder = run.folder.path / str(index)
        rows = "".join(f"{step},{step}.0,{step * (index + 1)}.0\n" for step in (1, 2))
        (folder / layout.HISTORY).write_text('{"began":0.5,"columns":["loss"]}\n' + rows)
    axes = run.plot("loss", "step", by="optimizer.lr")
    assert [list(line.get_ydata()) for line in axes.get_lines()] == [[1.5, 3.0], [3.5, 7.0]]
    assert len(axes.collections) == 2  # the bands
    assert axes.get_xlabel() == "step"
    mpl.pyplot.close(axes.figure)


def test_curves_of_jobs_that_said_nothing_are_not_drawn(run):
    with pytest.raises(UsageError, match="progress"):
        run.plot("loss", "step")


def test_a_plot_of_what_is_not_there_names_what_is(run):
    with pytest.raises(OptionError, match="did you mean 'loss'"):
        run.plot("los")
    with pytest.raises(OptionError, match="no numbers"):
        run.plot("overrides.model")


def test_a_plot_of_no_result_says_so(tmp_path):
    with pytest.raises(UsageError, match="no job is done"):
        Run(make_run("empty", seeds=())).plot("loss")


CELL = """
import os
os.chdir({folder!r})
import time
from mini import LocalApparatus, Run
def slow(x):
    time.sleep(0.1)
    return x
with LocalApparatus(workers=1) as apparatus:
    values = list(apparatus.map(slow, range(3), progress=True))
display(Run.open("run"))
values
"""


@pytest.mark.timeout(200)
def test_a_real_kernel_shows_a_bar_a_run_and_no_warning(run, tmp_path):
    manager, client = start_new_kernel(startup_timeout=120)
    shown, updates, printed = [], [], []
    try:
        request = client.execute(CELL.format(folder=str(tmp_path)))
        while True:
            try:
                message = client.get_iopub_msg(timeout=120)
            except queue.Empty:
                pytest.fail("the kernel says nothing")
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            if kind in ("display_data", "execute_result"):
                shown.append(content["data"])
            elif kind == "update_display_data":
                updates.append(content["data"]["text/html"])
            elif kind in ("stream", "error"):
                printed.append(content)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert printed == []
    assert "3/3" in updates[-1]
    assert "6 done" in shown[1]["text/html"]
    assert shown[-1]["text/plain"] == "[0, 1, 2]"
