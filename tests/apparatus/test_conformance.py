"""What every apparatus does, whichever it is."""

from pathlib import Path

import pytest

from mini import DebugApparatus, LocalApparatus, RehearsalApparatus
from mini.apparatus.conformance import ApparatusConformance

PROJECT = Path(__file__).parents[2]


class TestDebug(ApparatusConformance):
    runs_beside_its_caller = False

    @pytest.fixture
    def apparatus(self):
        with DebugApparatus("test") as made:
            yield made


class TestLocal(ApparatusConformance):
    @pytest.fixture
    def apparatus(self):
        with LocalApparatus("test") as made:
            yield made

    def one_at_a_time(self, apparatus):
        return apparatus.w(workers=1)


class TestRehearsal(ApparatusConformance):
    stops_before_the_begin = False

    @pytest.fixture
    def apparatus(self):
        with RehearsalApparatus("test", project=PROJECT, isolated="packages") as made:
            yield made

    def one_at_a_time(self, apparatus):
        return apparatus.w(max_containers=1, group=1)
