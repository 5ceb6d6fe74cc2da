"""Images, built as Modal builds them: each is the layers of the one it is based on, and what its own steps change.

A step that installs pins may be given as a layer that is there already. What cannot be had on this machine, such as an
image of a registry, is said, and the steps that follow are tried all the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shlex
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from mini.loopback.process import Process
from mini.loopback.sandbox import ENVIRONMENT, Root, Sandbox, remove, status
from mini.loopback.state import PlaneState

TAIL = 4000
"""Characters of a failed build's log that are told."""

_UNREACHABLE = re.compile(
    r"Temporary failure resolving|Could not resolve|Unable to connect to|Could not connect to|Network is unreachable"
    r"|dns error|Connection refused|Failed to fetch: `http"
)
_UV = "/.uv/uv"
_FROM_HERE = re.compile(
    r"(?i)(https?|no|all|ftp)_proxy|UV_(?!CACHE_DIR|PROJECT|PYTHON|CONFIG_FILE|TOOL).*|PIP_.*INDEX_URL"
)


class BuildFailed(Exception):
    """A step of an image failed; the text is the log's end."""


@dataclass(frozen=True)
class Built:
    """An image that is there.

    Args:
        layers: The lowest first.
        environment: What its ENV steps set.
        folder: Its working directory.
        key: Of what it was made of.
    """

    layers: tuple[Path, ...]
    environment: Mapping[str, str]
    folder: str = "/root"
    key: str = ""


class Builder:
    """Builds the images of a control plane, each once.

    Args:
        state: The control plane's.
        sandbox: What containers are made of.
    """

    def __init__(self, state: PlaneState, sandbox: Sandbox) -> None:
        self._state, self._sandbox = state, sandbox
        self._builds: dict[str, asyncio.Task[Built]] = {}

    def begin(self, image_id: str, *, anew: bool = False) -> asyncio.Task[Built]:
        """Build an image the control plane knows, unless it is built or being built.

        Args:
            image_id: The image's id.
            anew: Whether one that failed is tried again.
        """
        build = self._builds.get(image_id)
        if build is None or (anew and build.done() and (build.cancelled() or build.exception() is not None)):
            build = self._builds[image_id] = asyncio.ensure_future(self._build(image_id))
            build.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        return build

    def built(self, image_id: str) -> Built:
        """An image that was built; without an id the base."""
        if image_id not in self._builds:
            return self._base()
        return self._builds[image_id].result()

    async def close(self) -> None:
        """Give up what is being built."""
        for build in self._builds.values():
            build.cancel()
        await asyncio.gather(*self._builds.values(), return_exceptions=True)

    def _base(self) -> Built:
        return Built(self._sandbox.base, dict(ENVIRONMENT), key=repr([path.name for path in self._sandbox.base]))

    async def _build(self, image_id: str) -> Built:
        image = self._state.images[image_id]
        commands = list(image.dockerfile_commands)
        if not image.base_images:
            base = next((line.split()[1] for line in commands if line.upper().startswith("FROM ")), "")
            if base and not base.startswith("python:"):
                self._state.notify(
                    f"the image {base} of a registry cannot be had here; the steps after it are tried on Debian"
                )
            return self._base()
        before = await self.begin(image.base_images[0].image_id)
        files = {file.filename: bytes(file.data) for file in image.context_files}
        for file in self._state.mounts.get(image.context_mount_id, ()):
            files[file.filename] = self._state.content("files", file.sha256_hex).read_bytes()
        for secret_id in image.secret_ids:
            before = replace(before, environment={**before.environment, **self._state.secrets.get(secret_id, {})})
        left = self._state.path("layers", image_id)
        if left.is_dir():  # by a function that ran in its build
            made_of = before.key + await asyncio.to_thread(_digest, left)
            key = hashlib.sha256(made_of.encode()).hexdigest()[:24]
            before = replace(before, layers=(*before.layers, left), key=key)
        return await self._steps(before, commands, files)

    async def _steps(self, before: Built, commands: list[str], files: Mapping[str, bytes]) -> Built:
        now = before
        work: list[tuple[str, str]] = []
        for line in _joined(commands):
            word, _, rest = line.partition(" ")
            if word.upper() == "ENV":
                now = replace(now, environment={**now.environment, **dict(assigned(rest, now.environment))})
            elif word.upper() == "WORKDIR":
                now = replace(now, folder=str(PurePosixPath(now.folder, rest.strip())))
            elif word.upper() in ("RUN", "COPY", "ADD"):
                ready = self._ready(rest, files) if word.upper() == "RUN" else None
                if ready is not None:
                    now, work = replace(now, layers=(*now.layers, ready)), []  # the file of pins was for this alone
                elif "--from=" not in rest:  # uv, which is shown to each step
                    work.append((word.upper(), rest.strip()))
        used = [(name, hashlib.sha256(data).hexdigest()) for name, data in sorted(files.items())]
        made_of = repr(
            (before.key, [path.name for path in now.layers], sorted(now.environment.items()), now.folder, work, used)
        )
        now = replace(now, key=hashlib.sha256(made_of.encode()).hexdigest()[:24])
        if not work:
            return now
        target = self._sandbox.layers / now.key
        if not target.is_dir() and not await self._make(target, now, work, files):
            return now
        return replace(now, layers=(*now.layers, target))

    def _ready(self, command: str, files: Mapping[str, bytes]) -> Path | None:
        """The layer that stands for a step that installs a file of pins."""
        if "pip install" not in command:
            return None
        for data in files.values():
            found = self._sandbox.environments.get(hashlib.sha256(data).hexdigest())
            if found is not None:
                return found
        return None

    async def _make(self, target: Path, now: Built, work: list[tuple[str, str]], files: Mapping[str, bytes]) -> bool:
        """Do the steps of a layer; False where this machine cannot, which is said.

        Raises:
            BuildFailed: A step fails.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".making-"))
        upper, log = temporary / "upper", ""
        upper.mkdir()
        try:
            for word, rest in work:
                if word != "RUN":
                    _copy(rest, files, upper)
                    continue
                log += f"RUN {rest}\n"
                process, said = await self._run(rest, now, temporary)
                log += said
                code = status(await process.wait())
                if code != 0 and _UNREACHABLE.search(log):
                    self._state.notify(f"not tried, for want of a network: RUN {rest}")
                    return False
                if code != 0:
                    how = f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
                    raise BuildFailed(f"{log[-TAIL:].rstrip()}\nthe step `RUN {rest}` {how}\n")
            for path in (upper / "etc/resolv.conf", upper / _UV[1:]):
                path.unlink(missing_ok=True)
            if not target.is_dir():
                upper.rename(target)
            return True
        finally:
            remove(temporary)

    async def _run(self, command: str, now: Built, temporary: Path) -> tuple[Process, str]:
        said: list[str] = []
        environment = {**now.environment, "DEBIAN_FRONTEND": "noninteractive"}
        for name, value in os.environ.items():
            if _FROM_HERE.fullmatch(name):
                environment.setdefault(name, value)
        shown = dict(_of_this_machine(self._sandbox.uv))
        if "/run/uv.toml" in shown:
            environment["UV_CONFIG_FILE"] = "/run/uv.toml"
        if "/run/authorities.pem" in shown:
            environment["SSL_CERT_FILE"] = "/run/authorities.pem"
        environment["UV_NO_PROGRESS"] = "1"
        root = Root(now.layers, temporary / "upper", temporary / "work", shown=shown)
        words = root.command(["/bin/sh", "-c", command], environment, network=True, folder="/")
        process = await Process.start(lambda text, _: said.append(text), words, {}, temporary)
        try:
            await process.wait()
        except asyncio.CancelledError:
            process.kill()
            raise
        return process, "".join(said)


def assigned(text: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What an ENV step sets.

    Args:
        text: The step, without the word ENV.
        environment: What it may refer to, outside of single quotes.
    """
    name, _, first = text.strip().partition(" ")
    if "=" not in name:  # the old form
        yield name, first
        return
    try:
        words = shlex.split(text)
    except ValueError:
        words = [text.strip()]
    for word in words:
        name, _, value = word.partition("=")
        if "'" not in text:
            value = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: environment.get(found[1] or found[2], ""), value)
        yield name, value


def _digest(folder: Path) -> str:
    """Of the names and contents of a folder's files."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        kind = path.lstat().st_mode
        found.update(repr((str(path.relative_to(folder)), kind)).encode())
        if stat.S_ISLNK(kind):
            found.update(str(path.readlink()).encode())
        elif stat.S_ISREG(kind):
            with path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def _joined(commands: list[str]) -> Iterator[str]:
    """Steps, those over several lines as one."""
    waiting = ""
    for line in commands:
        waiting += line.strip()
        if waiting.endswith("\\"):
            waiting = waiting[:-1]
            continue
        if waiting and not waiting.startswith("#"):
            yield waiting
        waiting = ""
    if waiting:
        yield waiting


def _copy(rest: str, files: Mapping[str, bytes], upper: Path) -> None:
    """A COPY step: from the files that came with the image."""
    *sources, target = [word for word in rest.split() if not word.startswith("--")]
    for source in sources:
        top = "" if source in (".", "/", "./") else "/" + source.strip("/")
        for name, data in files.items():
            own = "/" + name.lstrip("/")
            if own != top and not own.startswith(top + "/"):
                continue
            below = own[len(top) :].lstrip("/") or (PurePosixPath(own).name if target.endswith("/") else "")
            place = upper / target.lstrip("/") / below if below else upper / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)


def _of_this_machine(uv: Path | None) -> Iterator[tuple[str, Path]]:
    """What a step needs of this machine to reach what it installs from: uv, and where indexes and authorities are."""
    if Path("/etc/resolv.conf").exists():
        yield "/etc/resolv.conf", Path("/etc/resolv.conf").resolve()
    if uv is not None:
        yield _UV, uv
    configured = os.environ.get("UV_CONFIG_FILE")
    places = [configured, Path.home() / ".config/uv/uv.toml", "/etc/uv/uv.toml"]
    for place in places:
        if place and Path(place).is_file():
            yield "/run/uv.toml", Path(place)
            break
    for place in (Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf", Path("/etc/pip.conf")):
        if place.is_file():
            yield "/etc/pip.conf", place
            break
    authorities = os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt"
    if Path(authorities).is_file():
        yield "/run/authorities.pem", Path(authorities)
