"""How many jobs travel together, with a clock of the test's own."""

import pytest

from mini.apparatus.grouping import Grouping


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def grouping(clock, **changes):
    return Grouping(**{"width": 2, "seconds": 0.5, "enough": 3, "hold": 1.0, "clock": clock} | changes)


def test_jobs_go_alone_until_enough_outcomes_are_there(clock):
    policy = grouping(clock)
    for _ in range(2):
        policy.finished(0.001)
        assert (policy.is_known, policy.size(1000)) == (False, 1)
    policy.finished(0.001)
    assert policy.is_known
    assert policy.size(1000) > 1


@pytest.mark.parametrize(
    ("took", "waiting", "size"),
    [
        (0.05, 1000, 10),  # as many as make half a second
        (0.0001, 1000, 64),  # the largest
        (None, 1000, 64),
        (0.0001, 80, 10),  # a quarter of each one's share
        (0.0001, 7, 1),
        (0.3, 1000, 1),
        (600, 1000, 1),
    ],
)
def test_the_size_is_what_makes_the_work_of_a_bundle(clock, took, waiting, size):
    policy = grouping(clock)
    for _ in range(3):
        policy.finished(took)
    assert policy.size(waiting) == size


def test_one_long_job_among_short_ones_changes_little(clock):
    policy = grouping(clock)
    for took in (0.05, 900, 0.05):
        policy.finished(took)
    assert policy.size(1000) == 10


def test_only_the_recent_outcomes_count_where_that_is_asked(clock):
    policy = grouping(clock, recent=3)
    for took in (0.001, 0.001, 0.001, 2, 2):
        policy.finished(took)
    assert policy.size(1000) == 1


@pytest.mark.parametrize("fixed", [1, 5])
def test_a_fixed_size_needs_no_outcome(clock, fixed):
    policy = grouping(clock, fixed=fixed)
    assert (policy.is_known, policy.size(3), policy.hold) == (True, fixed, 0)


def test_jobs_are_held_back_for_a_while_and_no_longer_than_needed(clock):
    policy = grouping(clock)
    assert policy.hold == 1
    clock.now += 0.75
    assert policy.hold == 0.25
    clock.now += 5
    assert policy.hold == 0
    clock.now -= 5.5
    for _ in range(3):
        policy.finished(0.001)
    assert policy.hold == 0
