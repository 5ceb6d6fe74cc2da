"""`run` and `map`: values, order, failures, and what travels."""

from __future__ import annotations

import sqlite3
import threading
import time

import pytest

from mini.apparatus.conformance import jobs
from mini.errors import UnpicklableError, UsageError
from mini.job import JobError, JobFailed

_FACTOR = 3


def _noted(value, seen):
    seen.append(value)
    return value


class CallConformance:
    """What a caller sees of one call and of many."""

    def test_run_returns_the_value(self, apparatus):
        assert apparatus.run(divmod, 7, 2) == (3, 1)

    def test_run_passes_keywords(self, apparatus):
        assert apparatus.run(int, "ff", base=16) == 255

    def test_map_keeps_the_order_of_the_input(self, apparatus):
        def later_first(x):
            time.sleep(0.02 * (5 - x))
            return x

        assert list(apparatus.map(later_first, range(5))) == [0, 1, 2, 3, 4]

    def test_map_zips_to_the_shortest(self, apparatus):
        assert list(apparatus.map(pow, [2, 3, 4], [2, 2])) == [4, 9]

    def test_map_takes_keywords_for_all(self, apparatus):
        assert list(apparatus.map(int, ["10", "11"], kwargs={"base": 2})) == [2, 3]

    def test_map_of_nothing_is_empty(self, apparatus):
        assert list(apparatus.map(jobs.double, [])) == []

    def test_map_needs_an_iterable(self, apparatus):
        with pytest.raises(UsageError, match=r"at least one iterable.*run\(fn"):
            apparatus.map(jobs.double)

    def test_map_reads_a_generator_at_the_call(self, apparatus):
        seen: list[int] = []
        results = apparatus.map(jobs.double, (_noted(i, seen) for i in range(3)))
        assert seen == [0, 1, 2]
        assert list(results) == [0, 2, 4]

    def test_closures_lambdas_and_classes_travel(self, apparatus):
        offset = 10

        class Local:
            def __init__(self, x):
                self.x = x

        made = list(apparatus.map(lambda x: Local(x + offset), [1, 2]))
        assert [m.x for m in made] == [11, 12]
        assert all(isinstance(m, Local) for m in made)

    def test_globals_that_a_function_uses_travel(self, apparatus):
        assert apparatus.run(lambda: _FACTOR * 2) == 6

    def test_imports_inside_the_function_work(self, apparatus):
        def inside():
            import decimal

            return decimal.Decimal("1.5") * 2

        assert apparatus.run(inside) == 3

    def test_arguments_are_copies(self, apparatus):
        box = [1]
        assert apparatus.run(lambda b: b.append(2) or b, box) == [1, 2]
        assert box == [1]

    def test_the_exception_keeps_its_type_message_and_remote_traceback(self, apparatus):
        with pytest.raises(LookupError, match="no 2") as caught:
            list(apparatus.map(jobs.fail_on, [2, 2, 2], [1, 2, 3]))
        cause = caught.value.__cause__
        assert isinstance(cause, JobError)
        assert "in fail_on" in str(cause)
        assert cause.outcome.index == 1

    def test_results_before_a_failure_come_first(self, apparatus):
        results = apparatus.map(jobs.fail_on, [1, 1], [0, 1])
        assert next(results) == 0
        with pytest.raises(LookupError):
            next(results)

    def test_failures_can_be_values(self, apparatus):
        first, second, third = apparatus.map(jobs.fail_on, [1] * 3, range(3), return_exceptions=True)
        assert (first, third) == (0, 2)
        assert isinstance(second, LookupError)

    def test_an_exception_that_cannot_be_rebuilt_is_a_job_failed_with_its_text(self, apparatus):
        with pytest.raises(JobFailed, match=r"TwoArguments: a and b"):
            apparatus.run(jobs.raise_two)

    def test_sys_exit_fails_that_job_only(self, apparatus):
        def leave(x):
            if x == 1:
                raise SystemExit(3)
            return x

        results = list(apparatus.map(leave, range(3), return_exceptions=True))
        assert results[0::2] == [0, 2]
        assert isinstance(results[1], JobFailed)
        assert "SystemExit: 3" in str(results[1])

    def test_a_value_that_cannot_be_pickled_says_so(self, apparatus):
        with pytest.raises(TypeError, match="value returned by job 0"):
            apparatus.run(lambda: threading.Lock())

    def test_an_unpicklable_closure_is_named_before_anything_starts(self, apparatus, tmp_path):
        db = sqlite3.connect(":memory:")

        def train(x):
            (tmp_path / "started").touch()
            return db, x

        with pytest.raises(UnpicklableError, match=r"closure variable `db` of `train` is a sqlite3.Connection"):
            apparatus.map(train, [1, 2])
        db.close()
        assert not (tmp_path / "started").exists()

    def test_an_unpicklable_argument_of_the_last_job_stops_the_first(self, apparatus, tmp_path):
        def touch(_):
            (tmp_path / "started").touch()

        with pytest.raises(UnpicklableError, match="argument 0 of job 1"):
            apparatus.map(touch, [1, threading.Lock()])
        assert not (tmp_path / "started").exists()
