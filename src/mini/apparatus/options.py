"""What the options of an engine are, and how a value is checked.

The options of an engine are a frozen dataclass whose fields `option` makes: a type, a default, a line of help and,
where the type does not say it all, a check. It is the one place where an option is written; the config group, the check
of a config and of `Apparatus.w`, and the tables in the documentation are made from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mini.errors import OptionError, did_you_mean

Check = Callable[[Any], Any]
"""Returns the value as it is kept, or raises ValueError or TypeError saying what it must be."""

T = TypeVar("T")


def option(default: Any, help: str, check: Check | None = None, *, config: bool = True, shared: bool = False) -> Any:
    """A field of an options dataclass.

    Args:
        default: Its default.
        help: A line that says what it is, with the unit.
        check: What a value must be; None for what the annotation says. None itself passes where the annotation ends in
            `| None` or the default is None.
        config: Whether it is a key of the config group; otherwise it is for Python only.
        shared: Whether it belongs to an apparatus and all its views; another value makes another apparatus.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "check": check, "config": config, "shared": shared}
    )


@dataclass(frozen=True)
class Option:
    """One option, as the documentation shows it.

    Args:
        name: Its name.
        type: Its annotation.
        default: Its default.
        help: What it is.
        config: Whether it is a key of the config group.
        shared: Whether another value makes another apparatus.
        check: What a value must be.
    """

    name: str
    type: str
    default: Any
    help: str
    config: bool
    shared: bool
    check: Check

    def checked(self, value: Any, path: str) -> Any:
        """The value as it is kept.

        Args:
            value: What was asked for.
            path: How the user wrote the option, such as `apparatus.workers`.

        Raises:
            OptionError: It is impossible; the message says what it must be.
        """
        if value is None and (self.default is None or self.type.endswith("| None")):
            return None
        try:
            return self.check(value)
        except (ValueError, TypeError) as error:
            why = (
                str(error) if str(error).startswith("it must be") else f"it must be {_WORDS.get(self.type, self.type)}"
            )
            raise OptionError(f"{path}={value!r} is not possible: {why}") from None


@dataclass(frozen=True)
class Options:
    """What every engine takes."""

    retries: int = option(0, "further attempts of a job that failed or was lost", lambda value: whole(0)(value))
    gpu: Any = option(None, "the GPU of each job: `A100`, `A100:2`, or a list in order of preference", config=False)
    image: Any = option(None, "what a container is built from", config=False)


def fields(schema: type[Any]) -> Mapping[str, Option]:
    """The options of a dataclass, by name."""
    if schema not in _known:
        _known[schema] = _fields(schema)
    return _known[schema]


_known: dict[type[Any], Mapping[str, Option]] = {}


def _fields(schema: type[Any]) -> Mapping[str, Option]:
    found = {}
    for field in dataclasses.fields(schema):
        kind, about = str(field.type), field.metadata
        check = about.get("check") or _BY_TYPE.get(kind.removesuffix(" | None"), anything)
        found[field.name] = Option(
            field.name,
            kind,
            field.default,
            about.get("help", ""),
            about.get("config", True),
            about.get("shared", False),
            check,
        )
    return found


def parse(schema: type[T], values: Any, group: str) -> T:
    """The options that a config group gives.

    Args:
        schema: The options dataclass.
        values: The group's plain values.
        group: Its name, for the error.

    Raises:
        OptionError: A key is unknown, with the valid ones, or a value is impossible.
    """
    valid = {name: one for name, one in fields(schema).items() if one.config}
    if not isinstance(values, Mapping):
        raise OptionError(f"{group} must be a group of options, not {values!r}; its keys: {', '.join(valid)}")
    for name in values:
        if name not in valid:
            raise OptionError(f"{group}.{name} is not an option of {group}; {did_you_mean(str(name), valid)}")
    return schema(**{name: valid[name].checked(value, f"{group}.{name}") for name, value in values.items()})


def defaults(schema: type[Any]) -> dict[str, Any]:
    """The config group of an options dataclass: plain values by key."""
    return {name: _plain(one.default, one.type) for name, one in fields(schema).items() if one.config}


def table(schema: type[Any], group: str) -> Iterator[str]:
    """The options of a config group as the rows of a Markdown table."""
    yield "| option | default | |"
    yield "|---|---|---|"
    for name, default in defaults(schema).items():
        shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else default
        yield f"| `{group}.{name}` | `{shown}` | {fields(schema)[name].help} |"


def _plain(value: Any, kind: str) -> Any:
    if kind.startswith("Pairs"):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


# Checks.

Pairs = tuple[tuple[str, Any], ...]
"""A mapping as a value that can be hashed: its items, sorted."""


def whole(least: int, most: int | None = None) -> Check:
    """A whole number, `least` or more, and at most `most`."""
    limit = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"

    def check(value: Any) -> int:
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or value < least
            or (most is not None and value > most)
        ):
            raise ValueError(f"it must be {limit}")
        return value

    return check


def number(least: float, unit: str = "", most: float | None = None, *, above: bool = False) -> Check:
    """A number, `least` or more (with `above`: more than that), and at most `most`."""
    of = f" of {unit}" if unit else ""
    limit = f"above {least:g}" if above else f"{least:g} or more" if most is None else f"from {least:g} to {most:g}"

    def check(value: Any) -> float:
        wrong = isinstance(value, bool) or not isinstance(value, int | float) or value < least
        if wrong or (above and value == least) or (most is not None and value > most) or value != value:
            raise ValueError(f"it must be a number{of}{',' if not above else ''} {limit}")
        return float(value)

    return check


def boolean(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError("it must be true or false")
    return value


def anything(value: Any) -> Any:
    """Any value: one that only another engine uses, so that a program can move between them unchanged."""
    return value


def text(value: Any) -> str:
    """A text; a number is taken as it is written."""
    if isinstance(value, bool | list | tuple | Mapping) or value is None:
        raise ValueError("it must be a text")
    return str(value)


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts."""
    if isinstance(value, str | Mapping) or not hasattr(value, "__iter__"):
        raise ValueError("it must be a list, such as [a,b]")
    return tuple(text(part) for part in value)


def items(value: Any) -> Pairs:
    """A mapping with texts as keys."""
    try:
        return tuple(sorted((str(name), part) for name, part in dict(value).items()))
    except (ValueError, TypeError):
        raise ValueError("it must be a mapping, such as {a: b}") from None


def pairs(value: Any) -> tuple[tuple[str, str], ...]:
    """A mapping from text to text."""
    return tuple((name, str(part)) for name, part in items(value))


_BY_TYPE: Mapping[str, Check] = {
    "int": whole(0),
    "float": number(0),
    "bool": boolean,
    "str": text,
    "tuple[str, ...]": texts,
    "tuple[tuple[str, str], ...]": pairs,
    "Pairs": items,
}

_WORDS = {"str | None": "a text or null", "bool": "true or false"}
