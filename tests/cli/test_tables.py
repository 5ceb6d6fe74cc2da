"""Tables in terminals of several widths, of real runs with text that nobody would wish for."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import polars as pl
import pyte
import pytest

from mini import Job, LocalApparatus, batch
from mini.combine import groups, several
from mini.display import terminal
from mini.display.table import Column, fit
from mini.runs.folder import RunFolder
from mini.worker.context import progress

WIDTHS = (60, 80, 120, 200)
HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\r\u202egnp"


def train(lr, seed):
    for step in range(1, 6):
        progress(step, 5, loss=lr / step)
    print(f"{HOSTILE} \x1b[31mred\x1b[0m")
    return {
        "accuracy": 0.5 + lr + seed / 1000,
        "loss": 1e-9 * lr,
        "a.name.that.says.more.than.anybody.wanted.to.know": 123456.789,
        "note": f"漢字{HOSTILE}" * 3,
        f"{HOSTILE}[red]metric": 1 / 3,
    }


def run(name, lrs, seeds=(0, 1)):
    rows = [(lr, seed) for lr in lrs for seed in seeds]
    folder = RunFolder(Path("outputs", name))
    about = {"command": ["train"], "began": time.time(), "jobs": len(rows), "apparatus": ["local"]}
    jobs = [
        Job(i, train, row, folder=str(folder.path / str(i)), record=True, row=dict(zip(NAMES, row, strict=True)))
        for i, row in enumerate(rows)
    ]
    with LocalApparatus(workers=2) as apparatus:
        batch.run_jobs([batch.Placement(apparatus, jobs)], folder, terminal.Display(jobs), about)


NAMES = ("overrides.optimizer.schedule.lr", "overrides.seed")


@pytest.fixture(scope="module", autouse=True)
def runs(tmp_path_factory):
    """Two runs, made once."""
    home = tmp_path_factory.mktemp("project")
    before = Path.cwd()
    os.chdir(home)
    Path("pyproject.toml").write_text('[project]\nname = "project"\n')
    run("first", [0.01, 0.1])
    run("second", [0.01, 0.2])
    os.chdir(before)
    return home


@pytest.fixture(autouse=True)
def _in_project(runs, _own_folder, monkeypatch):
    monkeypatch.chdir(runs)


def on_terminal(width, *arguments):
    """What a terminal of this width shows after the command, and the bytes that it was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "mini.cli", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment | {"TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    data = b""
    while True:
        try:
            data += os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
    os.close(ours)
    assert process.wait(timeout=120) in (0, 1)
    screen = pyte.Screen(width, 60)
    pyte.ByteStream(screen).feed(data)
    lines = [line.rstrip() for line in screen.display]
    return "\n".join(lines).rstrip().splitlines(), data


def only_colours(data):
    """Whether the bytes have no control sequence but those that colour text."""
    rest = re.sub(rb"\x1b\[[0-9;]*m", b"", data).decode()
    return not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", rest.replace("\r\n", "\n")), rest


def test_several_runs_are_one_table():
    lines, _ = on_terminal(120, "results", "first", "second", "--sort=-accuracy", "--rows", "3")
    assert lines[0].split()[:2] == ["run", "job"]
    assert [line.split()[:2] for line in lines[1:4]] == [["second", "3"], ["second", "2"], ["first", "3"]]
    assert "… 5 more rows" in "\n".join(lines)


def test_the_best_of_all_runs():
    lines, data = on_terminal(80, "best", "accuracy", "--max", "--rows", "2")
    assert only_colours(data)[0]
    assert [line.split()[:3] for line in lines[1:3]] == [["second", "3", "0.701"], ["second", "2", "0.7"]]


@pytest.mark.parametrize("width", [60, 200])
def test_what_two_runs_differ_in(width):
    lines, data = on_terminal(width, "diff", "first", "second")
    assert only_colours(data)[0]
    text = " ".join(" ".join(lines).split())
    assert "0.01, 0.1 0.01, 0.2" in text
    assert "accuracy" in text
    assert "seed" not in text


@pytest.mark.parametrize("width", range(1, 60, 7))
def test_numbers_are_never_cut(width):
    columns = [
        Column("name", ["a long text that can be cut", "b"]),
        Column("number", ["1.234e-10", "-123456"], right=True, rank=1),
        Column("mean", ["0.9312 ± 0.0042", "1"], right=True, rank=2),
    ]
    shown, left_out = fit(columns, width)
    assert len(shown) + len(left_out) == 3
    for column, given in shown:
        if column.right:
            assert given >= max(map(len, column.cells))
    if len(shown) > 1:
        assert sum(given for _, given in shown) + 2 * (len(shown) - 1) <= width


def test_groups_leave_out_what_diverged_and_what_failed():
    frame = pl.DataFrame(
        {
            "job": [0, 1, 2, 3],
            "state": ["done", "done", "done", "failed"],
            "overrides.lr": ["1", "1", "2", "2"],
            "loss": [0.5, float("nan"), 0.25, None],
        }
    )
    grouped = groups.group(frame, ["overrides.lr"], "loss")
    assert grouped["n"].to_list() == [2, 1]
    assert grouped["loss.mean"].to_list() == [0.5, 0.25]
    assert grouped["best"].to_list() == [0.5, 0.25]
    assert grouped["best.job"].to_list() == [0, 2]


def test_runs_that_disagree_about_a_type_keep_their_values():
    one = pl.DataFrame({"job": [0], "x": [True], "run": ["mine"]})
    other = pl.DataFrame({"job": [0], "x": ["text"]})
    joined = several.concat([("a", one), ("b", other)])
    assert joined["x"].to_list() == ["true", "text"]
    assert joined["run"].to_list() == ["a", "b"]
    assert joined["metrics.run"].to_list() == ["mine", None]
