"""Values to bytes and back, and an explanation of what cannot make the journey."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import pickle
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import cloudpickle

from mini.errors import UnpicklableError
from mini.job import Compact, Job
from mini.worker import main_module

_DEPTH = 12
_KEPT = 8  # functions

_encoded_here: dict[bytes, tuple[Callable[..., Any], tuple[Callable[[], Any], ...]]] = {}


def dumps(value: Any, what: str) -> bytes:
    """Pickle `value`, functions and classes of `__main__` and closures by value.

    Args:
        value: Anything.
        what: How to call it in an error, such as "argument 0 of job 3".

    Raises:
        UnpicklableError: Naming the part that cannot be pickled, and where it hangs.
    """
    try:
        return main_module.dumps(value)
    except Exception as error:
        raise UnpicklableError(explain(value, what, error)) from error


def loads(data: bytes) -> Any:
    """The value that `dumps` was given."""
    return pickle.loads(data)


@contextlib.contextmanager
def by_value(modules: Iterable[types.ModuleType]) -> Iterator[None]:
    """Let what these modules define travel by value, as what `__main__` defines always does."""
    known = cloudpickle.list_registry_pickle_by_value()
    added = [module for module in modules if module.__name__ not in known]
    for module in added:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in added:
            with contextlib.suppress(ValueError):  # another thread was here too
                cloudpickle.unregister_pickle_by_value(module)


@dataclass(frozen=True)
class Shared:
    """What all jobs of a batch have in common, sent once: the function and the hooks that run before it.

    Args:
        digest: Of `data`; a worker that has seen it does not decode it again.
        data: A pickled `(fn, hooks)`.
    """

    digest: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Parcel:
    """One job, ready to travel: what is its own, and a reference to what it shares.

    Args:
        job: The job, for whoever sends it.
        shared: The function and hooks.
        data: A pickled `Call`.
    """

    job: Job
    shared: Shared
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Call(Compact):
    """What the far side needs of one job, besides the function. Fields as in `Job`.

    The arguments are pickled apart, so that a job whose arguments cannot be unpickled there still has a name.
    """

    index: int
    key: str
    folder: str | None
    record: bool
    attempt: int
    row: Mapping[str, Any]
    arguments: bytes = field(repr=False)


def encode_shared(fn: Callable[..., Any], hooks: Sequence[Callable[[], Any]]) -> Shared:
    """Pickle the function and the hooks of a batch.

    Raises:
        UnpicklableError: Naming what cannot travel.
    """
    name = getattr(fn, "__qualname__", type(fn).__qualname__)
    try:
        data = main_module.dumps((fn, tuple(hooks), main_module.capture()))
    except Exception:
        dumps(fn, f"`{_short(name)}`")
        for hook in hooks:
            dumps(hook, f"the hook `{_short(getattr(hook, '__qualname__', repr(hook)))}`")
        raise
    _encoded_here[data] = fn, tuple(hooks)
    if len(_encoded_here) > _KEPT:
        del _encoded_here[next(iter(_encoded_here))]
    return Shared(hashlib.blake2b(data, digest_size=16).hexdigest(), data)


def decode_shared(data: bytes) -> tuple[Callable[..., Any], tuple[Callable[[], Any], ...]]:
    """The function and the hooks of a batch, in a process that is like the one they come from.

    In that process itself they are what was encoded, and no copies.

    Args:
        data: Of a `Shared`.
    """
    if data in _encoded_here:
        return _encoded_here[data]
    main_module.prepare()
    fn, hooks, main = pickle.loads(data)
    main.install()
    return fn, hooks


def encode(job: Job, shared: Shared) -> Parcel:
    """Pickle a job's arguments.

    Raises:
        UnpicklableError: Naming the argument that cannot travel.
    """
    try:
        arguments = main_module.dumps((job.args, dict(job.kwargs)))
    except Exception:
        for position, value in enumerate(job.args):
            dumps(value, f"argument {position} of job {job.index}")
        for name, value in job.kwargs.items():
            dumps(value, f"argument `{name}` of job {job.index}")
        raise
    call = Call(job.index, job.key, job.folder, job.record, job.attempt, dict(job.row), arguments)
    return Parcel(job, shared, pickle.dumps(call, protocol=pickle.HIGHEST_PROTOCOL))


def next_attempt(parcel: Parcel) -> Parcel:
    """The next attempt of a job, from what was encoded for this one."""
    call: Call = pickle.loads(parcel.data)
    data = pickle.dumps(replace(call, attempt=call.attempt + 1), protocol=pickle.HIGHEST_PROTOCOL)
    return Parcel(parcel.job.next_attempt(), parcel.shared, data)


def explain(value: Any, what: str, error: BaseException) -> str:
    """Say which part of `value` cannot be pickled, where it hangs, and what to do.

    Args:
        value: What could not be pickled.
        what: How the user would call it.
        error: What the pickler said.

    Returns:
        A sentence such as "closure variable `db` of `train` is a sqlite3.Connection; open it inside the function".
    """
    path, culprit = _find_culprit(value, what)
    kind = _type_name(type(culprit))
    advice = (
        f"open it inside the {'function' if path != what else 'job'}"
        if not isinstance(culprit, type | types.FunctionType)
        else "define it at the top of a module"
    )
    return f"{path} is a {kind}, which cannot be pickled; {advice} ({_reason(error)})"


def _find_culprit(value: Any, path: str) -> tuple[str, Any]:
    """Descend along the parts that fail to pickle, to the deepest one."""
    seen: set[int] = set()
    for _ in range(_DEPTH):
        seen.add(id(value))
        for name, part in _parts(value, path):
            if id(part) not in seen and not _can_pickle(part):
                value, path = part, name
                break
        else:
            break
    return path, value


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The parts of a value that are pickled with it, each with a name that says where it hangs."""
    if isinstance(value, types.FunctionType):
        yield from _function_parts(value)
    elif isinstance(value, types.MethodType):
        yield from ((path, value.__self__), (path, value.__func__))
    elif isinstance(value, functools.partial):
        yield from ((path, value.func), (f"the arguments bound in {path}", [value.args, value.keywords]))
    elif isinstance(value, Mapping):
        yield from ((f"{path}[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple | Set):
        yield from ((f"{path}[{i}]", part) for i, part in enumerate(value))
    else:
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, Mapping):
            owner = f"class `{_short(value.__qualname__)}`" if isinstance(value, type) else path
            yield from ((f"attribute `{name}` of {owner}", part) for name, part in attributes.items())


def _function_parts(fn: types.FunctionType) -> Iterator[tuple[str, Any]]:
    name = _short(fn.__qualname__)
    for variable, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            yield f"closure variable `{variable}` of `{name}`", cell.cell_contents
        except ValueError:  # an empty cell: the variable is not bound yet
            continue
    for variable in fn.__code__.co_names:
        if variable in fn.__globals__:
            yield f"global variable `{variable}` of `{name}`", fn.__globals__[variable]
    for position, default in enumerate(fn.__defaults__ or ()):
        yield f"default value {position} of `{name}`", default
    for argument, default in (fn.__kwdefaults__ or {}).items():
        yield f"default value of `{argument}` of `{name}`", default


def _can_pickle(value: Any) -> bool:
    try:
        main_module.dumps(value)
    except Exception:  # noqa: BLE001 - any failure at all means that it cannot
        return False
    return True


def _short(qualname: str) -> str:
    return qualname.rsplit("<locals>.", 1)[-1]


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
