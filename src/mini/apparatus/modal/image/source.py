"""The project's own code in a container: which packages and modules are laid under `/root`, and with which files.

A container starts in `/root` and imports from there. What can be imported from the project here can be imported there
under the same name: the packages and modules under `src/`, or beside `pyproject.toml` where there is no such layout,
and the neighbours of the script that was started. `image.source` replaces all of that.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mini import distributions
from mini.apparatus.modal.container import ROOT
from mini.apparatus.modal.image import selection
from mini.apparatus.modal.image.selection import LeftOut
from mini.errors import UsageError
from mini.project import SOURCE, is_shared, root

OWN = ("mini", "hydra_plugins/mini_launcher")
"""This package, as parts of the folder it is imported from."""

NO_CODE = "no Python in it; image.source ships it"
NOT_RUN = "not code of jobs, by its name; image.source ships it"
AT_START = "would take the place of a module that Python itself needs to start"
TAKEN = "another part of the source has this name"
"""Why something beside the packages is left out."""

_NOT_RUN = (
    *("tests", "test", "docs", "doc", "build", "dist", "site-packages", "htmlcov"),
    *("outputs", "multirun", "wandb", "mlruns", "lightning_logs", "runs", "logs", "checkpoints"),
    *("setup.py", "conftest.py", "noxfile.py", "toxfile.py", "fabfile.py"),
)
_NOT_RUN_UNLESS_PACKAGES = ("scripts", "notebooks", "examples", "benchmarks")
_AT_START = (
    *("abc", "codecs", "encodings", "genericpath", "importlib", "io", "os", "posixpath", "runpy", "site", "stat"),
    *("sitecustomize", "usercustomize", "types", "warnings", "zipimport"),
)


@dataclass(frozen=True)
class Shipped:
    """Files that are laid into the container when it starts, without a build.

    Args:
        name: What they are: a package, a module, or a path of `image.files`.
        path: The file or folder here.
        remote: Where it is there.
        files: The file, or those in the folder that ship.
    """

    name: str
    path: Path
    remote: str
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(file.stat().st_size for file in self.files)

    def place(self, file: Path) -> str:
        """Where one of the files is in the container."""
        return self.remote if file == self.path else f"{self.remote}/{file.relative_to(self.path).as_posix()}"


@dataclass(frozen=True)
class Source:
    """The project's own code.

    Args:
        shipped: What ships.
        left_out: What does not.
    """

    shipped: tuple[Shipped, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def and_then(self, other: Source) -> Source:
        """Both; what has the same place in the container as a part of this one is left out."""
        taken = {part.remote: part for part in self.shipped}
        lost = [part for part in other.shipped if taken.get(part.remote, part).path != part.path]
        more = tuple(part for part in other.shipped if part.remote not in taken)
        left = (*self.left_out, *other.left_out, *(LeftOut(part.path, TAKEN) for part in lost))
        return Source(self.shipped + more, tuple(dict.fromkeys(left)))


@dataclass(frozen=True)
class Launch:
    """What a process was started from, which need not be installed.

    Args:
        folders: Folders of the path: of the script, and those that `PYTHONPATH` or an editable install put there.
        part: The package or module of `python -m`.
    """

    folders: tuple[Path, ...] = ()
    part: Path | None = None


def find(project: Path, chosen: Sequence[str] | None, launch: Launch) -> Source:
    """What of a project ships, found anew each time.

    Args:
        project: Its folder.
        chosen: `image.source`; None for what can be imported.
        launch: What this process was started from.

    Raises:
        UsageError: Something is not there, has a compiled part or looks like a secret.
    """
    found = Source()
    if chosen is not None:
        for name in chosen:
            found = found.and_then(_chosen(project, name))
        return found
    if launch.part is not None:
        found = found.and_then(_part(launch.part, project))
    for folder in launch.folders:
        found = found.and_then(_contents(folder, project))
    if has_src_layout(project):
        found = found.and_then(_contents(project / "src", project, all_names=True))
    elif not is_shared(project):
        found = found.and_then(_contents(project, project))
    there = {path for part in found.shipped for path in (part.path, *part.files)}
    return Source(found.shipped, tuple(one for one in found.left_out if one.path not in there))


def has_src_layout(project: Path) -> bool:
    """Whether a project keeps its packages under `src/`, which is no package itself."""
    folder = project / "src"
    if not folder.is_dir() or (folder / "__init__.py").exists():
        return False
    return any(path.suffix == ".py" or (path.is_dir() and _is_code(path.rglob("*"))) for path in folder.iterdir())


def launch(project: Path, script: Path | None = None) -> Launch:
    """What the application is started from, as far as it is the project's.

    Args:
        project: The project's folder.
        script: What is given to Python; None for what this process was started from.
    """
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    # With `-m` the working directory is on the path, and not because anything is to be imported from it.
    here = {Path.cwd(), project / "src"} if spec is not None and spec.name != "mini.driver" else {project / "src"}
    folders = [Path(name) for name in sys.path if name and Path(name).absolute() not in here]
    folders += [Path(name) for name in os.environ.get("PYTHONPATH", "").split(os.pathsep) if name]
    part = None
    if script is not None:
        folders.insert(0, script.parent)
    elif spec is not None and spec.origin is not None:
        origin = Path(spec.origin)
        part = origin.parents[spec.name.count(".") - 1] if "." in spec.name else origin
    elif isinstance(file, str) and file.endswith(".py"):
        folders.insert(0, Path(file).parent)
    own = [folder.absolute() for folder in folders if folder.is_dir() and _is_in(folder, project)]
    return Launch(tuple(dict.fromkeys(own)), part if part is not None and _is_in(part, project) else None)


def own(folder: Path = SOURCE) -> Source:
    """This package itself."""
    return Source(tuple(as_installed(name, folder / name) for name in OWN))


def as_installed(name: str, path: Path) -> Shipped:
    """A part of a distribution, with every file it has.

    Args:
        name: Its place on the path.
        path: Where it is.

    Raises:
        UsageError: It has a compiled part.
    """
    files = (path,) if path.is_file() else tuple(distributions.files(path))
    _require_pure(name, files)
    return Shipped(name, path, f"{ROOT}/{name}", files)


def packages(folder: Path) -> Source:
    """The packages and modules of another project, a dependency: those under its `src/`, else those in its folder."""
    return _contents(folder / "src", folder, all_names=True) if has_src_layout(folder) else _contents(folder, folder)


def project_packages(project: Path | None = None) -> list[Path]:
    """The packages and modules of a project that ship to containers, where `image.source` names no others.

    Args:
        project: Its folder; None for the one around the working directory.

    Raises:
        UsageError: One has a compiled part.
    """
    return [part.path for part in packages(project or root()).shipped]


def extra(path: Path, name: str, remote: str) -> Source:
    """A file or folder that `image.files` names; what git ignores in it ships too, but no secret.

    Raises:
        UsageError: It is itself a file that looks like a secret.
    """
    files, left = selection.select([path], path.parent, path.parent, with_ignored=True)
    if path.is_file() and not files:
        raise UsageError(
            f"image.files: {name} looks like a secret, which never ships; use apparatus.secrets or apparatus.pass_env"
        )
    return Source((Shipped(name, path, remote, tuple(files)),), tuple(left))


def by_value(parts: Iterable[Shipped]) -> list[ModuleType]:
    """The modules here that a container cannot import: neither installed, nor among what ships, under their names."""
    places = {part.place(file): _real(str(file)) for part in parts for file in part.files if file.suffix == ".py"}

    def ships(name: str, file: str) -> bool:
        base, real = f"{ROOT}/{name.replace('.', '/')}", _real(file)
        there = places.get(f"{base}.py") or places.get(f"{base}/__init__.py")
        # A project may have a copy of this package among its source: the copy does there what this does here.
        return real == there or (there is not None and Path(real).is_relative_to(SOURCE))

    return [
        module
        for name, module in list(sys.modules.items())
        if name not in ("__main__", "__mp_main__")
        and isinstance(file := getattr(module, "__file__", None), str)
        and not ships(name, file)
        and not _is_installed(file)
    ]


def _contents(folder: Path, project: Path, *, all_names: bool = False) -> Source:
    """The packages and modules in a folder, as parts of their own.

    Args:
        folder: On the path here.
        project: The project it is of.
        all_names: Whether those ship too that are not code of jobs, by their names.
    """
    candidates, left = [], []
    src = folder / "src" if has_src_layout(folder) else None
    for path in sorted(folder.iterdir()):
        why = None if path == src else _refusal(path, all_names=all_names)
        if path == src or why == "":
            continue
        if why is None:
            candidates.append(path)
        else:
            left.append(LeftOut(path, why))
    files, hidden = selection.select(candidates, folder, project)
    shipped = []
    for path in candidates:
        own = tuple(file for file in files if file == path or path in file.parents)
        inside = [one for one in hidden if one.path == path or path in one.path.parents]
        if _is_code(own):
            _require_pure(path.name, (*own, *(one.path for one in inside)))
            shipped.append(Shipped(path.name, path, f"{ROOT}/{path.name}", own))
            left += inside
        else:
            left += [one for one in inside if one.path == path] or [LeftOut(path, NO_CODE)]
    return Source(tuple(shipped), tuple(left))


def _refusal(path: Path, *, all_names: bool) -> str | None:
    """Why something in a folder of the path does not ship, by its name; empty where that needs no saying."""
    name, is_folder = path.name, path.is_dir()
    if selection.is_cache(name):
        return ""
    if is_folder and selection.is_environment(path):
        return selection.ENVIRONMENT
    if selection.is_secret(Path(name)):
        return selection.SECRET
    if path.stem in _AT_START:
        return AT_START
    if not all_names and (
        name in _NOT_RUN or (name in _NOT_RUN_UNLESS_PACKAGES and not (path / "__init__.py").exists())
    ):
        return NOT_RUN
    return (
        None if (name if is_folder else path.stem).isidentifier() and (is_folder or path.suffix == ".py") else NO_CODE
    )


def _part(path: Path, project: Path) -> Source:
    """One package, module, folder or file."""
    files, left = selection.select([path], path.parent, project if path.is_relative_to(project) else path.parent)
    _require_pure(path.name, (*files, *(one.path for one in left)))
    return Source((Shipped(path.name, path, f"{ROOT}/{path.name}", tuple(files)),) if files else (), tuple(left))


def _chosen(project: Path, name: str) -> Source:
    """An entry of `image.source`."""
    path = _located(project, name)
    if path.is_dir() and (name.endswith("/") or (path == project / "src" and has_src_layout(project))):
        found = Source()
        for inner in sorted(path.iterdir()):
            if not selection.is_cache(inner.name):
                found = found.and_then(_part(inner, project))
    else:
        found = _part(path, project)
    if not found.shipped:
        why = found.left_out[0].why if found.left_out else "empty"
        raise UsageError(f"image.source: nothing of {name} ships: {path} is {why}; take it out of the list")
    return found


def _located(project: Path, name: str) -> Path:
    for path in (project / name, project / "src" / name):
        if path.exists():
            return Path(os.path.normpath(path))
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is not None:
        for place in (*(spec.submodule_search_locations or ()), spec.origin):
            if place is not None and Path(place).exists():
                return Path(place)
    raise UsageError(
        f"image.source: {name} is neither in {project} nor in its src/, and no package of that name can be imported; "
        "correct it"
    )


def _is_code(files: Iterable[Path]) -> bool:
    return any(file.suffix == ".py" for file in files)


def _is_in(path: Path, project: Path) -> bool:
    """Whether something is the project's, and neither installed in an environment inside it nor its tests."""
    path, folder = path.resolve(), project.resolve()
    if path != folder and folder not in path.parents:
        return False
    below = path.relative_to(folder)
    return not any(part in _NOT_RUN for part in below.parts) and not any(
        selection.is_environment(folder / part) for part in (below, *below.parents) if part != Path()
    )


@functools.cache
def _is_installed(file: str) -> bool:
    return _real(file).startswith(_installed_folders())


@functools.cache
def _installed_folders() -> tuple[str, ...]:
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple({os.path.realpath(path) + os.sep for path in paths})


@functools.cache
def _real(file: str) -> str:
    return os.path.realpath(file)


def _require_pure(name: str, files: Iterable[Path]) -> None:
    for file in files:
        if file.suffix in distributions.COMPILED:
            raise UsageError(
                f"{name} has a compiled part, {file}, which was built for this machine and not for the container; "
                "build it there with image.run or image.builder, or publish it as a wheel and depend on that"
            )
