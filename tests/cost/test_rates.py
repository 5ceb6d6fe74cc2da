"""Rates of paid engines, and what a run cost by them."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from mini.apparatus.groups import OFFERED
from mini.cost import estimate
from mini.cost.rates import Place, load
from mini.errors import OptionError


@pytest.fixture(autouse=True)
def _a_project():
    Path("pyproject.toml").write_text('[project]\nname = "cost"\n')


def test_every_gpu_that_is_offered_has_a_rate_of_a_date_and_a_source():
    modal = load()["modal"]
    for name in OFFERED:
        assert modal.per_second(Place("modal", name.upper())) > 0, name
    assert isinstance(modal.table["as_of"], date)
    assert modal.basis == "rates of 2026-10-04 from https://modal.com/pricing"


def test_a_job_costs_its_gpus_its_cores_and_its_memory():
    modal = load()["modal"]
    least = 0.125 * 0.0000131 + 0.125 * 0.00000222
    assert modal.per_second(Place("modal")) == pytest.approx(least)
    assert modal.per_second(Place("modal", "A100:2")) == pytest.approx(2 * 0.000583 + least)
    assert modal.per_second(Place("modal", cpu=4, memory=16)) == pytest.approx(4 * 0.0000131 + 16 * 0.00000222)
    assert modal.per_second(Place("modal", nonpreemptible=True)) == pytest.approx(3 * least)
    assert modal.per_second(Place("modal", region=True)) == pytest.approx(1.75 * least)
    assert modal.per_second(Place("modal", "ANY")) is None


def test_the_project_changes_rates_and_adds_engines():
    Path("mini-rates.toml").write_text("[modal.gpu]\nH100 = 0.001\n[slurm]\ncpu = 0.00001\nminimum_cpu = 1\n")
    rates = load()
    assert rates["modal"].table["gpu"]["H100"] == 0.001
    assert rates["modal"].table["gpu"]["T4"] == 0.000164
    assert rates["slurm"].per_second(Place("slurm", cpu=2)) == pytest.approx(0.00002)


@pytest.mark.parametrize("text", ["[modal", "[modal.gpu]\nH100 = 'much'", "[modal]\ncpu = -1", "modal = 1"])
def test_rates_that_are_none_are_refused_with_the_name_of_the_file(text):
    Path("mini-rates.toml").write_text(text)
    with pytest.raises(OptionError, match=r"mini-rates\.toml"):
        load()


TABLE = pl.DataFrame(
    {
        "job": [0, 1, 2],
        "seconds": [3600.0, 1800.0, None],
        "config.hydra.launcher.apparatus": ["modal"] * 3,
        "config.hydra.launcher.gpu": ["A100", "H100,A100", "A100"],
    }
)
MANIFEST = {"apparatus": ["modal"], "places": estimate.describe({Place("modal", "A100", cpu=4.0): 2})}


def test_usage_is_by_gpu_type_with_what_was_asked_for():
    usage = estimate.of_run(TABLE, MANIFEST, load())
    assert [(one.place.gpu, one.jobs, one.seconds) for one in usage] == [("A100", 1, 3600), ("H100", 1, 1800)]
    assert usage[0].dollars == pytest.approx(3600 * (0.000583 + 4 * 0.0000131 + 0.125 * 0.00000222))
    text = estimate.summary(usage, load())
    assert text.startswith("about $4.27: modal A100 1.0 h; modal H100 30.0 min of jobs, without start-up and idle time")
    assert "rates of 2026-10-04" in text


def test_a_gpu_without_a_rate_is_said():
    table = TABLE.with_columns(pl.lit("X9").alias("config.hydra.launcher.gpu"))
    usage = estimate.of_run(table, {"apparatus": ["modal"]}, load())
    assert usage[0].dollars is None
    assert "modal X9 1.5 h, which has no rate" in estimate.summary(usage, load())


def test_what_is_not_paid_has_no_line():
    table = TABLE.with_columns(pl.lit("local").alias("config.hydra.launcher.apparatus"))
    assert estimate.summary(estimate.of_run(table, {"apparatus": ["local"]}, load()), load()) is None


def test_a_forecast_without_earlier_runs_is_the_most_it_can_be(tmp_path):
    place = Place("modal", "T4")
    expected = estimate.forecast({place: 10, Place("local"): 5}, "app.train", tmp_path, load(), {place: 3600})
    assert "10 jobs on modal T4: at most $5.97, if each takes its whole timeout: no earlier run" in expected.text
    assert "local" not in expected.text
    assert expected.dollars == pytest.approx(36000 * load()["modal"].per_second(place))
    assert estimate.forecast({place: 1}, "app.train", tmp_path, load(), {}).dollars is None
    assert estimate.forecast({Place("local"): 5}, "app.train", tmp_path, load(), {}) is None
