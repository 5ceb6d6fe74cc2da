"""What an earlier try of a sweep has done already, and what of it is taken over."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mini.apparatus import handle
from mini.errors import RecordError
from mini.job import Failure, Job, Outcome, State
from mini.runs import files, layout, lookup, records
from mini.runs.folder import RunFolder
from mini.runs.live import read_live
from mini.runs.records import Record


class Earlier:
    """An earlier try.

    Args:
        folder: The run that is about to go on or to begin.
        run: The earlier run, or `latest`; the folder itself: in place.
        only: Of what is not done, run this job alone.

    Raises:
        NoSuchRun: There is no such run.
    """

    def __init__(self, folder: RunFolder, run: str, only: int | None) -> None:
        self._only = only
        self._done: dict[str, tuple[Path, Record]] = {}
        self._attempts: dict[int, int] = {}
        home = folder.path.parent
        before = lookup.latest(home, exclude=folder.path) if run == "latest" else lookup.find(home, run)
        self.in_place = before.path == folder.path
        handle.Run(before).status()  # brings the records of jobs that ran elsewhere
        for line, record in before.records():
            if isinstance(record, Record):
                self._attempts[line.index] = record.outcome.attempt
                if record.outcome.ok and line.key:
                    self._done[line.key] = (Path(line.folder), record)

    @property
    def has_results(self) -> bool:
        """Whether any job was done."""
        return bool(self._done)

    def outcome(self, job: Job) -> Outcome | None:
        """What became of a job that need not run now; None for one that shall."""
        return self._take_over(job) or self._left_out(job)

    def _take_over(self, job: Job) -> Outcome | None:
        """The outcome of a job that is done already, its files in its new folder; None for one that is not."""
        if job.key not in self._done or job.folder is None:
            return None
        source, record = self._done[job.key]
        try:
            outcome = records.read_value(source, record.outcome)
        except RecordError:  # the value is elsewhere, and too large to be in the record
            return None
        if Path(job.folder) != source:
            files.link_tree(source, Path(job.folder), without=frozenset((layout.RECORD, layout.LIVE)))
            outcome = dataclasses.replace(
                outcome, index=job.index, folder=job.folder, where={**outcome.where, "taken_from": str(source)}
            )
            records.write_record(outcome, {**record.row, **job.row})
        return dataclasses.replace(outcome, folder=job.folder)

    def _left_out(self, job: Job) -> Outcome | None:
        """What is known of a job that shall not run now; None for one that shall."""
        if self._only is None or job.index == self._only:
            return None
        try:
            return records.read_record(Path(str(job.folder))).outcome
        except (FileNotFoundError, RecordError):
            return Outcome(job.index, State.CANCELLED, failure=Failure("Cancelled", "it was left out"), key=job.key)

    def next_attempt(self, job: Job) -> Job:
        """The job, one attempt later if it was tried in this folder before."""
        if not self.in_place or job.folder is None:
            return job
        live = read_live(Path(job.folder)) or {}
        attempt = max(int(live.get("attempt") or 0), self._attempts.get(job.index, 0))
        return dataclasses.replace(job, attempt=attempt + 1)
