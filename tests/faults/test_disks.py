"""Disks that are full, have no more files, or cannot be written: one clear error, what is finished is kept."""

import contextlib
import errno
import os
import subprocess
from pathlib import Path

import audit
import pytest

from mini import Job, LocalApparatus, job_dir
from mini.batch import Placement, Silent, run_jobs
from mini.errors import RunFolderError, StorageError
from mini.job import State
from mini.runs.folder import RunFolder

pytestmark = pytest.mark.timeout(300)
JOBS = 24


@pytest.fixture
def disk(tmp_path, request):
    """A small disk of its own."""
    point = tmp_path / "disk"
    point.mkdir()
    options = ["-t", "tmpfs", "-o", request.param, "none", str(point)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk, and not everywhere")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


def fill(x):
    """Leaves a file, a folder with files, and a value."""
    (job_dir() / "data.bin").write_bytes(bytes(16 * 1024))
    for i in range(8):
        (job_dir() / f"{i}.txt").write_text("x")
    return x


def run(folder, todo, in_place):
    jobs = [Job(x, fill, (x,), folder=str(folder.path / str(x)), record=True, attempt=1 + in_place) for x in todo]
    with LocalApparatus(workers=2) as apparatus:
        apparatus.before_each(audit.begun)
        about = None if in_place else {}
        return run_jobs([Placement(apparatus, jobs)], folder, Silent(), about, in_place=in_place)


def done(folder):
    found = {x: audit.record_of(folder.path / str(x)) for x in range(JOBS)}
    return {x: record["ended"] for x, record in found.items() if record is not None and record["state"] == "done"}


@pytest.mark.parametrize("disk", ["size=256k", "size=64m,nr_inodes=60"], indirect=True, ids=["full", "no inodes"])
def test_what_is_finished_is_kept_and_the_rest_runs_when_there_is_room(disk):
    folder = RunFolder(disk / "run")
    try:
        outcomes = run(folder, range(JOBS), in_place=False)
        failed = [outcome for outcome in outcomes if not outcome.ok]
        assert failed
        assert all(f"[Errno {errno.ENOSPC}]" in str(outcome.failure) for outcome in failed)
    except StorageError as error:
        assert "make room" in str(error)  # noqa: PT017 - either is right
    before = done(folder)
    assert len(before) < JOBS
    subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=10000", str(disk)], check=True)
    outcomes = run(folder, [x for x in range(JOBS) if x not in before], in_place=True)
    assert [outcome.state for outcome in outcomes] == [State.DONE] * (JOBS - len(before))
    after = done(folder)
    assert len(after) == JOBS
    assert before.items() <= after.items()
    audit.watch(outcomes)


@pytest.mark.parametrize("disk", ["size=64m"], indirect=True)
def test_a_disk_that_cannot_be_written_is_refused_before_anything_starts(disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(RunFolderError, match=r"cannot write the run folder .*Read-only"):
        run(RunFolder(disk / "run"), range(2), in_place=False)


@pytest.mark.parametrize("disk", ["size=64m"], indirect=True)
def test_a_disk_that_becomes_read_only_is_one_clear_error(disk):
    folder = RunFolder(disk / "run")

    def work(x):
        if x == 2:
            with contextlib.suppress(OSError):
                (Path(disk) / "now").touch()
            subprocess.run(["mount", "-o", "remount,ro,force", str(disk)], capture_output=True)
        return x

    jobs = [Job(x, work, (x,), folder=str(folder.path / str(x)), record=True) for x in range(6)]
    with LocalApparatus(workers=1) as apparatus:
        try:
            outcomes = run_jobs([Placement(apparatus, jobs)], folder, Silent(), {})
        except StorageError as error:
            assert "Read-only" in str(error)  # noqa: PT017 - the disk may be in use, and stay writable
        else:
            assert all(outcome.ok or "Read-only" in str(outcome.failure) for outcome in outcomes)
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert all((folder.path / str(x) / "record.json").exists() for x in range(2))
