"""One table from many jobs, with nothing lost and nothing changed."""

import math

import polars as pl
import pytest

from mini import Job, Outcome, State, combine
from mini.errors import RecordError, RunFolderError
from mini.runs import records
from mini.runs.folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def fill(folder, *rows, state=State.DONE):
    jobs = [Job(i, print, folder=str(folder.path / str(i)), row={"overrides.x": str(i)}) for i in range(len(rows))]
    folder.begin({})
    folder.add_jobs(jobs)
    for job, row in zip(jobs, rows, strict=True):
        if row is not None:
            metrics = {f"metrics.{name}": value for name, value in row.items()}
            records.write_record(
                Outcome(job.index, state, folder=job.folder, started=0.0, ended=1.5), {**job.row, **metrics}
            )


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, 2, None], pl.Int64, [1, 2, None]),
        ([1, 2.5], pl.Float64, [1.0, 2.5]),
        ([256, "auto"], pl.String, ["256", "auto"]),
        ([True, 2], pl.String, ["true", "2"]),
        ([2**53 + 1, 0.5], pl.String, ["9007199254740993", "0.5"]),
        ([2**64, 1], pl.String, ["18446744073709551616", "1"]),
        ([None, "boom"], pl.String, [None, "boom"]),
        ([None, None], pl.Null, [None, None]),
    ],
)
def test_columns_whose_values_disagree(folder, values, dtype, expected):
    fill(folder, *({"m": value} for value in values))
    table, problems = combine.table(folder)
    assert (table["m"].dtype, table["m"].to_list(), problems) == (dtype, expected, [])


def test_nan_and_infinity_are_results(folder):
    fill(folder, {"loss": math.nan}, {"loss": math.inf}, {"loss": 1})
    values = combine.table(folder)[0]["loss"].to_list()
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, 1.0]


def test_jobs_with_other_columns_are_all_kept(folder):
    fill(folder, *({"common": i, f"only_{i}": i} for i in range(200)))
    table, _ = combine.table(folder)
    assert table.height == 200
    assert table["only_199"].to_list() == [None] * 199 + [199]


def test_a_metric_named_like_a_column_of_ours_is_kept_apart(folder):
    fill(folder, {"seconds": 7, "state": "odd", "fine": 1})
    table, _ = combine.table(folder)
    assert table.select("seconds", "state", "metrics.seconds", "metrics.state", "fine").row(0) == (
        1.5,
        "done",
        7,
        "odd",
        1,
    )


def test_one_damaged_record_is_named_and_the_others_are_shown(folder):
    fill(folder, {"m": 1}, {"m": 2}, None)
    (folder.path / "1" / "record.json").write_text("{cut")
    table, problems = combine.table(folder)
    assert table["state"].to_list() == ["done", "unreadable", "queued"]
    assert table["m"].to_list() == [1, None, None]
    assert table["overrides.x"].to_list() == ["0", "1", "2"]
    assert len(problems) == 1
    assert str(folder.path / "1" / "record.json") in str(problems[0])


def test_a_folder_with_brackets_in_its_name_is_no_pattern(tmp_path):
    folder = RunFolder(tmp_path / "lr=[0.1]")
    fill(folder, {"m": 1})
    pl.DataFrame({"epoch": [1]}).write_parquet(folder.path / "0" / "metrics.parquet")
    assert combine.write(folder)[0].height == 1
    assert combine.tables(folder).collect().rows() == [(0, 1)]


def test_there_is_no_table_where_there_is_no_run(tmp_path):
    with pytest.raises(RunFolderError, match="is not a run folder"):
        combine.table(RunFolder(tmp_path / "nothing"))


def test_tables_are_concatenated_with_the_index_of_their_job(folder):
    fill(folder, {}, {}, {}, {})
    frames = {
        0: pl.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25]}),
        1: pl.DataFrame({"epoch": [1], "loss": [3], "extra": ["x"]}),
        3: pl.DataFrame({"epoch": [1, 2], "loss": [1.5, math.nan]}),
    }
    for index, frame in frames.items():
        frame.write_parquet(folder.path / str(index) / "metrics.parquet")
    joined = combine.tables(folder).collect().sort("job", "epoch")
    assert joined["job"].to_list() == [0, 0, 1, 3, 3]
    assert joined["loss"].to_list()[:4] == [0.5, 0.25, 3.0, 1.5]
    assert math.isnan(joined["loss"][4])
    assert joined["extra"].to_list() == [None, None, "x", None, None]


def test_a_table_that_is_no_parquet_is_named(folder):
    fill(folder, {})
    (folder.path / "0" / "metrics.parquet").write_text("no")
    with pytest.raises(RecordError, match=r"0/metrics\.parquet is damaged"):
        combine.tables(folder)


def test_no_tables_at_all(folder):
    fill(folder, {})
    with pytest.raises(RunFolderError, match=r"no job of .* wrote a metrics\.parquet"):
        combine.tables(folder)
