"""All records parsed at once make the table that record by record makes, or none."""

import json
import math
import os
import random
from pathlib import Path

import polars as pl
import pytest

from mini import Job, Outcome, State, combine, fallbacks
from mini.combine import columnar, exact
from mini.job import Failure
from mini.runs import layout, records
from mini.runs.folder import RunFolder

VALUES = {
    "whole": lambda r: r.randrange(-1000, 1000),
    "fraction": lambda r: r.uniform(-1, 1) * 10 ** r.randrange(-300, 300),
    "either": lambda r: r.choice([1, 2.5, -0.0, 1e15]),
    "truth": lambda r: r.choice([True, False]),
    "text": lambda r: r.choice(["", "a b", 'q"uote', "back\\slash", "é 漢 😀", "\n\t", "a:b", "\u2028"]),
    "numeric text": lambda r: r.choice(["1", "-2.5", "true", "false", "1e-3", "0x1", "null", "nan", ""]),
    "nothing": lambda r: None,
    "sometimes": lambda r: r.choice([None, 1, 2]),
    "odd": lambda r: r.choice([math.nan, math.inf, -math.inf, 0.5, 1]),
    "only odd": lambda r: r.choice([math.nan, math.inf]),
    "date": lambda r: r.choice(["2026-11-24", "12:30:00", "2026-11-24T00:00:00"]),
    'key "with" quotes\\': lambda r: r.choice(["1", "x"]),
    "seconds": lambda r: r.random(),
    "overrides.x": lambda r: r.random(),
}
INEXACT = "integers beside fractions that no float holds exactly"
NOT_A_NUMBER = "NaN or infinity beside text or truth values"
DOUBTFUL = {
    "text or number": (lambda r: r.choice([256, "auto"]), "text beside numbers or truth values"),
    "text or small fraction": (lambda r: r.choice([1e-7, "auto"]), "text beside numbers or truth values"),
    "truth or number": (lambda r: r.choice([True, 2]), "values of kinds that polars does not take for one column"),
    "truth or text": (lambda r: r.choice([True, "yes"]), "text beside numbers or truth values"),
    "huge": (lambda r: r.choice([2**53 + 1, 0.5]), INEXACT),
    "larger": (lambda r: r.choice([2**64, 1]), "integers of more than 64 bits"),
    "largest": (lambda r: 2**200, "values of kinds that polars does not take for one column"),
    "odd text": (lambda r: r.choice([math.nan, "x"]), NOT_A_NUMBER),
    "odd truth": (lambda r: r.choice([math.nan, True]), NOT_A_NUMBER),
    "odd huge": (lambda r: r.choice([math.nan, 2**53 + 1]), INEXACT),
    "surrogate": (lambda r: "caf\udce9", "text that is not valid Unicode"),
}


@pytest.fixture(autouse=True)
def _no_counts():
    fallbacks.reset()


def reasons():
    """Why the fast way was left in this test."""
    assert all(way == columnar.WAY for way, _ in fallbacks.counts())
    return {reason for _, reason in fallbacks.counts()}


def begin(folder, count):
    jobs = [
        Job(i, print, folder=str(folder.path / f"[{i}] é"), key=f"{i}", row={"overrides.x": str(i)})
        for i in range(count)
    ]
    folder.begin({})
    folder.add_jobs(jobs)
    return jobs


def record(job, r, kinds, *, attempt=1, age=10.0):
    failed = r.random() < 0.2
    row = {f"metrics.{name}": make(r) for name, make in kinds.items() if r.random() < 0.9}
    failure = Failure("ValueError", r.choice(["", "no: é"]), "trace\nback") if failed else None
    outcome = Outcome(
        job.index,
        State.FAILED if failed else State.DONE,
        b"value",
        failure,
        1.5,
        2.75,
        attempt,
        where={"host": "h", "pid": 3, **({"gpu": "T4"} if r.random() < 0.3 else {})},
        folder=job.folder,
        key=job.key,
    )
    records.write_record(outcome, {**job.row, "config.a": 1, **row})
    path = Path(job.folder, layout.RECORD)
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))


def same(one, other):
    assert one.schema == other.schema
    assert one.equals(other)
    for name, dtype in one.schema.items():
        if dtype == pl.Float64:  # -0.0 too
            assert one[name].cast(pl.String).equals(other[name].cast(pl.String))


@pytest.mark.parametrize("seed", range(60))
def test_both_ways_make_the_same_table(tmp_path, seed):
    r = random.Random(seed)
    folder = RunFolder(tmp_path / "run [1]")
    jobs = begin(folder, r.choice([1, 2, 5, 120]))
    names = r.sample(sorted(VALUES), r.randrange(len(VALUES) + 1))
    for job in jobs:
        if r.random() < 0.9 or job.index == 0:
            record(job, r, {name: VALUES[name] for name in names})
    quick = columnar.table(folder)
    assert quick is not None, names
    assert reasons() == set()
    same(quick, exact.table(folder)[0])


@pytest.mark.parametrize("name", DOUBTFUL)
def test_values_that_polars_takes_for_others_are_left_to_the_exact_way(tmp_path, name):
    folder = RunFolder(tmp_path)
    r = random.Random(1)
    for job in begin(folder, 30):
        record(job, r, {name: DOUBTFUL[name][0]})
    assert columnar.table(folder) is None
    assert reasons() == {DOUBTFUL[name][1]}
    same(combine.table(folder)[0], exact.table(folder)[0])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (b"", "a record is cut off"),
        (b"{cut", "a record is cut off"),
        (b"[1]", "a record is cut off"),
        (b"{}", "a record is cut off"),
        (b'{"version":1,"index":0,"pickled":null}\n', "a record lacks an entry"),
        (b'\0\0\0\0,"pickled":null}\n', "a record is damaged"),
        (b'{"version":1,"index":1,"key":"","state":"done","attempt":1,"pickled":"cut', "a record is cut off"),
        (
            b'{"version":1,"index":1,"key":"","state":"done","attempt":1,"row":{},"nonfinite":[["x","nan"]],"pickled":null}',
            "a record lists what is not finite wrongly",
        ),
        (
            b'{"version":1,"index":1,"key":"","state":"odd","attempt":1,"row":{},"nonfinite":[],"pickled":null}',
            "a record has an unknown state",
        ),
        (
            b'{"version":1,"index":1,"key":"","state":"done","attempt":1,"started":"x","row":{},"nonfinite":[],"pickled":null}',
            "an entry of a record is of another type",
        ),
        (
            b'{"version":1,"index":1,"key":"","state":"done","attempt":1,"row":7,"nonfinite":[],"pickled":null}',
            "values of kinds that polars does not take for one column",
        ),
    ],
)
def test_a_damaged_record_is_left_to_the_exact_way(tmp_path, damage, reason):
    folder = RunFolder(tmp_path)
    jobs = begin(folder, 3)
    for job in jobs:
        record(job, random.Random(2), VALUES)
    Path(jobs[1].folder, layout.RECORD).write_bytes(damage)
    combined, problems = combine.table(folder)
    assert reasons() == {reason}
    assert combined["state"][1] == "unreadable"
    assert len(problems) == 1
    same(combined, exact.table(folder)[0])


def test_a_record_of_another_job_is_not_taken(tmp_path):
    folder = RunFolder(tmp_path)
    jobs = begin(folder, 2)
    for job in jobs:
        record(job, random.Random(2), VALUES)
    first, second = (Path(job.folder, layout.RECORD) for job in jobs)
    second.write_bytes(first.read_bytes())
    assert columnar.table(folder) is None
    assert reasons() == {"a record is another job's"}


def test_records_many_to_a_file(tmp_path):
    folder = RunFolder(tmp_path)
    jobs = begin(folder, 20)
    r = random.Random(3)
    for job in jobs[:10]:
        record(job, r, VALUES)
    (folder.path / "records").mkdir()
    lines = []
    for job in jobs[5:15]:
        outcome = Outcome(job.index, State.DONE, b"later", None, 5.0, 7.0, 2, where={}, folder=job.folder, key=job.key)
        lines.append(records.encode_record(outcome, {"metrics.whole": 7}))
    file = folder.path / "records" / "a.jsonl"
    file.write_bytes(b"".join(lines) + lines[0][:30])
    quick = columnar.table(folder)
    assert quick["seconds"].to_list()[5:15] == [2.0] * 10
    same(quick, exact.table(folder)[0])
    assert reasons() == set()

    file.write_bytes(b"".join(lines[:-1]) + lines[-1][:-30])
    combined, problems = combine.table(folder)
    assert reasons() == {"a file of many records is damaged"}
    assert combined["state"].to_list()[14] == "queued"
    assert [str(file) in str(problem) and "line 10" in str(problem) for problem in problems] == [True]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(b'{"index":1,"fold', "the list of jobs is damaged"), (b"{}\n", "the list of jobs is damaged")],
)
def test_a_damaged_list_of_jobs_is_left_to_the_exact_way(tmp_path, damage, reason):
    folder = RunFolder(tmp_path)
    for job in begin(folder, 3):
        record(job, random.Random(2), {})
    with (tmp_path / layout.JOBS).open("ab") as file:
        file.write(damage)
    combined, problems = combine.table(folder)
    assert reasons() == {reason}
    assert combined["job"].to_list() == [0, 1, 2]
    assert [str(tmp_path / layout.JOBS) in str(problem) for problem in problems] == [True]


def kinds_for(seed):
    r = random.Random(seed)
    return {name: VALUES[name] for name in r.sample(sorted(VALUES), 6)}


@pytest.mark.parametrize("seed", range(30))
def test_what_was_done_is_taken_from_the_table_of_before(tmp_path, seed):
    r = random.Random(seed)
    folder = RunFolder(tmp_path)
    jobs = begin(folder, 60)
    kinds = kinds_for(seed)
    for job in jobs[:40]:
        record(job, r, kinds)
    combine.write(folder)
    for job in jobs[30:50]:
        record(job, r, kinds, attempt=2, age=0 if job.index < 40 else 10)
    same(combine.table(folder)[0], exact.table(folder)[0])
    combine.write(folder)
    same(combine.table(folder)[0], exact.table(folder)[0])


def test_only_new_records_are_read_again(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    jobs = begin(folder, 10)
    for job in jobs:
        record(job, random.Random(5), {"whole": VALUES["whole"]})
    combine.write(folder)
    done = combine.table(folder)[0].filter(pl.col("state") == "done")["job"].to_list()
    read = []
    parse = columnar._parse
    monkeypatch.setattr(columnar, "_parse", lambda f, rest: read.extend(rest["index"]) or parse(f, rest))
    combine.table(folder)
    assert sorted(read + done) == list(range(10))


def test_a_table_that_somebody_changed_is_not_believed(tmp_path):
    folder = RunFolder(tmp_path)
    for job in begin(folder, 3):
        record(job, random.Random(5), {"whole": VALUES["whole"]})
    table, _ = combine.write(folder)
    table.with_columns(mine=1).write_parquet(folder.path / "results.parquet")
    assert "mine" not in combine.table(folder)[0].columns


def test_large_values_are_not_parsed(tmp_path):
    folder = RunFolder(tmp_path)
    (job,) = begin(folder, 1)
    outcome = Outcome(0, State.DONE, b"x" * 50_000, None, 1.0, 2.0, 1, where={}, folder=job.folder, key="k")
    records.write_record(outcome, {"metrics.text": ',"pickled":"no"}'})
    assert json.loads((tmp_path / "[0] é" / "record.json").read_bytes())["pickled"]
    same(columnar.table(folder), exact.table(folder)[0])


def test_tables_in_one_file(tmp_path):
    folder = RunFolder(tmp_path)
    for job in begin(folder, 5):
        record(job, random.Random(6), {})
        pl.DataFrame({"epoch": [1, 2], "loss": [0.5, job.index]}).write_parquet(f"{job.folder}/metrics.parquet")
    target = tmp_path / "all.parquet"
    combine.write_tables(folder, target)
    assert pl.read_parquet(target).equals(combine.tables(folder).collect())
    assert not list(tmp_path.glob(".*.tmp"))
