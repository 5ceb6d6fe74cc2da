"""What every engine must do: a suite for pytest.

    import pytest

    pytest.register_assert_rewrite("mini.apparatus.conformance")  # in conftest.py: failures show the values
    from mini.apparatus.conformance import ApparatusConformance


    class TestMyEngine(ApparatusConformance):
        @pytest.fixture
        def apparatus(self):
            with MyApparatus("test") as made:
                yield made

Each test has a folder of its own as its working directory. It needs pytest 8 or later, and runs real jobs on the
engine: functions of the test travel by value, `tmp_path` must be the same folder for caller and jobs. Where an engine
cannot do otherwise, a subclass sets `runs_beside_its_caller`, `stops_before_the_begin` and `one_at_a_time`, as
`mini.apparatus.conformance.streams` documents them.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ApparatusConformance"]


def __getattr__(name: str) -> Any:
    # What the suite runs is in `jobs`, which must be importable where there is no pytest.
    if name != "ApparatusConformance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mini.apparatus.conformance.suite import ApparatusConformance

    return ApparatusConformance
