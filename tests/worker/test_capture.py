"""What a job prints, in its log and shown."""

import os
import subprocess
import sys
from pathlib import Path

SHOWN = """
import sys
from pathlib import Path
from mini.worker.capture import to_file_and_shown
with to_file_and_shown(Path("log.txt")):
    print("one", flush=True)
    print("two", file=sys.stderr)
    sys.stdout.write(sys.argv[1])
print("the table")
"""


def shown(text):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "-c", SHOWN, text], capture_output=True, text=True, env=environment)
    assert not done.stderr
    return done.stdout, Path("log.txt").read_text()


def test_what_is_shown_ends_its_last_line_and_the_log_has_what_was_printed():
    assert shown("open") == ("one\ntwo\nopen\nthe table\n", "one\ntwo\nopen")


def test_a_line_that_is_ended_gets_no_other():
    assert shown("closed\n") == ("one\ntwo\nclosed\nthe table\n", "one\ntwo\nclosed\n")
