"""The whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from mini.apparatus.conformance.calls import CallConformance
from mini.apparatus.conformance.lifecycle import LifecycleConformance
from mini.apparatus.conformance.streams import StreamConformance


class ApparatusConformance(CallConformance, LifecycleConformance, StreamConformance):
    """What every engine must do. A subclass has a fixture `apparatus`."""

    @pytest.fixture(autouse=True)
    def _own_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
