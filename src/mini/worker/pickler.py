"""What is pickled by value: all that a script defines."""

from __future__ import annotations

import functools
import sys
import types
import typing
import weakref
from collections.abc import Mapping
from typing import Any

import cloudpickle

CACHED_FUNCTION: Any = type(functools.cache(print))
"""The type of what `functools.cache` and `lru_cache` make, which has no public name."""

_ALIASES: tuple[Any, ...] = (vars(typing)["TypeAliasType"],) if sys.version_info >= (3, 12) else ()
_NAMED = (typing.NewType, typing.ParamSpec, typing.TypeVarTuple, CACHED_FUNCTION, *_ALIASES)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # which has no types
    """Cloudpickle's, and what a script may define beside plain functions and classes.

    Of a cached function or an alias of a type `pickle` takes only the name, and a name of `__main__` says nothing
    elsewhere; a function of `functools.singledispatch` has a weak dictionary; a `cached_property` has a lock in
    Python 3.11.
    """

    def reducer_override(self, obj: Any) -> Any:
        """How `obj` is taken apart, as `pickle` asks."""
        if isinstance(obj, functools.cached_property):
            state = {name: value for name, value in vars(obj).items() if name != "lock"}
            return type(obj), (None,), state
        if isinstance(obj, weakref.WeakKeyDictionary):
            return weakref.WeakKeyDictionary, (dict(obj),)
        if isinstance(obj, _NAMED) and not _is_importable(obj):
            return _taken_apart(obj)
        return super().reducer_override(obj)


def _taken_apart(obj: Any) -> tuple[Any, ...]:
    if isinstance(obj, CACHED_FUNCTION):
        return _cached, (obj.cache_parameters(),), obj.__wrapped__, None, None, _cache
    if isinstance(obj, typing.NewType):
        return typing.NewType, (obj.__name__, obj.__supertype__), {"__module__": obj.__module__}
    if isinstance(obj, _ALIASES):
        return type(obj), (obj.__name__, obj.__value__)
    return type(obj), (obj.__name__,)


def _is_importable(obj: Any) -> bool:
    module = sys.modules.get(obj.__module__)
    if module is None or obj.__module__ == "__main__" or _by_value(module):
        return False
    found: Any = module
    for name in getattr(obj, "__qualname__", obj.__name__).split("."):
        found = getattr(found, name, None)
    return found is obj


def _by_value(module: types.ModuleType) -> bool:
    known = cloudpickle.list_registry_pickle_by_value()
    parts = module.__name__.split(".")
    return any(".".join(parts[:length]) in known for length in range(1, len(parts) + 1))


def _cached(parameters: Mapping[str, Any]) -> Any:
    """A cached function that has yet to be told what it is: one that calls itself is met again in its own pickle."""

    @functools.lru_cache(**parameters)  # type: ignore[untyped-decorator]  # its arguments are not known here
    def call(*args: Any, **kwargs: Any) -> Any:
        return cached.__wrapped__(*args, **kwargs)

    cached = call
    return cached


def _cache(cached: Any, fn: Any) -> None:
    functools.update_wrapper(cached, fn)
