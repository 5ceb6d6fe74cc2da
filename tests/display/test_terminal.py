"""What a person sees, on a real terminal and where there is none."""

import io
import os
import pickle
import pty
import subprocess
import sys
import time

import polars as pl
import pyte
import pytest

from mini import Job, Outcome, State
from mini.display import terminal
from mini.job import Failure

FRAME = pl.DataFrame(
    {"job": [0, 1, 2], "state": ["done"] * 3, "overrides.lr": ["1", "2", "3"], "overrides.same": ["x"] * 3,
     "config.lr": [1, 2, 3], "acc": [0.5, float("nan"), 0.75], "seconds": [1.0, 2.0, 3.0]}
)  # fmt: skip


@pytest.mark.parametrize(("sort", "order"), [("acc", [0, 2, 1]), ("-acc", [2, 0, 1]), (None, [0, 1, 2])])
def test_the_best_come_first_and_what_diverged_last(sort, order):
    assert terminal.best_first(FRAME, sort)[0]["job"].to_list() == order


def test_a_column_to_sort_by_that_is_not_there_names_the_near_ones():
    frame, complaint = terminal.best_first(FRAME, "-ac")
    assert frame["job"].to_list() == [0, 1, 2]
    assert "no column 'ac'; did you mean 'acc'" in complaint


def test_what_was_swept_is_shown_and_what_was_not_is_left_out():
    assert terminal.columns(FRAME) == ["job", "overrides.lr", "acc", "seconds"]
    assert terminal.columns(FRAME, ["acc", "nosuch"]) == ["acc"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.123456, "0.1235"),
        (123456.0, "123456"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (3, "3"),
        ("two\nlines\x1b[2J\0", "two\\nlines\\x1b[2J\\x00"),
        ("caf\udce9 é\u3000漢", "caf\\udce9 é\u3000漢"),
        ("x" * 100, "x" * 80 + "…"),
    ],
)
def test_numbers_are_short(value, text):
    assert terminal.format_cell(value) == text


def test_text_that_the_stream_cannot_encode_is_shown_as_escapes():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    frame = pl.DataFrame({"job": [0], "naïve": ["é"]})
    out = terminal.console(stream)
    terminal.print_results(out, frame, frame.columns, 5)
    out.print(terminal.failures(pl.DataFrame(
        {"job": [0], "state": ["failed"], "error": ["é\nsecond line"], "folder": ["run/0"]}
    ))[0])  # fmt: skip
    stream.flush()
    text = stream.buffer.getvalue().decode("ascii")
    assert "na\\xefve" in text
    assert "\\xe9\nsecond line" in text


def test_the_numbers_that_a_job_returned_are_shown():
    shown = io.StringIO()
    jobs = [Job(i, print, row={"overrides.x": "a\tb"}) for i in range(4)]
    with terminal.Display(jobs, stream=shown) as display:
        display.finished(Outcome(0, State.DONE, pickle.dumps({"loss": 0.5, "name": "n", "deep": {"acc": 1}})))
        display.finished(Outcome(1, State.DONE, pickle.dumps(0.25)))
        display.finished(Outcome(2, State.DONE, b"not a pickle"), {"metrics.loss": 0.125, "config.a": 1})
        display.finished(Outcome(3, State.FAILED, None, Failure("ValueError", "no\x1b[2J\nmore")))
    lines = shown.getvalue().splitlines()
    assert lines[0].endswith("x=a\\tb  loss=0.5 deep.acc=1")
    assert lines[1].endswith("x=a\\tb  0.25")
    assert lines[2].endswith("x=a\\tb  loss=0.125")
    assert lines[3:] == ["[4/4] #3 failed  x=a\\tb  ValueError: no\\x1b[2J", "more"]


def test_on_a_terminal_there_is_a_bar_for_each_running_job(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import time\nfrom mini import Job, LocalApparatus, batch, progress\nfrom mini.display import terminal\n"
        "from mini.runs.folder import RunFolder\n"
        "def work(x):\n"
        "    for step in range(1, 11):\n        progress(step, 10, loss=1 / step)\n        time.sleep(0.3)\n"
        "with LocalApparatus(workers=2) as a:\n"
        "    jobs = [Job(i, work, (i,), folder=f'run/{i}', record=True, row={'overrides.x': i}) for i in range(2)]\n"
        "    batch.run_jobs([batch.Placement(a, jobs)], RunFolder('run'), terminal.Display(jobs), {})\n"
    )
    screen = pyte.Screen(100, 30)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, script],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "100"},
    )
    os.close(theirs)
    seen = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            stream.feed(os.read(ours, 65536))
        except OSError:  # the other side is closed
            break
        seen.append("\n".join(screen.display))
    os.close(ours)
    assert process.wait(timeout=30) == 0
    both = [text for text in seen if "#0" in text and "#1" in text and "━" in text and "loss=" in text]
    assert both, seen[-1]
    assert any("0/2" in text for text in both)
