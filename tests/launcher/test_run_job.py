"""The YAML of a job is what OmegaConf writes, byte for byte, and a job runs as Hydra's `run_job` runs it."""

import math

import pytest
from omegaconf import OmegaConf

from mini.launcher.fast.run_job import copy_parts, move_parts
from mini.launcher.fast.yaml import to_yaml

VALUES = [
    {},
    {"a": {}, "b": []},
    {"a": "", "b": " ", "c": "x ", "d": " x", "e": "a\nb", "f": "a\n", "g": "\n", "h": "tab\there"},
    {
        "a": "yes",
        "b": "no",
        "c": "null",
        "d": "~",
        "e": "1",
        "f": "1e3",
        "g": "0x1",
        "h": "1_000",
        "i": "on",
        "j": "2026-11-24",
    },
    {
        "a": "1.5",
        "b": ".5",
        "c": "nan",
        "d": ".inf",
        "e": "inf",
        "f": "-",
        "g": "- x",
        "h": "a: b",
        "i": "a #b",
        "j": "#a",
    },
    {
        "a": "{x}",
        "b": "[x]",
        "c": "*x",
        "d": "&x",
        "e": "!x",
        "f": "%x",
        "g": "@x",
        "h": "`x",
        "i": "'",
        "j": '"',
        "k": "'\"",
        "l": "\\",
    },
    {"a": "é ü ✓ 漢字", "b": "\u2028", "c": "\x00", "d": "\x7f", "e": "😀", "f": "\ufeff"},
    {"a": "${b}", "b": 1, "c": "${oc.env:HOME}", "d": "???", "e": "x ${b} y"},
    {"a": 1, "b": 1.0, "c": 1e300, "d": 1e-7, "e": math.inf, "f": -math.inf, "g": True, "h": None, "i": 2**70},
    {1: "int key", 2.5: "float key", False: "bool key", "with space": 1, "with:colon": 2, "": 3},
    {"list": [1, [2, [3, {"x": [4]}]], {"y": {"z": []}}], "text": ["a b", "", None]},
    {"long": "word " * 60, "longer": "x" * 500, "mixed": ("word " * 30 + "\n") * 3, "folded": "a" * 79 + " b"},
    {"x" * 200: 1, "key " * 40: 2},
    [1, "a=b", "c={d:1}"],
    ["lr=0.1", "model=large", "+x='a b'", "y=[1,2]", "z=${q}", "t=" + "w " * 100],
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_the_yaml_is_that_of_omegaconf(value):
    config = OmegaConf.create(value)
    assert to_yaml(config) == OmegaConf.to_yaml(config)


def test_nan_too():
    config = OmegaConf.create({"x": math.nan})
    assert to_yaml(config) == OmegaConf.to_yaml(config)


def test_the_two_parts_of_a_config_are_copies():
    config = OmegaConf.create({"hydra": {"job": {"num": 1}}, "x": {"y": 1}, "z": "${x.y}"})
    OmegaConf.set_struct(config, True)
    task, hydra = copy_parts(config)
    assert (list(task), list(hydra)) == (["x", "z"], ["hydra"])
    assert task.z == 1
    assert OmegaConf.is_struct(task)
    task.x.y = 2
    assert (config.x.y, config.hydra.job.num) == (1, 1)
    assert OmegaConf.is_readonly(hydra.hydra)


def test_a_config_taken_apart_is_as_its_copies():
    config = OmegaConf.create({"hydra": {"job": {"num": 1}}, "x": {"y": 1}, "z": "${x.y}", "w": [1, "${z}"]})
    OmegaConf.set_struct(config, True)
    copies = copy_parts(config)
    task, hydra = move_parts(config)
    assert (task, hydra) == copies
    assert (task.z, task.w[1]) == (1, 1)
    assert [OmegaConf.is_struct(part) for part in (task, task.x, hydra.hydra.job)] == [True] * 3
    assert [OmegaConf.is_readonly(part) for part in (hydra.hydra.job, task.x)] == [True, None]


def test_hydras_part_is_written_as_a_whole_would_be():
    nodes = {
        "help": {"text": "word " * 40 + "\n${hydra.job.name}", "empty": {}},
        "job": {"num": 1, "name": "é", "dirname": "lr=0.1,x='a b " + "w " * 60 + "'"},
        "overrides": {"task": ["a=1", "t=" + "w " * 100], "hydra": []},
        "verbose": False,
        "output_subdir": None,
        "runtime": {"missing": "???", "sources": [{"path": "p", "schema": "file"}]},
    }
    for num in (1, 2):
        nodes["job"]["num"] = num
        config = OmegaConf.create({"hydra": nodes})
        OmegaConf.set_readonly(config.hydra, True)
        assert to_yaml(config, template=b"one") == OmegaConf.to_yaml(config)
    assert "num: 2" in to_yaml(config, template=b"one")
