"""The part of a job's config that says where it runs, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
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
class Gpu:
    """`gpu=…`: the type of GPU, how many for each job, and what to take instead."""

    name: str | None = None
    count: int = 1
    fallback: tuple[str, ...] = ()

    @property
    def option(self) -> str | None:
        """As an apparatus takes it: `A100`, `A100:2`, or None."""
        if self.name is None:
            return None
        return self.name if self.count == 1 else f"{self.name}:{self.count}"


@dataclass(frozen=True)
class Image:
    """`image=…`: what a container is built from."""

    python: str | None = None
    apt: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = field(default=())


@dataclass(frozen=True)
class Spec:
    """Where one job runs. Jobs with equal specs run together."""

    apparatus: Local | Debug = Local()
    gpu: Gpu = Gpu()
    image: Image = Image()


_APPARATUS: dict[str, type[Local | Debug]] = {kind.kind: kind for kind in (Local, Debug)}


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
    "float | None": lambda value: None if value is None else _number(value),
    "bool": _boolean,
    "str | None": lambda value: None if value is None else str(value),
    "tuple[str, ...]": _texts,
    "tuple[tuple[str, str], ...]": _pairs,
}
