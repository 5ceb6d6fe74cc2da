"""What is composed from a template equals what Hydra composes, over many kinds of overrides, errors included."""

import enum
import itertools
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobRuntime, setup_globals
from hydra.types import HydraContext, RunMode
from omegaconf import MISSING, OmegaConf

from mini import fallbacks
from mini.launcher import supported
from mini.launcher.fast.compose import TemplateLoader, install

PROJECT = Path(__file__).parents[2]

FILES = {
    "config.yaml": """
defaults:
  - model: small
  - optimizer@train.optimizer: adam
  - data/source: disk
  - optional extra: null
  - _self_
  - typed: schema
lr: 0.1
twice: ${times:${lr}}
nested: {a: 1, b: {c: [1, 2, 3], d: null}, text: "x y"}
list: [1, {k: v}]
missing: ???
from_group: ${model.size}
name: ${hydra:job.name}
alias: ${nested}
typed: {size: 3}
hydra: {job: {config: {override_dirname: {exclude_keys: [seed]}}}}
seed: 0
""",
    "model/small.yaml": "size: 1\nkind: small\n",
    "model/large.yaml": "defaults: [small, _self_]\nsize: 9\nkind: large\ndeep: {er: 1}\n",
    "optimizer/adam.yaml": "name: adam\nlr: ${lr}\n",
    "optimizer/sgd.yaml": "name: sgd\nmomentum: 0.9\n",
    "data/source/disk.yaml": "path: /disk\n",
    "data/source/web.yaml": "# @package _global_\nsource: {url: web}\n",
    "extra/one.yaml": "x: 1\n",
    "extra/two.yaml": "x: 2\n",
}

LISTS = [
    [],
    ["lr=1e-3"],
    ["lr=1", "lr=2"],
    ["model=large"],
    ["model=large", "model.size=3"],
    ["model.size=3", "model=large"],
    ["model=small", "model=large"],
    ["optimizer@train.optimizer=sgd", "train.optimizer.momentum=0.1"],
    ["optimizer=sgd"],
    ["+optimizer@other=sgd"],
    ["data/source=web"],
    ["data.source=web"],
    ["extra=one"],
    ["+extra=two"],
    ["~extra"],
    ["~model"],
    ["~model=small"],
    ["~model=large"],
    ["~lr"],
    ["~lr=0.1"],
    ["~lr=7"],
    ["~nothing"],
    ["+new=1"],
    ["++new.deep.er=1"],
    ["+lr=1"],
    ["++lr=1"],
    ["new=1"],
    ["nested.a=null"],
    ["nested.b.c=[4,5]"],
    ["nested.b.c=[]", "+nested.b.e={x:1,y:[2]}"],
    ["nested={a:5}"],
    ["+nested={z:5}"],
    ["list.0=9"],
    ["list.1.k=w"],
    ["list=[a,'b c',\"d,e\"]"],
    ["missing=here"],
    ["lr=${seed}", "seed=3"],
    ["nested.text='${seed} and ${model.kind}'"],
    ["nested.text=${oc.env:HOME}"],
    ["nested.text=\\${not}"],
    ["lr=${times:4}"],
    ["seed=5", "lr=2"],
    ["model={size:4}"],
    ["model=[small]"],
    ["model=nothing"],
    ["modle=small"],
    ["lr=1,2"],
    ["lr=range(1,3)"],
    ["model=small,large"],
    ["lr='1,2'"],
    ["lr="],
    ["=1"],
    ["lr"],
    ["hydra.job.name=other"],
    ["hydra.sweep.subdir=x-${lr}"],
    ["hydra/job_logging=none"],
    ["hydra=1"],
    ["lr=true"],
    ["lr=0x10"],
    ["lr=1_000"],
    ["lr=nan"],
    ["nested.a=int(3.7)"],
    ["nested.text=' spaced '"],
    ["nested.text=ünïcode"],
    ["nested.text=a:b"],
    ["nested.b.c.7=1"],
    ["nested.a.b=1"],
    ["alias.a=5"],
    ["alias.b.d=5", "nested.b.d=6"],
    ["~alias.a"],
    ["~alias.b.c", "nested.a=3"],
    ["~alias"],
    ["+alias.z={q: 1}"],
    ["alias={a: 1}"],
    ["++alias.b={c: 2}"],
    ["nested.b=${alias}"],
    ["typed.size=4"],
    ["typed.size=many"],
    ["typed.size=null"],
    ["typed.color=RED"],
    ["typed.color=MAUVE"],
    ["typed.items=[1,2]"],
    ["typed.items=[1,x]"],
    ["typed.inner.rate=1e-3", "typed.inner.name=null"],
    ["typed.inner={rate: 2}"],
    ["typed.inner.rates=2"],
    ["+typed.new=1"],
    ["~typed.size"],
    ["typed.table={a: 1}"],
    ["+typed.table.b=x"],
    ["typed=other", "typed.size=5"],
    ["typed.maybe=${lr}"],
    ["seed=1", "model=large", "optimizer@train.optimizer=sgd", "lr=3", "+extra=one", "nested.a=8"],
]


LEFT_TO_HYDRA = {
    "hydra.job.name=other": "a job overrides Hydra's config",
    "hydra.sweep.subdir=x-${lr}": "a job overrides Hydra's config",
    "hydra/job_logging=none": "a job overrides Hydra's config",
    "hydra=1": "a job overrides Hydra's config",
    "=1": "unexpected ValueError",  # Hydra's too: it asks whether there is a group of no name
}
"""The lists that are not composed from a template though nothing is wrong with them, and why."""

EXAMPLE = [
    [],
    ["model=large", "optimizer=sgd", "optimizer.lr=0.3"],
    ["seed=1", "model.hidden=[8]", "apparatus=debug", "gpu=t4"],
    ["apparatus=rehearsal", "image=ffmpeg", "++new.key=[1,2]"],
]


class Color(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Inner:
    rate: float = 0.5
    name: str | None = "x"


@dataclass
class Typed:
    size: int = 2
    color: Color = Color.BLUE
    items: list[int] = field(default_factory=lambda: [7])
    inner: Inner = field(default_factory=Inner)
    table: dict[str, int] = field(default_factory=dict)
    maybe: int | None = None
    must: int = MISSING


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conf")
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    ConfigStore.instance().store(group="typed", name="schema", node=Typed)
    ConfigStore.instance().store(group="typed", name="other", node=Typed(size=9))
    setup_globals()
    supported.register_resolver("times", lambda x: 2 * float(x), replace=True)
    return ConfigLoaderImpl(config_search_path=create_config_search_path(str(folder)))


@pytest.fixture(scope="module")
def master(loader):
    JobRuntime.instance().set("name", "test")
    return loader.load_configuration("config", ["hydra.mode=MULTIRUN", "hydra.job.chdir=true"], RunMode.MULTIRUN)


def outcome(loader, master, overrides):
    """The config, or the error, in a form that can be compared."""
    try:
        config = loader.load_sweep_config(master, list(overrides))
    except Exception as error:  # noqa: BLE001 - it is compared
        return type(error), str(error)
    flags = {
        key: (config._get_full_key(key), OmegaConf.is_struct(config[key]), OmegaConf.is_readonly(config[key]))
        for key in config
        if not OmegaConf.is_missing(config, key) and OmegaConf.is_config(config._get_node(key))
    }
    return (
        repr(OmegaConf.to_container(config, resolve=False)),
        OmegaConf.to_yaml(config),
        OmegaConf.is_struct(config),
        OmegaConf.get_type(config.hydra),
        flags,
    )


@pytest.mark.parametrize("overrides", LISTS, ids=" ".join)
def test_a_template_gives_what_hydra_gives(loader, master, overrides):
    ours = TemplateLoader(loader)
    expected = outcome(loader, master, overrides)
    assert outcome(ours, master, overrides) == expected
    assert outcome(ours, master, overrides) == expected, "and again, from the template that is there now"


def test_pairs_of_overrides_share_templates_without_touching_each_other(loader, master):
    ours = TemplateLoader(loader)
    pairs = [[*a, *b] for a, b in itertools.islice(itertools.product(LISTS[1:30:3], LISTS[2:44:4]), 60)]
    for overrides in [*pairs, *reversed(pairs)]:
        assert outcome(ours, master, overrides) == outcome(loader, master, overrides), overrides


def test_validating_says_what_composing_says(loader, master):
    ours = TemplateLoader(loader)
    for overrides in [*LISTS, *random.Random(1).sample(LISTS, len(LISTS))]:
        expected = outcome(loader, master, overrides)
        said = None
        try:
            ours.check(master, overrides)
        except Exception as error:  # noqa: BLE001 - it is compared
            said = type(error), str(error)
        assert said == (expected if len(expected) == 2 else None), overrides


def test_values_set_on_a_draft_are_taken_back(loader, master):
    compare_drafts(loader, master, LISTS)


def compare_drafts(loader, master, lists):
    ours, expected = TemplateLoader(loader), {}
    for seed in range(3):
        for overrides in random.Random(seed).sample(lists, len(lists)):
            key = tuple(overrides)
            expected[key] = expected.get(key) or outcome(loader, master, overrides)
            try:
                recipe = ours.recipe(master, overrides)
                if recipe is None:
                    continue
                with ours.draft(recipe) as config:
                    drafted = repr(OmegaConf.to_container(config, resolve=False)), OmegaConf.to_yaml(config)
            except Exception:  # noqa: BLE001 - the errors are compared elsewhere
                assert len(expected[key]) == 2, overrides
            else:
                assert drafted == expected[key][:2], overrides


def test_what_a_resolver_gave_in_one_job_is_not_kept_for_the_next(loader, master):
    calls = itertools.count()
    supported.register_resolver("count", lambda: next(calls), use_cache=True, replace=True)
    ours, seen = TemplateLoader(loader), []
    for lr in (1, 2):
        with ours.draft(ours.recipe(master, [f"lr={lr}", "nested.text='${count:}'"])) as config:
            seen += [config.nested.text, config.nested.text]
    assert seen == [0, 0, 1, 1]


def test_most_come_from_a_template(loader, master, monkeypatch):
    ours = TemplateLoader(loader)
    for lr in range(20):
        ours.load_sweep_config(master, [f"lr={lr}", "model=large"])
    assert len(ours.templates) == 1
    monkeypatch.setattr(loader, "load_sweep_config", None)
    assert ours.load_sweep_config(master, ["lr=99", "model=large"]).lr == 99


@pytest.mark.parametrize("overrides", LISTS, ids=" ".join)
def test_what_hydra_accepts_is_composed_from_a_template(loader, master, overrides):
    fallbacks.reset()
    refused = len(outcome(TemplateLoader(loader), master, overrides)) == 2
    reason = LEFT_TO_HYDRA.get(" ".join(overrides), "an override is wrong" if refused else None)
    assert fallbacks.counts() == ({("compose", reason): 1} if reason else {})


def test_the_example_is_composed_from_templates():
    setup_globals()
    JobRuntime.instance().set("name", "example")
    loader = ConfigLoaderImpl(config_search_path=create_config_search_path(str(PROJECT / "conf")))
    master = loader.load_configuration("config", ["hydra.mode=MULTIRUN"], RunMode.MULTIRUN)
    ours = TemplateLoader(loader)
    fallbacks.reset()
    for overrides in EXAMPLE:
        assert outcome(ours, master, overrides) == outcome(loader, master, overrides), overrides
        ours.check(master, overrides)
        with ours.draft(ours.recipe(master, overrides)) as config:
            assert config == loader.load_sweep_config(master, list(overrides))
    assert fallbacks.counts() == {}


def test_a_bug_of_ours_is_counted_by_its_name(loader, master, monkeypatch):
    monkeypatch.setattr("mini.launcher.fast.compose.set_values", lambda config, recipe: config.nothing.at.all())
    monkeypatch.setattr("mini.launcher.fast.compose.pickle", None)
    fallbacks.reset()
    assert TemplateLoader(loader).load_sweep_config(master, ["lr=3"]).lr == 3
    assert fallbacks.counts() == {("compose", "unexpected AttributeError"): 1}


def test_a_group_of_a_further_search_path_is_a_group(tmp_path):
    for name, text in {
        "conf/config.yaml": f"defaults: [db: sqlite, _self_]\nhydra: {{searchpath: ['file://{tmp_path}/more']}}\n",
        "conf/db/sqlite.yaml": "name: sqlite\n",
        "more/db/postgres.yaml": "name: postgres\n",
        "more/cache/redis.yaml": "port: 1\n",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    setup_globals()
    JobRuntime.instance().set("name", "test")
    loader = ConfigLoaderImpl(config_search_path=create_config_search_path(str(tmp_path / "conf")))
    master = loader.load_configuration("config", ["hydra.mode=MULTIRUN"], RunMode.MULTIRUN)
    ours = TemplateLoader(loader)
    fallbacks.reset()
    for overrides in (["db=postgres"], ["+cache=redis"], ["+cache=redis", "cache.port=2"]):
        assert outcome(ours, master, overrides) == outcome(loader, master, overrides), overrides
    assert fallbacks.counts() == {}


@pytest.mark.skipif(not hasattr(Override, "is_list_extend"), reason="lists are extended from Hydra 1.4 on")
@pytest.mark.parametrize(
    "overrides",
    [["nested.b.c=extend_list(4)"], ["alias.b.c=extend_list(9)"], ["typed.items=extend_list(x)"]],
    ids=" ".join,
)
def test_a_list_is_extended_as_hydra_extends_it(loader, master, overrides):
    ours = TemplateLoader(loader)
    assert outcome(ours, master, overrides) == outcome(loader, master, overrides)
    compare_drafts(loader, master, [overrides, [], overrides, ["nested.a=2"]])


def test_a_config_edited_while_a_sweep_runs_does_not_change_later_jobs(loader, master):
    ours = TemplateLoader(loader)
    before = ours.load_sweep_config(master, ["model=large", "lr=1"])
    file = Path(loader.config_search_path.get_path()[1].path.removeprefix("file://"), "model", "large.yaml")
    text = file.read_text()
    try:
        file.write_text("size: 77\n")
        after = ours.load_sweep_config(master, ["model=large", "lr=1"])
    finally:
        file.write_text(text)
    assert after == before


def test_another_loader_and_another_version_are_left_alone(loader, monkeypatch):
    context = HydraContext(config_loader=loader, callbacks=None)
    monkeypatch.setattr("hydra.__version__", "1.5.0")
    fallbacks.reset()
    install(context)
    assert context.config_loader is loader
    assert fallbacks.counts() == {("compose", "not checked on hydra-core 1.5.0"): 1}
    monkeypatch.undo()
    install(context)
    assert isinstance(context.config_loader, TemplateLoader)
    once = context.config_loader
    install(context)
    assert context.config_loader is once
