"""Which files of a folder may leave this machine: not what git ignores, not what looks like a secret, no environments.

In a git repository git says what is ignored, with the user's own rules; elsewhere the `.gitignore` files are read.
"""

from __future__ import annotations

import fnmatch
import functools
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from mini import distributions

IGNORED = "ignored by git"
SECRET = "looks like a secret"
ENVIRONMENT = "a Python environment"
LINK = "a link to a folder; image.files ships one"

_SECRETS = (
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pypirc", ".npmrc", ".pgpass", ".htpasswd"),
    *(
        ".git-credentials",
        ".modal.toml",
        ".dockercfg",
        "kubeconfig",
        "credentials",
        "credentials.*",
        "credentials*.json",
    ),
    *("client_secret*.json", "service_account*.json", "service-account*.json", "*serviceaccount*.json"),
    *("secrets.*", "secret.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "*.gpg"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_*_sk"),
)
_NO_SECRETS = ("*.py", "*.pyi", "*.pub", "*.example", "*.sample", "*.template")
_SECRET_FOLDERS = (".ssh", ".aws", ".gnupg", ".azure", ".gcloud", ".kube", ".docker")
_CACHES = (
    *(".git", ".hg", ".svn", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".ipynb_checkpoints"),
    *(".import_linter_cache", ".hypothesis", ".tox", ".nox", ".idea", ".vscode", "node_modules", ".DS_Store"),
)
_ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")  # what tells one
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")  # and another repository


@dataclass(frozen=True, order=True)
class LeftOut:
    """A file or folder that does not ship.

    Args:
        path: What.
        why: The reason.
    """

    path: Path
    why: str


def select(
    paths: Sequence[Path], top: Path, project: Path, *, with_ignored: bool = False
) -> tuple[list[Path], list[LeftOut]]:
    """The files that ship, and what is left out.

    Args:
        paths: Files and folders.
        top: A folder that they are in.
        project: The folder from which on `.gitignore` files count where git cannot be asked.
        with_ignored: Whether what git ignores ships too.

    Returns:
        Files, sorted; and what is left out, with the reason. Caches are not mentioned.
    """
    found, left = _walk(paths, None) if with_ignored else (_ask_git(paths, top) or _walk(paths, project))
    chosen = []
    for path in found:
        below = path.relative_to(top)
        environment = next((top / part for part in below.parents if part.name and is_environment(top / part)), None)
        if environment is not None:
            left.append(LeftOut(environment, ENVIRONMENT))
        elif is_secret(below) or (path.is_symlink() and is_secret(path.resolve())):
            left.append(LeftOut(path, SECRET))
        elif path.is_dir():
            left.append(LeftOut(path, LINK))
        elif path.is_file():
            chosen.append(path)
    left = [one for one in set(left) if not _is_cache(one.path.relative_to(top))]
    return sorted(path for path in set(chosen) if not _is_cache(path.relative_to(top))), sorted(left)


def is_secret(path: PurePath) -> bool:
    """Whether a file looks like one that holds a secret, by its name or its folder's."""
    matches = functools.partial(fnmatch.fnmatchcase, path.name.lower())
    return any(part in _SECRET_FOLDERS for part in path.parts) or (
        any(map(matches, _SECRETS)) and not any(map(matches, _NO_SECRETS))
    )


def is_environment(folder: Path) -> bool:
    """Whether a folder is a virtual environment, or one of conda's."""
    return any((folder / mark).exists() for mark in _ENVIRONMENTS)


def is_cache(name: str) -> bool:
    """Whether a file or folder of this name is kept by Python, git or an editor for itself."""
    return name in _CACHES or name.endswith(".egg-info") or distributions.is_cache(Path(name))


def _is_cache(path: Path) -> bool:
    return any(is_cache(part) for part in path.parts)


def _ask_git(paths: Sequence[Path], top: Path) -> tuple[list[Path], list[LeftOut]] | None:
    """What git sees, and what it ignores; None where `top` is in no repository, or ignored by the one it is in."""
    if not paths:
        return [], []

    def ask(*arguments: str) -> list[str] | None:
        environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
        try:
            done = subprocess.run(["git", *arguments], cwd=top, env=environment, capture_output=True, check=False)
        except OSError:  # no git
            return None
        return [os.fsdecode(name) for name in done.stdout.split(b"\0") if name] if done.returncode == 0 else None

    if ask("rev-parse", "--is-inside-work-tree") is None or ask("check-ignore", "-q", ".") is not None:
        return None
    names = [os.path.relpath(path, top) for path in paths]
    ls = ("--literal-pathspecs", "ls-files", "-z", "--others", "--exclude-standard")
    listed = ask(*ls, "--cached", "--", *names)
    ignored = ask(*ls, "--ignored", "--directory", "--", *names)
    if listed is None or ignored is None:
        return None
    found, left = [], [LeftOut(top / name, IGNORED) for name in ignored]
    for path in [top / name for name in listed]:
        if path.is_dir() and not path.is_symlink():  # a repository in the repository
            inner = _ask_git([path], path) or _walk([path], path)
            found += inner[0]
            left += inner[1]
        else:
            found.append(path)
    return found, left


def _walk(paths: Sequence[Path], top: Path | None) -> tuple[list[Path], list[LeftOut]]:
    """As `_ask_git`, from the `.gitignore` files from `top` downwards; nothing is ignored where it is None."""
    found: list[Path] = []
    left: list[LeftOut] = []

    def enter(path: Path, rules: Sequence[tuple[Path, Any]]) -> None:
        is_folder = path.is_dir() and not path.is_symlink()
        if _is_ignored(path, is_folder, rules):
            left.append(LeftOut(path, IGNORED))
        elif not is_folder:
            found.append(path)
        elif is_environment(path):
            left.append(LeftOut(path, ENVIRONMENT))
        elif not is_cache(path.name):
            rules = [*_gitignore(path), *rules] if top is not None else []
            for inner in sorted(path.iterdir()):
                enter(inner, rules)

    for path in paths:
        above = [folder for folder in path.parents if top is not None and folder.is_relative_to(top)]
        enter(path, [rule for folder in above for rule in _gitignore(folder)])
    return found, left


def _is_ignored(path: Path, is_folder: bool, rules: Sequence[tuple[Path, Any]]) -> bool:
    """Whether the nearest rules that have something to say of a path ignore it."""
    for folder, spec in rules:
        said = spec.check_file(path.relative_to(folder).as_posix() + ("/" if is_folder else "")).include
        if said is not None:
            return bool(said)
    return False


def _gitignore(folder: Path) -> list[tuple[Path, Any]]:
    from pathspec import GitIgnoreSpec

    try:
        return [(folder, GitIgnoreSpec.from_lines((folder / ".gitignore").read_text(encoding="utf-8").splitlines()))]
    except OSError:
        return []
