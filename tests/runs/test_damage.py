"""Damage to one file of a run stays with what that file says: the rest is read, and the file is named."""

import contextlib
import json
import os
import pickle
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mini import Job, Outcome, Run, State, combine
from mini.errors import RecordError, RunFolderError, StorageError
from mini.runs import layout, records
from mini.runs.folder import RunFolder
from mini.runs.jobs import read_jobs
from mini.runs.status import RunState, read_all, read_status

COUNT = 4


def begin(path, count=COUNT):
    folder = RunFolder(path)
    jobs = [
        Job(i, print, folder=str(folder.path / str(i)), key=f"k{i}", record=True, row={"overrides.n": str(i)})
        for i in range(count)
    ]
    folder.begin({"began": 1.0, "apparatus": ["local"]})
    folder.add_jobs(jobs)
    for job in jobs:
        outcome = Outcome(job.index, State.DONE, pickle.dumps(None), None, 1.0, 2.0, folder=job.folder, key=job.key)
        records.write_record(outcome, {**job.row, "metrics.double": 2 * job.index})
    return folder


@pytest.fixture
def folder(tmp_path):
    Path("pyproject.toml").write_text('[project]\nname = "project"\n')
    begin(tmp_path / "outputs" / "other", 2)
    made = begin(tmp_path / "outputs" / "hit")
    combine.write(made)
    return made


def mini(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "mini.cli", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def cut(path, count):
    path.write_bytes(path.read_bytes()[:-count])


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


# Each: what is done to the run, the file that must be named, the jobs whose values are still in the table.
ALL = {0, 1, 2, 3}
DAMAGE = {
    "the last line of the list of jobs is cut": (lambda run: cut(run / layout.JOBS, 20), layout.JOBS, ALL),
    "a line of the list of jobs is garbage": (
        lambda run: (run / layout.JOBS).write_bytes(
            (run / layout.JOBS).read_bytes().replace(b'{"index":1,', b"\xff\xfe\0")
        ),
        layout.JOBS,
        ALL - {1},
    ),
    "a record is cut": (lambda run: cut(run / "2" / layout.RECORD, 30), f"2/{layout.RECORD}", ALL - {2}),
    "a record is cut at its very end": (lambda run: cut(run / "2" / layout.RECORD, 2), f"2/{layout.RECORD}", ALL - {2}),
    "a record is empty": (
        lambda run: (run / "2" / layout.RECORD).write_bytes(b""),
        f"2/{layout.RECORD}",
        ALL - {2},
    ),
    "a record is a folder": (
        lambda run: replace_by_folder(run / "2" / layout.RECORD),
        f"2/{layout.RECORD}",
        ALL - {2},
    ),
    "the table is cut": (lambda run: cut(run / layout.RESULTS, 100), layout.RESULTS, ALL),
    "the table is empty": (lambda run: (run / layout.RESULTS).write_bytes(b""), layout.RESULTS, ALL),
    "the manifest is cut": (lambda run: cut(run / layout.RUN, 20), layout.RUN, ALL),
    "a file of many records is a folder": (
        lambda run: (run / layout.RECORDS / "x.jsonl").mkdir(parents=True),
        "x.jsonl",
        ALL,
    ),
}


@pytest.mark.parametrize("with_table", [True, False], ids=["table", "no table"])
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_the_rest_is_read(folder, name, with_table):
    damage, file, kept = DAMAGE[name]
    if not with_table:
        if file == layout.RESULTS:
            pytest.skip("it needs the table")
        (folder.path / layout.RESULTS).unlink()
    damage(folder.path)

    status = read_status(folder)
    assert [file in text for text in status.damaged] == [True]
    assert status.exit_code == 1
    table, problems = combine.table(folder)
    values = dict(table.filter(table["state"] == "done").select("job", "double").iter_rows())
    assert values == {job: 2 * job for job in kept}
    if file != layout.RUN:
        assert [file in str(problem) for problem in problems] == [True]


@pytest.mark.parametrize("name", ["a record is cut", "the last line of the list of jobs is cut", "the table is cut"])
def test_commands_name_damage_and_agree(folder, name):
    damage, file, kept = DAMAGE[name]
    damage(folder.path)
    code, out, err = mini("status", "hit")
    assert (code, file in out + err) == (1, True)
    code, out, err = mini("results", "hit", "--json")
    assert (code, file in err) == (1, True)
    assert {row["job"] for row in json.loads(out) if row["state"] == "done"} == kept
    code, out, err = mini("ls")
    assert (code, file in err, "hit" in out, "other" in out) == (1, True, True, True)
    code, out, err = mini("status", "other")
    assert (code, err) == (0, "")
    assert "2 done" in out


def test_a_job_that_is_listed_after_a_cut_line_is_not_lost_with_it(folder):
    cut(folder.path / layout.JOBS, 20)
    job = Job(4, print, folder=str(folder.path / "4"), key="k4", row={"overrides.n": "4"})
    folder.add_jobs([job])
    jobs, damaged = read_jobs(folder.path)
    assert [(line.index, line.key) for line in jobs] == [(0, "k0"), (1, "k1"), (2, "k2"), (3, ""), (4, "k4")]
    assert len(damaged) == 1
    assert [line.key for line, _ in folder.records()] == ["k0", "k1", "k2", "k3", "k4"], "the record has it too"


def test_a_damaged_line_of_a_job_that_is_listed_again_is_no_damage(folder):
    cut(folder.path / layout.JOBS, 20)
    folder.add_jobs([Job(3, print, folder=str(folder.path / "3"), key="k3", row={"overrides.n": "3"})])
    assert read_status(folder).exit_code == 0
    assert [line.key for line in folder.jobs()] == ["k0", "k1", "k2", "k3"]


def test_a_run_of_a_newer_version_hides_no_other(folder):
    manifest = folder.path / layout.RUN
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": layout.VERSION + 1}))
    statuses, damaged = read_all([folder.path, folder.path.parent / "other"])
    assert [status.id for status in statuses] == ["other"]
    assert ["newer version" in text for text in damaged] == [True]


def test_a_damaged_table_is_written_anew(folder):
    cut(folder.path / layout.RESULTS, 100)
    table, problems = combine.write(folder)
    assert (table.height, problems) == (COUNT, [])
    assert read_status(folder).exit_code == 0


def test_a_log_that_is_not_text_is_shown(folder):
    (folder.path / "1" / layout.LOG).write_bytes(b"caf\xe9\n\0")
    code, out, _ = mini("logs", "hit", "1")
    assert (code, out) == (0, "caf�\n\0")


@pytest.mark.parametrize("words", [("ls",), ("status",), ("results",), ("watch",), ("logs",)])
def test_reading_runs_no_code_of_a_record(folder, tmp_path, words):
    """A value that does something when it is unpickled is data to everything but `Run.results()`."""
    mark = tmp_path / "it ran"

    class Trap:
        def __reduce__(self):
            return Path.touch, (mark,)

    hostile = Outcome(0, State.DONE, pickle.dumps(Trap()), None, 1.0, 2.0, 2, folder=str(folder.path / "0"))
    records.write_record(hostile, {"metrics.double": 0})
    verb, *rest = words
    code, out, err = mini(verb, *rest, *(["hit"] if verb != "ls" else []))
    assert (code, mark.exists()) == (0, False), out + err
    Run.open("hit").results()
    assert mark.exists()


def test_a_run_that_is_gone_is_named(folder):
    shutil.rmtree(folder.path)
    code, _, err = mini("status", "hit")
    assert (code, "hit" in err) == (4, True)
    assert read_all([folder.path]) == ([], [])
    with pytest.raises(RunFolderError, match="is not a run folder"):
        combine.table(folder)


def test_a_run_that_nobody_may_write_is_read(folder):
    if os.geteuid() == 0:
        pytest.skip("the superuser may write everything")
    for path in (folder.path, *folder.path.rglob("*")):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        assert read_status(folder).state is RunState.DONE
        table, problems = combine.write(folder)
        assert (table.height, ["cannot write" in str(problem) for problem in problems]) == (COUNT, [True])
    finally:
        for path in (folder.path, *folder.path.rglob("*")):
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


@contextlib.contextmanager
def full_disk():
    """No file may grow beyond a few bytes: writing fails as on a full disk, with another number."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_what_is_there(folder):
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    again = Outcome(1, State.DONE, b"later", attempt=2, folder=str(folder.path / "1"))
    more = Job(9, print, folder=str(folder.path / "9"), key="k9")
    with full_disk():
        with pytest.raises(StorageError, match=r"cannot record job 1 in .*/hit/1: .*`mini retry hit`"):
            records.write_record(again, {})
        with pytest.raises(RunFolderError, match="cannot write the run folder"):
            folder.add_jobs([more])
        with pytest.raises(RunFolderError, match="cannot write the run folder"):
            RunFolder(folder.path.parent / "new").begin({"text": "x" * 100})
        table, problems = combine.write(folder)
    assert table.height == COUNT
    assert ["cannot write" in str(problem) and layout.RESULTS in str(problem) for problem in problems] == [True]
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


def test_tables_that_cannot_be_written_are_named(folder, tmp_path):
    import polars as pl

    pl.DataFrame({"step": [1]}).write_parquet(folder.path / "0" / layout.TABLE)
    with pytest.raises(RecordError, match="cannot write the tables"):
        combine.write_tables(folder, tmp_path / "nowhere" / "all.parquet")
