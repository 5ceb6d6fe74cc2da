"""What a sweep takes over from an earlier try, and what it does not: real commands of a small application."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from mini.launcher import fingerprint
from mini.launcher.fingerprint import Fingerprints
from mini.runs.folder import RunFolder
from mini.runs.records import read_record
from mini.runs.status import read_status

pytestmark = pytest.mark.timeout(240)

PROGRAM = """
import os, hydra
from pathlib import Path
from helpers import factor

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    with open(os.environ["MARKS"], "a") as marks:
        marks.write(f"{config.x} ")
    if str(config.x) == os.environ.get("BROKEN"):
        raise RuntimeError("out of order")
    return {"y": factor.FACTOR * config.x, "length": len(config.key)}

if __name__ == "__main__":
    main()
"""
SECRET = "correct-horse-not-real"


@pytest.fixture(autouse=True)
def _a_project(tmp_path, monkeypatch):
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    monkeypatch.setenv("A_SECRET", SECRET)
    Path("pyproject.toml").write_text('[project]\nname = "resuming"\n')
    Path("app.py").write_text(PROGRAM)
    Path("helpers").mkdir()
    Path("helpers/__init__.py").touch()
    Path("helpers/factor.py").write_text("FACTOR = 10\n")
    Path("unrelated.py").write_text("1\n")
    Path("conf").mkdir()
    Path("conf/config.yaml").write_text(
        "defaults: [mini, _self_]\nx: 0\nlr: 0.1\nkey: ${oc.env:A_SECRET}\nurl: db://${key}@host\napi_key: null\n"
    )


def app(*overrides, code=0):
    return _run([sys.executable, "app.py", "apparatus.workers=1", *overrides], code)


def mini(*arguments, code=0):
    return _run([sys.executable, "-m", "mini.cli", *arguments], code)


def _run(command, code):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def runs_of():
    """What ran since this was called last."""
    marks = Path("marks")
    ran = sorted(marks.read_text().split()) if marks.exists() else []
    marks.unlink(missing_ok=True)
    return ran


def values(name):
    return [row["y"] for row in pl.read_parquet(f"outputs/{name}/results.parquet").sort("job").to_dicts()]


def test_a_job_on_another_gpu_is_another_job(monkeypatch):
    monkeypatch.setenv("BROKEN", "2")
    app("gpu=a100,h100", "x=1,2", "hydra.sweep.dir=outputs/a", code=1)
    assert runs_of() == ["1", "1", "2", "2"]
    monkeypatch.delenv("BROKEN")
    said = mini("retry", "a")
    assert "2 of 4 jobs are done already" in said
    assert runs_of() == ["2", "2"]
    table = pl.read_parquet("outputs/a/results.parquet").sort("job")
    assert table["overrides.gpu"].to_list() == ["a100", "a100", "h100", "h100"]
    assert table["config.hydra.launcher.gpu"].to_list() == ["A100", "A100", "H100", "H100"]


def test_a_result_made_elsewhere_is_taken_over_only_if_asked():
    _run([sys.executable, "app.py", "x=1,2", "apparatus=debug", "hydra.sweep.dir=outputs/a"], 0)
    assert runs_of() == ["1", "2"]
    said = app("x=1,2", "hydra.launcher.resume=a", "hydra.sweep.dir=outputs/b")
    assert "2 jobs done before run again, as the results are made on debug" in said
    assert "hydra.launcher.reuse=anywhere" in said
    assert runs_of() == ["1", "2"]
    said = app("x=1,2", "hydra.launcher.resume=a", "hydra.launcher.reuse=anywhere", "hydra.sweep.dir=outputs/c")
    assert "2 jobs taken over: made on debug" in said
    assert runs_of() == []
    row = read_record(Path("outputs/c/0")).row
    assert row["config.hydra.launcher.apparatus"] == "debug", "where it was made, and not where it was asked for"


@pytest.mark.parametrize(("engines", "jobs"), [(["apparatus.workers=1"], 2), (["apparatus=local,debug"], 4)])
def test_what_failed_moves_to_another_engine_and_what_is_done_stays(monkeypatch, engines, jobs):
    """Options of the engine do not follow, a sweep over engines keeps its jobs, and a second retry moves none back."""
    monkeypatch.setenv("BROKEN", "2")
    _run([sys.executable, "app.py", *engines, "x=1,2", "hydra.sweep.dir=outputs/a"], 1)
    runs_of()
    monkeypatch.delenv("BROKEN")
    said = mini("retry", "a", "--apparatus", "debug")
    assert f"{jobs // 2} of {jobs} jobs are done already" in said
    assert runs_of() == ["2"] * (jobs // 2)
    assert values("a") == [10, 20] * (jobs // 2)
    made = pl.read_parquet("outputs/a/results.parquet").sort("job")["config.hydra.launcher.apparatus"]
    assert made.to_list() == ["local", "debug", "debug", "debug"][:jobs]
    assert read_status(RunFolder("outputs/a")).apparatus == ("debug", "local")
    mini("retry", "a")
    assert runs_of() == []


def test_a_result_stands_for_one_job():
    app("x=1", "hydra.sweep.dir=outputs/a")
    said = app("x=1,1", "hydra.launcher.resume=a", "hydra.sweep.dir=outputs/b")
    assert "1 of 2 jobs are done already" in said
    assert runs_of() == ["1", "1"]


def test_changed_code_runs_again_and_the_file_is_named():
    app("x=1,2", "hydra.sweep.dir=outputs/a")
    runs_of()
    Path("helpers/factor.py").write_text("FACTOR = 100\n")
    Path("unrelated.py").write_text("2\n")
    said = app("x=1,2", "hydra.launcher.resume=a", "hydra.sweep.dir=outputs/b")
    assert "2 jobs done before run again, as the results are of other code: helpers/factor.py changed" in said
    assert (runs_of(), values("b")) == (["1", "2"], [100, 200])
    said = app("x=1,2", "hydra.launcher.resume=a", "hydra.launcher.stale=warn", "hydra.sweep.dir=outputs/c")
    assert "warning: 2 jobs taken over: of other code: helpers/factor.py changed" in said
    said = app("x=1,2", "hydra.launcher.resume=a", "hydra.launcher.stale=keep", "hydra.sweep.dir=outputs/d")
    assert "other code" not in said
    assert (runs_of(), values("c"), values("d")) == ([], [10, 20], [10, 20])
    # A copy keeps the fingerprint of the code that made it.
    said = app("x=1,2", "hydra.launcher.resume=d", "hydra.sweep.dir=outputs/e")
    assert "helpers/factor.py changed" in said


def test_a_retry_sets_results_of_other_code_aside():
    app("x=1,2", "hydra.sweep.dir=outputs/a")
    runs_of()
    Path("helpers/factor.py").write_text("FACTOR = 100\n")
    assert "0: " not in mini("retry", "a", "--stale", "keep")
    assert (runs_of(), values("a")) == ([], [10, 20])
    said = mini("retry", "a")
    assert "helpers/factor.py changed; hydra.launcher.stale=keep takes them over" in said
    assert (runs_of(), values("a")) == (["1", "2"], [100, 200])
    assert read_record(Path("outputs/a/0~1")).outcome.result()["y"] == 10
    assert read_record(Path("outputs/a/0")).outcome.attempt == 2
    assert read_status(RunFolder("outputs/a")).counts == {"done": 2}
    assert "2 of 2 jobs are done already" in mini("retry", "a")
    assert runs_of() == []


def test_data_and_classes_named_in_the_config_count_as_code():
    Path("data").mkdir()
    Path("data/train.csv").write_text("1")
    Path("models.py").write_text("class Model: pass\n")
    given = ("x=1", "+model._target_=models.Model", "hydra.launcher.data=[data]")
    app(*given, "hydra.sweep.dir=outputs/a")
    assert "1 of 1 jobs" in app(*given, "hydra.launcher.resume=a", "hydra.sweep.dir=outputs/b")
    Path("data/train.csv").write_text("2")
    said = app(*given, "hydra.launcher.resume=a", "hydra.sweep.dir=outputs/c")
    assert "data/train.csv changed" in said
    Path("models.py").write_text("class Model: x = 1\n")
    said = app(*given, "hydra.launcher.resume=c", "hydra.sweep.dir=outputs/d")
    assert "models.py changed" in said
    said = app("x=1", "hydra.launcher.data=[gone.csv]", "hydra.sweep.dir=outputs/e", code=2)
    assert "there is no 'gone.csv'" in said
    assert not Path("outputs/e").exists()


def test_explain_says_why_a_job_would_run_again(monkeypatch):
    monkeypatch.setenv("BROKEN", "2")
    app("x=1,2", "hydra.sweep.dir=outputs/a", code=1)
    runs_of()
    multirun = Path("outputs/a/multirun.yaml").read_bytes()
    assert "config, place and code are the same" in mini("explain", "a", "0")
    assert "job 1 is failed (RuntimeError: out of order), and would run again" in mini("explain", "a", "1")
    Path("helpers/factor.py").write_text("FACTOR = 100\n")
    config = Path("conf/config.yaml")
    config.write_text(config.read_text().replace("lr: 0.1", "lr: 0.2"))
    said = mini("explain", "a", "0")
    assert "job 0 is done, and would run again" in said
    assert "lr was 0.1 and is 0.2" in said
    assert "helpers/factor.py changed" in said
    assert "has no job 7" in mini("explain", "a", "7", code=4)
    assert runs_of() == [], "it starts nothing"
    assert Path("outputs/a/multirun.yaml").read_bytes() == multirun


def test_a_run_of_somebody_else_is_retried_only_if_the_user_agrees(monkeypatch):
    monkeypatch.setenv("BROKEN", "1")
    app("x=1", "hydra.sweep.dir=outputs/a", code=1)
    monkeypatch.delenv("BROKEN")
    runs_of()
    manifest = Path("outputs/a/run.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "host": "elsewhere", "user": "mallory"}))
    for verb in (("retry", "a"), ("explain", "a", "0")):
        said = mini(*verb, code=1)
        assert "was begun by mallory on elsewhere" in said
        assert "app.py" in said
    assert runs_of() == []
    mini("retry", "a", "--yes")
    assert runs_of() == ["1"]


def test_what_comes_from_the_environment_stays_there(tmp_path):
    said = app("x=1", "api_key=sk-very-secret", "hydra.sweep.dir=outputs/a")
    ours = [path for path in Path("outputs/a").rglob("*") if path.is_file() and ".hydra" not in path.parts]
    texts = {path: path.read_bytes() for path in ours if path.name not in ("multirun.yaml",)}
    assert len(texts) > 4
    for path, content in texts.items():
        assert SECRET.encode() not in content, path
        assert b"sk-very-secret" not in content, path
    assert "sk-very-secret" not in said
    row = pl.read_parquet("outputs/a/results.parquet").to_dicts()[0]
    assert (row["config.key"], row["config.url"]) == ("${oc.env:A_SECRET}", "db://${key}@host")
    assert (row["config.api_key"], row["overrides.api_key"]) == ("***", "***")
    assert row["length"] == len(SECRET)
    assert "was given api_key on the command line, and such values are not written down" in mini("retry", "a", code=2)


def test_pickled_arguments_are_private():
    app("x=1", "hydra.launcher.detach=true", "hydra.sweep.dir=outputs/a")
    mini("watch", "a")
    assert stat.S_IMODE(Path("outputs/a/driver.pkl").stat().st_mode) == 0o600


def test_imports_are_found_in_every_form(tmp_path, monkeypatch):
    package = tmp_path / "pack"
    (package / "deep").mkdir(parents=True)
    for name in ("__init__", "one", "two", "three", "four", "five", "six", "deep/__init__", "deep/inner", "not_used"):
        (package / f"{name}.py").write_text("")
    (package / "task.py").write_text(
        "import os, pack.one as first\nfrom pack import (  # two\n    two,\n    three as drei,\n)\nfrom . import four\n"
        "from .deep.inner import thing\n\ndef main():\n    from pack import \\\n        five\n"
        "    import pack.six; x = 1\n"
    )
    (package / "deep" / "inner.py").write_text("from ..one import a\nfrom .. import task\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "pack.task", type(sys)("pack.task"))
    sys.modules["pack.task"].__file__ = str(package / "task.py")
    sys.modules["pack.task"].__package__ = "pack"

    def main():
        pass

    main.__module__ = "pack.task"
    found = Fingerprints(main).of({}, ())
    names = ("__init__", "deep/__init__", "deep/inner", "five", "four", "one", "six", "task", "three", "two")
    assert sorted(found.files) == sorted(f"pack/{name}.py" for name in names)
    (package / "deep" / "inner.py").write_text("changed = 1\n")
    again = Fingerprints(main).of({}, ())
    assert again.digest != found.digest
    assert fingerprint.changed(found.files, again.files) == ["pack/deep/inner.py"]
