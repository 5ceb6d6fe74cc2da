"""Each test here is a fault, and a row of the table that is printed at the end."""

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import audit
import pytest

_rows = {}


@pytest.fixture(autouse=True)
def audited(request, tmp_path, monkeypatch):
    """Looks at what the test has left when all it used is closed, and fails it if that is not as it should be."""
    if request.module.__name__ == "test_kill_loop":  # looks itself, at each round
        yield
        return
    temporary, mounted = Path(tempfile.mkdtemp(prefix="f-")), audit.mounts()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    measured = audit.measured = audit.Measured()
    yield
    row = _row(request)
    row.rounds += 1
    lost, twice, left = measured.lost, audit.jobs_run_again(tmp_path), audit.left_behind(tmp_path, temporary, mounted)
    if measured.is_watched:
        row.lost = (row.lost or 0) + len(lost)
        row.twice = (row.twice or 0) + len(twice)
    row.left += len(left)
    shutil.rmtree(temporary, ignore_errors=True)
    wrong = [*lost, *twice, *left]
    assert not wrong


def _row(request):
    """The row of a test, which those with other parameters have a part in."""
    given = getattr(request.node, "callspec", None)
    engine = (given.params.get("kind") or given.params.get("engine")) if given is not None else None
    if engine is None:
        engine = "rehearsal" if "rehearsal" in request.fixturenames else "local"
    fault = request.node.function.__name__.removeprefix("test_").replace("_", " ")
    return _rows.setdefault((fault, engine), audit.Row(fault, engine, lost=None, twice=None))


def pytest_terminal_summary(terminalreporter):
    """The table."""
    rows = [*_rows.values(), *audit.more_rows]
    if rows:
        terminalreporter.section("faults")
        terminalreporter.write_line(audit.table(rows))
