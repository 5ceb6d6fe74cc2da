"""Runs in the formats of other tools, read back with those tools; CI installs them for this (`.ci/export`)."""

import math
import struct
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

import mini
from mini import Job, Outcome, State
from mini.errors import OptionError, UsageError
from mini.export import FORMATS, export
from mini.job import Failure
from mini.runs import layout
from mini.runs.folder import RunFolder
from mini.runs.records import write_record

BEGAN = 1_700_000_000.0


def make_run():
    """Two jobs that are done, with histories; one that failed; one that has not ended."""
    Path("pyproject.toml").write_text('[project]\nname = "export"\n')
    folder = RunFolder(Path("outputs", "run"))
    folder.begin({"task": "app.train.train", "apparatus": ["local"], "began": time.time()})
    jobs = [Job(i, print, folder=str(folder.path / str(i)), row={"overrides.lr": str(10.0**-i)}) for i in range(4)]
    folder.add_jobs(jobs)
    for job in jobs[:3]:
        ok = job.index < 2
        config = {"config.lr": 10.0**-job.index, "config.optimizer.name": "adam", "config.layers": "[1, 2]"}
        outcome = Outcome(
            job.index,
            State.DONE if ok else State.FAILED,
            b"N." if ok else None,
            None if ok else Failure("ValueError", "too bad"),
            BEGAN,
            BEGAN + 2,
            folder=job.folder,
        )
        metrics = {"metrics.loss": 0.5 + job.index, "metrics.score": math.nan} if ok else {}
        write_record(outcome, {**job.row, **config, **metrics})
        if ok:
            rows = "".join(f"{step},{BEGAN + step},{1 / step},\n" for step in (1, 2, 3))
            head = f'{{"began":{BEGAN},"columns":["loss","acc % é"]}}\n'
            Path(job.folder, layout.HISTORY).write_text(head + rows + f"4,{BEGAN + 4},0.25,0.75\n")
    return folder


@pytest.fixture
def run():
    return make_run()


@pytest.mark.parametrize(("form", "read"), [("csv", pl.read_csv), ("parquet", pl.read_parquet)])
def test_tables_are_the_results_and_the_history(run, form, read):
    assert export(run, form, Path("out")) == f"results.{form}, history.{form}"
    assert read(Path("out", f"results.{form}"))["loss"].to_list() == [0.5, 1.5, None, None]
    assert read(Path("out", f"history.{form}"))["loss"].to_list() == [1, 0.5, 1 / 3, 0.25] * 2


def test_what_is_there_already_is_never_written_to(run):
    Path("out").mkdir()
    Path("out", "mine").touch()
    with pytest.raises(UsageError, match="not empty"):
        export(run, "csv", Path("out"))
    assert [path.name for path in Path("out").iterdir()] == ["mine"]


def test_a_format_that_is_not_there_names_those_that_are(run):
    with pytest.raises(OptionError, match="did you mean 'wandb'"):
        export(run, "wand", Path("out"))


def test_a_run_without_a_finished_job_is_refused_before_anything_is_written(run):
    empty = RunFolder(Path("outputs", "empty"))
    empty.begin({"task": "t"})
    empty.add_jobs([Job(0, print, folder=str(empty.path / "0"))])
    with pytest.raises(UsageError, match="no job of empty is finished"):
        export(empty, "csv", Path("out"))
    assert not Path("out").exists()


@pytest.mark.parametrize("form", ["tensorboard", "mlflow", "wandb"])
def test_a_library_that_is_not_installed_is_named_with_its_extra(run, form, monkeypatch):
    for name in ("tensorboardX", "mlflow", "mlflow.tracking", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(UsageError, match=rf"install hydra-apparatus\[{form}\]"):
        export(run, form, Path("out"))


def exported(form):
    """In a process of its own, as a person does it, and where a tool's warnings are not ours."""
    code = "from pathlib import Path; from mini.export import export; from mini.runs.folder import RunFolder\n"
    code += f"print(export(RunFolder('outputs/run'), {form!r}, Path('out')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_the_curves_the_results_and_the_parameters(run):
    pytest.importorskip("tensorboardX", reason="the extra `tensorboard` is not installed; .ci/export installs it")
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    hparams = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    assert exported("tensorboard") == "tensorboard --logdir out"
    events = accumulator.EventAccumulator("out/job1").Reload()
    loss = events.Scalars("loss")
    assert [(e.step, round(e.value, 4), e.wall_time) for e in loss[:2]] == [(1, 1.0, BEGAN + 1), (2, 0.5, BEGAN + 2)]
    renamed = next(tag for tag in events.Tags()["scalars"] if tag.startswith("acc_"))  # tags have no blanks
    assert [e.value for e in events.Scalars(renamed)] == [0.75]
    assert [e.value for e in events.Scalars("result/loss")] == [1.5]
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    given = hparams.HParamsPluginData.FromString(content).session_start_info.hparams
    assert given["lr"].number_value == pytest.approx(0.1)
    assert given["optimizer.name"].string_value == "adam"
    assert "_hparams_/session_end_info" in events.Tags()["tensors"] + list(events.summary_metadata)
    failed = accumulator.EventAccumulator("out/job2").Reload()
    assert "_hparams_/session_end_info" not in failed.summary_metadata
    assert not Path("out/job3").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_reads_the_curves_the_results_and_the_parameters(run):
    tracking = pytest.importorskip("mlflow.tracking", reason="the extra `mlflow` is not installed; .ci/export does it")
    said = exported("mlflow")
    store = f"sqlite:///{Path('out').absolute()}/mlflow.db"
    assert said == f"mlflow ui --backend-store-uri {store}"
    client = tracking.MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("run")
    found = {run.data.tags["mini.job"]: run for run in client.search_runs([experiment.experiment_id])}
    assert {job: run.info.status for job, run in found.items()} == {"0": "FINISHED", "1": "FINISHED", "2": "FAILED"}
    one = found["1"]
    assert one.data.params == {"lr": "0.1", "optimizer.name": "adam", "layers": "[1, 2]"}
    assert one.data.metrics["result/loss"] == 1.5
    assert math.isnan(one.data.metrics["result/score"])
    assert one.info.end_time - one.info.start_time == 2000
    curve = client.get_metric_history(one.info.run_id, "loss")
    assert [(m.step, m.value) for m in curve][:2] == [(1, 1.0), (2, 0.5)]
    assert "too bad" in found["2"].data.tags["mini.error"]


def wandb_records(file):
    """The records of an offline run, each a message of wandb's own protocol: the log format of LevelDB, with a head."""
    data, block = file.read_bytes(), 32768
    assert data[:4] == b":W&B"
    position, parts = 7, []
    while position + 7 <= len(data):
        left = block - position % block
        if left < 7:  # the end of a block is filled up
            position += left
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        parts.append(data[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_reads_the_curves_the_results_and_the_parameters(run):
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed; .ci/export installs it")
    records = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    assert exported("wandb") == "wandb sync out/wandb/offline-run-*"
    files = sorted(Path("out", "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 3
    names, losses, configs, exits = [], {}, {}, {}
    for file in files:
        name = None
        for data in wandb_records(file):
            record = records.Record.FromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                name = record.run.display_name
                names.append(name)
                configs[name] = {item.key: item.value_json for item in record.run.config.update}
            elif kind == "history":
                row = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
                losses.setdefault(name, []).append(row.get("loss"))
            elif kind == "exit":
                exits[name] = record.exit.exit_code
    assert sorted(set(names)) == ["run 0", "run 1", "run 2"]
    assert [float(loss) for loss in losses["run 1"]][:2] == [1.0, 0.5]
    assert configs["run 1"]["lr"] == "0.1"
    assert exits == {"run 0": 0, "run 1": 0, "run 2": 1}


def test_every_format_is_known():
    assert set(FORMATS) == {"csv", "parquet", "tensorboard", "mlflow", "wandb"}
    assert mini.history.__module__ == "mini.apparatus.frames"
