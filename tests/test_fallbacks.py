"""Fallbacks are counted by way and reason, and logged at debug level."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from mini import fallbacks


@pytest.fixture(autouse=True)
def _none_before():
    fallbacks.reset()
    yield
    fallbacks.reset()


def test_each_way_and_reason_is_counted():
    fallbacks.note("compose", "a")
    fallbacks.note("compose", "a")
    fallbacks.note("combine", "a")
    assert fallbacks.counts() == {("compose", "a"): 2, ("combine", "a"): 1}


def test_counts_are_a_copy():
    fallbacks.counts()["x", "y"] = 1
    assert fallbacks.counts() == {}


def test_threads_do_not_lose_counts():
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: fallbacks.note("compose", "a"), range(4000)))
    assert fallbacks.counts() == {("compose", "a"): 4000}


def test_the_log_has_the_traceback_of_an_error(caplog):
    with caplog.at_level(logging.DEBUG, "mini.fallbacks"):
        fallbacks.note("compose", "a list")
        try:
            raise ZeroDivisionError("a bug")
        except ZeroDivisionError:
            fallbacks.note("compose", "unexpected")
    assert [record.getMessage() for record in caplog.records] == [
        "compose: fell back: a list",
        "compose: fell back: unexpected",
    ]
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]


def test_nothing_is_logged_above_debug_level(caplog):
    with caplog.at_level(logging.INFO, "mini.fallbacks"):
        fallbacks.note("compose", "a")
    assert not caplog.records
