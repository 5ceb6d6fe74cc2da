"""Arrays, tensors and data frames of any library: small ones whole, large ones summarised.

Nothing here imports such a library: a value of one brings it along.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

LARGEST = 1000
"""Elements; an array or a list of numbers with more of them is summarised."""


def is_array(value: Any) -> bool:
    """Whether this is an array, a tensor or a series, a scalar among them."""
    return _shape(value) is not None and hasattr(value, "dtype") and _to_list(value) is not None


def is_large(value: Any) -> bool:
    """Whether a summary stands for this value: a large array, or a data frame of any size."""
    shape = _shape(value)
    return shape is not None and (math.prod(shape) > LARGEST if hasattr(value, "dtype") else hasattr(value, "columns"))


def as_list(value: Any) -> Any:
    """An array as nested lists of Python's numbers; a scalar as the number, its text where that fails."""
    to_list = _to_list(value)
    try:
        assert to_list is not None
        return to_list()
    except Exception:  # noqa: BLE001 - foreign code, such as that of a deleted JAX array
        return f"<{type(value).__qualname__} that cannot be read>"


def summary(value: Any) -> dict[str, Any]:
    """What is said of a large array or a data frame.

    Returns:
        `shape`, `dtype`, and of numbers also `min`, `max` and `mean` over those that are finite, and `nonfinite`, how
        many are not, if any.
    """
    shape = list(_shape(value) or ())
    found: dict[str, Any] = {"shape": shape, "dtype": str(getattr(value, "dtype", type(value).__qualname__))}
    if hasattr(value, "dtype"):
        try:
            found |= _statistics(value)
        except Exception:  # noqa: BLE001 - foreign code; the shape remains
            return found
    return found


def summary_of_numbers(values: Sequence[Any]) -> dict[str, Any] | None:
    """The same of a long list of numbers; None if it is not one."""
    kinds = set(map(type, values))
    if bool in kinds or not all(issubclass(kind, int | float) for kind in kinds):
        return None
    whole = all(issubclass(kind, int) for kind in kinds)
    found: dict[str, Any] = {"shape": [len(values)], "dtype": "int" if whole else "float"}
    try:
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            found |= {"min": min(finite), "max": max(finite), "mean": math.fsum(finite) / len(finite)}
    except OverflowError:  # an integer that no float can hold
        return None
    return found | ({"nonfinite": len(values) - len(finite)} if len(finite) < len(values) else {})


def _shape(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, type):
        return None
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not all(isinstance(length, int) for length in shape):
        return None
    return shape


def _to_list(value: Any) -> Any:
    found = getattr(value, "tolist", None) or getattr(value, "to_list", None)
    return found if callable(found) else None


def _statistics(value: Any) -> dict[str, Any]:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return {}
    if hasattr(value, "detach"):  # of PyTorch: on a device, with a gradient, of a kind that NumPy does not have
        value = value.detach().cpu()
        value = value if value.dtype.itemsize > 2 or not value.dtype.is_floating_point else value.float()
    array = numpy.asarray(value)
    if array.dtype.kind not in "buif":
        return {}
    finite = array[numpy.isfinite(array)]
    found: dict[str, Any] = {}
    if finite.size:
        found = {"min": finite.min().item(), "max": finite.max().item(), "mean": float(finite.mean(dtype="float64"))}
    return found | ({"nonfinite": int(array.size - finite.size)} if finite.size < array.size else {})
