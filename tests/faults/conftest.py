"""Each test here is a fault, and a row of the table that is printed at the end (`tests/conftest.py`)."""

import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import audit
import pytest


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
    lost, twice, left = measured.lost, audit.jobs_run_again(tmp_path), audit.left_behind(tmp_path, temporary, mounted)
    watched = measured.is_watched
    row = audit.Row(*_what(request), 1, len(lost) if watched else None, len(twice) if watched else None, len(left))
    request.node.user_properties.append(("fault", asdict(row)))
    shutil.rmtree(temporary, ignore_errors=True)
    wrong = [*lost, *twice, *left]
    assert not wrong


def _what(request):
    """The fault that a test stands for, and the engine; tests with other parameters are rounds of the same."""
    given = getattr(request.node, "callspec", None)
    engine = (given.params.get("kind") or given.params.get("engine")) if given is not None else None
    if engine is None:
        engine = "rehearsal" if "rehearsal" in request.fixturenames else "local"
    return request.node.function.__name__.removeprefix("test_").replace("_", " "), engine
