"""The code that makes a result: the task's module and what it imports of the project, the lock, the declared data.

Imports are found in the text of the files, and nothing is executed: an import statement within a function counts too,
and so does a name in `_target_`. Packages that are installed are in the lock.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from mini import project
from mini.errors import UsageError
from mini.runs import files, layout

_IMPORT = re.compile(
    r"[ \t]*(?:from[ \t]+(?P<base>\.*[ \t]*[\w.]*)[ \t]+import[ \t]+"
    r"(?P<names>\([^)]*\)|(?:[^\n\\;#]|\\\n)*)|import[ \t]+(?P<modules>(?:[^\n\\;#]|\\\n)+))"
)
_TARGET = re.compile(r'"_target_": ?"([\w.]+)"')
_NOT_OURS = ("site-packages", "dist-packages", ".venv", "node_modules", "__pycache__")
_OWN = ("mini", "hydra_plugins")  # the machinery is not what is computed, wherever it lies
_WHOLE = 64 * 2**20  # bytes; of a larger file only the size and the time of its last change are looked at


class Fingerprint(NamedTuple):
    """What made a result.

    Args:
        digest: Of all of it.
        files: A digest of each file, by its path in the project.
    """

    digest: str
    files: Mapping[str, str]


class Fingerprints:
    """The fingerprints of the jobs of a sweep.

    Args:
        task_function: The application's.
    """

    def __init__(self, task_function: Any) -> None:
        self._module = sys.modules.get(getattr(task_function, "__module__", ""))
        file = getattr(self._module, "__file__", None)
        self._file = Path(file).resolve() if file else None
        self._root = project.root(self._file.parent if self._file else None).resolve()
        self.by_digest: dict[str, Mapping[str, str]] = {}
        self._made: dict[tuple[frozenset[str], tuple[str, ...]], Fingerprint] = {}

    def of(self, columns: Mapping[str, Any], data: Collection[str]) -> Fingerprint:
        """What makes the result of one job.

        Args:
            columns: The job's config; classes named in `_target_` count as imported.
            data: Paths of files or folders that the job reads.

        Raises:
            UsageError: A path is not there.
        """
        key = frozenset(_targets(columns)), tuple(data)
        if key not in self._made:
            found = {**self._code(key[0]), **self._lock(), **{k: v for path in data for k, v in _data(path)}}
            fingerprint = Fingerprint(_digest(json.dumps(sorted(found.items())).encode()), found)
            self._made[key] = fingerprint
            self.by_digest[fingerprint.digest] = found
        return self._made[key]

    def _lock(self) -> dict[str, str]:
        lock = project.lock(self._root)
        return {lock.name: _digest_of_file(lock)} if lock is not None else {}

    def _code(self, targets: Iterable[str]) -> dict[str, str]:
        """The project's own modules that are imported, transitively."""
        waiting = [(self._file, self._package())] if self._file is not None else []
        waiting += self._found(target for name in targets for target in _prefixes(name))
        digests: dict[Path, str] = {}
        while waiting:
            path, package = waiting.pop()
            if path in digests:
                continue
            try:
                content = path.read_bytes()
            except OSError:
                continue
            digests[path] = _digest(content)
            waiting += self._found(_imports(content.decode(errors="replace"), package))
        return {self._name(path): digest for path, digest in digests.items()}

    def _package(self) -> str:
        return str(getattr(self._module, "__package__", None) or "")

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else path.name

    def _found(self, modules: Iterable[str]) -> list[tuple[Path, str]]:
        return [found for module in modules if (found := self._find(module)) is not None]

    @functools.cache  # noqa: B019 - one such object in a process
    def _find(self, module: str) -> tuple[Path, str] | None:
        """The file of a module of the project, and the package that relative imports in it are of."""
        if module.split(".", 1)[0] in _OWN:
            return None
        for folder in self._folders:
            path = folder.joinpath(*module.split("."))
            if (init := path / "__init__.py").is_file():
                return init, module
            if (file := path.with_name(f"{path.name}.py")).is_file():
                return file, module.rpartition(".")[0]
        return None

    @functools.cached_property
    def _folders(self) -> list[Path]:
        """Where the project's modules are imported from."""
        candidates = [Path(entry or ".").resolve() for entry in sys.path]
        candidates += [self._root, self._root / "src", *([self._file.parent] if self._file else [])]
        inside = [f for f in candidates if f.is_relative_to(self._root) or (self._file and f == self._file.parent)]
        return [f for f in dict.fromkeys(inside) if not set(f.relative_to(f.anchor).parts) & set(_NOT_OURS)]


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The files that are not as they were, or are only in one of two fingerprints."""
    return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))


def read(run: Path) -> dict[str, Mapping[str, str]]:
    """The fingerprints of a run, by digest; none where nothing can be read."""
    try:
        found = json.loads((run / layout.CODE).read_bytes())
        return {str(digest): dict(paths) for digest, paths in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write(run: Path, fingerprints: Mapping[str, Mapping[str, str]]) -> None:
    """Add fingerprints to those of a run."""
    known = read(run)
    if fingerprints.keys() - known.keys():
        files.write_atomically(run / layout.CODE, files.dump_json({**known, **fingerprints}))


def _targets(columns: Mapping[str, Any]) -> Iterator[str]:
    for name, value in columns.items():
        if isinstance(value, str):
            if name.endswith("_target_"):
                yield value
            elif "_target_" in value:
                yield from _TARGET.findall(value)


def _prefixes(name: str) -> Iterator[str]:
    """A dotted name and each package it may be in."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _imports(text: str, package: str) -> Iterator[str]:
    """The names of modules that a file may import; of `from a import b` also `a.b`, which may be one."""
    for found in _statements(text):
        if found["modules"] is not None:
            for name in _names(found["modules"]):
                yield from _prefixes(name)
            continue
        base = found["base"].replace(" ", "").replace("\t", "")
        dots = len(base) - len(base.lstrip("."))
        parts = package.split(".") if package else []
        above = ".".join(parts[: len(parts) - dots + 1]) if dots else ""
        module = ".".join(filter(None, (above, base.lstrip("."))))
        yield from _prefixes(module)
        for name in _names(found["names"]):
            yield f"{module}.{name}" if module else name


def _statements(text: str) -> Iterator[re.Match[str]]:
    """The import statements in a text, found by their word: to search for the pattern takes twice as long."""
    place = 0
    while (word := text.find("import", place)) >= 0:
        line = text.rfind("\n", 0, word) + 1
        begin = max(line, text.rfind(";", line, word) + 1, text.rfind(":", line, word) + 1)
        found = _IMPORT.match(text, begin)
        if found is not None:
            yield found
        place = max(word + 1, found.end() if found is not None else 0)


def _names(text: str) -> Iterator[str]:
    """The names in a list such as `a, b as c`, whatever stands around and between them."""
    text = re.sub(r"#[^\n]*|[()\\]", " ", text)
    for part in text.split(","):
        words = part.split()
        if words and re.fullmatch(r"[\w.]+", words[0]):
            yield words[0]


def _data(path: str) -> Iterator[tuple[str, str]]:
    place = Path(path)
    if place.is_dir():
        for file in sorted(place.rglob("*")):
            if file.is_file():
                yield f"{path.rstrip('/')}/{file.relative_to(place).as_posix()}", _digest_of_file(file)
    elif place.is_file():
        yield path, _digest_of_file(place)
    else:
        raise UsageError(f"hydra.launcher.data: there is no {path!r} in {Path.cwd()}; name files that jobs read")


def _digest_of_file(path: Path) -> str:
    about = path.stat()
    if about.st_size > _WHOLE:
        return f"{about.st_size} bytes of {about.st_mtime_ns}"
    return _digest(path.read_bytes())


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()
