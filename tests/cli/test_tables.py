"""Tables in terminals of several widths, of real runs with text that nobody would wish for."""

import fcntl
import json
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
from mini.runs import layout
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


def on_terminal(width, *arguments, codes=(0, 1)):
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
    assert process.wait(timeout=120) in codes
    screen = pyte.Screen(width, 60)
    pyte.ByteStream(screen).feed(data)
    lines = [line.rstrip() for line in screen.display]
    return "\n".join(lines).rstrip().splitlines(), data


def only_colours(data):
    """Whether the bytes have no control sequence but those that colour text."""
    rest = re.sub(rb"\x1b\[[0-9;]*m", b"", data).decode()
    return not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", rest.replace("\r\n", "\n")), rest


@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_fits_and_what_is_left_out_is_said(width):
    lines, data = on_terminal(width, "results", "first")
    clean, rest = only_colours(data)
    assert clean, repr(rest)
    text = " ".join(" ".join(lines).split())
    head, *rows = lines[:5]
    assert head.split()[0] == "job"
    assert [row.split()[0] for row in rows] == ["0", "1", "2", "3"]
    numbers = {"job", "seed", "accuracy", "loss"}
    for name in numbers:
        assert name in head
    assert ["1e-11" in row for row in rows] == [True, True, False, False]
    left_out = re.search(r"… (\d+) more columns?: ", text)
    shown = len(head.split())
    assert shown + (int(left_out[1]) if left_out else 0) == 9
    assert bool(left_out) == (width == 60)  # where there is room for more, long texts and names give way first


@pytest.mark.parametrize("width", [60, 120])
def test_a_seed_is_averaged_over(width):
    lines, data = on_terminal(width, "results", "first", "--over", "seed", "--sort=-accuracy")
    assert only_colours(data)[0]
    first = next(line.strip() for line in lines if line.strip().startswith("0.1 "))
    assert "0.6005 ± 0.00071" in first
    assert first.split()[1] == "2"
    assert lines[1].strip() == first


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


def test_curves_are_drawn():
    lines, data = on_terminal(80, "plot", "first", "loss", "--by", "optimizer.schedule.lr", "--height", "10")
    assert only_colours(data)[0]
    text = "\n".join(lines)
    assert "(loss)" in text
    assert "optimizer.schedule.lr=0.1" in text
    assert max(map(len, lines)) <= 80
    wrong, _ = on_terminal(80, "plot", "first", "losss", codes=(2,))
    assert "did you mean 'loss'" in " ".join(wrong)


def test_tags_and_notes_are_shown_where_runs_are(runs):
    on_terminal(80, "tag", "first", "good", "paper")
    on_terminal(80, "note", "first", "the one for the paper \x1b[2J")
    lines, data = on_terminal(120, "ls")
    assert only_colours(data)[0]
    (line,) = [line for line in lines if line.startswith("first")]
    assert "good,paper" in line
    assert "the one for the paper \\x1b[2J" in line
    assert "good,paper" in on_terminal(80, "results", "first")[0][0]
    found, _ = on_terminal(80, "results", "--tag", "good")
    assert {line.split()[0] for line in found[1:5]} == {"first"}
    assert on_terminal(80, "tag", "first", "--remove", "paper")[0] == ["first: good"]
    (runs / "outputs" / "first" / layout.NOTES).write_text("{damaged")
    assert "good" not in "\n".join(on_terminal(80, "ls")[0])
    (runs / "outputs" / "first" / layout.NOTES).unlink()


def test_a_log_keeps_its_colours_and_loses_the_rest():
    lines, data = on_terminal(80, "logs", "first", "0")
    assert only_colours(data)[0]
    assert b"\x1b[31mred\x1b[0m" in data
    assert "\\x1b[2J" in lines[0]
    piped = subprocess.run([sys.executable, "-m", "mini.cli", "logs", "first", "0"], capture_output=True)
    assert HOSTILE.encode() in piped.stdout


def test_several_are_removed_and_garbage_is_shown_before_it_goes(runs):
    for name in ("third", "fourth", "fifth"):
        folder = RunFolder(Path("outputs", name))
        folder.begin({"command": ["train"], "began": time.time() - 90 * 86400, "jobs": 1, "apparatus": ["local"]})
        folder.add_jobs([Job(0, print, folder=str(folder.path / "0"))])
    os.utime(runs / "outputs" / "third" / layout.RUN, (1, 1))
    plan = subprocess.run(
        [sys.executable, "-m", "mini.cli", "gc"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert plan.returncode == 1
    assert "no job is done" in plan.stdout
    assert "Say so with --yes" in plan.stderr
    assert "first" not in plan.stdout
    assert (runs / "outputs" / "third").exists()
    subprocess.run([sys.executable, "-m", "mini.cli", "gc", "--yes"], check=True, stdout=subprocess.DEVNULL)
    assert not (runs / "outputs" / "third").exists()
    left = [name for name in ("fourth", "fifth") if (runs / "outputs" / name).exists()]
    assert len(left) == 1  # the latest is kept
    subprocess.run([sys.executable, "-m", "mini.cli", "rm", *left, "--yes"], check=True, stdout=subprocess.DEVNULL)
    assert (runs / "outputs" / "first").exists()


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


@pytest.mark.parametrize("typed", ["seed", "overrides.seed", "+seed", "++seed"])
def test_a_column_is_found_by_the_name_a_person_has_for_it(typed):
    assert groups.find_column("seed", ["job", f"overrides.{typed.removeprefix('overrides.')}"]) is not None
    assert groups.find_column(typed, [typed]) == typed
    assert groups.find_column("sed", ["overrides.seed"]) is None


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


@pytest.mark.slow
def test_ten_thousand_jobs_are_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text('[project]\nname = "project"\n')
    folder = RunFolder(Path("outputs", "large"))
    folder.begin({"command": ["train"], "began": time.time(), "jobs": 10_000, "apparatus": ["local"]})
    jobs = [
        Job(i, print, folder=str(folder.path / str(i)), row={"overrides.lr": str(i), "overrides.seed": str(i % 5)})
        for i in range(10_000)
    ]
    folder.add_jobs(jobs)
    lines, _ = on_terminal(80, "results", "large", "--rows", "5")
    assert "… 9995 more rows" in "\n".join(lines)
    shown = subprocess.run([sys.executable, "-m", "mini.cli", "results", "large", "--json"], capture_output=True)
    assert len(json.loads(shown.stdout)) == 10_000
