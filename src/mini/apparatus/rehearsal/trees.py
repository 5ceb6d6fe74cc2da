"""Layers of a container that come from this machine: the interpreter, Modal's client, and the packages of an image.

Each is a folder laid out as the top of a file system, kept by its content, and made of links where the disk allows.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from importlib.metadata import Distribution
from pathlib import Path

from mini import distributions
from mini.errors import ImageError
from mini.loopback.sandbox import ENVIRONMENT, PYTHON, Root, remove
from mini.project import cache_folder

_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
_SITE = f"usr/local/lib/{_VERSION}/site-packages"
_DEPENDENCIES = "__modal/deps"
# Modal's own: what its client needs comes last on the path, after what the image has.
_SITECUSTOMIZE = f"import sys; sys.path.append('/{_DEPENDENCIES}')\n"
_NOT_NEEDED = ("site-packages", "dist-packages", "test", "idlelib", "turtledemo", "EXTERNALLY-MANAGED")
_TOOLS = ("pip", "setuptools", "wheel")


def interpreter() -> Path:
    """The interpreter that runs here, with its standard library and pip, at `/usr/local`."""
    program = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    modules = Path(sysconfig.get_config_var("DESTSHARED") or standard / "lib-dynload")
    library = Path(sysconfig.get_config_var("LIBDIR") or ""), str(sysconfig.get_config_var("INSTSONAME") or "")
    tools = [one for one in _tools(standard) if one.exists()]
    known = (sys.version, str(program), program.stat().st_mtime_ns, str(standard), [one.name for one in tools])

    def fill(tree: Path) -> None:
        top = tree / "usr/local"
        for folder in ("bin", "lib", "sbin", "etc"):
            (top / folder).mkdir(parents=True)
        for name in ("python", "python3", _VERSION):
            _link(program, top / "bin" / name)
        _link_tree(standard, top / "lib" / _VERSION, without=_NOT_NEEDED)
        if modules.is_dir() and not modules.is_relative_to(standard):
            _link_tree(modules, top / "lib" / _VERSION / "lib-dynload")
        if library[1].startswith("libpython") and ".so" in library[1] and (library[0] / library[1]).is_file():
            _link(library[0] / library[1], top / "lib" / library[1])
        for one in tools:
            _link_tree(one, tree / _SITE / one.name)
        (tree / _SITE).mkdir(parents=True, exist_ok=True)
        for name in ("pip", "pip3") if (tree / _SITE / "pip").is_dir() else ():
            (top / "bin" / name).write_text(
                f"#!{PYTHON}\nfrom pip._internal.cli.main import main\nraise SystemExit(main())\n"
            )
            (top / "bin" / name).chmod(0o755)

    return _kept("interpreter", repr(known), fill)


def linked(below: Sequence[Path]) -> Path:
    """What the dynamic linker knows of the libraries in some layers; the interpreter is tried there.

    Raises:
        ImageError: It does not run there.
    """

    def fill(tree: Path) -> None:
        with tempfile.TemporaryDirectory(dir=tree.parent, ignore_cleanup_errors=True) as temporary:
            upper, work = Path(temporary, "upper"), Path(temporary, "work")
            command = Root(below, upper, work).command(
                ["/bin/sh", "-c", f"ldconfig && {PYTHON} -c 'import ssl, sqlite3, ctypes, lzma, bz2'"],
                ENVIRONMENT,
                network=False,
                folder="/",
            )
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ImageError(f"the interpreter that runs here does not run in a container: {done.stderr.strip()}")
            (tree / "etc").mkdir()
            shutil.copy(upper / "etc/ld.so.cache", tree / "etc")
            remove(work)

    return _kept("linked", repr([str(path) for path in below]), fill)


def client() -> Path:
    """Modal's client at `/pkg`, and what it needs at the end of the path: what Modal mounts into each container."""
    found = distributions.closure(["modal"])

    def fill(tree: Path) -> None:
        for one in found:
            own = one.metadata["Name"].lower() in ("modal", "synchronicity")
            distributions.copy(one, tree / ("pkg" if own else _DEPENDENCIES))
        (tree / "pkg/sitecustomize.py").write_text(_SITECUSTOMIZE)
        for folder in ("pkg", _DEPENDENCIES):
            _take_compiled(tree / folder)

    return _kept("client", repr(sorted(f"{one.metadata['Name']} {one.version}" for one in found)), fill)


def packages(folder: Path) -> Path:
    """The packages of an environment, as uv installs them with `--target`, where the interpreter looks for them.

    Args:
        folder: The environment's, which is named after its content.
    """

    def fill(tree: Path) -> None:
        _link_tree(folder, tree / _SITE, without=("bin", ".lock"))
        _take_compiled(tree / _SITE)
        for script in sorted((folder / "bin").glob("*")):
            _script(script, tree / "usr/local/bin" / script.name)

    return _kept("packages", str(folder), fill)


def copies(found: Iterable[Distribution]) -> Path:
    """Distributions of this environment, where a container's interpreter looks for them."""
    chosen = list(found)

    def fill(tree: Path) -> None:
        for one in chosen:
            distributions.copy(one, tree / _SITE)
        _take_compiled(tree / _SITE)

    return _kept("copies", repr(sorted(f"{one.metadata['Name']} {one.version}" for one in chosen)), fill)


def _tools(standard: Path) -> list[Path]:
    place = standard / "site-packages"
    return [
        *(place / name for name in (*_TOOLS, "_distutils_hack")),
        *(info for name in _TOOLS for info in place.glob(f"{name}-*.dist-info")),
    ]


def _kept(kind: str, known: str, fill: Callable[[Path], None]) -> Path:
    digest = blake2b(repr((kind, known, sys.version)).encode(), digest_size=8).hexdigest()
    target = cache_folder("trees") / f"{kind}-{digest}"
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as temporary:
            made = Path(temporary, "tree")
            made.mkdir()
            fill(made)
            with contextlib.suppress(OSError):  # another command was quicker
                made.rename(target)
    return target


def _script(source: Path, target: Path) -> None:
    """A program, with the container's interpreter in its first line."""
    data = source.read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    if data.startswith(b"#!") and b"python" in data.partition(b"\n")[0]:
        data = b"#!" + PYTHON.encode() + b"\n" + data.partition(b"\n")[2]
    elif data.startswith(b"#!/bin/sh\n'''exec'") and b"\n' '''\n" in data:  # where the first line would be too long
        data = b"#!" + PYTHON.encode() + b"\n" + data.partition(b"\n' '''\n")[2]
    target.write_bytes(data)
    target.chmod(0o755)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def _link_tree(source: Path, target: Path, *, without: Iterable[str] = ()) -> None:
    """A folder with all that is in it, as links."""
    skipped = set(without)

    def ignored(folder: str, names: list[str]) -> set[str]:
        return skipped & set(names) if Path(folder) == source else set()

    shutil.copytree(source, target, symlinks=True, ignore=ignored, copy_function=_copied, dirs_exist_ok=True)


def _copied(source: str, target: str) -> None:
    _link(Path(source), Path(target))


def _take_compiled(site: Path) -> None:
    """Take over what is compiled here of the same modules: to compile a whole environment takes half a minute.

    What is missing is compiled by a container that needs it, and kept (`mini.loopback.sandboxes`).

    Args:
        site: A folder of the path in a tree.
    """
    here = Path(sysconfig.get_path("purelib"))
    for folder, _, names in os.walk(site):
        below = Path(folder).relative_to(site)
        for name in names:
            if name.endswith(".py"):
                cached = f"__pycache__/{name[:-3]}.{sys.implementation.cache_tag}.pyc"
                known, target = here / below / cached, Path(folder, cached)
                if known.is_file() and not target.exists() and _is_same(here / below / name, Path(folder, name)):
                    target.parent.mkdir(exist_ok=True)
                    _link(known, target)


def _is_same(one: Path, other: Path) -> bool:
    try:
        first, second = one.stat(), other.stat()
    except OSError:
        return False
    return (first.st_size, int(first.st_mtime)) == (second.st_size, int(second.st_mtime))
