"""Applications of the kinds that people publish, small, with `MINI` where the line of ours goes.

Each has a `script.py` and its config files, and the commands it is tried with.
"""

from dataclasses import dataclass, field
from textwrap import dedent


@dataclass(frozen=True)
class Pattern:
    """An application.

    Args:
        script: Its source; `MINI` stands for the item of a defaults list written in Python.
        files: Its configs by path; a line `- MINI` is the item of a defaults list.
        commands: The overrides of each command.
        also: Files of a run that are compared beside those of its jobs.
    """

    script: str
    commands: tuple[tuple[str, ...], ...]
    files: dict[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()


def _script(text: str, head: str = "", main: str = 'config_path="conf", config_name="config"') -> str:
    """A script of a task's body, or all of a script's text below its imports."""
    begin = "import hydra\nfrom omegaconf import OmegaConf, MISSING\n"
    decorated = f'@hydra.main(version_base="1.3", {main})\n'
    return head + begin + dedent(text).replace("@main\n", decorated) + '\n\nif __name__ == "__main__":\n    main()\n'


_ROOT = 'config_path=None, config_name="config"'
_STORE = """
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Optional, List, Dict, get_type_hints
from hydra.core.config_store import ConfigStore
"""

PATTERNS: dict[str, Pattern] = {
    "dataclass_root": Pattern(
        _script(
            _STORE
            + """
class Kind(Enum):
    SGD = 1
    ADAM = 2

@dataclass
class Optimizer:
    lr: float = 0.1
    kind: Kind = Kind.SGD

@dataclass
class Config:
    defaults: List[Any] = field(default_factory=lambda: [MINI "_self_"])
    optimizer: Optimizer = field(default_factory=Optimizer)
    widths: List[int] = field(default_factory=lambda: [1, 2])
    name: Optional[str] = None

ConfigStore.instance().store(name="config", node=Config)

@main
def main(cfg: Config):
    assert isinstance(OmegaConf.to_object(cfg), Config)
    return cfg.optimizer.lr * cfg.optimizer.kind.value * sum(cfg.widths)
""",
            main=_ROOT,
        ),
        (("-m", "optimizer.lr=1,2", "optimizer.kind=ADAM"), ("-m", "optimizer.lr=often"), ("widths=[3]",)),
    ),
    "schema_in_defaults": Pattern(
        _script(
            _STORE
            + """
@dataclass
class Db:
    driver: str = MISSING
    port: int = 1

@dataclass
class Config:
    db: Db = field(default_factory=Db)
    debug: bool = False

ConfigStore.instance().store(name="base_config", node=Config)
ConfigStore.instance().store(group="db", name="base_mysql", node=Db)

@main
def main(cfg: Config):
    return {"port": cfg.db.port, "driver": cfg.db.driver}
"""
        ),
        (("-m", "db.port=1,2", "debug=true"), ("-m", "db=pg,mysql"), ("-m", "db.port=x")),
        {
            "conf/config.yaml": "defaults:\n  - base_config\n  - db: mysql\n  - MINI\n  - _self_\ndebug: false\n",
            "conf/db/mysql.yaml": "defaults:\n  - base_mysql\ndriver: mysql\nport: 3306\n",
            "conf/db/pg.yaml": "driver: pg\nport: 5432\n",
        },
    ),
    "future_annotations": Pattern(
        _script(
            _STORE
            + """
@dataclass
class Inner:
    size: int = 3
    table: Dict[str, int] = field(default_factory=lambda: {"a": 1})

@dataclass
class Config:
    defaults: List[Any] = field(default_factory=lambda: [MINI "_self_"])
    inner: Inner = field(default_factory=Inner)
    other: Optional[Inner] = None
    must: int = MISSING

ConfigStore.instance().store(name="config", node=Config)

@main
def main(cfg: Config):
    return sorted(get_type_hints(Config)), get_type_hints(Inner)["size"].__name__, cfg.inner.size, cfg.must
""",
            head="from __future__ import annotations\n",
            main=_ROOT,
        ),
        (("-m", "must=1,2"), ("-m", "inner.size=4")),
    ),
    "schema_in_a_function": Pattern(
        _script(
            _STORE
            + """
def schema():
    @dataclass
    class Local:
        size: int = 3
    return Local

@dataclass
class Config:
    defaults: List[Any] = field(default_factory=lambda: [{"part": "local"}, MINI "_self_"])
    part: Any = None

ConfigStore.instance().store(name="config", node=Config)
ConfigStore.instance().store(group="part", name="local", node=schema())

@main
def main(cfg):
    return cfg.part.size
""",
            main=_ROOT,
        ),
        (("-m", "part.size=1,2"),),
    ),
    "classes_of_the_script": Pattern(
        _script(
            """
import multiprocessing, pickle
from hydra.utils import instantiate, get_class, call

class Model:
    def __init__(self, width):
        self.width = width

def square(number):
    return number * number

@main
def main(cfg):
    model = instantiate(cfg.model)
    assert isinstance(model, Model) and get_class("__main__.Model") is Model
    assert pickle.loads(pickle.dumps(model)).width == model.width
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(square, [model.width]) + [call(cfg.fn, number=2)]
"""
        ),
        (("-m", "model.width=2,3"),),
        {
            "conf/config.yaml": "defaults:\n  - MINI\n  - _self_\n"
            "model:\n  _target_: __main__.Model\n  width: 1\nfn:\n  _target_: __main__.square\n"
        },
    ),
    "keywords_and_missing": Pattern(
        _script(
            """
def train(lr, data, gpu, image, results, apparatus):
    return [lr, dict(data), gpu, dict(image), results, list(apparatus)]

@main
def main(cfg):
    return train(**cfg)
"""
        ),
        (("-m", "lr=1,2", "data.path=x"), ("-m", "lr=1"), ("-m", "lr=1", "data.path=y", "gpu=2,3", "image.size=4")),
        {
            "conf/config.yaml": "defaults:\n  - MINI\n  - _self_\n"
            "lr: ???\ndata:\n  path: ???\ngpu: 1\nimage:\n  size: 32\nresults: out\napparatus: [microscope]\n"
        },
    ),
    "groups_of_its_own": Pattern(
        _script("@main\ndef main(cfg):\n    return cfg.gpu.name + cfg.image.name"),
        (("-m", "gpu=mine,other"), ("-m", "image=small", "gpu.name=x")),
        {
            "conf/config.yaml": "defaults:\n  - gpu: mine\n  - image: large\n  - MINI\n  - _self_\n",
            "conf/gpu/mine.yaml": "name: mine\n",
            "conf/gpu/other.yaml": "name: other\n",
            "conf/image/small.yaml": "name: small\n",
            "conf/image/large.yaml": "name: large\n",
        },
    ),
    "compose_in_a_job": Pattern(
        _script(
            _STORE
            + """
from hydra.core.global_hydra import GlobalHydra

@dataclass
class Preset:
    size: int = 7

ConfigStore.instance().store(group="preset", name="seven", node=Preset)

@main
def main(cfg):
    other = hydra.compose("config", overrides=["db=far", "+preset=seven"])
    return GlobalHydra.instance().is_initialized(), other.db.name, other.preset.size
"""
        ),
        (("-m", "x=1,2"),),
        {
            "conf/config.yaml": "defaults:\n  - db: near\n  - MINI\n  - _self_\nx: 0\n",
            "conf/db/near.yaml": "name: near\n",
            "conf/db/far.yaml": "name: far\n",
        },
    ),
    "logs_and_failures": Pattern(
        _script(
            """
import logging, os
log = logging.getLogger(__name__)

@main
def main(cfg):
    log.info("x is %s", cfg.x)
    if cfg.x == 1:
        raise ValueError("one")
    return os.environ.get("SET"), os.path.basename(os.getcwd()) if cfg.here else None
"""
        ),
        (
            ("-m", "x=0,2"),
            ("-m", "x=0,1"),
            ("x=3",),
            ("x=1",),
            ("-m", "x=4", "+hydra.job.env_set.SET=yes"),
            ("-m", "x=5", "here=true", "hydra.job.chdir=true"),
        ),
        {"conf/config.yaml": "defaults:\n  - MINI\n  - _self_\nx: 0\nhere: false\n"},
    ),
    "zen": Pattern(
        dedent(
            """
            from hydra_zen import builds, store, zen, make_config

            class Model:
                def __init__(self, width, depth=1):
                    self.width, self.depth = width, depth

            def task(model, lr):
                return model.width * model.depth * lr

            ModelConf = builds(Model, width=2, populate_full_signature=True)
            store(ModelConf, group="model", name="base")
            store(ModelConf(depth=5), group="model", name="deep")
            Config = make_config(hydra_defaults=[{"model": "base"}, MINI "_self_"], lr=0.5, model=None)
            store(Config, name="config")

            if __name__ == "__main__":
                store.add_to_hydra_store()
                zen(task).hydra_main(config_name="config", config_path=None, version_base="1.3")
            """
        ),
        (("-m", "lr=1,2"), ("-m", "model=base,deep", "model.width=3"), ("lr=7",)),
    ),
    "template": Pattern(
        _script(
            """
import logging
from hydra.utils import instantiate
from hydra.core.hydra_config import HydraConfig
log = logging.getLogger(__name__)

class Net:
    def __init__(self, width, optimizer):
        self.width, self.optimizer = width, optimizer(lr=0.1)

class Sgd:
    def __init__(self, lr, momentum):
        self.lr, self.momentum = lr, momentum

class Saver:
    def __init__(self, dirpath, monitor):
        self.dirpath, self.monitor = dirpath, monitor

@main
def main(cfg):
    callbacks = [instantiate(one) for one in cfg.callbacks.values() if "_target_" in one]
    assert callbacks[0].dirpath == HydraConfig.get().runtime.output_dir + "/checkpoints"
    net = instantiate(cfg.model)
    log.info("Instantiating <%s> with tags %s", cfg.model._target_, list(cfg.tags))
    metrics = {"val/acc": net.width * net.optimizer.momentum, "seed": cfg.get("seed")}
    return metrics[cfg.optimized_metric]
""",
            main='config_path="conf", config_name="train.yaml"',
        ),
        (
            ("-m", "experiment=wide", "model.width=1,2"),
            ("-m", "experiment=wide,narrow", "tags=[a,b]"),
            ("experiment=wide",),
            ("-m", "model.optimizer.momentum=0.5,1", "callbacks=none"),
        ),
        {
            "conf/train.yaml": "defaults:\n  - _self_\n  - model: net\n  - callbacks: default\n  - paths: default\n"
            "  - hydra: default\n  - experiment: null\n  - optional local: default\n  - MINI\n"
            'task_name: train\ntags: ["dev"]\nseed: null\noptimized_metric: val/acc\n',
            "conf/model/net.yaml": "_target_: __main__.Net\nwidth: 4\n"
            "optimizer:\n  _target_: __main__.Sgd\n  _partial_: true\n  momentum: 0.9\n",
            "conf/callbacks/default.yaml": "defaults:\n  - saver\n  - _self_\nsaver:\n  monitor: val/acc\n",
            "conf/callbacks/saver.yaml": "saver:\n  _target_: __main__.Saver\n"
            "  dirpath: ${paths.output_dir}/checkpoints\n  monitor: ???\n",
            "conf/callbacks/none.yaml": "defaults:\n  - default\n  - _self_\n",
            "conf/paths/default.yaml": "output_dir: ${hydra:runtime.output_dir}\nwork_dir: ${hydra:runtime.cwd}\n",
            "conf/hydra/default.yaml": "run:\n  dir: logs/${task_name}/runs/${now:%Y-%m-%d}\n"
            "job_logging:\n  handlers:\n    file:\n      filename: ${hydra.runtime.output_dir}/${task_name}.log\n",
            "conf/experiment/wide.yaml": "# @package _global_\ndefaults:\n  - override /callbacks: default\n"
            'tags: ["wide"]\nseed: 1\nmodel:\n  width: 64\n',
            "conf/experiment/narrow.yaml": '# @package _global_\ntags: ["narrow"]\nmodel:\n  width: 1\n',
        },
    ),
    "optuna_one": Pattern(
        _script("@main\ndef main(cfg):\n    return (cfg.x - 0.5) ** 2"),
        (("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2",
          "hydra.sweeper.sampler.seed=1", "x=interval(0,1)"),),
        {"conf/config.yaml": "defaults:\n  - MINI\n  - _self_\nx: 0\n"},
        ("optimization_results.yaml",),
    ),
    "optuna_two": Pattern(
        _script("@main\ndef main(cfg):\n    return cfg.x, 1 / cfg.x"),
        (("-m", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=1"),),
        {
            "conf/config.yaml": "defaults:\n  - MINI\n  - override hydra/sweeper: optuna\n"
            "  - override hydra/sweeper/sampler: random\n  - _self_\nx: 1\n"
            "hydra:\n  sweeper:\n    direction: [minimize, maximize]\n    sampler:\n      seed: 3\n"
            "    params:\n      x: interval(0.25, 1)\n"
        },
        ("optimization_results.yaml",),
    ),
}  # fmt: skip
