"""`mini init`: a project that sweeps, from an empty folder or an existing Hydra application."""

from __future__ import annotations

import ast
import difflib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from mini import distributions, project
from mini.apparatus.modal import extra
from mini.errors import UsageError

_DISTRIBUTION = distributions.OWN
_IGNORED = ("/outputs/", "/multirun/", "__pycache__/", ".venv/")
_SKIPPED = frozenset((".git", ".venv", "venv", "outputs", "multirun", "node_modules", "__pycache__", "site-packages"))

_OF_NEW_FOLDERS = frozenset(
    (".git", ".gitignore", ".python-version", ".venv", "LICENSE", "README.md", "pyproject.toml", "uv.lock")
)

_TRAIN = '''"""A Hydra application: `python train.py lr=0.1,0.2 seed=0,1,2` sweeps it."""

import hydra
from mini import progress
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> dict[str, float]:
    """Descend to the minimum of a parabola; put your own training here.

    Args:
        config: As composed from `conf/`.

    Returns:
        What becomes columns of the table.
    """
    x = 5.0 + config.seed
    for step in range(config.steps):
        x -= config.lr * 2 * x
        progress(step + 1, config.steps, loss=x * x)
    return {"loss": x * x}


if __name__ == "__main__":
    main()
'''
_CONFIG = """defaults:
  - mini
  - _self_

lr: 0.1
steps: 20
seed: 0

hydra:
  launcher:
    results:
      sort: loss
"""


@dataclass(frozen=True)
class Change:
    """A file that is made or changed.

    Args:
        path: The file.
        after: Its new content.
        before: What it has now; None if it is not there.
    """

    path: Path
    after: str
    before: str | None = None

    def lines(self, root: Path) -> Iterator[str]:
        """What is said of it."""
        name = self.path.relative_to(root).as_posix()
        if self.before is None:
            yield f"new      {name}"
            return
        yield f"changed  {name}"
        for line in difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=0):
            if line[:1] in "+-" and line[:3] not in ("+++", "---"):
                yield f"             {line}"


@click.command("init")
@click.option("--example", is_flag=True, help="The example: a small network on handwritten digits.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--no-lock", is_flag=True, help="Do not run uv.")
def init_command(example: bool, dry_run: bool, no_lock: bool) -> int:
    """Set this folder up: an empty one, or one with a Hydra application.

    An application gets the entry `mini` in its defaults list, the dependency, and entries in .gitignore. Nothing that
    is there is overwritten, and git undoes it.
    """
    root = Path.cwd()
    changes, notes = plan_example(root) if example else plan(root)
    for change in changes:
        for line in change.lines(root):
            print(line)
    if not dry_run:
        for change in changes:
            change.path.parent.mkdir(parents=True, exist_ok=True)
            change.path.write_text(change.after, encoding="utf-8")
        notes = [*add_dependency(root, lock=not no_lock), *notes]
    for note in notes:
        print(note)
    if not changes and not notes:
        print("nothing to do: this project is set up")
    return 0


def plan(root: Path) -> tuple[list[Change], list[str]]:
    """What is to change, and what a person must do.

    Args:
        root: The folder.

    Raises:
        UsageError: The folder has files, and none of them is a Hydra application.
    """
    applications = list(find_applications(root))
    if not applications and not _is_empty(root):
        raise UsageError(
            f"there is no Hydra application in {root}: no file with @hydra.main. Run `mini init` where it is, in an "
            "empty folder, or write one: https://hydra.cc/docs/tutorials/basic/your_first_app/simple_cli/"
        )
    changes: list[Change] = []
    notes: list[str] = []
    if not applications:
        changes += [Change(root / "train.py", _TRAIN), Change(root / "conf" / "config.yaml", _CONFIG)]
        notes.append("next: python train.py lr=0.1,0.2 seed=0,1,2   then: mini results")
    for source, config in applications:
        if config is None:
            notes.append(f"{source.relative_to(root)} has no config file: add - mini to the defaults of its config")
        elif not config.exists():
            notes.append(f"{source.relative_to(root)} names {config}, which is not there: add - mini to its defaults")
        else:
            before = config.read_text(encoding="utf-8")
            after = with_mini(before)
            changes += [Change(config, after, before)] if after != before else []
    if not (root / "pyproject.toml").exists() and not (root / "requirements.txt").exists():
        changes.append(Change(root / "pyproject.toml", _pyproject(root)))
    ignore = root / ".gitignore"
    ignored = ignore.read_text(encoding="utf-8") if ignore.exists() else ""
    known = {line.strip().strip("/") for line in ignored.splitlines()}
    missing = [line for line in _IGNORED if line.strip("/") not in known]
    if missing:
        head = ignored if not ignored or ignored.endswith("\n") else ignored + "\n"
        changes.append(Change(ignore, head + "\n".join(missing) + "\n", ignored if ignore.exists() else None))
    return changes, notes


def plan_example(root: Path) -> tuple[list[Change], list[str]]:
    """The files of the example.

    Args:
        root: An empty folder.

    Raises:
        UsageError: The folder is not empty, or the example is not part of this installation.
    """
    if not _is_empty(root) or (root / "pyproject.toml").exists():
        raise UsageError(f"{root} is not empty; the example wants a folder of its own: mkdir digits && cd digits")
    inside = project.SOURCE / "mini" / "example"
    # In a wheel it is inside the package; in a checkout it is the application beside it.
    app = inside / "app" if inside.is_dir() else project.SOURCE / "app"
    conf = inside / "conf" if inside.is_dir() else project.SOURCE.parent / "conf"
    if not app.is_dir() or not conf.is_dir():
        raise UsageError("the example is not part of this installation; it is in the project's repository")
    files = [(path, "src/app" / path.relative_to(app)) for path in sorted(app.rglob("*.py"))]
    files += [(path, "conf" / path.relative_to(conf)) for path in sorted(conf.rglob("*.yaml"))]
    changes = [Change(root / target, path.read_text(encoding="utf-8")) for path, target in files]
    needs = ('"jax>=0.7"', '"optax>=0.2.5"', '"scikit-learn>=1.7"')
    changes.append(Change(root / "pyproject.toml", _pyproject(root, needs, "src/app")))
    changes.append(Change(root / ".gitignore", "\n".join(_IGNORED) + "\n"))
    return changes, ["next: uv run python -m app optimizer.lr=1e-3,1e-2 model=small,large"]


def find_applications(root: Path) -> Iterator[tuple[Path, Path | None]]:
    """Each Python file with `@hydra.main`, and its primary config where that is a file.

    Args:
        root: Where to look, in all folders below but those of environments and outputs.
    """
    for path in sorted(root.rglob("*.py")):
        if _SKIPPED & set(path.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("hydra.main", "main"):
                given = {word.arg: word.value for word in node.keywords}
                if ast.unparse(node.func) == "main" and "config_name" not in given:
                    continue
                yield path, _config_of(path, given.get("config_path"), given.get("config_name"))
                break


def _config_of(source: Path, folder: ast.expr | None, name: ast.expr | None) -> Path | None:
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        return None
    if folder is None or (isinstance(folder, ast.Constant) and folder.value is None):
        return None
    where = folder.value if isinstance(folder, ast.Constant) else "conf"
    return source.parent / str(where) / f"{name.value.removesuffix('.yaml')}.yaml"


def with_mini(config: str) -> str:
    """A config with `- mini` in its defaults list; comments and the rest stay as they are.

    Args:
        config: The text of a YAML file.
    """
    found = re.search(r"^defaults:[ \t]*(#.*)?\n((?:[ \t]*(?:#.*)?\n|[ \t]*- .*\n?)*)", config, re.MULTILINE)
    if found is None:
        return f"defaults:\n  - mini\n  - _self_\n\n{config}"
    entries = found[2]
    if re.search(r"^[ \t]*- mini[ \t]*(#.*)?$", entries, re.MULTILINE):
        return config
    indent = re.search(r"^([ \t]*)- ", entries, re.MULTILINE)
    line = f"{indent[1] if indent else '  '}- mini\n"
    return config[: found.start(2)] + line + config[found.start(2) :]


def _is_empty(root: Path) -> bool:
    """Whether a folder has at most what `git init`, `uv init --bare` and a new repository leave."""
    return {path.name for path in root.iterdir()} <= _OF_NEW_FOLDERS


def _pyproject(root: Path, needs: tuple[str, ...] = (), package: str | None = None) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-") or "experiments"
    build = '\n[build-system]\nrequires = ["hatchling>=1.27"]\nbuild-backend = "hatchling.build"\n' if package else ""
    wheel = f'\n[tool.hatch.build.targets.wheel]\npackages = ["{package}"]\n' if package else ""
    return (
        f'[project]\nname = "{name}"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'
        f"dependencies = [{', '.join(needs)}]\n{build}{wheel}"
    )


def add_dependency(root: Path, *, lock: bool) -> list[str]:
    """Add this distribution to what the project needs, through uv, as it is installed here; and lock.

    Args:
        root: The project.
        lock: Whether to lock too.

    Returns:
        What a person must do where it could not be done.
    """
    requirement, words = requirement_of_this()
    requirements = root / "requirements.txt"
    if not (root / "pyproject.toml").exists():
        text = requirements.read_text(encoding="utf-8")
        if _DISTRIBUTION not in text:
            requirements.write_text(f"{text.rstrip()}\n{requirement}\n", encoding="utf-8")
            print(f"changed  requirements.txt\n             +{requirement}")
        return []
    if any(_DISTRIBUTION in str(one) for one in project.declaration(root).get("project", {}).get("dependencies", ())):
        return []
    uv = extra.uv()
    if uv is None:
        return [f"add to the dependencies in pyproject.toml: {requirement}"]
    adding = [uv, "add", "--quiet", "--frozen", *words]
    done = subprocess.run(adding, cwd=root, capture_output=True, text=True)
    if done.returncode:
        return [f"add to the dependencies in pyproject.toml: {requirement} (uv add: {done.stderr.strip()})"]
    print(f"changed  pyproject.toml\n             +{requirement}")
    if not lock:
        return ["next: uv sync"]
    done = subprocess.run([uv, "lock", "--quiet"], cwd=root, capture_output=True, text=True)
    if done.returncode:
        return [f"uv lock did not work; run it again when it can: {done.stderr.strip()}"]
    print("new      uv.lock")
    return ["next: uv sync"]


def requirement_of_this() -> tuple[str, list[str]]:
    """What another project writes to get this distribution as it is installed here, and the words for `uv add`."""
    distribution = distributions.find(_DISTRIBUTION)
    origin = distributions.direct_url(distribution) if distribution is not None else None
    if origin is None:
        return _DISTRIBUTION, [_DISTRIBUTION]
    if "vcs_info" in origin:
        requirement = f"{_DISTRIBUTION} @ git+{origin['url']}@{origin['vcs_info']['commit_id']}"
        return requirement, [requirement]
    editable = ["--editable"] if origin.get("dir_info", {}).get("editable") else []
    return f"{_DISTRIBUTION} @ {origin['url']}", [*editable, str(origin["url"]).removeprefix("file://")]
