"""What a run took and cost so far, and what one is likely to cost before it begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini import combine
from mini.cost.rates import Place, Rates, load
from mini.errors import MiniError, RecordError
from mini.runs import layout, lookup
from mini.runs.folder import RunFolder

if TYPE_CHECKING:
    import polars as pl

_EARLIER = 20  # runs that are looked at for how long jobs take
_PLACE = ("config.hydra.launcher.apparatus", "config.hydra.launcher.gpu")


@dataclass(frozen=True)
class Usage:
    """What the jobs of one place took.

    Args:
        place: Where.
        jobs: How many have run there.
        seconds: Of all of them, in their last attempts.
        dollars: The estimate; None if the place is not paid, or has no rate.
    """

    place: Place
    jobs: int
    seconds: float
    dollars: float | None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"apparatus": self.place.apparatus, "gpu": self.place.gpu, "jobs": self.jobs} | {
            "seconds": round(self.seconds, 3),
            "dollars": None if self.dollars is None else round(self.dollars, 6),
        }


def describe(places: Mapping[Place, int]) -> list[dict[str, Any]]:
    """Places and how many jobs each has, as `run.json` keeps them."""
    return [{**asdict(place), "jobs": jobs} for place, jobs in places.items()]


def of_run(table: pl.DataFrame, manifest: Mapping[str, Any], rates: Mapping[str, Rates]) -> list[Usage]:
    """What a run has taken, by place.

    Args:
        table: As `combine.table` makes it.
        manifest: The run's.
        rates: As `load` gives them.
    """
    known = {(place.apparatus, place.gpu): place for place in _places(manifest)}
    usage = []
    for (apparatus, gpu), seconds in sorted(_seconds(table, manifest).items(), key=str):
        place = known.get((apparatus, gpu), Place(apparatus, gpu))
        usage.append(Usage(place, len(seconds), sum(seconds), _dollars(rates, place, sum(seconds))))
    return usage


def of_folder(folder: RunFolder) -> tuple[list[Usage], str | None]:
    """What a run has taken, by place, and the line that says what it has cost; None if no part of it is paid.

    Args:
        folder: The run; the table is made only if a part of it is paid.

    Raises:
        OptionError: The project's rates cannot be read.
        RunFolderError: There is no run.
    """
    try:
        manifest, known = folder.manifest(), load()
    except RecordError:  # who reads the status says so
        return [], None
    if not known.keys() & set(manifest.get("apparatus") or ()):
        return [], None
    usage = of_run(combine.table(folder)[0], manifest, known)
    return usage, summary(usage, known)


def _dollars(rates: Mapping[str, Rates], place: Place, seconds: float) -> float | None:
    rate = rates[place.apparatus].per_second(place) if place.apparatus in rates else None
    return None if rate is None else rate * seconds


def _places(manifest: Mapping[str, Any]) -> Iterable[Place]:
    for one in manifest.get("places") or ():
        if isinstance(one, Mapping):
            yield Place(**{name: value for name, value in one.items() if name in Place.__dataclass_fields__})


def _seconds(table: pl.DataFrame, manifest: Mapping[str, Any]) -> dict[tuple[str, str | None], list[float]]:
    """The seconds of each job that has run, by engine and GPU."""
    engines = manifest.get("apparatus") or ["local"]
    found: dict[tuple[str, str | None], list[float]] = {}
    columns = [name for name in _PLACE if name in table.columns]
    if table.is_empty() or "seconds" not in table.columns:
        return found
    for row in table.select("seconds", *columns).iter_rows(named=True):
        if row["seconds"] is not None:
            gpu = row.get(_PLACE[1])
            place = (row.get(_PLACE[0]) or engines[0], gpu.split(",")[0] if gpu else None)
            found.setdefault(place, []).append(row["seconds"])
    return found


def summary(usage: Sequence[Usage], rates: Mapping[str, Rates]) -> str | None:
    """A line that says what a run has cost; None if no part of it is paid."""
    paid = [one for one in usage if one.place.apparatus in rates]
    if not paid:
        return None
    parts = [
        f"{one.place.name} {_hours(one.seconds)}" + ("" if one.dollars is not None else ", which has no rate")
        for one in paid
    ]
    total = sum(one.dollars for one in paid if one.dollars is not None)
    bases = dict.fromkeys(rates[one.place.apparatus].basis for one in paid)
    return f"about {money(total)}: {'; '.join(parts)} of jobs, without start-up and idle time ({'; '.join(bases)})"


def money(dollars: float) -> str:
    """Dollars, with as many digits as matter."""
    return f"${dollars:.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.2g}"


def _hours(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 3600
        else f"{seconds / 60:.1f} min"
        if seconds >= 60
        else f"{seconds:.1f} s"
    )


# Before a run.


@dataclass(frozen=True)
class Forecast:
    """What a run is likely to cost.

    Args:
        text: How many jobs on what, the estimate, and what it is based on.
        dollars: The estimate; the most it can cost where nothing is known of how long jobs take; None where that has
            no bound.
    """

    text: str
    dollars: float | None


def forecast(
    places: Mapping[Place, int],
    task: str,
    home: Path,
    rates: Mapping[str, Rates],
    timeout: Mapping[Place, float | None],
) -> Forecast | None:
    """Estimate a run from the earlier runs of its task.

    Args:
        places: How many jobs each place has.
        task: The task's name, as `run.json` has it.
        home: Where runs are.
        rates: As `load` gives them.
        timeout: How many seconds a job may take there; None for no limit.

    Returns:
        None if no part of it is paid.
    """
    paid = {place: jobs for place, jobs in places.items() if place.apparatus in rates}
    if not paid:
        return None
    earlier = _earlier(task, home)
    total: float | None = 0.0
    lines = []
    for place, jobs in paid.items():
        seconds, basis = _duration(place, earlier)
        limit = seconds if seconds is not None else timeout.get(place)
        dollars = _dollars(rates, place, limit * jobs) if limit is not None else None
        total = total + dollars if total is not None and dollars is not None else None
        if dollars is None:
            said = "cost unknown: " + ("its GPU has no rate" if limit is not None else basis)
        elif seconds is not None:
            said = f"about {money(dollars)}, at {_hours(seconds)} a job: {basis}"
        else:
            said = f"at most {money(dollars)}, if each takes its whole timeout: {basis}"
        lines.append(f"{jobs} jobs on {place.name}: {said}")
    bases = "; ".join(dict.fromkeys(rates[place.apparatus].basis for place in paid))
    return Forecast("\n".join([*lines, f"({bases}; without start-up and idle time)"]), total)


def _duration(place: Place, earlier: Mapping[tuple[str, str | None], Sequence[float]]) -> tuple[float | None, str]:
    own = earlier.get((place.apparatus, place.gpu))
    if own:
        return sum(own) / len(own), f"the mean of {len(own)} earlier jobs there"
    elsewhere = [seconds for of_place in earlier.values() for seconds in of_place]
    if elsewhere:
        where = ", ".join(sorted({Place(*key).name for key in earlier}))
        return sum(elsewhere) / len(
            elsewhere
        ), f"the mean of {len(elsewhere)} earlier jobs on {where}, as none ran there"
    return None, "no earlier run of this task is here"


def _earlier(task: str, home: Path) -> dict[tuple[str, str | None], list[float]]:
    """How long jobs of a task took that were done, by place."""
    import polars as pl

    found: dict[tuple[str, str | None], list[float]] = {}
    for path in lookup.list_runs(home)[:_EARLIER]:
        try:
            manifest = RunFolder(path).manifest()
            if manifest.get("task") != task:
                continue
            table = pl.read_parquet(path / layout.RESULTS)
            for place, seconds in _seconds(table.filter(table["state"] == "done"), manifest).items():
                found.setdefault(place, []).extend(seconds)
        except (MiniError, OSError, pl.exceptions.PolarsError):
            continue  # a run without a table, or a damaged one, says nothing
    return found
