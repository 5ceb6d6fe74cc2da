"""Run folders that an earlier version wrote are read as they were.

`fixtures/local` is a sweep of three jobs: a result, one with NaN, infinity and a value too large for its record, and a
failure. `fixtures/modal` is a run whose records are many to a file, as a Modal volume has them.
"""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mini import Run, combine
from mini.job import JobError
from mini.runs.folder import RunFolder
from mini.runs.status import RunState, read_status

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def earlier(tmp_path):
    """A copy of an earlier run, where `mini` finds it."""

    def copy(name):
        Path("pyproject.toml").write_text('[project]\nname = "project"\n')
        return RunFolder(shutil.copytree(FIXTURES / name, tmp_path / "outputs" / name))

    return copy


def mini(*arguments):
    done = subprocess.run([sys.executable, "-m", "mini.cli", *arguments], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("name", "counts", "apparatus"),
    [("local", {"done": 2, "failed": 1}, ("local",)), ("modal", {"done": 3, "failed": 1}, ("modal",))],
)
def test_status(earlier, name, counts, apparatus):
    status = read_status(earlier(name))
    assert (status.state, status.counts, status.apparatus) == (RunState.FAILED, counts, apparatus)
    assert (status.damaged, status.unfinished, status.exit_code) == ((), (), 1)


@pytest.mark.parametrize("with_table", [True, False])
def test_table_of_a_sweep(earlier, with_table):
    folder = earlier("local")
    if not with_table:
        (folder.path / "results.parquet").unlink()
    table, problems = combine.table(folder)
    assert problems == []
    assert table["state"].to_list() == ["done", "done", "failed"]
    assert table["overrides.lr"].to_list() == ["0.5", "1", "5"]
    assert table["config.lr"].to_list() == [0.5, 1.0, 5.0]
    assert table["config.model.layers"].to_list() == ["[4, 2]"] * 3
    assert table["best"].to_list() == [0.125, math.inf, None]
    assert table["epochs"].to_list() == [3, 3, None]
    assert table["note"].to_list() == ["é ü", None, None]
    assert table["weights"].to_list() == ["[0. 0.]", "[0. 0. 0. ... 0. 0. 0.]", None]
    assert table["error"].to_list() == [None, None, "ValueError: learning rate 5 is too high"]
    assert table["loss"][0] == 0.25
    assert math.isnan(table["loss"][1])
    assert table["folder"].to_list() == [str(folder.path / str(i)) for i in range(3)]


def test_table_of_records_many_to_a_file(earlier):
    table, problems = combine.table(earlier("modal"))
    assert problems == []
    assert table["square"].to_list() == [0, 1, 4, None]
    assert table["error"].to_list() == [None, None, None, "ValueError: three"]
    assert math.isnan(table["loss"][1])


def test_values(earlier):
    earlier("local")
    first, second, error = Run.open("local").results(return_exceptions=True)
    assert (first["loss"], first["note"]) == (0.25, "é ü")
    assert second["weights"].shape == (9000,)
    assert isinstance(error, JobError)
    assert "learning rate 5 is too high" in str(error)

    earlier("modal")
    values = Run.open("modal").results(return_exceptions=True)
    assert [value["square"] for value in values[:3]] == [0, 1, 4]
    assert "three" in str(values[3])


def test_tables_of_jobs(earlier):
    tables = combine.tables(earlier("local")).collect()
    assert tables["job"].to_list() == [0, 0, 1, 1, 1]
    assert tables["loss"].to_list() == [1.0, 0.5, 1.0, 0.5, 1 / 3]


def test_command_line(earlier):
    earlier("local")
    earlier("modal")
    code, text = mini("ls", "--json")
    assert (code, {run["id"]: run["total"] for run in json.loads(text)}) == (0, {"local": 3, "modal": 4})
    assert mini("status", "local")[0] == 1
    code, text = mini("results", "local", "--json")
    assert (code, len(json.loads(text))) == (1, 3)
    code, text = mini("logs", "local", "0")
    assert (code, text) == (0, "learning rate 0.5\n")
