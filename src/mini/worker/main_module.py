"""The program's `__main__`, in the processes that run its jobs.

What a script defines is looked up under `__main__` by much that knows only a name: `pickle`, `typing.get_type_hints`,
`_target_: __main__.Model`, the children of `multiprocessing`. So a worker has a `__main__` that is the script as the
client has it: its classes, functions, imported modules and plain constants travel by value, and all its functions
share the one namespace. The script is not run again, as `multiprocessing` would: one without a guard would begin its
work anew, and a notebook has no file.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import pickle
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from mini import project
from mini.worker.pickler import CACHED_FUNCTION, Pickler

_LARGEST = 2**20  # bytes; data belongs into arguments
_PLAIN = (str, int, float, bool, complex, bytes, type(None))
_NAMED = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    CACHED_FUNCTION,
    types.ModuleType,
    types.GenericAlias,
    types.UnionType,
)

_installed: types.ModuleType | None = None
_before: Any = None  # the module that was `__main__`: its functions go on
_captured: tuple[dict[str, Any], dict[str, bytes]] = ({}, {})


@dataclass(frozen=True)
class Main:
    """A program's `__main__`, ready to travel.

    Args:
        name: What `python -m` was given; None for a script.
        path: The script; None for a notebook.
        inner: The script's path in its project, which may be elsewhere on another machine.
        names: What it defines or imports, pickled one by one: what cannot be had in a worker is missing there alone.
        sources: The text of the script, or of a notebook's cells, by the name that tracebacks have for it.
    """

    name: str | None
    path: str | None
    inner: str | None
    names: Mapping[str, bytes] = field(repr=False)
    sources: Mapping[str, str] = field(repr=False)

    def install(self) -> None:
        """Give this process what the program's `__main__` has, but for names that it has already."""
        module = prepare()
        if self.name is not None:
            module.__spec__ = ModuleSpec(self.name, None)
            module.__package__ = self.name.rpartition(".")[0]
        for path in (self.path, self.inner):
            if path is not None and Path(path).is_file():
                module.__file__ = str(Path(path).absolute())
                break
        for file, text in self.sources.items():
            if not Path(file).is_file():  # so that tracebacks show the lines
                linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
        for name, data in self.names.items():
            if name not in vars(module):
                # A package that is not here, or whatever its import raises.
                with contextlib.suppress(Exception):
                    setattr(module, name, pickle.loads(data))


def prepare() -> types.ModuleType:
    """Let this process have a `__main__` of its program's, which functions that are unpickled from now on share."""
    global _installed, _before
    if _installed is None:
        _installed = types.ModuleType("__main__")
        _before, sys.modules["__main__"] = sys.modules.get("__main__"), _installed
    return _installed


def capture() -> Main:
    """This process's `__main__`."""
    module = sys.modules["__main__"]
    spec, path = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    inner = None
    if path is not None:
        path = str(Path(path).absolute())
        root = project.root()
        inner = str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else None
    return Main(spec.name if spec is not None else None, path, inner, _names(module), _sources(module))


def dumps(value: Any) -> bytes:
    """Pickle a value by value; functions of `__main__` will share the namespace of the `__main__` they come to."""
    file = io.BytesIO()
    pickler = Pickler(file, protocol=pickle.HIGHEST_PROTOCOL)
    if hasattr(pickler, "globals_ref"):  # how cloudpickle lets functions of one module share a namespace
        pickler.globals_ref[id(vars(sys.modules["__main__"]))] = _Namespace(__name__="__main__")
    pickler.dump(value)
    return file.getvalue()


def _sources(module: types.ModuleType) -> dict[str, str]:
    own = [value for value in list(vars(module).values()) if getattr(value, "__module__", None) == "__main__"]
    methods = (method for value in own if isinstance(value, type) for method in vars(value).values())
    codes = (getattr(value, "__code__", None) for value in (*own, *methods))
    files = {code.co_filename for code in codes if isinstance(code, types.CodeType)}
    files.add(getattr(module, "__file__", None) or "")
    texts = {file: "".join(linecache.getlines(file)) for file in files}
    return {file: text for file, text in texts.items() if 0 < len(text) <= _LARGEST}


class _Namespace(dict[str, Any]):
    """Stands for the namespace of `__main__`, wherever it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _namespace, ()


def _namespace() -> dict[str, Any]:
    # A client has its own `__main__`, and a function that comes back to it must not change that.
    return vars(_installed) if _installed is not None else {"__name__": "__main__"}


def _names(module: types.ModuleType) -> dict[str, bytes]:
    global _captured
    values = dict(_travelling(module))
    known, names = _captured
    if values.keys() != known.keys() or any(values[name] is not known[name] for name in values):
        names = {}
        for name, value in values.items():
            with contextlib.suppress(Exception):  # it cannot be pickled
                data = dumps(value)
                if len(data) <= _LARGEST:
                    names[name] = data
        _captured = values, names
    return names


def _travelling(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(module).items()):
        if name.startswith("__"):
            continue
        of_typing = type(value).__module__ == typing.__name__
        if isinstance(value, _NAMED) or of_typing or type(value) in _PLAIN:
            yield name, value
