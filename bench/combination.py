"""Combining what jobs left: small records, and tables of a thousand rows. Each way in a process of its own.

`COMBINE_JOBS=10000,50000` chooses how many records.
"""

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mini.runs import layout, records
from mini.runs.folder import RunFolder

SIZES = [int(size) for size in os.environ.get("COMBINE_JOBS", "10000,50000").split(",")]
TABLES = 5000
ROUNDS = 3
SLOW = {"pyarrow, a parquet file a job", "pandas, one by one"}  # once, as they take most of a minute


def main():
    figures = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            apart(["write_records", name, str(size)])
            print(f"{size} records, {ROUNDS} rounds each: median seconds, memory beyond what was there before")
            figures += show(RECORDS, name, "the bytes alone", size)
    with tempfile.TemporaryDirectory() as name:
        apart(["write_tables", name, str(TABLES)])
        print(f"{TABLES} tables of 1,000 rows and 10 columns, into one parquet file")
        figures += show(TABLE_WAYS, name, "the bytes of the tables alone", TABLES)
    return figures


def show(ways, folder, least, size):
    rows = {way: in_a_process(way, folder) for way in ways}
    for way, row in rows.items():
        factor = row["seconds"] / rows[least]["seconds"]
        print(f"  {way:40} {row['seconds']:7.2f} s  {row['mb']:6.0f} MB  {factor:6.1f} x the bytes")
    return [{"size": size, "way": way, **row} for way, row in rows.items()]


def in_a_process(way, folder):
    return json.loads(apart([way, str(folder)]).splitlines()[-1])


def apart(arguments):
    """Run this file for one thing. This process must stay small: what it has counts as a child's peak memory too."""
    command = [sys.executable, "-m", "bench.combination", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def measure(way, folder):
    prepare, run = {**RECORDS, **TABLE_WAYS}[way]
    prepare(folder)
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(1 if way in SLOW else ROUNDS):
        began = time.perf_counter()
        run(folder)
        seconds.append(time.perf_counter() - began)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there
    return {"seconds": statistics.median(seconds), "mb": (after - before) / unit}


# What there is to combine.


def write_records(path, size):
    import polars as pl

    from mini import Job, Outcome, State

    random.seed(1)
    folder = RunFolder(path)
    folder.begin({})
    jobs = [
        Job(
            i,
            print,
            folder=str(path / str(i)),
            key=f"{i:032x}",
            row={
                "overrides.lr": str(random.random()),
                "overrides.model": random.choice("ab"),
                "overrides.seed": str(i),
            },
        )
        for i in range(size)
    ]
    folder.add_jobs(jobs)
    for job in jobs:
        row = {**job.row, **{f"config.c{k}": random.choice([1, 2, 3]) for k in range(10)}}
        row |= {"config.model.name": "resnet", "config.lr": random.random(), "metrics.loss": random.random()}
        row |= {"metrics.acc": random.choice([1, 0.5, random.random()]), "metrics.epochs": 10}
        if random.random() < 0.3:
            row["metrics.extra"] = random.random()
        place = {"host": "h", "pid": 123}
        outcome = Outcome(
            job.index, State.DONE, b"x" * 60, None, 1e9, 1e9 + 2.5, 1, place, folder=job.folder, key=job.key
        )
        Path(job.folder).mkdir()
        Path(job.folder, layout.RECORD).write_bytes(records.encode_record(outcome, row))
        pl.DataFrame({name: [value] for name, value in row.items()}).write_parquet(f"{job.folder}/row.parquet")


def write_tables(path, count):
    import polars as pl

    from mini import Job

    random.seed(1)
    columns: dict[str, list[float]] = {}
    folder = RunFolder(path)
    folder.begin({})
    folder.add_jobs(Job(i, print, folder=str(path / str(i))) for i in range(count))
    for i in range(count):
        (path / str(i)).mkdir()
        if i % 100 == 0:
            columns = {f"c{k}": [random.random() for _ in range(1000)] for k in range(9)}
        pl.DataFrame({"epoch": range(1000), **columns}).write_parquet(path / str(i) / layout.TABLE)


# The ways. Each is two functions of the folder: what is not measured, and what is.


def nothing(folder):
    pass


def records_of(folder):
    return [f"{folder}/{i}/record.json" for i in range(sum(1 for _ in Path(folder, "jobs.jsonl").open()))]


def read(paths):
    lines = []
    for path in paths:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib would cost more than the reading
            lines.append(file.read())
    return lines


def ours(folder):
    from mini import combine

    table, problems = combine.table(RunFolder(folder))
    assert not problems
    return table


def ours_cold(folder):
    Path(folder, "results.parquet").unlink(missing_ok=True)
    import polars  # noqa: F401 - as the others, imported before


def ours_one_by_one(folder):
    from mini.combine import exact

    return exact.table(RunFolder(folder))


def ours_again(folder):
    """A tenth of the records is new since the table was written."""
    from mini import combine

    paths = records_of(folder)
    old = time.time() - 60
    for path in paths:
        os.utime(path, (old, old))
    combine.write(RunFolder(folder))
    for path in paths[::10]:
        os.utime(path)


def with_pandas(folder):
    import pandas

    return pandas.json_normalize([json.loads(line) for line in read(records_of(folder))])


def with_duckdb(folder):
    import duckdb

    return duckdb.sql(
        "select * exclude (row), row.* from read_json($paths, format='newline_delimited', union_by_name=true)",
        params={"paths": records_of(folder)},
    ).arrow()


def with_polars_files(folder):
    import polars as pl

    paths = [path.replace("record.json", "row.parquet") for path in records_of(folder)]
    schema = {}
    for path in paths:  # a column may be in the last file only, and a fraction where all before had whole numbers
        for name, dtype in pl.read_parquet_schema(path).items():
            if schema.get(name) != pl.Float64:
                schema[name] = dtype
    return pl.scan_parquet(
        paths, schema=schema, missing_columns="insert", cast_options=pl.ScanCastOptions(integer_cast="allow-float")
    ).collect()


def with_pyarrow_files(folder):
    import pyarrow
    import pyarrow.parquet

    paths = [path.replace("record.json", "row.parquet") for path in records_of(folder)]
    return pyarrow.concat_tables([pyarrow.parquet.read_table(path) for path in paths], promote_options="permissive")


def tables_of(folder):
    return [path.replace("record.json", "metrics.parquet") for path in records_of(folder)]


def our_tables(folder):
    from mini import combine

    combine.write_tables(RunFolder(folder), Path(folder, "all.parquet"))


def duckdb_tables(folder):
    import duckdb

    target = str(Path(folder, "all.parquet"))
    duckdb.sql(
        "copy (select * from read_parquet($paths, union_by_name=true, filename=true)) to $target (format parquet)",
        params={"paths": tables_of(folder), "target": target},
    )


def pyarrow_tables(folder):
    import pyarrow.dataset
    import pyarrow.parquet

    table = pyarrow.dataset.dataset(tables_of(folder)).to_table()
    pyarrow.parquet.write_table(table, Path(folder, "all.parquet"))


def pandas_tables(folder):
    import pandas

    pandas.concat([pandas.read_parquet(path).assign(job=i) for i, path in enumerate(tables_of(folder))]).to_parquet(
        Path(folder, "all.parquet")
    )


RECORDS = {
    "the bytes alone": (nothing, lambda folder: read(records_of(folder))),
    "ours": (ours_cold, ours),
    "ours, a tenth is new": (ours_again, ours),
    "ours, record by record": (nothing, ours_one_by_one),
    "pandas.json_normalize": (nothing, with_pandas),
    "duckdb read_json": (nothing, with_duckdb),
    "polars, a parquet file a job": (nothing, with_polars_files),
    "pyarrow, a parquet file a job": (nothing, with_pyarrow_files),
}
TABLE_WAYS = {
    "the bytes of the tables alone": (nothing, lambda folder: read(tables_of(folder))),
    "ours, tables": (nothing, our_tables),
    "duckdb, tables": (nothing, duckdb_tables),
    "pyarrow, tables": (nothing, pyarrow_tables),
    "pandas, one by one": (nothing, pandas_tables),
}

if __name__ == "__main__":
    if len(sys.argv) > 3:
        {"write_records": write_records, "write_tables": write_tables}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    else:
        print(json.dumps(measure(*sys.argv[1:])))
