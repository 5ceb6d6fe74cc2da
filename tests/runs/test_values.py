"""What a task returns, as columns."""

from pathlib import Path

from mini.runs.values import flatten


def test_flatten_makes_plain_columns():
    import enum

    import numpy as np

    class Color(enum.Enum):
        RED = 1

    nested = {
        "a": {"b": np.float32(0.5), 3: np.int64(2)},
        "c": [1, "x"],
        "d": Color.RED,
        "e": Path("p"),
        "f": np.bool_(1),
    }
    assert flatten(nested) == {
        "a.b": 0.5,
        "a.3": 2,
        "c": '[1, "x"]',
        "d": "Color.RED",
        "e": "p",
        "f": True,
    }
