"""What a fault has done to a run: results that are lost, jobs that ran twice, and what is left behind.

A job says itself when it runs (`begun`), and whether it finds a result of its own: nobody who looks from outside is
there at that moment.
"""

import contextlib
import fcntl
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

JOURNAL = "begun.txt"
"""The file in a job's folder to which each try of it adds a line."""

_PATIENCE = 30.0  # seconds in which whatever answers for processes must have ended them


@dataclass
class Row:
    """One line of the table.

    Args:
        fault: What was done.
        engine: To which engine.
        rounds: How often.
        lost: Results that are gone, or not recorded; None where nobody looked.
        twice: Jobs that ran though they had a result, or in two processes at the same time; None where nobody looked.
        left: Processes, files, mounts and locks that are left behind.
        notes: What they are.
    """

    fault: str
    engine: str
    rounds: int = 0
    lost: int | None = 0
    twice: int | None = 0
    left: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def is_clean(self):
        return not (self.lost or self.twice or self.left)


@dataclass
class Measured:
    """What a test has found out."""

    is_watched: bool = False
    lost: list[str] = field(default_factory=list)


measured = Measured()


def watch(outcomes):
    """Compare outcomes with what is on record of them."""
    measured.is_watched = True
    for outcome in outcomes:
        record = record_of(Path(outcome.folder)) if outcome.folder else None
        if record is None or record["state"] != outcome.state.value:
            measured.lost.append(f"job {outcome.index} is {outcome.state}, and its record {record and record['state']}")
    return outcomes


def merged(rows):
    """Rows as they were recorded by tests, those of one fault and engine as one."""
    found = {}
    for given in rows:
        row = found.setdefault((given["fault"], given["engine"]), Row(given["fault"], given["engine"], 0, None, None))
        row.rounds += given["rounds"]
        row.left += given["left"]
        for name in ("lost", "twice"):
            if given[name] is not None:
                setattr(row, name, (getattr(row, name) or 0) + given[name])
    return list(found.values())


def table(rows):
    """The rows as text."""
    cells = [("fault", "engine", "rounds", "lost", "run twice", "left behind")]
    cells += [(row.fault, row.engine, *map(_cell, (row.rounds, row.lost, row.twice, row.left))) for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(6)]
    return "\n".join("  ".join(_align(i, line[i], widths[i]) for i in range(6)) for line in cells)


def _cell(number):
    return "–" if number is None else str(number)


def _align(column, text, width):
    return text.ljust(width) if column < 2 else text.rjust(width)


def begun():
    """Called in a job when it begins: a line for the try, and another if the job has a result already."""
    import json
    import os

    from mini import job_dir

    folder = job_dir()
    lines = [f"begin {os.getpid()}"]
    try:
        if json.loads((folder / "record.json").read_bytes())["state"] == "done":
            lines.append("again")
    except (OSError, ValueError):
        pass
    with (folder / "begun.txt").open("a") as journal:
        journal.write("".join(f"{line}\n" for line in lines))


def jobs_run_again(top):
    """The journals below a folder that say that a job ran though it had a result."""
    return [str(path) for path in top.rglob(JOURNAL) if "again" in path.read_text().split()]


def jobs_without_record(top):
    """The folders of listed jobs of all runs below a folder that have no record that can be read."""
    from mini.runs import records
    from mini.runs.folder import RunFolder

    missing = []
    for listed in top.rglob("jobs.jsonl"):
        for line, record in RunFolder(listed.parent).records():
            if not isinstance(record, records.Record):
                missing.append(line.folder)
    return missing


def processes(*marks):
    """The processes with one of these texts in their environment, command or working directory, but for this one."""
    found = []
    wanted = [str(mark).encode() for mark in marks]
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if int(path.name) == os.getpid() or (path / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                continue
            said = (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
            with contextlib.suppress(OSError):
                said += bytes((path / "cwd").readlink())
            if any(mark in said for mark in wanted):
                found.append(int(path.name))
    return found


def wait_until(condition, seconds=_PATIENCE):
    """Wait for something that shall happen; say whether it did."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def mounts():
    """Where something is mounted."""
    if sys.platform != "linux":
        return set()
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def unfinished_files(top):
    """Files below a folder that somebody began to write and did not finish."""
    return [str(path) for pattern in (".*.tmp", ".*.part") for path in top.rglob(pattern)]


def is_locked(path):
    """Whether a process holds a lock on a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def locked(top):
    """The run folders and logs below a folder that a process still holds."""
    paths = [listed.parent for listed in top.rglob("jobs.jsonl")] + list(top.rglob("log.txt"))
    return [str(path) for path in paths if is_locked(path)]


def left_behind(top, temporary, mounted):
    """All that is left behind, as text.

    Args:
        top: The folder all of it happened in.
        temporary: The folder for temporary files.
        mounted: The mounts of before.
    """
    linux = sys.platform == "linux"
    if linux:
        wait_until(lambda: not processes(top))
    left = [f"process {pid}: {_command(pid)}" for pid in (processes(top) if linux else [])]
    left += [f"temporary {path.name}" for path in temporary.iterdir()] if temporary.is_dir() else []
    left += [f"unfinished {path}" for path in unfinished_files(top)]
    left += [f"lock on {path}" for path in locked(top)]
    return left + [f"mount {path}" for path in sorted(mounts() - mounted)]


def _command(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    return ""


def record_of(folder):
    """What a job's record says; None where there is none that can be read."""
    try:
        return json.loads((folder / "record.json").read_bytes())
    except (OSError, ValueError):
        return None
