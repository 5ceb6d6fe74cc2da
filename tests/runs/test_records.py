"""A record: what is written is what is read, and what stands is not replaced."""

import json
import math

import pytest

from mini import Outcome, State
from mini.errors import RecordError
from mini.job import Failure
from mini.runs import records


def outcome(folder, state=State.DONE, attempt=1, **fields):
    return Outcome(0, state, folder=str(folder), attempt=attempt, started=1.0, ended=2.5, key="k", **fields)


def test_a_record_comes_back_exactly(tmp_path):
    row = {
        "a": math.nan,
        "b": math.inf,
        "c": -math.inf,
        "d": 2**70,
        "e": "ü\udc80\n",
        "f": None,
        "g": True,
        "h": 0.1,
    }
    written = outcome(tmp_path, State.FAILED, failure=Failure("E", "m", "t"), where={"pid": 3})
    records.write_record(written, row)
    record = records.read_record(tmp_path)
    assert record.outcome == written
    assert math.isnan(record.row["a"])
    assert {**record.row, "a": 0} == {**row, "a": 0}


def test_a_record_is_one_line_of_plain_json(tmp_path):
    records.write_record(outcome(tmp_path), {"loss": math.nan})
    data = (tmp_path / "record.json").read_text()
    assert data.count("\n") == 1
    raw = json.loads(data, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert raw["row"] == {"loss": None}
    assert raw["nonfinite"] == [["loss", "nan"]]


def test_a_stale_attempt_overwrites_nothing(tmp_path):
    records.write_record(outcome(tmp_path, attempt=2), {"x": 2})
    records.write_record(outcome(tmp_path, State.LOST, attempt=1), {"x": 1})
    assert records.read_record(tmp_path).row == {"x": 2}


def test_a_result_is_not_replaced_by_a_loss(tmp_path):
    records.write_record(outcome(tmp_path), {"x": 1})
    records.write_record(outcome(tmp_path, State.LOST), {})
    assert records.read_record(tmp_path).outcome.state is State.DONE


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"index": 0}', b'{"state": "odd"}', b"\xff\xfe"])
def test_a_damaged_record_is_named(tmp_path, damage):
    (tmp_path / "record.json").write_bytes(damage)
    with pytest.raises(RecordError, match=r"record\.json is damaged"):
        records.read_record(tmp_path)
