"""What every test stands on: a folder of its own as the working directory, and real apparatus."""

import os
import runpy
from pathlib import Path

os.environ["MODAL_CONFIG_PATH"] = os.devnull  # before Modal's client reads it, at its import

import pytest

from mini import LocalApparatus, RehearsalApparatus

pytest.register_assert_rewrite("mini.apparatus.conformance")

PROJECT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """And nobody's token: Modal's own file is an empty one."""
    monkeypatch.chdir(tmp_path)
    for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "MODAL_SERVER_URL", "MODAL_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def in_project():
    """A working directory whose project is this one."""
    for name in ("pyproject.toml", "uv.lock", "src"):
        Path(name).symlink_to(PROJECT / name)


@pytest.fixture
def local(tmp_path):
    with LocalApparatus("test", volume=tmp_path / "volume", workers=2) as made:
        yield made


@pytest.fixture
def rehearsal():
    """Its containers see the files of a test, by which jobs say what they do; those of `tests/rehearsal` do not."""
    with RehearsalApparatus("test", project=PROJECT, isolated="packages") as made:
        yield made


def pytest_terminal_summary(terminalreporter):
    """The table of faults; its rows are properties of the tests, which may have run in other processes."""
    reports = (report for found in terminalreporter.stats.values() for report in found)
    ended = [report for report in reports if getattr(report, "when", None) == "teardown"]
    rows = [row for report in ended for name, row in report.user_properties if name == "fault"]
    if rows:
        audit = runpy.run_path(str(PROJECT / "tests" / "faults" / "audit.py"))
        terminalreporter.section("faults")
        terminalreporter.write_line(audit["table"](audit["merged"](rows)))
