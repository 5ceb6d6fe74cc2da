"""What every test stands on: a folder of its own as the working directory, and real apparatus."""

import pytest

from mini import DebugApparatus, LocalApparatus

KINDS = {"debug": DebugApparatus, "local": LocalApparatus}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=sorted(KINDS))
def apparatus(request, tmp_path):
    """Each apparatus in turn."""
    with KINDS[request.param]("test", volume=tmp_path / "volume") as made:
        yield made


@pytest.fixture
def local(tmp_path):
    with LocalApparatus("test", volume=tmp_path / "volume", workers=2) as made:
        yield made
