"""What an earlier try of a sweep has done already, and what of it is taken over.

Within a run a job is known by its index: two jobs may differ only in where they run. Across runs it is known by its
key. A result is taken over if it is of the same config, place and code; `Policy` says what else may be.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini.apparatus import handle
from mini.apparatus.groups import Gpu
from mini.errors import RecordError, RunFolderError
from mini.job import Failure, Job, Outcome, State
from mini.launcher import fingerprint
from mini.launcher.fingerprint import Fingerprints
from mini.runs import files, layout, lookup, records
from mini.runs.folder import RunFolder
from mini.runs.live import read_live
from mini.runs.records import Record
from mini.runs.status import RunState

_PLACE = "config.hydra.launcher."  # the columns that say where a job was to run
_SHOWN = 5  # names of files in a message


def place_columns(kind: str, gpu: Gpu) -> dict[str, Any]:
    """Where a job is to run, as columns of its row."""
    names = gpu.option
    return {f"{_PLACE}apparatus": kind, f"{_PLACE}gpu": ",".join(names) if isinstance(names, list) else names}


def make_key(config: str, code: str) -> str:
    """A job's key, of the digest of its config and that of its code."""
    return f"{config}-{code}"


@dataclass(frozen=True)
class Policy:
    """Which results are taken over though not all is the same.

    Args:
        anywhere: Those that were made elsewhere: on another engine, or another GPU.
        stale: Those that other code made: `rerun`, `warn`, or `keep`.
        only: Of what is not done, run this job alone.
    """

    anywhere: bool = False
    stale: str = "rerun"
    only: int | None = None


@dataclass(frozen=True)
class _Result:
    """A job that was done."""

    folder: Path
    record: Record
    row: Mapping[str, Any]

    @property
    def key(self) -> str:
        return self.record.outcome.key


@dataclass(frozen=True)
class _Difference:
    """Why a result may not be that of a job."""

    what: str  # config, place or code
    how: str


class Earlier:
    """An earlier try.

    Args:
        folder: The run that is about to go on or to begin.
        run: The earlier run, or `latest`; the folder itself: in place.
        policy: What is taken over.

    Raises:
        NoSuchRun: There is no such run.
        RunFolderError: It shall go on in place, and its jobs do so without the command that began them.
    """

    def __init__(self, folder: RunFolder, run: str, policy: Policy) -> None:
        self._policy = policy
        home = folder.path.parent
        before = lookup.latest(home, exclude=folder.path) if run == "latest" else lookup.find(home, run)
        self.in_place = before.path.resolve() == folder.path.resolve()
        self._before = before
        self._code = fingerprint.read(before.path)
        self._outcomes: dict[int, Outcome] = {}
        self._by_index: dict[int, _Result] = {}
        self._by_config: defaultdict[str, list[_Result]] = defaultdict(list)
        self._taken: list[tuple[_Result, Job]] = []
        self._counted: Counter[tuple[bool, _Difference]] = Counter()
        now = handle.Run(before).status()  # brings the records of jobs that ran elsewhere
        if self.in_place and now.state is RunState.RUNNING and not before.is_driven():
            raise RunFolderError(
                f"{before.id} is still running on {', '.join(now.apparatus)}, without the command that began it; watch "
                f"it with `mini watch {before.id}`, or stop it with `mini cancel {before.id}` and go on then"
            )
        for line, record in before.records():
            if isinstance(record, Record):
                self._outcomes[line.index] = record.outcome
                if record.outcome.ok:
                    result = _Result(Path(line.folder), record, {**line.row, **record.row})
                    self._by_index[line.index] = result
                    self._by_config[_config_of(result.key)].append(result)

    @property
    def has_results(self) -> bool:
        """Whether any job was done."""
        return bool(self._by_index)

    def outcome(self, job: Job, now: Fingerprints) -> Outcome | None:
        """What became of a job that need not run now; None for one that shall.

        Args:
            job: The job.
            now: The code as it is.
        """
        before = self._outcomes.get(job.index) if self.in_place else None
        if before is not None and before.state is State.PRUNED:
            return dataclasses.replace(before, folder=job.folder)
        left_out = self._policy.only is not None and job.index != self._policy.only
        found = self._choose(job, now)
        if found is not None:
            result, differences = found
            obstacles = [one for one in differences if not self._accepts(one)]
            taken = None if obstacles else self._take(result, job)
            if taken is not None or not left_out:
                self._counted.update((taken is not None, one) for one in (obstacles or differences))
            if taken is not None:
                return taken
        return self._left_out(job) if left_out else None

    def _choose(self, job: Job, now: Fingerprints) -> tuple[_Result, list[_Difference]] | None:
        """The result that is most like what the job would give, and in what it is not."""
        if self.in_place:
            same = [self._by_index[job.index]] if job.index in self._by_index else []
        else:
            same = self._by_config[_config_of(job.key)]
        compared = [(one, list(self._differences(one, job, now))) for one in same]
        return min(compared, key=lambda pair: (sum(not self._accepts(d) for d in pair[1]), len(pair[1])), default=None)

    def _accepts(self, difference: _Difference) -> bool:
        if difference.what == "place":
            return self._policy.anywhere
        return difference.what == "code" and self._policy.stale != "rerun"

    def _differences(self, result: _Result, job: Job, now: Fingerprints) -> Iterator[_Difference]:
        if _config_of(result.key) != _config_of(job.key):
            yield _Difference("config", "of another config")
        if (made := _place(result.row)) != _place(job.row):
            yield _Difference("place", f"made on {made}")
        if (code := _code_of(result.key)) != _code_of(job.key):
            yield _Difference("code", self._what_changed(code, now.by_digest[_code_of(job.key)]))

    def _what_changed(self, code: str, now: Mapping[str, str]) -> str:
        if code not in self._code:
            return "of code that is not known any more"
        paths = fingerprint.changed(self._code[code], now)
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        return f"of other code: {', '.join(paths[:_SHOWN])}{more} changed"

    def _take(self, result: _Result, job: Job) -> Outcome | None:
        """The outcome of a job that is done already; None where its value is not here."""
        try:
            outcome = records.read_value(result.folder, result.record.outcome)
        except RecordError:  # the value is elsewhere, and too large to be in the record
            return None
        if self.in_place:
            return dataclasses.replace(outcome, folder=job.folder)
        self._by_config[_config_of(job.key)].remove(result)  # a result stands for one job
        self._taken.append((result, job))
        where = {**outcome.where, "taken_from": str(result.folder)}
        return dataclasses.replace(outcome, index=job.index, folder=job.folder, where=where, attempt=1)

    def _left_out(self, job: Job) -> Outcome:
        """What is known of a job that shall not run now."""
        before = self._outcomes.get(job.index) if self.in_place else None
        why = Failure("Cancelled", "it was left out")
        return before or Outcome(job.index, State.CANCELLED, failure=why, key=job.key)

    def next_attempt(self, job: Job) -> Job:
        """The job, one attempt later if it was tried in this folder before."""
        if not self.in_place or job.folder is None:
            return job
        live = read_live(Path(job.folder)) or {}
        before = self._outcomes.get(job.index)
        attempt = max(int(live.get("attempt") or 0), before.attempt if before is not None else 0)
        return dataclasses.replace(job, attempt=attempt + 1)

    def report(self) -> list[str]:
        """What is to be said, once, of results that are not of the same config, place and code."""
        lines = []
        for (taken, difference), count in sorted(self._counted.items(), key=lambda item: str(item[0])):
            jobs = f"{count} job{'s' if count > 1 else ''}"
            if not taken:
                lines.append(f"{jobs} done before run again, as the results are {difference.how}{_advice(difference)}")
            elif difference.what == "place":
                lines.append(f"{jobs} taken over: {difference.how}")
            elif self._policy.stale == "warn":
                lines.append(f"warning: {jobs} taken over: {difference.how}")
        self._counted.clear()
        return lines

    def prepare(self, folder: RunFolder, jobs: list[Job], now: Fingerprints) -> None:
        """Make the folder ready for its jobs: what is taken over is copied, and what is replaced is set aside.

        Args:
            folder: The run, which has begun.
            jobs: Those that will run.
            now: The code as it is.

        Raises:
            RunFolderError: Something would be overwritten.
        """
        fingerprint.write(folder.path, {**self._code, **now.by_digest})
        for result, job in self._taken:
            _copy(result, job)
        self._taken.clear()
        if self.in_place:
            for job in jobs:
                if job.index in self._by_index and Path(str(job.folder), layout.RECORD).exists():
                    _set_aside(Path(str(job.folder)), self._by_index[job.index].record.outcome.attempt)

    def explain(self, job: Job, now: Fingerprints, config: Mapping[str, Any]) -> str:
        """Why a job would run again, or not.

        Args:
            job: The job, as it would run now.
            now: The code as it is.
            config: The config's columns as they are now.
        """
        before = self._outcomes.get(job.index)
        if before is None:
            return f"job {job.index} would run: it has no record"
        state = f"job {job.index} is {before.state}"
        if not before.ok:
            return f"{state} ({before.failure}), and would run again"
        result = self._by_index[job.index]
        differences = list(self._differences(result, job, now))
        again = any(not self._accepts(one) for one in differences)
        lines = [f"{state}, and would {'run again' if again else 'not run again'}:"]
        for one in differences:
            kept = "" if not self._accepts(one) else ", and is kept so"
            lines.append(f"  {one.what}: the result is {one.how}{kept}{'' if kept else _advice(one)}")
            if one.what == "config":
                lines += [f"    {line}" for line in _changed_values(result.row, config)]
            elif one.what == "place":
                lines.append(f"    it would run on {_place(job.row)}")
        if not differences:
            lines.append("  config, place and code are the same")
        return "\n".join(lines)


def _copy(result: _Result, job: Job) -> None:
    """Put a result into the folder of a job of another run, which must be empty."""
    folder = Path(str(job.folder))
    if (folder / layout.RECORD).exists():
        raise RunFolderError(f"the folder of job {job.index}, {folder}, has a result, which is never overwritten")
    files.link_tree(result.folder, folder, without=frozenset((layout.RECORD, layout.LIVE)))
    before = records.read_value(result.folder, result.record.outcome)
    where = {**before.where, "taken_from": str(result.folder)}
    outcome = dataclasses.replace(before, index=job.index, folder=str(folder), where=where)
    given = {name: value for name, value in job.row.items() if not name.startswith(_PLACE)}
    records.write_record(outcome, {**result.row, **given})


def _set_aside(folder: Path, attempt: int) -> None:
    """Keep a result that is made anew: its folder is renamed by its attempt."""
    aside = folder.with_name(f"{folder.name}~{attempt}")
    if aside.exists():
        raise RunFolderError(f"{aside} exists already; {folder} cannot be set aside, and is never overwritten")
    folder.rename(aside)


def _config_of(key: str) -> str:
    return key.partition("-")[0]


def _code_of(key: str) -> str:
    return key.partition("-")[2]


def _place(row: Mapping[str, Any]) -> str:
    """Where a job was to run, for a person."""
    kind, gpu = (row.get(f"{_PLACE}{name}") for name in ("apparatus", "gpu"))
    return (f"{kind}" if kind else "an engine that is not recorded") + (f" with gpu {gpu}" if gpu else "")


def _advice(difference: _Difference) -> str:
    options = {"place": "reuse=anywhere", "code": "stale=keep"}
    chosen = options.get(difference.what)
    return f"; hydra.launcher.{chosen} takes them over" if chosen else ""


def _changed_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    names = {name for name in (*before, *now) if name.startswith("config.") and not name.startswith(_PLACE)}
    for name in sorted(names):
        if before.get(name) != now.get(name):
            yield f"{name.removeprefix('config.')} was {before.get(name)!r} and is {now.get(name)!r}"
