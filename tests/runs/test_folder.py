"""The run folder: begun once, and never overwritten."""

import json

import pytest

from mini import Job
from mini.errors import RunFolderError
from mini.runs.folder import RunFolder


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
