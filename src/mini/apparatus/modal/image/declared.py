"""What a project says it needs, where no `uv.lock` says it: `pyproject.toml` and `requirements.txt`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from mini import distributions
from mini.apparatus.modal.image.requirements import CUDA
from mini.errors import UsageError
from mini.project import declaration

PYPROJECT, REQUIREMENTS, METADATA = "pyproject.toml", "requirements.txt", "the project's metadata"
"""Where a requirement is declared; the last as the project's build backend wrote it when it was installed."""

_INCLUDED = ("-r", "--requirement")
_INDEXES = ("-i", "--index-url", "--extra-index-url")
_EDITABLE = ("-e", "--editable")


@dataclass
class Declared:
    """What a project needs.

    Args:
        required: Requirements, and the file that each is in.
        optional: Those of extras and dependency groups, by name, each list to be taken as a whole.
        folders: Of path dependencies.
        indexes: Addresses of further indexes.
    """

    required: list[tuple[Requirement, str]] = field(default_factory=list)
    optional: dict[str, list[Requirement]] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.required or self.folders)


def read(project: Path, excluded: Iterable[str]) -> Declared:
    """What a project declares; nothing where neither file is there, or names any dependency.

    Args:
        project: Its folder.
        excluded: Dependency groups and extras to leave out.

    Raises:
        UsageError: A requirement cannot be read.
    """
    found = Declared()
    of_project = declaration(project).get("project", {})
    needs = of_project.get("dependencies", ())
    found.required += [(_requirement(text, PYPROJECT), PYPROJECT) for text in needs]
    if not of_project or "dependencies" in of_project.get("dynamic", ()):  # then its build backend knows them
        installed = distributions.of_folder(project)
        found.required += [(one, METADATA) for one in distributions.requires(installed)] if installed else []
    groups = declaration(project).get("dependency-groups", {})
    for name, texts in {**of_project.get("optional-dependencies", {}), **groups}.items():
        if name not in excluded:
            of_group = _group(name, groups) if name in groups else texts
            found.optional[name] = [_requirement(text, PYPROJECT) for text in of_group]
    if CUDA in found.optional:  # to leave it out would run jobs without their GPU
        found.required += [(requirement, PYPROJECT) for requirement in found.optional.pop(CUDA)]
    if (project / REQUIREMENTS).exists():
        _read_file(project / REQUIREMENTS, found)
    return found


def _group(name: str, groups: Mapping[str, Any], seen: frozenset[str] = frozenset()) -> Iterator[str]:
    for entry in groups.get(name, ()) if name not in seen else ():
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, Mapping) and "include-group" in entry:
            yield from _group(str(entry["include-group"]), groups, seen | {name})


def _read_file(path: Path, found: Declared) -> None:
    """A requirements file, as pip reads it, as far as it says what is needed."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); correct the line that names it") from error
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(re.sub(r"(^|\s)#.*", "", line), posix=False)
        if not words:
            continue
        option, _, joined = words[0].partition("=") if words[0].startswith("-") else (words[0], "", "")
        value = joined or " ".join(words[1:])
        if option in _INCLUDED:
            _read_file(path.parent / value, found)
        elif option in _INDEXES:
            found.indexes.append(value)
        elif option in _EDITABLE or words[0].startswith((".", "/")):
            folder = (path.parent / re.sub(r"\[.*\]$", "", value if option in _EDITABLE else words[0])).resolve()
            if folder.is_dir() and folder != path.parent.resolve():
                found.folders.append(folder)
        elif not option.startswith("-"):
            plain = " ".join(word for word in words if not word.startswith("--"))
            found.required.append((_requirement(plain, path.name), path.name))


def _requirement(text: str, where: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise UsageError(f"{where}: {text!r} is no requirement ({str(error).splitlines()[0]}); correct it") from error
