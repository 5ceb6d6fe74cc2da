"""`mini diff`: what two runs differ in."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import click

from mini import combine, project
from mini.cli.parameters import complete_run, json_option
from mini.combine import groups
from mini.display.text import format_cell, printable
from mini.launcher import fingerprint
from mini.runs import lookup
from mini.runs.folder import RunFolder

if TYPE_CHECKING:
    import polars as pl

_MOST = 8  # values of one key, and files of one kind, that are written out

Difference = tuple[str, str, str]
"""What differs, and how it is in each of the two runs."""


@click.command("diff")
@click.argument("first", metavar="RUN", shell_complete=complete_run)
@click.argument("second", metavar="RUN", shell_complete=complete_run)
@json_option
def diff_command(first: str, second: str, as_json: bool) -> int:
    """Say what two runs differ in: command, config, code, uv.lock, image and metrics. What is the same is left out."""
    one, other = (lookup.find(project.outputs(), run) for run in (first, second))
    before, after = one.manifest(), other.manifest()
    tables = combine.table(one)[0], combine.table(other)[0]
    found = {
        "asked": list(_asked(before, after)),
        "config": list(_config(*tables)),
        "code": list(_code(one, other, before, after)),
        "lock": list(_lock(before, after)),
        "image": list(_image(before, after)),
        "metrics": list(_metrics(*tables)),
    }
    if as_json:
        print(json.dumps({"runs": [one.id, other.id], **found}))
        return 0
    if not any(found.values()):
        print(f"{one.id} and {other.id} do not differ")
        return 0
    from mini.cli import text

    rows = [
        (part if i == 0 else "", *difference)
        for part, differences in found.items()
        for i, difference in enumerate(differences)
    ]
    text.print_rows(("", "what", one.id, other.id), rows, folds=("what", one.id, other.id))
    return 0


def _asked(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """The command, and where and by whom it was given."""
    for name, key in (("overrides", "overrides"), ("task", "task"), ("engines", "apparatus"), ("host", "host")):
        yield from _changed(name, _text(before.get(key)), _text(after.get(key)))
    yield from _changed("python", _text(before.get("python")), _text(after.get("python")))


def _config(one: pl.DataFrame, other: pl.DataFrame) -> Iterator[Difference]:
    """The values of each key, of all jobs."""
    names = dict.fromkeys(name for table in (one, other) for name in table.columns)
    prefix = "config." if any(name.startswith("config.") for name in names) else "overrides."
    for name in names:
        if name.startswith(prefix):
            yield from _changed(name.removeprefix(prefix), _values(one, name), _values(other, name))


def _values(table: pl.DataFrame, name: str) -> str:
    if name not in table.columns:
        return "–"
    values = table[name].unique(maintain_order=True).to_list()
    shown = ", ".join("null" if value is None else format_cell(value) for value in values[:_MOST])
    return shown if len(values) <= _MOST else f"{shown} and {len(values) - _MOST} more"


def _code(
    one: RunFolder, other: RunFolder, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Difference]:
    """Commits, and the files that made the results, by what they were when the jobs ran."""
    yield from _changed("commit", _commit(before), _commit(after))
    old, new = _files(one), _files(other)
    if old and new:
        changed = fingerprint.changed(old, new)
        for path in changed[:_MOST]:
            yield printable(path), old.get(path, "–")[:10], new.get(path, "–")[:10]
        if len(changed) > _MOST:
            yield f"… {len(changed) - _MOST} more files", "", ""


def _files(folder: RunFolder) -> dict[str, str]:
    """The digests of all files that made results of a run."""
    return {path: digest for files in fingerprint.read(folder.path).values() for path, digest in files.items()}


def _commit(manifest: Mapping[str, Any]) -> str:
    git = manifest.get("git")
    if not isinstance(git, Mapping):
        return "–"
    return f"{str(git.get('commit'))[:10]}{' with changes' if git.get('dirty') else ''}"


def _lock(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """The digest of uv.lock; and the packages in it, where git still has both."""
    if before.get("lock") == after.get("lock"):
        return
    yield "uv.lock", _text(before.get("lock"))[:10], _text(after.get("lock"))[:10]
    one, other = (_packages(manifest) for manifest in (before, after))
    if one is not None and other is not None:
        for name in sorted(one.keys() | other.keys()):
            yield from _changed(name, one.get(name, "–"), other.get(name, "–"))


def _packages(manifest: Mapping[str, Any]) -> dict[str, str] | None:
    """The packages of the lock that was committed, if the run's was that."""
    git, lock = manifest.get("git"), project.lock()
    if not isinstance(git, Mapping) or git.get("dirty") or lock is None:
        return None
    try:
        show = ["git", "show", f"{git['commit']}:./{lock.name}"]
        said = subprocess.run(show, cwd=lock.parent, capture_output=True, text=True, check=True, timeout=10).stdout
        packages = tomllib.loads(said).get("package", [])
        return {str(one["name"]): str(one.get("version", "?")) for one in packages}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None


def _image(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """The lines of the image's layers that only one of the two has."""
    one, other = (_layers(manifest) for manifest in (before, after))
    for kind in dict.fromkeys([*one, *other]):
        gone = [line for line in one.get(kind, []) if line not in other.get(kind, [])]
        come = [line for line in other.get(kind, []) if line not in one.get(kind, [])]
        for old, new in zip_longest(gone, come, fillvalue="–"):
            yield kind, old, new


def _layers(manifest: Mapping[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for image in manifest.get("images") or []:
        for layer in image.get("layers") or []:
            lines = [str(line).split(" --hash")[0] for line in layer.get("lines") or []]
            found.setdefault(str(layer.get("kind")), []).extend(lines)
    return found


def _metrics(one: pl.DataFrame, other: pl.DataFrame) -> Iterator[Difference]:
    """The lowest, the mean and the highest of each number that jobs returned."""
    for name in dict.fromkeys([*groups.metrics(one), *groups.metrics(other)]):
        yield from _changed(name, _range(one, name), _range(other, name))


def _range(table: pl.DataFrame, name: str) -> str:
    if name not in table.columns or not table[name].dtype.is_numeric():
        return "–"
    column = table[name].fill_nan(None) if table[name].dtype.is_float() else table[name]
    low, mean, high = (format_cell(value) for value in (column.min(), column.mean(), column.max()))
    return low if low == high else f"{low} … {high} (mean {mean})"


def _changed(name: str, one: str, other: str) -> Iterator[Difference]:
    if one != other:
        yield printable(name), printable(one), printable(other)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
