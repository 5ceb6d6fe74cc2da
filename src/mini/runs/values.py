"""Values as flat columns: what a table can hold of what a job was given and returned."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
"""How a record writes numbers that JSON does not have."""


def flatten(value: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to one level, keys joined by dots; numbers of foreign libraries become Python's.

    Args:
        value: A mapping of mappings, lists and scalars.
        prefix: What every key begins with.

    Returns:
        Flat columns: None, bool, int, float, str, or JSON text for a list.
    """
    flat: dict[str, Any] = {}
    for key, part in value.items():
        if isinstance(part, Mapping):
            flat.update(flatten(part, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = plain(part)
    return flat


def plain(value: Any) -> Any:
    """A value as a column can hold it: None, bool, int, float or str."""
    # Subclasses (enums, numpy.float64) become what they are a kind of.
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list | tuple):
        return json.dumps([plain(part) for part in value])
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # numpy, JAX and torch scalars
        return plain(value.item())
    return str(value)


def metrics(value: Any) -> dict[str, Any]:
    """The columns a returned value makes: a mapping's entries, or a single number or text as `value`.

    Args:
        value: What the function returned.

    Returns:
        Flat columns, each name beginning with `metrics.`; none for any other kind of value.
    """
    if isinstance(value, Mapping):
        return flatten(value, "metrics.")
    flat = plain(value)
    if flat is not None and not (isinstance(flat, str) and not isinstance(value, str)):
        return {"metrics.value": flat}
    return {}


def split_nonfinite(row: Mapping[str, Any]) -> tuple[dict[str, Any], list[list[str]]]:
    """A row as JSON can hold it, and where it had NaN or an infinity.

    Returns:
        The row with null in those places, and a list of `[column, name]`, the names being those of `NONFINITE`.
    """
    finite: dict[str, Any] = {}
    nonfinite = []
    for column, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            nonfinite.append([column, "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"])
            finite[column] = None
        else:
            finite[column] = value
    return finite, nonfinite
