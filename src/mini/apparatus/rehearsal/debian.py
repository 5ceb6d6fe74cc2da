"""The Debian that containers of a rehearsal stand on: made once by debootstrap, kept for all projects of this user.

`python -m mini.apparatus.rehearsal.debian` makes it. Its release and its mirror are this machine's own, so that the
interpreter which runs here runs there.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from mini.errors import ImageError
from mini.loopback import sandbox
from mini.project import cache_folder

_ALWAYS = ("ca-certificates", "netbase", "tzdata")  # as in Debian's `python:…-slim`
_SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources")
_COMMAND = "python -m mini.apparatus.rehearsal.debian"


@dataclass(frozen=True)
class _Source:
    """An archive of packages."""

    address: str
    suite: str
    components: tuple[str, ...]


def find() -> Path | None:
    """The root, if it is there and whole."""
    made = _place()
    if made is None:
        return None
    root, stamp = made
    try:
        return root if json.loads(stamp.read_text())["content"] == _content(root) else None
    except (OSError, ValueError, KeyError):
        return None


def ensure() -> Path:
    """The root; made if it is not there, which takes about two minutes.

    Raises:
        ImageError: It cannot be made; the message says why.
    """
    found = find()
    if found is not None:
        return found
    made = _place()
    if made is None:
        raise ImageError("this machine is no Debian nor Ubuntu, and has no archive to make a root for containers from")
    for program in ("debootstrap", "dpkg-query"):
        if shutil.which(program) is None:
            raise ImageError(
                f"{program} is not installed, which makes the root of containers: apt-get install {program}"
            )
    root, stamp = made
    with (root.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another command may be at it
        if (found := find()) is not None:
            return found
        print("making a Debian root for the containers of rehearsals: about two minutes, once", file=sys.stderr)
        sandbox.remove(root)
        with tempfile.TemporaryDirectory(dir=root.parent, ignore_cleanup_errors=True) as temporary:
            fresh = Path(temporary, "root")
            _bootstrap(fresh, Path(temporary, "log"))
            fresh.rename(root)
        stamp.write_text(json.dumps({"content": _content(root)}))
    return root


def problem() -> str | None:
    """Why the root is not there, and what makes it; None where it is."""
    if find() is not None:
        return None
    if _place() is None:
        return "this machine is no Debian nor Ubuntu, whose packages a container's root is made of"
    needs = "" if shutil.which("debootstrap") else "`apt-get install debootstrap`, and then "
    return f"there is no Debian root yet: {needs}`{_COMMAND}` makes it once (two minutes, 250 MB)"


def suite() -> str:
    """The name of this machine's release, such as `bookworm`."""
    return _release().get("VERSION_CODENAME", "")


def _release() -> dict[str, str]:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def _place() -> tuple[Path, Path] | None:
    """Where the root is, and what says that it is whole; None where there is no archive to make it from."""
    if not suite() or not _sources():
        return None
    name = f"{suite()}-{platform.machine()}-{blake2b(repr(_packages()).encode(), digest_size=4).hexdigest()}"
    folder = cache_folder("roots")
    return folder / name, folder / f"{name}.json"


@functools.cache
def _packages() -> tuple[str, ...]:
    """What the root has beyond the least: what `python:…-slim` has, and the libraries of the interpreter here."""
    interpreter = Path(sys.executable).resolve()
    known = f"{interpreter} {interpreter.stat().st_mtime_ns} {suite()}"
    kept = (
        cache_folder("roots") / f"{blake2b(known.encode(), digest_size=8).hexdigest()}.packages"
    )  # to ask takes a second
    with contextlib.suppress(OSError):
        return tuple(kept.read_text().split())
    found = _asked()
    kept.write_text("\n".join(found))
    return found


def _asked() -> tuple[str, ...]:
    lists = Path("/var/lib/dpkg/info")
    wanted = {f"/{path.name}" for path in _libraries()}
    found: set[str] = set()
    for name in lists.glob("lib*.list") if wanted else ():
        if any(line.endswith(tuple(wanted)) for line in name.read_text(errors="replace").splitlines()):
            found.add(name.name.removesuffix(".list").split(":")[0])
    return (*_ALWAYS, *sorted(found))


def _libraries() -> set[Path]:
    """The shared libraries of this system that the interpreter and its modules are linked to; not those of Tk."""
    files = [Path(sys.executable).resolve()]
    modules = sysconfig.get_config_var("DESTSHARED")
    files += [path for path in Path(modules or os.devnull).glob("*.so") if not path.name.startswith("_tkinter")]
    said = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False).stdout
    paths = {Path(found) for found in re.findall(r"=> (/\S+)", said)}
    return {path for path in paths if path.parts[1] in ("lib", "usr") and "local" not in path.parts}


def _sources() -> list[_Source]:
    """The archives of this machine's release that it is configured to use."""
    found: list[_Source] = []
    for pattern in _SOURCES:
        for file in sorted(Path("/").glob(pattern.lstrip("/"))):
            text = file.read_text(errors="replace")
            found += _paragraphs(text) if file.suffix == ".sources" else _lines(text)
    own = re.compile(rf"{re.escape(suite())}(-updates|-security)?$")
    return list(dict.fromkeys(one for one in found if own.match(one.suite) and "main" in one.components))


def _paragraphs(text: str) -> Iterator[_Source]:
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line for line in paragraph.splitlines() if not line.startswith("#")]
        fields = {name.strip().lower(): value.split() for name, _, value in (line.partition(":") for line in lines)}
        if fields.get("enabled") == ["no"] or "deb" not in fields.get("types", ()):
            continue
        for address in fields.get("uris", ()):
            for one in fields.get("suites", ()):
                yield _Source(address, one, tuple(fields.get("components", ())))


def _lines(text: str) -> Iterator[_Source]:
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)", line)
        if match is not None:
            yield _Source(match[1], match[2], tuple(match[3].split("#")[0].split()))


def _bootstrap(root: Path, log: Path) -> None:
    sources = _sources()
    main = next((one for one in sources if one.suite == suite()), sources[0])
    components = [one for one in main.components if one in ("main", "universe")]  # Ubuntu has libraries in the second
    command = [
        *("debootstrap", "--variant=minbase", f"--include={','.join(_packages())}"),
        *(f"--components={','.join(components)}", suite(), str(root), main.address),
    ]
    if os.getuid() != 0:
        command = ["unshare", "--user", "--map-auto", "--map-root-user", *command]
    with log.open("w") as said:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
        raise ImageError(f"debootstrap could not make the root of containers (exit code {done.returncode}):\n{end}")
    lines = [f"deb {one.address} {one.suite} {' '.join(one.components)}\n" for one in sources]
    (root / "etc/apt/sources.list").write_text("".join(lines))
    proxies = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False).stdout
    kept = [line for line in proxies.splitlines() if re.search(r"::(Proxy|CaInfo)", line)]
    (root / "etc/apt/apt.conf.d/90-rehearsal").write_text("\n".join(kept) + "\n")
    for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
        for path in (root / cache).glob("*"):
            if path.is_file():
                path.unlink()
    shutil.rmtree(root / "dev")
    for name in ("dev", "__modal"):
        (root / name).mkdir()
    for name in ("resolv.conf", "hostname"):  # this machine's
        (root / "etc" / name).unlink(missing_ok=True)


def _content(root: Path) -> str:
    """What is there, by names, sizes and times: enough to see that something was lost or changed."""
    digest = blake2b(digest_size=16)
    for folder, names, files in os.walk(root):
        names.sort()
        for name in sorted(files):
            found = Path(folder, name).lstat()
            digest.update(f"{folder}/{name} {found.st_size} {found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


if __name__ == "__main__":
    try:
        print(ensure())
    except ImageError as error:
        sys.exit(f"error: {error}")
