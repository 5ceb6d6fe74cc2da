"""Values as flat columns: what a table can hold of what a job was given and returned.

A column holds None, a truth value, an integer, a float or text. Everything else becomes one of these:

| value | in the table |
|---|---|
| mapping, dataclass, named tuple, attrs class, OmegaConf mapping | a column for each entry, names joined by dots |
| list, tuple, set, OmegaConf list, small array | JSON text; mappings inside are JSON objects |
| array or list of numbers with more than 1,000 elements | columns `.shape`, `.dtype`, `.min`, `.max`, `.mean` |
| data frame | columns `.shape` and `.dtype` |
| scalar of NumPy, JAX or PyTorch | the Python number |
| enumeration, path, UUID, decimal number | its text |
| date, time | ISO 8601 text |
| time difference | seconds |
| any other object | its text, cut after 1,000 characters |

NaN and infinities stay numbers in a column. In JSON, which does not have them, they are the texts `"nan"`, `"inf"` and
`"-inf"`. Text that is not valid Unicode, such as the name of an undecodable file, keeps what is wrong as an escape.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import itertools
import json
import math
import pathlib
import sys
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Set
from typing import Any

from mini.runs import arrays

NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
"""How a record writes numbers that JSON does not have."""

_DEEPEST = 64  # levels; what is nested deeper, or within itself, becomes text
_LONGEST_INTEGER = 4096  # bits; Python refuses to write a much longer one in decimal
_LONGEST_TEXT = 1000  # characters of the text of an object of no known kind
_TEXT_OF = (enum.Enum, pathlib.PurePath, uuid.UUID, decimal.Decimal)
_SEQUENCES = (list, tuple, Set, deque, range)

_Path = tuple[Any, ...]
"""The keys on the way to a value."""

_Ids = tuple[int, ...]
"""The containers a value is in, the outermost first."""


def flatten(value: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to one level, keys joined by dots, and each value as a column can hold it.

    Two entries that would get the same name are both kept: a key with a dot of its own is then quoted, as in TOML, so
    `{"val.loss": 1, "val": {"loss": 2}}` becomes `{'"val.loss"': 1, "val.loss": 2}`; a key that is not text is in
    brackets.

    Args:
        value: The mapping, with values of any kind.
        prefix: What every name begins with.

    Returns:
        Flat columns: None, bool, int, float or str.
    """
    entries: list[tuple[_Path, Any]] = []
    _collect(entries, value, (), (id(value),))
    flat = {prefix + _name(path): cell for path, cell in entries}
    return flat if len(flat) == len(entries) else _distinguished(entries, prefix)


def metrics(value: Any) -> dict[str, Any]:
    """The columns of what a function returned.

    Args:
        value: What it returned: a mapping or one of its kind, whose entries are columns, or anything else, which is the
            column `value`.

    Returns:
        Flat columns, each name beginning with `metrics.`; none for None and for an empty mapping.
    """
    if value is None:
        return {}
    try:
        parts = _named_parts(value)
        return flatten({"value": value} if parts is None else parts, "metrics.")
    except Exception:  # noqa: BLE001 - an object whose own code raises when it is looked at; the job is no failure
        return {"metrics.value": _text_of(value)}


def valid_text(text: str) -> str:
    """Text that every file can hold: a surrogate, which is no character, becomes its escape."""
    text = str.__str__(text)
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def split_nonfinite(row: Mapping[str, Any]) -> tuple[dict[str, Any], list[list[str]]]:
    """A row as JSON can hold it, and where it had NaN or an infinity.

    Returns:
        The row with null in those places, and a list of `[column, name]`, the names being those of `NONFINITE`.
    """
    finite: dict[str, Any] = {}
    nonfinite = []
    for column, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            nonfinite.append([column, _nonfinite_name(value)])
            finite[column] = None
        else:
            finite[column] = value
    return finite, nonfinite


# Names.


def _collect(entries: list[tuple[_Path, Any]], parts: Mapping[Any, Any], path: _Path, within: _Ids) -> None:
    """Add each value within nested mappings, with the keys on the way to it."""
    for key, part in parts.items():
        if type(part) in _SCALARS:
            entries.append(((*path, key), _scalar(part)))
        elif not _is_too_deep(part, within) and (nested := _named_parts(part) or _summary(part)):
            _collect(entries, nested, (*path, key), (*within, id(part)))
        else:
            entries.append(((*path, key), _cell(part)))


def _name(path: _Path) -> str:
    try:
        return valid_text(".".join(path))
    except TypeError:  # a key that is no text
        return valid_text(".".join(map(str, path)))


def _distinguished(entries: list[tuple[_Path, Any]], prefix: str) -> dict[str, Any]:
    """Columns of entries some of which would have the same name."""
    plain = [_name(path) for path, _ in entries]
    shared = Counter(plain)
    flat: dict[str, Any] = {}
    for name, (path, cell) in zip(plain, entries, strict=True):
        explicit = name if shared[name] == 1 else valid_text(".".join(map(_explicit, path)))
        names = itertools.chain([explicit], (f"{explicit}#{i}" for i in itertools.count(2)))
        flat[next(prefix + free for free in names if prefix + free not in flat)] = cell
    return flat


def _explicit(key: Any) -> str:
    """A key such that no two keys look alike."""
    if not isinstance(key, str):
        return f"[{key!r}]"
    return json.dumps(key, ensure_ascii=False) if "." in key or not key else key


# Values.


def _named_parts(value: Any) -> Mapping[Any, Any] | None:
    """The entries of a value that has names for its parts; None for any other."""
    if type(value) is dict:
        return value
    if type(value) is list:
        return None
    if isinstance(value, Mapping):
        value = _resolved(value) if _is_omegaconf(value) else value
        return value if isinstance(value, Mapping) else None
    if isinstance(value, type):
        return None
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=False))
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    if hasattr(type(value), "__attrs_attrs__"):
        return {field.name: getattr(value, field.name, None) for field in type(value).__attrs_attrs__}
    return None


def _summary(value: Any) -> Mapping[str, Any] | None:
    """What stands for a value that is too large for a cell; None for any other."""
    if isinstance(value, list | tuple):
        return arrays.summary_of_numbers(value) if len(value) > arrays.LARGEST else None
    return arrays.summary(value) if arrays.is_large(value) else None


def _is_too_deep(value: Any, within: _Ids) -> bool:
    return len(within) >= _DEEPEST or id(value) in within


def _is_omegaconf(value: Any) -> bool:
    omegaconf = sys.modules.get("omegaconf")  # where it is not imported, nothing is one of its containers
    return omegaconf is not None and isinstance(value, omegaconf.Container)


def _resolved(container: Any) -> Any:
    """An OmegaConf container as Python's own, as it is written where an interpolation cannot be resolved."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_container(container, resolve=True)
    except OmegaConfBaseException:
        return OmegaConf.to_container(container, resolve=False)


def _cell(value: Any) -> Any:
    """A value as a column can hold it."""
    plain = value if type(value) is list and _is_plain_list(value) else _plain(value, ())
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, list | dict) else _scalar(plain)


def _is_plain_list(values: list[Any]) -> bool:
    """Whether JSON has these values as they are; most lists of a config are so."""
    return len(values) <= arrays.LARGEST and all(
        value is None or type(value) is bool or (type(value) is int and -_SMALL < value < _SMALL) for value in values
    )


_SCALARS = frozenset((type(None), bool, int, float, str))
_SMALL = 2**63


def _scalar(value: Any) -> Any:
    """None, a truth value, a number or text, of Python's own type: an enumeration may be a kind of number."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _LONGEST_INTEGER else hex(value)
    return float(value) if isinstance(value, float) else valid_text(value)


def _plain(value: Any, within: _Ids) -> Any:
    """A value as None, bool, int, float or str, or as lists and dicts of these with NaN and infinities as text.

    Args:
        value: Of any kind.
        within: The containers that it is in.
    """
    if isinstance(value, float):
        return float(value) if not within or math.isfinite(value) else _nonfinite_name(value)
    if value is None or isinstance(value, bool | int | str):
        return _scalar(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, _TEXT_OF):
        return valid_text(str(value))
    if _is_too_deep(value, within):
        return _text_of(value)
    inside = (*within, id(value))
    if _is_omegaconf(value):
        value = _resolved(value)
    parts = _named_parts(value)
    if parts is None:
        parts = _summary(value)
    if parts is not None:
        return _object(parts, inside)
    if isinstance(value, _SEQUENCES):
        return [_plain(part, inside) for part in _ordered(value)]
    if arrays.is_array(value):
        return _plain(arrays.as_list(value), within)
    return _scalar(value) if type(value) in _SCALARS else _text_of(value)


def _object(parts: Mapping[Any, Any], inside: _Ids) -> dict[str, Any]:
    """A JSON object. Keys that would look alike are told apart as names of columns are."""
    entries: list[tuple[_Path, Any]] = [((key,), _plain(part, inside)) for key, part in parts.items()]
    found = {valid_text(str(key)): part for (key,), part in entries}
    return found if len(found) == len(entries) else _distinguished(entries, "")


def _ordered(values: Iterable[Any]) -> Iterable[Any]:
    """The elements of a sequence; those of a set in an order that is the same in every process."""
    return sorted(values, key=repr) if isinstance(values, Set) else values


def _nonfinite_name(value: float) -> str:
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _text_of(value: Any) -> str:
    """What an object of no known kind says of itself."""
    try:
        text = valid_text(str(value))
    except Exception as error:  # noqa: BLE001 - whatever foreign code raises, the rest of the result is kept
        text = f"<{type(value).__qualname__} whose text raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
