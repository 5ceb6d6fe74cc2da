"""Which of the swept values mattered for a metric: permutation importance, by scikit-learn.

A forest of trees learns the metric from the swept values; a value matters as much as its predictions get worse when the
value is shuffled between jobs. scikit-learn is an extra, `hydra-apparatus[report]`: without it a page says so.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

_FEWEST = 6  # jobs; of fewer nothing can be learned
_MOST = 1000  # jobs that are looked at, evenly spread over all
_METRICS = 6
_TREES = 48
_REPEATS = 6


def of_table(table: pl.DataFrame, swept: Sequence[str], metrics: Sequence[str]) -> dict[str, Any] | None:
    """How much each swept value mattered.

    Args:
        table: The jobs.
        swept: The columns of what was swept.
        metrics: The columns to explain.

    Returns:
        By metric `fit`, how well the forest explains jobs that it has not seen (1 for exactly, 0 for not at all), and
        `values`, a list of `[column, importance, standard deviation]`, the most important first, which are shares that
        add up to 1; None where there is no scikit-learn.
    """
    if importlib.util.find_spec("sklearn") is None:
        return None
    found = {}
    for metric in metrics[:_METRICS]:
        if len(swept) > 1 and (one := _of_metric(table, swept, metric)) is not None:
            found[metric] = one
    return found


def _of_metric(table: pl.DataFrame, swept: Sequence[str], metric: str) -> dict[str, Any] | None:
    import polars as pl

    done = table.filter((pl.col("state") == "done") & pl.col(metric).cast(pl.Float64).is_finite())
    done = done.gather_every(max(1, math.ceil(done.height / _MOST)))
    if done.height < _FEWEST or done[metric].n_unique() < 2:
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    features = done.select(_as_numbers(done[name]) for name in swept).to_numpy()
    target = done[metric].cast(pl.Float64).to_numpy()
    forest = RandomForestRegressor(_TREES, oob_score=True, random_state=0, n_jobs=1).fit(features, target)
    shuffled = permutation_importance(forest, features, target, n_repeats=_REPEATS, random_state=0)
    means = [max(0.0, float(value)) for value in shuffled.importances_mean]
    total = sum(means)
    if not total:
        return None
    shares = [
        [name, mean / total, float(deviation) / total]
        for name, mean, deviation in zip(swept, means, shuffled.importances_std, strict=True)
    ]
    fit = float(forest.oob_score_)
    return {"fit": fit if math.isfinite(fit) else None, "jobs": done.height, "values": sorted(shares, key=_by_share)}


def _by_share(share: list[Any]) -> float:
    return -float(share[1])


def _as_numbers(values: pl.Series) -> pl.Series:
    """Numbers as they are, what is text in the order of its first use."""
    import polars as pl

    if values.dtype == pl.String:
        numbers = values.cast(pl.Float64, strict=False)
        if numbers.null_count() > values.null_count():
            numbers = values.rank("dense").cast(pl.Float64)
    else:
        numbers = values.cast(pl.Float64)
    return numbers.fill_null(-1.0).fill_nan(-1.0)
