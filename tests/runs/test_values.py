"""What a task returns, as columns."""

import datetime
import decimal
import enum
import json
import math
import os
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf

from mini.runs.arrays import LARGEST
from mini.runs.values import flatten, metrics, valid_text


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Kind(enum.StrEnum):
    SMALL = "small"


class Pair(NamedTuple):
    loss: float
    error: float


@dataclass
class Scores:
    loss: float
    per_class: list[Any] = field(default_factory=list)


class Silent:
    def __str__(self):
        raise ValueError


class Shapeless:
    @property
    def shape(self):
        raise RuntimeError("deleted")


def strict(text):
    """JSON of the standard, which has no NaN."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_flatten_makes_plain_columns():
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


@pytest.mark.parametrize(
    ("value", "columns"),
    [
        (None, {}),
        ({}, {}),
        (0.5, {"value": 0.5}),
        (math.inf, {"value": math.inf}),
        (np.float16(0.5), {"value": 0.5}),
        (np.array(7), {"value": 7}),
        (True, {"value": True}),
        ("text", {"value": "text"}),
        ([0.125, 0.25], {"value": "[0.125, 0.25]"}),
        ((0.125, 0.25), {"value": "[0.125, 0.25]"}),
        (deque([1]), {"value": "[1]"}),
        ({2, 1}, {"value": "[1, 2]"}),
        (range(3), {"value": "[0, 1, 2]"}),
        (Pair(0.125, 0.25), {"loss": 0.125, "error": 0.25}),
        (Scores(0.5, [Scores(1)]), {"loss": 0.5, "per_class": '[{"loss": 1, "per_class": []}]'}),
        (OrderedDict(a={"b": Pair(1, 2)}), {"a.b.loss": 1, "a.b.error": 2}),
        ({"a": {}, "b": None}, {"a": "{}", "b": None}),
        (np.arange(4).reshape(2, 2), {"value": "[[0, 1], [2, 3]]"}),
        (pl.Series([1, None]), {"value": "[1, null]"}),
        ({"c": Color.RED, "l": Level.HIGH, "k": Kind.SMALL}, {"c": "Color.RED", "l": 3, "k": "small"}),
        (datetime.datetime(2026, 1, 2, 3), {"value": "2026-01-02T03:00:00"}),
        ({"day": datetime.date(2026, 1, 2)}, {"day": "2026-01-02"}),
        (datetime.timedelta(minutes=1.5), {"value": 90.0}),
        ({"path": Path("a", "b")}, {"path": "a/b"}),
        ({"price": decimal.Decimal("0.10")}, {"price": "0.10"}),
        (2**70, {"value": 2**70}),
        (2**10_000, {"value": hex(2**10_000)}),
        (OmegaConf.create({"a": 1, "b": "${a}", "c": [{"d": 2}]}), {"a": 1, "b": 1, "c": '[{"d": 2}]'}),
        (OmegaConf.create([1, {"a": "${nowhere}"}]), {"value": '[1, {"a": "${nowhere}"}]'}),
        (OmegaConf.create({"a": "???"}), {"a": "???"}),
        (b"bytes", {"value": "b'bytes'"}),
        (Silent(), {"value": "<Silent whose text raised ValueError>"}),
        ([Silent()], {"value": '["<Silent whose text raised ValueError>"]'}),
    ],
)
def test_every_value_leaves_columns(value, columns):
    found = metrics(value)
    assert found == {f"metrics.{name}": cell for name, cell in columns.items()}
    assert {type(cell) for cell in found.values()} <= {type(None), bool, int, float, str}


@pytest.mark.parametrize(
    ("value", "columns"),
    [
        ({"val.loss": 1, "val": {"loss": 2}}, {'"val.loss"': 1, "val.loss": 2}),
        ({"val": {"loss": 2}, "val.loss": 1}, {'"val.loss"': 1, "val.loss": 2}),
        ({"val.loss": 1}, {"val.loss": 1}),
        ({"a.b": {"c": 1}, "a": {"b.c": 2, "b": {"c": 3}}}, {'"a.b".c': 1, 'a."b.c"': 2, "a.b.c": 3}),
        ({1: "number", "1": "text"}, {"[1]": "number", "1": "text"}),
        ({'"a.b"': 0, "a.b": 1, "a": {"b": 2}}, {'"a.b"': 0, '"a.b"#2': 1, "a.b": 2}),
        ([{1: 1, "1": 2}], {"value": '[{"[1]": 1, "1": 2}]'}),
    ],
)
def test_metrics_named_alike_are_all_kept(value, columns):
    assert metrics(value) == {f"metrics.{name}": cell for name, cell in columns.items()}


def test_json_within_a_column_is_of_the_standard():
    value = {"list": [math.nan, math.inf, -math.inf, 1.5, None], "objects": [{"x": np.float32("nan"), "y": (1, {2})}]}
    found = metrics(value)
    assert strict(found["metrics.list"]) == ["nan", "inf", "-inf", 1.5, None]
    assert strict(found["metrics.objects"]) == [{"x": "nan", "y": [1, [2]]}]


@pytest.mark.parametrize(
    "value", [np.linspace(-1, 3, LARGEST + 1), list(map(float, np.linspace(-1, 3, LARGEST + 1)))], ids=["array", "list"]
)
def test_what_is_long_is_summarised(value):
    found = metrics({"weights": value})
    assert strict(found.pop("metrics.weights.shape")) == [LARGEST + 1]
    assert found.pop("metrics.weights.dtype").startswith("float")
    assert found.pop("metrics.weights.mean") == pytest.approx(1)
    assert found == {"metrics.weights.min": -1, "metrics.weights.max": 3}


def test_what_is_not_long_is_kept_whole():
    values = list(range(LARGEST))
    assert strict(metrics(values)["metrics.value"]) == strict(metrics(np.array(values))["metrics.value"]) == values
    mixed = [*values, "x"]
    assert strict(metrics(mixed)["metrics.value"]) == mixed


def test_a_summary_is_of_what_is_finite():
    values = np.array([math.nan, math.inf, *[2.0] * LARGEST])
    for long in (values, values.tolist()):
        found = metrics(long)
        names = ("min", "max", "mean", "nonfinite")
        assert [found[f"metrics.value.{name}"] for name in names] == [2, 2, 2, 2]
    nothing = metrics(np.full(LARGEST + 1, math.nan))
    assert nothing["metrics.value.nonfinite"] == LARGEST + 1
    assert "metrics.value.min" not in nothing
    assert metrics(np.array(["a"] * (LARGEST + 1))).keys() == {"metrics.value.shape", "metrics.value.dtype"}


def test_a_data_frame_leaves_its_shape():
    found = metrics({"frame": pl.DataFrame({"a": [1, 2]})})
    assert found == {"metrics.frame.shape": "[2, 1]", "metrics.frame.dtype": "DataFrame"}


def test_what_contains_itself_ends():
    mapping: dict[str, Any] = {"x": 1}
    mapping["self"], mapping["again"] = mapping, [mapping]
    sequence: list[Any] = [1]
    sequence.append(sequence)
    assert metrics(mapping)["metrics.x"] == 1
    assert strict(metrics(sequence)["metrics.value"]) == [1, "[1, [...]]"]


def test_an_object_that_cannot_be_looked_at_costs_no_result():
    assert metrics(Shapeless()).keys() == {"metrics.value"}
    assert len(metrics(b"x" * 10**6)["metrics.value"]) < 2000


def test_text_that_is_not_unicode_becomes_an_escape():
    name = os.fsdecode(b"caf\xe9.png")
    found = metrics({name: name, "list": [name], "é": "é\0"})
    assert found == {
        "metrics.caf\\udce9.png": "caf\\udce9.png",
        "metrics.list": json.dumps(["caf\\udce9.png"]),
        "metrics.é": "é\0",
    }
    assert valid_text("é") == "é"
