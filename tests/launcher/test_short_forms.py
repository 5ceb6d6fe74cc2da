"""The short forms of our options, beside whatever an application calls its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

MAIN = 'version_base="1.3", config_path="conf", config_name="config"'


def application(files, main=MAIN, head=""):
    """Write an application here whose task writes down its config."""
    for name, text in files.items():
        file = Path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    Path("script.py").write_text(
        f"import hydra\nfrom omegaconf import OmegaConf\n{head}\n@hydra.main({main})\ndef main(cfg):\n"
        "    return OmegaConf.to_yaml(cfg)\n\nif __name__ == '__main__':\n    main()\n"
    )


def run(*words, code=0, **env):
    done = subprocess.run(
        [sys.executable, "script.py", *words],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, **env},
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done


def job(number=0):
    """What a job's config and Hydra's launcher in it were."""
    folder = Path("run", str(number), ".hydra")
    return OmegaConf.to_container(OmegaConf.load(folder / "config.yaml")), OmegaConf.load(
        folder / "hydra.yaml"
    ).hydra.launcher


KEYS = {
    "scalars": ("gpu: 1\nimage: x\nresults: out\napparatus: y\n", ["gpu=2"], {"gpu": 2}),
    "mappings": ("gpu: {count: 7}\nimage: {apt: z}\n", ["gpu.count=8", "image.apt=w"], {"gpu": {"count": 8}}),
    "list": ("results: [1]\n", ["results=[2]"], {"results": [2]}),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_of_the_application_is_its_own_and_ours_has_its_long_form(name):
    text, overrides, expected = KEYS[name]
    application({"conf/config.yaml": f"defaults: [mini, _self_]\n{text}"})
    run(*overrides, "hydra.launcher.gpu.count=3", "hydra.sweep.dir=run")
    config, launcher = job()
    assert config == {**OmegaConf.to_container(OmegaConf.create(text)), **config}
    assert {key: config[key] for key in expected} == expected
    assert launcher.gpu.count == 3


def test_a_group_of_the_application_is_its_own_and_ours_is_under_mini():
    application(
        {
            "conf/config.yaml": "defaults:\n  - gpu: mine\n  - mini\n  - _self_\n",
            "conf/gpu/mine.yaml": "cores: 1\n",
            "conf/gpu/other.yaml": "cores: 2\n",
        }
    )
    run("gpu=mine,other", "mini/gpu=a100", "hydra.sweep.dir=run")
    assert [job(number)[0] for number in (0, 1)] == [{"gpu": {"cores": 1}}, {"gpu": {"cores": 2}}]
    assert job()[1].gpu.name == "A100"
    shown = run("--help").stdout
    assert "gpu: mine, other" in shown
    assert "mini/gpu: a10, a100" in shown


def test_a_dataclass_root_has_no_key_of_ours():
    application(
        {},
        main='version_base="1.3", config_path=None, config_name="config"',
        head="from dataclasses import dataclass, field\nfrom hydra.core.config_store import ConfigStore\n"
        "@dataclass\nclass Config:\n    x: int = 1\n"
        '    defaults: list = field(default_factory=lambda: ["mini", "_self_"])\n'
        'ConfigStore.instance().store(name="config", node=Config)\n',
    )
    run("x=1,2", "gpu=t4", "gpu.count=2", "image.apt=[ffmpeg]", "hydra.sweep.dir=run")
    config, launcher = job(1)
    assert config == {"x": 2}
    assert (launcher.gpu.name, launcher.gpu.count, launcher.image.apt) == ("T4", 2, ["ffmpeg"])


def test_an_experiment_says_short_forms_and_chooses_our_groups():
    application(
        {
            "conf/config.yaml": "defaults:\n  - mini\n  - _self_\n  - experiment: null\nx: 1\n",
            "conf/experiment/big.yaml": "# @package _global_\ndefaults:\n  - override /gpu: a100\n"
            "x: 5\ngpu: {count: 2}\napparatus: {workers: 1}\nresults: {rows: 3}\n",
        }
    )
    run("experiment=big", "gpu.count=4", "hydra.sweep.dir=run")
    config, launcher = job()
    assert config == {"x": 5}
    assert (launcher.gpu.name, launcher.gpu.count) == ("A100", 4)
    assert (launcher.apparatus.workers, launcher.results.rows) == (1, 3)


def test_swept_short_forms_make_jobs():
    application({"conf/config.yaml": "defaults: [mini, _self_]\nx: 1\n"})
    run("gpu.count=1,2", "gpu=t4,none", "hydra.sweep.dir=run")
    seen = [(job(number)[1].gpu.name, job(number)[1].gpu.count) for number in range(4)]
    assert seen == [("T4", 1), (None, 1), ("T4", 2), (None, 2)]


def test_without_a_config_path_the_launcher_is_there_when_it_is_asked_for():
    application({}, main='version_base="1.3", config_path=None')
    run("-m", "hydra/launcher=apparatus", "+x=1,2", "hydra.launcher.apparatus=debug", "hydra.sweep.dir=run")
    assert [job(number)[0] for number in (0, 1)] == [{"x": 1}, {"x": 2}]


def test_compose_gives_the_application_its_own_config():
    for name, first in (("with", "mini, "), ("without", "")):
        Path(name).mkdir()
        Path(name, "config.yaml").write_text(f"defaults: [{first}_self_]\nx: 1\n")
    Path("script.py").write_text(
        "import sys, hydra\nfrom pathlib import Path\nfrom omegaconf import OmegaConf\n"
        "with hydra.initialize_config_dir(str(Path(sys.argv[1]).absolute()), version_base='1.3'):\n"
        "    print(OmegaConf.to_container(hydra.compose('config', sys.argv[2:])))\n"
    )
    assert run("with", "x=2", "gpu=a100", "gpu.count=2").stdout == "{'x': 2}\n"
    assert run("without", "x=2", "+gpu=1").stdout == "{'x': 2, 'gpu': 1}\n"


def test_hydras_own_views_show_the_application_alone_and_ours_under_hydra():
    application({"conf/config.yaml": "defaults: [mini, _self_]\nx: 1\n"})
    assert run("--cfg", "job", "gpu=a100").stdout == "x: 1\n"
    shown = OmegaConf.create(run("--cfg", "hydra", "gpu=a100", "apparatus.workers=3").stdout).hydra.launcher
    assert (shown.gpu.name, shown.apparatus.workers) == ("A100", 3)
    assert list(OmegaConf.create(run("--cfg", "all").stdout)) == ["hydra", "x"]
    assert "hydra.launcher.gpu" in run("--info", "defaults").stdout
    helped = run("--help").stdout
    assert "apparatus: debug, local, modal, ray, rehearsal, slurm" in helped
    assert "apparatus.workers=4" in helped


def test_a_footer_of_the_application_stays():
    application({"conf/config.yaml": "defaults: [_self_, mini]\nhydra: {help: {footer: Mine.}}\n"})
    helped = run("--help").stdout
    assert "Mine." in helped
    assert "apparatus.workers=4" not in helped


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", {"apparatus=", "apparatus.", "gpu=", "gpu.", "image=", "image.", "results.", "hydra", "hydra.", "x="}),
        ("apparatus=", {f"apparatus={kind}" for kind in ("debug", "local", "modal", "ray", "rehearsal", "slurm")}),
        ("gpu=a100-", {"gpu=a100-40gb", "gpu=a100-80gb"}),
        ("apparatus.w", {"apparatus.workers="}),
        ("gpu.", {"gpu.name=", "gpu.count=", "gpu.fallback."}),
        ("hydra/sweeper=study study.stop.t", {f"study.stop.{name}=" for name in ("time", "trials", "target")}),
        ("hydra/launcher=", {"hydra/launcher=apparatus", "hydra/launcher=basic"}),
    ],
)
def test_the_shell_completes_our_groups_and_nothing_internal(line, offered):
    application({"conf/config.yaml": "defaults: [mini, _self_]\nx: 1\n"})
    done = run("-sc", "query=bash", COMP_LINE=f"python script.py {line}")
    assert {word for word in done.stdout.split() if "submitit" not in word and "joblib" not in word} == offered


def test_the_shell_completes_the_applications_own_key_where_it_has_our_name():
    application({"conf/config.yaml": "defaults: [mini, _self_]\ngpu: {lanes: 2}\n"})
    assert run("-sc", "query=bash", COMP_LINE="python script.py gpu.").stdout.split() == ["gpu.lanes="]


def test_an_application_without_mini_in_the_same_environment_is_untouched():
    application(
        {"conf/config.yaml": "gpu: 0\napparatus: none\nhydra: {run: {dir: run/0}, sweep: {dir: run, subdir: '0'}}\n"}
    )
    run("gpu=1", "apparatus=x")
    config, launcher = job()
    assert config == {"gpu": 1, "apparatus": "x"}
    assert launcher._target_.endswith("BasicLauncher")
    wrong = run("+gpu.count=1", "gpu=a,b", code=1)
    assert "error: " not in wrong.stderr
