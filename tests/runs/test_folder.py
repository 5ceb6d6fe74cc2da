"""The run folder: what is written is what is read, whatever happens in between."""

import json
import math
import threading
from pathlib import Path

import pytest

from mini import Job, Outcome, State
from mini.errors import RecordError, RunFolderError
from mini.job import Failure
from mini.runs import files, records
from mini.runs.folder import RunFolder
from mini.runs.values import flatten


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


def test_a_reader_never_sees_half_a_file(tmp_path):
    path, stop = tmp_path / "file", threading.Event()
    files.write_atomically(path, b"a" * 100_000)

    def write():
        while not stop.is_set():
            for letter in (b"a", b"b"):
                files.write_atomically(path, letter * 100_000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            content = path.read_bytes()
            assert len(content) == 100_000
            assert len(set(content)) == 1
    finally:
        stop.set()
        writer.join()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_two_jobs_cannot_share_a_folder(tmp_path):
    folder = RunFolder(tmp_path)
    jobs = [Job(i, print, folder=str(tmp_path / "same")) for i in range(2)]
    with pytest.raises(RunFolderError, match="jobs 0 and 1 would both write"):
        folder.require_free(jobs)


def test_a_folder_with_files_is_not_a_jobs(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "precious").touch()
    with pytest.raises(RunFolderError, match="is not empty, and is never overwritten"):
        RunFolder(tmp_path).require_free([Job(0, print, folder=str(tmp_path / "0"))])


def test_a_file_is_not_a_run_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="cannot write the run folder"):
        RunFolder(tmp_path / "file").require_new()


def test_setting_aside_keeps_everything(tmp_path):
    for text in ("first", "second"):
        folder = RunFolder(tmp_path / "run")
        folder.set_aside()
        folder.begin({"text": text})
    assert len(list(tmp_path.iterdir())) == 2
    assert json.loads((tmp_path / "run" / "run.json").read_text())["text"] == "second"


def test_forgetting_leaves_a_run_alone(tmp_path):
    empty, begun = RunFolder(tmp_path / "empty"), RunFolder(tmp_path / "begun")
    empty.require_new()
    begun.begin({})
    empty.forget()
    begun.forget()
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


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
