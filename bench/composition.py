"""Composing the jobs of a sweep over mixed groups: Hydra's loader, and ours for the launch and for the validation."""

import statistics
import tempfile
import time
from pathlib import Path

from bench.sweep import write_application

JOBS = 300
ROUNDS = 5


def main():
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.utils import JobRuntime, setup_globals
    from hydra.types import RunMode

    from mini.launcher.fast.compose import TemplateLoader

    setup_globals()
    JobRuntime.instance().set("name", "bench")
    with tempfile.TemporaryDirectory() as name:
        write_application(Path(name))
        stock = ConfigLoaderImpl(config_search_path=create_config_search_path(str(Path(name, "conf"))))
        master = stock.load_configuration("config", ["hydra.mode=MULTIRUN"], RunMode.MULTIRUN)
        lists = [
            [f"model={'abc'[i % 3]}", f"optimizer={'abc'[i // 3 % 3]}", f"x={i}", f"+data.new={i / 7}", "seed=3"]
            for i in range(JOBS)
        ]
        ours = TemplateLoader(stock)
        assert ours.load_sweep_config(master, lists[7]) == stock.load_sweep_config(master, lists[7])
        ways = {
            "stock": lambda lines: stock.load_sweep_config(master, lines),
            "ours, a config": lambda lines: ours.load_sweep_config(master, lines),
            "ours, validated": lambda lines: ours.check(master, lines),
        }
        seconds = {way: [] for way in ways}
        for i in range(ROUNDS):
            for way, compose in ways.items():
                chosen = lists[i * 20 : i * 20 + 20] if way == "stock" else lists
                began = time.perf_counter()
                for lines in chosen:
                    compose(lines)
                seconds[way].append((time.perf_counter() - began) / len(chosen))
    middle = {way: statistics.median(each) for way, each in seconds.items()}
    print(f"one job of 9 choices of groups and 3 values, medians of {ROUNDS} alternated rounds")
    for way, each in middle.items():
        print(f"  {way:16} {1000 * each:7.2f} ms  {middle['stock'] / each:6.1f}x")
    return {"seconds_per_job": middle, "ratio": {way: middle["stock"] / each for way, each in middle.items()}}
