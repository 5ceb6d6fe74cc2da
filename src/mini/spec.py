"""The part of a job's config that says where it runs, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mini.errors import OptionError, did_you_mean

GROUPS = ("apparatus", "gpu", "image")
"""The config groups that say where a job runs. What it computes does not depend on them."""


@dataclass(frozen=True)
class Local:
    """`apparatus=local`: the options of `LocalApparatus`."""

    kind: ClassVar[str] = "local"
    workers: int | None = None
    timeout: float | None = None
    retries: int = 0


@dataclass(frozen=True)
class Debug:
    """`apparatus=debug`: the options of `DebugApparatus`."""

    kind: ClassVar[str] = "debug"
    pdb: bool = False
    retries: int = 0


@dataclass(frozen=True)
class Modal:
    """`apparatus=modal`: the options of `ModalApparatus`, which are those of `modal.App.function` and some of ours."""

    kind: ClassVar[str] = "modal"
    name: str | None = None
    timeout: int = 3600
    retries: int = 0
    max_containers: int | None = None
    min_containers: int | None = None
    scaledown_window: int | None = None
    startup_timeout: int | None = None
    cpu: float | None = None
    memory: int | None = None
    ephemeral_disk: int | None = None
    region: str | tuple[str, ...] | None = None
    cloud: str | None = None
    nonpreemptible: bool = False
    single_use_containers: bool = False
    secrets: tuple[str, ...] = ()
    volumes: tuple[tuple[str, str], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    pass_env: tuple[str, ...] = ()
    environment: str | None = None
    logs: bool = False
    pull: float | None = 10.0
    result_limit: float = 32.0
    group: int | None = None


@dataclass(frozen=True)
class Rehearsal(Modal):
    """`apparatus=rehearsal`: as `modal`; but nothing stays on a volume that goes with the command."""

    kind: ClassVar[str] = "rehearsal"
    pull: float | None = None
    isolated: bool = True


GPUS = (
    *("T4", "L4", "A10", "L40S", "A100", "A100-40GB", "A100-80GB", "RTX-PRO-6000"),
    *("H100", "H100!", "H200", "B200", "B200+", "B300", "A10G", "ANY"),
)
"""The names Modal knows in 2026 (https://modal.com/docs/guide/gpu). New ones appear: others are passed on."""


@dataclass(frozen=True)
class Gpu:
    """`gpu=…`: the type of GPU, how many for each job, and what to take instead where there is none, in order."""

    name: str | None = None
    count: int = 1
    fallback: tuple[str, ...] = ()

    @property
    def option(self) -> str | list[str] | None:
        """As an apparatus takes it: `A100`, `A100:2`, a list in order of preference, or None."""
        if self.name is None:
            return None
        names = [name if self.count == 1 or ":" in name else f"{name}:{self.count}" for name in self._names]
        return names if self.fallback else names[0]

    @property
    def unknown(self) -> list[str]:
        """The names Modal is not known to have."""
        return [name for name in self._names if name.split(":")[0].upper() not in GPUS]

    @property
    def _names(self) -> list[str]:
        return [name for name in (self.name, *self.fallback) if name is not None]


@dataclass(frozen=True)
class Image:
    """`image=…`: what a container is built from."""

    python: str | None = None
    base: str | None = None
    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    exclude_groups: tuple[str, ...] = ("local", "dev")
    builder: str | None = None
    max_upload: float | None = 200.0
    hf_cache: bool = False


@dataclass(frozen=True)
class Spec:
    """Where one job runs. Jobs with equal specs run together."""

    apparatus: Local | Debug | Modal = Local()
    gpu: Gpu = Gpu()
    image: Image = Image()


_APPARATUS: dict[str, type[Local | Debug | Modal]] = {kind.kind: kind for kind in (Local, Debug, Modal, Rehearsal)}


def parse(config: Mapping[str, Any], default: str = "local") -> Spec:
    """Check the groups of a job's config.

    Args:
        config: Plain values of `apparatus`, `gpu` and `image`; each may be missing.
        default: The kind of apparatus where the config names none.

    Raises:
        OptionError: A key or a kind is unknown, with the valid ones, or a value has the wrong type.
    """
    options = dict(config.get("apparatus") or {})
    kind = options.pop("kind", default)
    if kind not in _APPARATUS:
        raise OptionError(f"apparatus.kind={kind!r} is unknown; {did_you_mean(str(kind), _APPARATUS)}")
    return Spec(
        _parse("apparatus", _APPARATUS[kind], options),
        _parse("gpu", Gpu, config.get("gpu") or {}),
        _parse("image", Image, config.get("image") or {}),
    )


def _parse(group: str, schema: type[Any], values: Mapping[str, Any]) -> Any:
    fields = {f.name: f for f in dataclasses.fields(schema)}
    if not isinstance(values, Mapping):
        raise OptionError(f"{group} must be a group of options, not {values!r}; its keys: {', '.join(fields)}")
    checked = {}
    for name, value in values.items():
        if name not in fields:
            raise OptionError(f"{group}.{name} is not an option of {group}; {did_you_mean(str(name), fields)}")
        try:
            checked[name] = _CHECKS[str(fields[name].type)](value)
        except (ValueError, TypeError):
            raise OptionError(f"{group}.{name}={value!r} is not possible: it must be {fields[name].type}") from None
    return schema(**checked)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _region(value: Any) -> str | tuple[str, ...] | None:
    return value if value is None or isinstance(value, str) else _texts(value)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError
    return tuple(str(part) for part in value)


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(name), str(part)) for name, part in dict(value).items()))


# By the annotation of a field, which is also what an error says of it.
_CHECKS = {
    "int": _integer,
    "int | None": lambda value: None if value is None else _integer(value),
    "float": _number,
    "float | None": lambda value: None if value is None else _number(value),
    "bool": _boolean,
    "str | None": lambda value: None if value is None else str(value),
    "str | tuple[str, ...] | None": _region,
    "tuple[str, ...]": _texts,
    "tuple[tuple[str, str], ...]": _pairs,
}
