"""The table of a run, its records parsed all at once.

A record is a line of JSON, and polars reads many lines in a tenth of the time that a row each takes. What it makes of
values that disagree is not always what the table promises, and a damaged record fails all of them: whatever is in
doubt here is left to the exact way.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mini import fallbacks
from mini.combine.exact import JOB_COLUMNS, MAX_EXACT, table_name
from mini.job import State
from mini.runs import files, layout, records
from mini.runs.folder import RunFolder
from mini.runs.values import NONFINITE

if TYPE_CHECKING:
    import polars as pl

WAY = "combine"
"""What `mini.fallbacks` calls this way."""

_STATES = [state.value for state in State]
_LOOKS_TYPED = r"^(-?\d|true$|false$)"  # text that polars may have made of something else
_LONG_WHOLE_NUMBER = rb"(-?\d{16,})[,}]"

_SURROGATE = re.compile(rb"\\ud[89a-f]")  # JSON for what is no character; polars refuses it

_CLOCK_SKEW = 2 * 10**9  # nanoseconds that a file system's clock may differ from ours


@dataclass(frozen=True)
class PreviousTable:
    """A table of the same run, written earlier.

    Args:
        table: Every job's row.
        began: When its records began to be read, in Unix nanoseconds.
    """

    table: pl.DataFrame
    began: int


class _NotExact(Exception):
    """What polars makes of these records may not be the exact table.

    Args:
        reason: Why, in words that are the same for all records of a kind.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def table(folder: RunFolder, before: PreviousTable | None = None) -> pl.DataFrame | None:
    """Every job's row, as `mini.combine.exact.table` has it.

    Args:
        folder: The run.
        before: Where the rows of jobs that were done then are taken from, if their records did not change since.

    Returns:
        The table, by job; None where that is in doubt, which `mini.fallbacks` counts with the reason.
    """
    try:
        jobs = _jobs(folder)
        if before is not None and (updated := _update(folder, jobs, before)) is not None:
            return updated
        return _parse(folder, jobs)
    except _NotExact as doubt:
        fallbacks.note(WAY, doubt.reason)
        return None


def _jobs(folder: RunFolder) -> pl.DataFrame:
    """Index and folder of each job."""
    import polars as pl

    try:
        data = (folder.path / layout.JOBS).read_bytes()
    except OSError as error:
        raise _NotExact("the list of jobs cannot be read") from error
    if not data.strip():
        raise _NotExact("the list of jobs is empty")
    try:
        jobs = pl.read_ndjson(data, schema={"index": pl.Int64, "folder": pl.String})
    except pl.exceptions.PolarsError as error:
        raise _NotExact("the list of jobs is damaged") from error
    if any(jobs.null_count().row(0)):
        raise _NotExact("the list of jobs is damaged")
    jobs = jobs.unique("index", keep="last").sort("index")
    return jobs.with_columns(folder=f"{folder.path}/" + pl.col("folder"))


def _parse(folder: RunFolder, jobs: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    joined = b"}\n".join(_lines(folder, jobs)) + b"}"
    try:
        parsed = pl.read_ndjson(joined, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise _NotExact(_why_refused(joined)) from error
    _require_whole(parsed, jobs)
    known = _job_columns(parsed, jobs)
    row = parsed["row"].struct.unnest() if parsed["row"].dtype.fields else pl.DataFrame()  # type: ignore[attr-defined]
    # polars keeps no order of keys that not every record has; ours is that of the text.
    names = sorted(row.columns, key=lambda name: joined.find(records.entry_name(name)))
    columns = {name: _column(row[name], joined) for name in names}
    _put_nonfinite(columns, parsed)
    renamed = [values.alias(table_name(name)) for name, values in columns.items()]
    return pl.DataFrame([*known, *renamed])


def _why_refused(joined: bytes) -> str:
    """Why polars did not parse these records, for the count of such tables."""
    if not all(records.is_beginning(line) for line in joined.split(b"\n")):
        return "a record is damaged"
    if _SURROGATE.search(joined):
        return "text that is not valid Unicode"
    return "values of kinds that polars does not take for one column"


def _lines(folder: RunFolder, jobs: pl.DataFrame) -> Iterator[bytes]:
    """Each job's record up to its value, which comes last; what is known of the job where there is none."""
    bulk, damaged = records.read_bulk(folder.path)
    if damaged:
        raise _NotExact("a file of many records is damaged")
    missing: Mapping[int, Any] | None = None
    for index, path in jobs.iter_rows():
        try:
            line = files.read_whole(f"{path}/{layout.RECORD}")
        except OSError as error:
            raise _NotExact("a record cannot be read") from error
        other = bulk.get(index)
        if other is not None:
            head = records.parse_head(line) if line is not None else None
            if head is None or head.rank < other.head.rank:
                line = other.line
        if line is not None:
            text = records.without_value(line)
            if text is None:
                raise _NotExact("a record is cut off")
            yield text
        else:
            if missing is None:
                missing = {job.index: job.row for job in folder.jobs()}
            if index not in missing:
                raise _NotExact("the list of jobs changed meanwhile")
            yield records.queued_line(index, missing[index])


def _require_whole(parsed: pl.DataFrame, jobs: pl.DataFrame) -> None:
    import polars as pl

    lists = [pl.List(pl.Null), pl.List(pl.List(pl.String))]
    expected: dict[str, list[Any]] = {"index": [pl.Int64], "state": [pl.String], "row": [pl.Struct], "nonfinite": lists}
    if not expected.keys() <= parsed.schema.keys():
        raise _NotExact("a record lacks an entry")
    if any(parsed.schema[name] not in dtypes for name, dtypes in expected.items()):
        raise _NotExact("an entry of a record is of another type")
    if any(parsed.select(pl.col(*expected).null_count()).row(0)):
        raise _NotExact("a record lacks an entry")
    if not parsed["index"].equals(jobs["index"]):
        raise _NotExact("a record is another job's")
    recorded = parsed.filter(pl.col("state") != State.QUEUED.value)
    if recorded.is_empty():
        return
    if "attempt" not in parsed.columns or recorded["attempt"].null_count():
        raise _NotExact("a record lacks an entry")
    if not recorded["state"].is_in(_STATES).all():
        raise _NotExact("a record has an unknown state")


def _job_columns(parsed: pl.DataFrame, jobs: pl.DataFrame) -> Iterator[pl.Series]:
    """The columns that are there in every table."""
    import polars as pl

    def get(name: str, *inner: str, dtype: type[pl.DataType]) -> pl.Series:
        values = parsed[name] if name in parsed.columns else pl.Series(name, [None] * len(parsed))
        for field in inner:
            fields = {entry.name for entry in getattr(values.dtype, "fields", ())}
            values = values.struct.field(field) if field in fields else pl.Series(field, [None] * len(parsed))
        if values.dtype not in (dtype, pl.Null) and not (dtype == pl.Float64 and values.dtype == pl.Int64):
            raise _NotExact("an entry of a record is of another type")
        return values.cast(dtype)

    kind, message = (get("failure", name, dtype=pl.String) for name in ("type", "message"))
    error = pl.select(pl.when(message == "").then(kind).otherwise(pl.format("{}: {}", kind, message))).to_series()
    started, ended = (get(name, dtype=pl.Float64) for name in ("started", "ended"))
    columns = {
        "job": parsed["index"],
        "state": parsed["state"],
        "error": error,
        "seconds": ended - started,
        "started": started,
        "attempt": get("attempt", dtype=pl.Int64),
        "host": get("where", "host", dtype=pl.String),
        "gpu": get("where", "gpu", dtype=pl.String),
        "folder": jobs["folder"],
    }
    for name in JOB_COLUMNS:
        yield _null_if_empty(columns[name].alias(name))


def _null_if_empty(values: pl.Series) -> pl.Series:
    import polars as pl

    return values.cast(pl.Null) if values.null_count() == len(values) else values


def _column(values: pl.Series, joined: bytes) -> pl.Series:
    """A column of the records, if it is what the exact way makes of it."""
    import polars as pl

    values = _null_if_empty(values)
    if values.dtype in (pl.Null, pl.Int64, pl.Boolean):
        return values
    key = records.entry_name(values.name)
    if values.dtype == pl.String:
        if values.str.contains(_LOOKS_TYPED).any() and joined.count(key + b'"') != values.count():
            raise _NotExact("text beside numbers or truth values")
        return values
    if values.dtype == pl.Float64:
        if (values.abs() >= MAX_EXACT).any():
            whole = re.findall(re.escape(key) + _LONG_WHOLE_NUMBER, joined)
            if any(abs(int(number)) > MAX_EXACT for number in whole):
                raise _NotExact("integers beside fractions that no float holds exactly")
        return values
    if values.dtype == pl.Int128:
        raise _NotExact("integers of more than 64 bits")
    raise _NotExact("a column of objects or lists")


def _put_nonfinite(columns: dict[str, pl.Series], parsed: pl.DataFrame) -> None:
    """Put NaN and infinities in their places; a record has null there."""
    import polars as pl

    places: dict[str, list[tuple[int, float]]] = {}
    for i, pairs in _nonempty(parsed["nonfinite"]):
        for pair in pairs:
            if len(pair) != 2 or pair[0] not in columns or pair[1] not in NONFINITE:
                raise _NotExact("a record lists what is not finite wrongly")
            places.setdefault(pair[0], []).append((i, NONFINITE[pair[1]]))
    for name, found in places.items():
        values = columns[name]
        if values.dtype not in (pl.Null, pl.Int64, pl.Float64):
            raise _NotExact("NaN or infinity beside text or truth values")
        if values.dtype == pl.Int64 and (values.abs() > MAX_EXACT).any():
            raise _NotExact("integers beside fractions that no float holds exactly")
        values = values.cast(pl.Float64)
        columns[name] = values.scatter([i for i, _ in found], [value for _, value in found])


def _nonempty(lists: pl.Series) -> Iterator[tuple[int, Sequence[Sequence[str]]]]:
    for i in (lists.list.len() > 0).arg_true():
        yield i, lists[i]


def _update(folder: RunFolder, jobs: pl.DataFrame, before: PreviousTable) -> pl.DataFrame | None:
    """The table with what is new since it was written; None where it cannot be told without reading all."""
    import polars as pl

    unchanged = before.began - _CLOCK_SKEW
    if any(path.stat().st_mtime_ns >= unchanged for path in records.bulk_files(folder.path)):
        return None
    done = before.table.filter(pl.col("state") == State.DONE.value)
    same = jobs.join(done.select("job", "folder"), left_on=["index", "folder"], right_on=["job", "folder"])
    kept = [
        index
        for index, path in same.select("index", "folder").iter_rows()
        if _changed(f"{path}/{layout.RECORD}") < unchanged
    ]
    if not kept:
        return None
    trusted = done.filter(pl.col("job").is_in(kept))
    rest = jobs.filter(~pl.col("index").is_in(kept))
    if rest.is_empty():
        return trusted if trusted.width == before.table.width and _is_full(trusted, ()) else None
    new = _parse(folder, rest)
    if not _is_full(trusted, new.columns) or not set(new.columns) <= set(trusted.columns):
        return None
    columns = []
    for name in trusted.columns:
        old, more = trusted[name], new[name] if name in new.columns else pl.Series(name, [None] * len(new))
        parts = [_null_if_empty(old), _null_if_empty(more)]
        dtypes = {part.dtype for part in parts} - {pl.Null()}
        if dtypes == {pl.Int64(), pl.Float64()}:
            if any(part.dtype == pl.Int64 and (part.abs() > MAX_EXACT).any() for part in parts):
                return None
            dtypes = {pl.Float64()}
        if len(dtypes) > 1:
            return None
        columns.append(pl.concat([part.cast(*dtypes or {pl.Null()}) for part in parts]))
    return pl.DataFrame(columns).sort("job")


def _changed(path: str) -> float:
    """When a file changed last, in nanoseconds; one that cannot be looked at, always just now."""
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - a path object for each would take longer
    except OSError:
        return math.inf


def _is_full(trusted: pl.DataFrame, others: Sequence[str]) -> bool:
    """Whether every column is still some job's."""
    return all(
        name in JOB_COLUMNS or name in others or trusted[name].null_count() < len(trusted) for name in trusted.columns
    )
