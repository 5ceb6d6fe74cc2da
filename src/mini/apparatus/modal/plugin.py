"""The engine `modal`: its options, how to make one, and how to find its runs again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mini.apparatus.options import Options, Pairs, boolean, items, number, option, pairs, text, texts, whole
from mini.apparatus.plugin import Attached, Elsewhere, Plugin

if TYPE_CHECKING:
    from mini.apparatus.modal.apparatus import ModalApparatus
    from mini.runs.folder import RunFolder

LONGEST = 24 * 3600
"""Seconds; the longest timeout Modal allows (https://modal.com/docs/guide/timeouts)."""


def _timeout(value: Any) -> int:
    if value is None:
        return 3600
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= LONGEST:
        raise ValueError(f"it must be a number of seconds from 1 to {LONGEST}, the longest Modal allows")
    return int(value)


def _retries(value: Any) -> Any:
    count = getattr(value, "max_retries", value)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError("it must be a whole number, 0 or more, or a modal.Retries")
    return value


def _amount(value: Any) -> Any:
    """A number, or a pair: what is requested, and the limit."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(number(0)(part) for part in value)
    return number(0)(value)


def _memory(value: Any) -> Any:
    found = _amount(value)
    return tuple(int(part) for part in found) if isinstance(found, tuple) else int(found)


def _region(value: Any) -> Any:
    return value if isinstance(value, str) else texts(value)


def _names(value: Any) -> tuple[Any, ...]:
    """Names, or objects of Modal's client."""
    if isinstance(value, str | Mapping) or not hasattr(value, "__iter__"):
        raise ValueError("it must be a list of names, such as [huggingface]")
    return tuple(value)


@dataclass(frozen=True)
class ModalOptions(Options):
    """`apparatus=modal`: containers on Modal. `gpu` says which GPU, `image` what they are built from."""

    retries: Any = option(
        0, "further attempts of a job that failed; a lost container is replaced in any case", _retries
    )
    name: str | None = option(
        None, "of the app and the volume; null: the project's name in `pyproject.toml`", text, shared=True
    )
    timeout: int = option(3600, "seconds an attempt of a job may take, from 1 to 86400", _timeout)
    max_containers: int | None = option(None, "how many at a time; null: as many as Modal gives", whole(1))
    min_containers: int | None = option(None, "how many are kept ready", whole(0))
    buffer_containers: int | None = option(None, "how many more are kept ready while jobs run", whole(0))
    scaledown_window: int | None = option(None, "seconds an idle container is kept, from 2 to 3600", whole(2, 3600))
    startup_timeout: int | None = option(None, "seconds a container may take to start; null: as `timeout`", whole(1))
    cpu: Any = option(None, "cores, or `[request, limit]`; null: Modal's 0.125, and more while there is more", _amount)
    memory: Any = option(None, "MiB, or `[request, limit]`; null: Modal's 128, and more while there is more", _memory)
    ephemeral_disk: int | None = option(None, "MiB", whole(1))
    region: Any = option(None, "a region, or a list of them", _region)
    cloud: str | None = option(None, "a cloud provider", text)
    nonpreemptible: bool = option(False, "do not take containers away; three times the price, and only without a GPU")
    single_use_containers: bool = option(False, "a new container for each job")
    block_network: bool = option(False, "no network in the container")
    secrets: tuple[Any, ...] = option((), "names of Modal secrets: environment variables of the job", _names)
    volumes: Pairs = option((), "other Modal volumes: mount point, and name", items)
    env: tuple[tuple[str, str], ...] = option((), "environment variables of the job", pairs)
    pass_env: tuple[str, ...] = option((), "names of variables of this environment that jobs get too", texts)
    environment: str | None = option(None, "Modal's environment", text, shared=True)
    logs: bool = option(False, "show here what jobs print", boolean)
    pull: float | None = option(
        10.0,
        "MiB; files up to this size come home after a run, larger ones stay on the volume; null for all",
        number(0),
    )
    pull_total: float | None = option(
        10240.0,
        "MiB that come home of a run altogether, small files first; the rest stays on the volume; null for any number",
        number(0),
    )
    result_limit: float = option(32.0, "MiB a returned value may have", number(0, "MiB"))
    group: int | None = option(
        None, "how many short jobs go into one input; null: by measuring, 1: each alone", whole(1)
    )
    extra: Pairs = option((), "further options of `modal.App.function`", items, config=False)


def _make(name: str, options: ModalOptions) -> ModalApparatus:
    from mini.apparatus.modal.apparatus import ModalApparatus

    return ModalApparatus(options.name or name, environment=options.environment)


def _attach(folder: RunFolder, place: Mapping[str, Any] | None) -> Attached:
    from mini.apparatus.modal import extra
    from mini.apparatus.modal.runs import ModalRun

    extra.require("a run on Modal")
    return ModalRun(folder, place)


def _elsewhere() -> Elsewhere:
    from mini.apparatus.modal import extra
    from mini.apparatus.modal.runs import ModalRuns

    extra.require("a run on Modal")
    return ModalRuns()


PLUGIN = Plugin("modal", "containers on Modal", ModalOptions, _make, _attach, _elsewhere)
