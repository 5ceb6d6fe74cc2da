"""Which part of a value cannot travel, and where it hangs."""

import functools
import pickle
import sqlite3
import threading

import pytest

from mini.errors import UnpicklableError
from mini.worker import pickling

LOCK = threading.Lock()


class Holder:
    def __init__(self):
        self.inner = {"db": [LOCK]}

    def method(self):
        return self.inner


def uses_global():
    return LOCK


def by_value(fn):
    """A copy that cloudpickle cannot find by its name, as functions of `__main__` are."""
    copy = type(fn)(fn.__code__, fn.__globals__, "copy", fn.__defaults__, fn.__closure__)
    copy.__module__ = "__main__"
    return copy


def closure():
    lock = LOCK
    return lambda: lock


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (closure(), "closure variable `lock` of `<lambda>` is a _thread.lock"),
        (by_value(uses_global), "global variable `LOCK` of `uses_global` is a _thread.lock"),
        ([1, {"a": LOCK}], "it[1]['a'] is a _thread.lock"),
        (Holder(), "attribute `inner` of it"),
        (functools.partial(print, LOCK), "the arguments bound in it[0][0] is a _thread.lock"),
        ((i for i in range(3)), "it is a generator"),
    ],
)
def test_the_culprit_is_named(value, said):
    with pytest.raises(UnpicklableError) as caught:
        pickling.dumps(value, "it")
    assert said in str(caught.value)
    assert "cannot be pickled; open it inside the" in str(caught.value)


def test_a_self_referring_value_ends_the_search():
    loop = [LOCK]
    loop.append(loop)
    with pytest.raises(UnpicklableError, match=r"it\[0\] is a _thread.lock"):
        pickling.dumps(loop, "it")


def test_the_connection_example_of_the_readme():
    db = sqlite3.connect(":memory:")

    def train():
        return db

    with pytest.raises(UnpicklableError) as caught:
        pickling.encode_shared(train, ())
    db.close()
    assert str(caught.value).startswith(
        "closure variable `db` of `train` is a sqlite3.Connection, which cannot be pickled; open it inside the function"
    )


def test_errors_travel():
    error = UnpicklableError("text")
    assert str(pickle.loads(pickle.dumps(error))) == "text"
