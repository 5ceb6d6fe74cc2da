"""`mini doctor`: what works here, and the cure for what does not."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import click

from mini import machine, project
from mini.apparatus.modal import extra
from mini.cli.parameters import json_option
from mini.errors import MiniError
from mini.runs import provenance

_ROOM = 2.0  # GiB that should be free where runs are
_SKEW = 2.0  # seconds by which a file system's clock may differ


@dataclass(frozen=True)
class Check:
    """What was looked at.

    Args:
        name: In a word.
        state: `ok`; `absent`, for what only some need; `problem`.
        found: What was found.
        cure: What to do; empty where nothing needs to be done.
    """

    name: str
    state: str
    found: str
    cure: str = ""


@click.command("doctor")
@json_option
def doctor_command(as_json: bool) -> int:
    """Say what works here, and what to do about what does not.

    Starts no job and changes nothing. The exit code is 1 if there is a problem; what is merely absent is none.
    """
    checks = list(examine())
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        marks = {"ok": "✓", "absent": "–", "problem": "✗"}
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{marks[check.state]} {check.name.ljust(width)}  {check.found}")
            if check.cure:
                print(f"  {' ' * width}  → {check.cure}")
    return int(any(check.state == "problem" for check in checks))


def examine() -> Iterator[Check]:
    """All checks. One that fails in a way nobody thought of is a problem of its own, and stops no other."""
    for name, check in _CHECKS.items():
        try:
            yield check(name)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are worth knowing
            yield Check(name, "problem", f"could not be looked at: {type(error).__name__}: {error}")


def _python(name: str) -> Check:
    return Check(name, "ok", f"{platform.python_version()}, {sys.executable}")


def _packages(name: str) -> Check:
    names = ("hydra-apparatus", "hydra-core", "omegaconf", "polars")
    return Check(name, "ok", ", ".join(f"{one} {metadata.version(one)}" for one in names))


def _uv(name: str) -> Check:
    uv = extra.uv()
    if uv is None:
        return Check(name, "absent", "not here", "pip install uv, for a lock and for images from it")
    version = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=20).stdout.strip()
    return Check(name, "ok", f"{version}, {uv}")


def _project(name: str) -> Check:
    root = project.root()
    if not (root / "pyproject.toml").exists():
        return Check(name, "absent", f"{root} has no pyproject.toml", "mini init")
    return Check(name, "ok", f"{project.name()}, {root}")


def _lock(name: str) -> Check:
    lock, root = project.lock(), project.root()
    if lock is None:
        return Check(name, "absent", "no uv.lock: containers get the versions that are installed here", "uv lock")
    if (root / "pyproject.toml").stat().st_mtime <= lock.stat().st_mtime:
        return Check(name, "ok", str(lock))
    uv = extra.uv()
    checking = [uv or "uv", "lock", "--check", "--offline", "--quiet"]
    if uv is not None and subprocess.run(checking, cwd=root, capture_output=True, timeout=60).returncode:
        return Check(name, "problem", f"{lock} does not fit pyproject.toml, which is newer", "uv lock")
    return Check(name, "ok", str(lock))


def _machine(name: str) -> Check:
    found = provenance.hardware()
    return Check(name, "ok", f"{found['machine']}, {machine.cores()} cores, {found['memory'] or '?'} GiB")


def _gpus(name: str) -> Check:
    visible, names = machine.visible_gpus(), provenance.gpu_names()
    if not visible:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if names and hidden is not None:
            found = f"CUDA_VISIBLE_DEVICES={hidden} hides {len(names)}"
            return Check(name, "problem", found, "unset CUDA_VISIBLE_DEVICES")
        return Check(name, "absent", "none: jobs of apparatus=local share the cores")
    return Check(name, "ok", f"{len(visible)}: {', '.join(dict.fromkeys(names)) or 'NVIDIA'}")


def _slurm(name: str) -> Check:
    sbatch = shutil.which("sbatch")
    return Check(name, "ok", sbatch) if sbatch else Check(name, "absent", "no sbatch on the PATH")


def _ray(name: str) -> Check:
    there = importlib.util.find_spec("ray") is not None
    return Check(name, "ok", metadata.version("ray")) if there else Check(name, "absent", "ray is not installed")


def _modal(name: str) -> Check:
    if importlib.util.find_spec("modal") is None:
        return Check(name, "absent", "its client is not installed", "install hydra-apparatus[modal]")
    from mini.apparatus.modal import preflight

    try:
        preflight.require_token()
    except MiniError:
        return Check(name, "absent", f"client {metadata.version('modal')}, no token", "mini auth")
    return Check(name, "ok", f"client {metadata.version('modal')}, and a token; `mini auth --check` tries it")


def _reaching(name: str) -> Check:
    if importlib.util.find_spec("modal") is None:
        return Check(name, "absent", "not looked at, as the client is not installed")
    from modal.config import config

    from mini.apparatus.modal import preflight

    try:
        return Check(name, "ok", preflight.choose(config.get("server_url")))
    except MiniError as error:
        cure = "apparatus=rehearsal needs no network; for modal, allow api.modal.com, port 443"
        return Check(name, "absent", str(error), cure)


def _bubblewrap(name: str) -> Check:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return Check(name, "absent", "no bwrap on the PATH", "apt-get install bubblewrap, to sandbox a rehearsal")
    tried = subprocess.run([bwrap, "--ro-bind", "/", "/", "true"], capture_output=True, text=True, timeout=20)
    if tried.returncode:
        cure = "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"
        return Check(name, "absent", f"{bwrap} does not work: {tried.stderr.strip()[-200:]}", cure)
    return Check(name, "ok", bwrap)


def _disk(name: str) -> Check:
    home = _existing(project.outputs())
    free = shutil.disk_usage(home).free / 2**30
    if not os.access(home, os.W_OK):
        return Check(name, "problem", f"{home} cannot be written", "choose another folder with hydra.sweep.dir")
    if free < _ROOM:
        return Check(name, "problem", f"{free:.1f} GiB are free at {home}", "make room: `mini rm`, or hydra.sweep.dir")
    return Check(name, "ok", f"{free:.0f} GiB are free at {home}")


def _clock(name: str) -> Check:
    """Whether the file system has the time of this machine: how old a running job is said to be depends on it."""
    with tempfile.NamedTemporaryFile(dir=_existing(project.outputs())) as file:
        file.write(b"x")
        file.flush()
        skew = Path(file.name).stat().st_mtime - time.time()
    if abs(skew) > _SKEW:
        return Check(
            name, "problem", f"files are dated {skew:+.1f} s from this machine's clock", "synchronise with NTP"
        )
    return Check(name, "ok", time.strftime("%Y-%m-%d %H:%M:%S %Z"))


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


_CHECKS: dict[str, Callable[[str], Check]] = {
    "python": _python,
    "packages": _packages,
    "uv": _uv,
    "project": _project,
    "lock": _lock,
    "machine": _machine,
    "gpus": _gpus,
    "slurm": _slurm,
    "ray": _ray,
    "modal": _modal,
    "modal server": _reaching,
    "bubblewrap": _bubblewrap,
    "disk": _disk,
    "clock": _clock,
}
