"""The progress bar of a map: on a real terminal, in lines, and not at all."""

import asyncio
import io
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pyte
import pytest

from mini import DebugApparatus, LocalApparatus
from mini.display.bar import Bar, bar_html


def test_lines_come_with_each_tenth_where_there_is_no_terminal():
    shown = io.StringIO()
    with Bar(40, True, stream=shown) as bar:
        for i in range(40):
            bar.advance(ok=i != 3)
    lines = shown.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("[4/40] ")
    assert lines[-1].startswith("[40/40] ")
    assert lines[-1].endswith("1 failed")


@pytest.mark.parametrize("show", [None, False])
def test_nothing_is_shown_where_nobody_asked_and_there_is_no_terminal(show):
    shown = io.StringIO()
    with Bar(3, show, stream=shown) as bar:
        bar.advance(ok=True)
    assert shown.getvalue() == ""


def test_there_is_one_bar_at_a_time():
    outer, inner = io.StringIO(), io.StringIO()
    with Bar(1, True, stream=outer) as one, Bar(1, True, stream=inner) as other:
        other.advance(ok=True)
        one.advance(ok=True)
    with Bar(1, True, stream=inner) as later:
        later.advance(ok=True)
    assert len(outer.getvalue().splitlines()) == len(inner.getvalue().splitlines()) == 1


def test_a_map_counts_its_jobs(local, capsys):
    assert list(local.map(abs, range(-3, 0), progress=True)) == [3, 2, 1]
    assert capsys.readouterr().err.splitlines()[-1].startswith("[3/3] ")
    assert list(local.map(abs, range(-3, 0))) == [3, 2, 1]
    assert capsys.readouterr().err == ""


def test_an_asynchronous_map_does_too(local, capsys):
    async def all_of_them():
        return [value async for value in local.amap(abs, [-1, -2], progress=True)]

    assert asyncio.run(all_of_them()) == [1, 2]
    assert capsys.readouterr().err.splitlines()[-1].startswith("[2/2] ")


def test_an_empty_map_has_no_bar(local, capsys):
    assert list(local.map(abs, [], progress=True)) == []
    assert capsys.readouterr().err == ""


def on_terminal(code, until):
    """What a terminal of 80 columns shows each time that something is written to it."""
    master, slave = pty.openpty()
    screen = pyte.Screen(80, 24)
    stream = pyte.ByteStream(screen)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen([sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    seen = []

    def read():
        try:
            while data := os.read(master, 4096):
                stream.feed(data)
                seen.append("\n".join(screen.display).rstrip())
                if any(until in line for line in screen.display):
                    Path("seen").touch()
        except OSError:  # the terminal's other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(120) == 0
    reader.join(60)
    os.close(master)
    return seen


SCRIPT = """
import time
from pathlib import Path
from mini import {engine} as Engine

def wait_until_seen(x):
    while not Path({folder!r}, "seen").exists():
        time.sleep(0.05)
    return x

if __name__ == "__main__":
    with Engine() as apparatus:
        for value in apparatus.map(wait_until_seen if {waits} else abs, range(2), progress={progress}):
            print("value", value)
"""


def test_a_bar_appears_by_itself_on_a_terminal_once_the_jobs_take_a_second(tmp_path):
    code = SCRIPT.format(engine=LocalApparatus.__name__, folder=str(tmp_path), waits=True, progress=None)
    seen = on_terminal(code, "0/2")
    assert any("0/2" in text for text in seen)
    assert "value 0" in seen[-1]
    assert "value 1" in seen[-1]
    assert "/2" not in seen[-1]  # nobody asked for it, so it is gone


def test_a_bar_that_was_asked_for_stays(tmp_path):
    code = SCRIPT.format(engine=LocalApparatus.__name__, folder=str(tmp_path), waits=False, progress=True)
    assert "2/2" in on_terminal(code, "2/2")[-1]


def test_jobs_that_print_to_the_terminal_themselves_get_no_bar_unasked(tmp_path):
    Path("seen").touch()
    code = SCRIPT.format(engine=DebugApparatus.__name__, folder=str(tmp_path), waits=True, progress=None)
    code = code.replace("return x", "time.sleep(1.5); return x")
    assert not any("/2" in text for text in on_terminal(code, "/2"))


def test_what_a_script_prints_to_a_file_gets_there_while_a_bar_is_on_the_terminal(tmp_path):
    code = "import sys; sys.stdout = open('out', 'w')\n"
    code += SCRIPT.format(engine=LocalApparatus.__name__, folder=str(tmp_path), waits=False, progress=True)
    on_terminal(code, "2/2")
    assert Path("out").read_text() == "value 0\nvalue 1\n"


def test_html_of_a_bar_says_how_many_and_how_many_failed():
    bar = Bar(4, False)
    bar.advance(ok=True)
    bar.advance(ok=False)
    assert 'max="4" value="2"' in bar_html(bar)
    assert "2/4" in bar_html(bar)
    assert "1 failed" in bar_html(bar)
