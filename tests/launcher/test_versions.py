"""What differs between versions of Hydra, in applications that are started as a user starts them."""

import subprocess
import sys
from pathlib import Path

import hydra
import polars as pl
import pytest

IS_1_3 = hydra.__version__.startswith("1.3.")
BASES = ['version_base="1.3", ', "version_base=None, ", ""]
if IS_1_3:
    BASES += ['version_base="1.2", ', 'version_base="1.1", ']


def application(main, body="return cfg.x", **configs):
    """Write a script and its configs here.

    Args:
        main: Arguments of `hydra.main`, but for the config's place.
        body: What the task does.
        configs: The text of each config, by its name.
    """
    for name, text in configs.items():
        file = Path("conf", f"{name}.yaml")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    Path("script.py").write_text(
        "import hydra, os\n"
        "from hydra.utils import instantiate\n"
        f'@hydra.main({main}config_path="conf", config_name="config")\n'
        f"def main(cfg):\n    {body}\n"
        'if __name__ == "__main__":\n    main()\n'
    )


def run(*overrides):
    return subprocess.run(
        [sys.executable, "script.py", "hydra.sweep.dir=outputs/out", *overrides],
        capture_output=True,
        text=True,
        timeout=120,
    )


def table():
    return pl.read_parquet("outputs/out/results.parquet")


@pytest.mark.parametrize("base", BASES)
def test_every_version_base_that_hydra_knows_runs_here(base):
    application(base, config="defaults: [mini, _self_]\nx: 1\n")
    done = run("x=1,2")
    assert done.returncode == 0, done.stderr
    assert table()["value"].to_list() == [1, 2]


def test_a_config_that_inherits_mini_is_a_multirun_with_the_same_errors():
    application(
        'version_base="1.3", ', config="defaults: [base, _self_]\nx: 1\n", base="defaults: [mini, _self_]\ny: 2\n"
    )
    done = run("x=1,2")
    assert done.returncode == 0, done.stderr
    assert table().height == 2
    wrong = run("z=1", "x=1,2", "hydra.sweep.dir=outputs/wrong")
    assert wrong.returncode == 2
    assert "error: there is no key 'z' in the config" in wrong.stderr
    assert not Path("outputs/wrong").exists()


def test_an_application_may_still_ask_for_a_single_run():
    application('version_base="1.3", ', body='print("single", cfg.x)', config="defaults: [mini, _self_]\nx: 1\n")
    done = run("hydra.mode=RUN")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "single 1\n"
    assert not Path("outputs/out").exists()


@pytest.mark.skipif(IS_1_3, reason="there is no execution whitelist before Hydra 1.4")
def test_the_execution_whitelist_holds_in_a_worker():
    application(
        'execution_whitelist=["collections.Counter"], ',
        body='return str(instantiate({"_target_": cfg.target}))',
        config="defaults: [mini, _self_]\ntarget: collections.Counter\n",
    )
    done = run("target=collections.Counter,fractions.Fraction")
    assert done.returncode == 1, done.stderr
    assert table()["state"].to_list() == ["done", "failed"]
    assert "fractions.Fraction" in table()["error"].to_list()[1]


def test_a_job_that_exits_is_its_own_failure_whatever_hydra_hangs_on_the_exception():
    application("", body="raise SystemExit(5)", config="defaults: [mini]\nx: 1\n")
    done = run("x=2")
    assert done.returncode == 1, done.stderr
    assert "SystemExit: 5" in done.stdout
