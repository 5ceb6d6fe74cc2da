"""What a job says of its metrics: kept, cheap, and read back."""

import math
import os
import signal
import subprocess
import sys
import time

import polars as pl
import pytest

import mini
from mini import LocalApparatus, progress
from mini.combine.history import history, of_jobs
from mini.runs import layout
from mini.runs.folder import RunFolder
from mini.runs.history import History, parse_blocks, read_blocks


def read(folder):
    return of_jobs([(0, str(folder))])


def test_rows_come_back_as_they_were_given(tmp_path):
    writer = History(tmp_path)
    writer.add(1, {"loss": 0.1 + 0.2})
    writer.add(2, {"loss": math.nan, "accuracy": math.inf})
    writer.add(3, {"accuracy": -math.inf})
    writer.close()
    rows = read(tmp_path)
    assert rows["step"].to_list() == [1, 2, 3]
    assert rows["loss"][0] == 0.1 + 0.2
    assert math.isnan(rows["loss"][1])
    assert rows["loss"][2] is None
    assert rows["accuracy"].to_list() == [None, math.inf, -math.inf]
    assert all(abs(when - time.time()) < 3600 for when in rows["time"])


@pytest.mark.parametrize(
    "name",
    ["", "a,b", 'say "x"', "two\nlines", "val/loss", "é😀", "\ud800", "step", "time", "job", "{", "began", "a.b"],
)
def test_a_metric_may_have_any_name(tmp_path, name):
    writer = History(tmp_path)
    writer.add(1, {name: 2.0})
    writer.close()
    rows = read(tmp_path)
    assert rows.width == 4
    assert rows.row(0)[3] == 2.0


def test_rows_of_an_earlier_try_end_where_a_later_one_began(tmp_path):
    first = History(tmp_path)
    for step in range(1, 8):
        first.add(step, {"loss": float(step)})
    first.close()
    time.sleep(0.01)
    second = History(tmp_path)
    for step in range(5, 10):
        second.add(step, {"loss": step + 100.0})
    second.close()
    assert read(tmp_path)["loss"].to_list() == [1, 2, 3, 4, 105, 106, 107, 108, 109]


def test_a_torn_line_costs_itself_and_nothing_else(tmp_path):
    writer = History(tmp_path)
    writer.add(1, {"loss": 1.0})
    writer.close()
    path = tmp_path / layout.HISTORY
    path.write_bytes(path.read_bytes() + b"2,17")
    assert read(tmp_path)["step"].to_list() == [1]
    again = History(tmp_path)
    again.add(2, {"loss": 2.0})
    again.close()
    assert read(tmp_path)["loss"].to_list() == [1, 2]


def test_a_damaged_row_in_the_middle_is_left_out(tmp_path):
    (tmp_path / layout.HISTORY).write_bytes(
        b'{"began":1.0,"columns":["loss"]}\n1,1.0,1.0\n2,1.0,x,y\n\x00\xff\n3,1.0,3.0\n{"began":1.0,"col\n4,1.0,4.0\n'
    )
    assert read(tmp_path)["step"].to_list() == [1, 3]


def test_of_a_folder_without_one_there_is_nothing(tmp_path):
    assert read_blocks(tmp_path) == read_blocks(tmp_path / "nosuch") == list(parse_blocks(b"")) == []
    assert read(tmp_path).columns == ["job", "step", "time"]


def test_a_process_that_is_killed_leaves_what_it_said(tmp_path):
    """All but the last half second."""
    code = (
        "import time\nfrom pathlib import Path\nfrom mini.runs.history import History\n"
        f"h = History(Path({str(tmp_path)!r}))\n"
        "for i in range(10**9):\n    h.add(i, {'loss': i / 3})\n    time.sleep(0.001)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        while read(tmp_path).height < 200:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    rows = read(tmp_path)
    assert rows["step"].to_list() == list(range(rows.height))
    assert rows["loss"].to_list() == [i / 3 for i in range(rows.height)]


def test_what_waits_is_written_though_nothing_more_is_said(tmp_path):
    writer = History(tmp_path)
    writer.add(1, {"loss": 1.0})
    deadline = time.monotonic() + 60
    while read(tmp_path).is_empty():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    writer.close()


def test_a_disk_that_is_full_fails_no_job(tmp_path):
    (tmp_path / layout.HISTORY).mkdir()
    writer = History(tmp_path)
    writer.add(1, {"loss": 1.0})
    writer.close()


def test_a_million_rows_are_cheap(tmp_path):
    """About a microsecond each here; the bounds are those of a machine that does ten other things."""
    writer = History(tmp_path)
    began = time.process_time()
    for i in range(1_000_000):
        writer.add(i, {"loss": 0.5})
    writer.close()
    assert time.process_time() - began < 30
    assert (tmp_path / layout.HISTORY).stat().st_size < 30 * 1_000_000
    rows = read(tmp_path)
    assert rows.height == 1_000_000
    assert rows["step"].is_sorted()


def said(lr):
    for i in range(1, 4):
        progress(i, 3, loss=lr / i)


def with_table(n):
    for i in range(1, n + 1):
        progress(i, n, loss=-1.0, extra=2.0)
    table = pl.DataFrame({"epoch": range(1, n + 1), "loss": [1.0] * n, "note": ["x"] * n})
    table.write_parquet(mini.job_dir() / "metrics.parquet")


def test_the_history_of_a_run(tmp_path):
    with LocalApparatus(workers=1) as apparatus:
        run = apparatus.spawn(said, [0.5, 2.0], name="two")
    run.wait(60)
    rows = mini.history(run)
    assert rows.columns == ["job", "step", "time", "loss"]
    assert rows.select("job", "step", "loss").rows() == [
        (i, j, lr / j) for i, lr in ((0, 0.5), (1, 2.0)) for j in (1, 2, 3)
    ]
    assert mini.history().equals(rows)
    assert mini.history("tw").equals(rows)
    assert mini.history(run.folder.path).equals(rows)


def test_what_a_job_wrote_itself_joins_it(tmp_path):
    with LocalApparatus(workers=1) as apparatus:
        run = apparatus.spawn(with_table, [2, 3], name="tables")
    run.wait(60)
    rows = mini.history(run)
    assert rows.columns == ["job", "step", "time", "loss", "extra", "epoch", "note"]
    assert rows.select("job", "step", "loss", "extra", "epoch", "note").rows() == [
        (job, step, 1.0, 2.0, step, "x") for job, n in ((0, 2), (1, 3)) for step in range(1, n + 1)
    ]


def test_the_overrides_that_differ_are_columns(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin({})
    folder.add_jobs(
        mini.Job(i, print, folder=str(folder.path / str(i)), row={"overrides.lr": lr, "overrides.model": "small"})
        for i, lr in enumerate((0.1, 0.01))
    )
    for i in range(2):
        writer = History(folder.path / str(i))
        writer.add(1, {"loss": 1.0, "overrides.lr": 3.0})
        writer.close()
    rows = history(folder)
    assert rows.columns == ["job", "overrides.lr", "step", "time", "loss", "metrics.overrides.lr"]
    assert rows["overrides.lr"].to_list() == [0.1, 0.01]
