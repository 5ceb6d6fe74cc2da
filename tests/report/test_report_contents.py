"""What is on a page, before a browser sees it."""

import array
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mini.report import contents, run_page
from mini.runs.folder import RunFolder

sys.path.insert(0, str(Path(__file__).parent))
import report_runs


def column(values, name):
    (found,) = [one for one in values["columns"] if one["name"] == name]
    return found["values"]


def curves(read):
    """By row and metric, steps and values."""
    about = read.values["history"]
    numbers = about["series"] * 5
    series = array.array("i", read.arrays[: 4 * numbers])
    steps = array.array("f", read.arrays[4 * numbers : 4 * (numbers + about["steps"])])
    values = array.array("f", read.arrays[4 * (numbers + about["steps"]) :])
    assert len(values) == about["values"]
    found = {}
    for i in range(0, numbers, 5):
        row, metric, step, value, length = series[i : i + 5]
        found[row, about["metrics"][metric]] = (steps[step : step + length].tolist(), values[value : value + length])
    return found


def test_what_was_swept_and_returned_is_there_once(tmp_path):
    folder = report_runs.make(tmp_path / "run", report_runs.grid(12), steps=5)
    read = contents.read([folder], links_from=tmp_path)
    names = [one["name"] for one in read.values["columns"]]
    assert names[:6] == ["job", "state", "overrides.optimizer.lr", "overrides.model", "overrides.seed", "loss"]
    assert "config.optimizer.lr" not in names
    assert read.values["constants"] == {"config.epochs": 20}
    assert column(read.values, "folder")[3] == "run/3"
    assert read.values["runs"][0]["counts"] == {"done": 12}
    found = curves(read)
    assert len(found) == 24
    assert found[7, "loss"][0] == [1, 2, 3, 4, 5]
    assert found[7, "loss"][1][0] == pytest.approx(1 + math.exp(-1 / 5 * 3))


def test_runs_that_are_compared_follow_each_other(tmp_path):
    one = report_runs.make(tmp_path / "one", report_runs.grid(3), steps=2)
    two = report_runs.make(tmp_path / "two", [{"overrides.extra": "x"}] * 2, steps=3, unfinished=(0,))
    read = contents.read([one, two], links_from=tmp_path)
    assert column(read.values, "run") == ["one"] * 3 + ["two"] * 2
    assert column(read.values, "job") == [0, 1, 2, 0, 1]
    assert column(read.values, "overrides.extra") == [None, None, None, "x", "x"]
    assert {row for row, _ in curves(read)} == {0, 1, 2, 3, 4}
    assert len(curves(read)[4, "loss"][0]) == 3


def test_long_histories_are_thinned_to_what_a_page_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("mini.report.curves.MOST_VALUES", 400)
    folder = report_runs.make(tmp_path / "run", report_runs.grid(2), steps=500)
    read = contents.read([folder], links_from=tmp_path)
    steps, values = curves(read)[0, "loss"]
    assert read.values["history"]["thinned"]
    assert 50 <= len(steps) <= 101
    assert (steps[0], steps[-1]) == (1, 500)
    assert len(values) == len(steps)


def test_failures_are_grouped_by_their_last_line(tmp_path):
    failed = {0: "no room", 2: "no room", 3: "two\nlines"}
    folder = report_runs.make(tmp_path / "run", report_runs.grid(4), failed=failed)
    first, second = contents.read([folder], links_from=tmp_path).values["failures"]
    assert (first["text"], first["rows"]) == ("ValueError: no room", [0, 2])
    assert "in train" in first["traceback"]
    assert (second["text"], second["rows"]) == ("lines", [3])


@pytest.mark.parametrize(
    "rows", [[], [{}], [{"overrides.x": math.nan}, {"overrides.x": math.inf}, {"overrides.x": "a"}]]
)
def test_a_page_of_little_or_odd_data(tmp_path, rows):
    folder = report_runs.make(tmp_path / "run", rows, metrics=())
    text = run_page.write([folder]).read_text()
    assert json.loads(re.search(r'id="data">(.*?)</script>', text)[1])["jobs"] == len(rows)


def test_nothing_that_a_run_says_is_markup(tmp_path):
    hostile = report_runs.HOSTILE
    rows = [{f"overrides.{text}": text for text in hostile}, {f"overrides.{text}": "1" for text in hostile}]
    folder = report_runs.make(
        tmp_path / "run",
        rows,
        failed={1: hostile[0]},
        metrics=hostile,
        steps=3,
        manifest={"command": list(hostile), "task": hostile[0]},
    )
    text = run_page.write([folder]).read_text()
    for script in re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)[:-1]:
        assert "<" not in script
    assert text.count("<script>") == 1
    assert "window.broken = 1</script>" not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_importance_finds_what_mattered(tmp_path):
    pytest.importorskip("sklearn")
    rows = [{"overrides.lr": lr, "overrides.seed": seed} for lr in range(7) for seed in range(5)]
    # the loss of these runs depends on the job's number modulo 7
    folder = report_runs.make(tmp_path / "run", [rows[i % 7 * 5 + i // 7] for i in range(35)])
    found = contents.read([folder], links_from=tmp_path).values["importance"]["loss"]
    assert found["values"][0][0] == "overrides.lr"
    assert found["values"][0][1] > 0.8
    assert sum(share for _, share, _ in found["values"]) == pytest.approx(1)


def test_a_page_is_written_at_the_end_unless_it_is_not_wanted(tmp_path):
    folder = report_runs.make(tmp_path / "run", report_runs.grid(2))
    path = folder.path / "report.html"
    run_page.at_end(folder, 2, False)
    run_page.at_end(folder, 10_000, None)
    assert not path.exists()
    assert run_page.at_end(folder, 2, None) is None
    assert path.read_text().startswith("<!doctype html>")
    path.unlink()
    path.mkdir()
    assert "mini report run" in run_page.at_end(folder, 2, None)


def test_the_command_writes_where_it_is_told(tmp_path):
    report_runs.make(tmp_path / "outputs/one", report_runs.grid(2))
    report_runs.make(tmp_path / "outputs/two", report_runs.grid(2))

    def mini(*words):
        return subprocess.run(
            [sys.executable, "-m", "mini.cli", *words], capture_output=True, text=True, timeout=120, cwd=tmp_path
        )

    assert mini("report", "one").stdout.strip() == str(tmp_path / "outputs/one/report.html")
    done = mini("report", "one", "two", "-o", "both.html")
    assert done.returncode == 0, done.stderr
    assert "2 runs: one, two" in (tmp_path / "both.html").read_text()
    refused = mini("report", "one", "-o", "no/such/folder.html")
    assert refused.returncode == 2
    assert "choose another with -o FILE" in refused.stderr
    assert mini("report", "three").returncode == 4


def test_pages_are_as_they_were_while_nothing_changes(tmp_path):
    folder = RunFolder(report_runs.make(tmp_path / "run", report_runs.grid(2), steps=3).path)
    first, second = (contents.read([folder], links_from=tmp_path) for _ in range(2))
    assert first.arrays == second.arrays
    assert {**first.values, "generated": 0} == {**second.values, "generated": 0}
