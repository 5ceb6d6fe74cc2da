"""The best jobs of a run."""

from __future__ import annotations

from typing import Any

from mini.combine import table
from mini.errors import RecordError, UsageError, did_you_mean
from mini.job import State
from mini.runs.folder import RunFolder


def best(folder: RunFolder, count: int, metric: str | None = None) -> list[dict[str, Any]]:
    """The rows of the best jobs that are done, the best first.

    Args:
        folder: The run.
        count: How many, at most.
        metric: A column, with `-` in front if the highest is the best; None for that of the study or `results.sort`.
            Without `-` it may be that of the study, whose direction counts then, or the one of `results.sort`.

    Raises:
        UsageError: There is no such metric, or it is not known which of its values are good.
    """
    frame = table(folder)[0]
    column, is_highest = _direction(folder, metric)
    if column not in frame.columns:
        raise UsageError(f"{folder.id} has no column {column!r}; {did_you_mean(column, frame.columns)}")
    done = frame.filter(frame["state"] == State.DONE.value).drop_nulls(column)
    if not done[column].dtype.is_numeric():
        raise UsageError(f"the column {column!r} of {folder.id} is not of numbers, and none of them is the best")
    if done[column].dtype.is_float():
        done = done.filter(done[column].is_not_nan())
    return done.sort(column, descending=is_highest, maintain_order=True).head(count).to_dicts()


def _direction(folder: RunFolder, metric: str | None) -> tuple[str, bool]:
    """A column, and whether its highest value is the best."""
    try:
        manifest = folder.manifest()
    except RecordError:
        manifest = {}
    known: dict[str, bool] = {}
    sort = manifest.get("sort")
    if isinstance(sort, str) and sort:
        known[sort.removeprefix("-")] = sort.startswith("-")
    study = manifest.get("study") or {}
    if study:
        directions = study.get("direction") or ["minimize"]
        for name, direction in zip(study.get("metric") or ["value"], directions, strict=False):
            known.pop(name, None)
            known = {name: direction == "maximize", **known}
    if metric is not None and metric.startswith("-"):
        return metric[1:], True
    if metric is not None and metric.startswith("+"):
        return metric[1:], False
    if metric is None and not known:
        raise UsageError(
            f"{folder.id} does not say what is best; name a column, with - in front if the highest is the best"
        )
    name = metric if metric is not None else next(iter(known))
    if name not in known:
        raise UsageError(
            f"is the highest or the lowest {name} the best? {folder.id} does not say; write -{name} for the highest, "
            f"or +{name} for the lowest"
        )
    return name, known[name]
