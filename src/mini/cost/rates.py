"""The rates of paid engines: those of this package, changed by the project's `mini-rates.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from mini import project
from mini.errors import OptionError

FILE = "mini-rates.toml"
"""In the project's folder: what is charged there."""

_NUMBERS = ("cpu", "memory", "minimum_cpu", "minimum_memory", "nonpreemptible", "region")


@dataclass(frozen=True)
class Place:
    """Where jobs of a run were to run, as far as it matters for what they cost.

    Args:
        apparatus: The engine.
        gpu: What was asked for, such as `A100:2`; of several the first; None for none.
        cpu: Cores asked for; None for the engine's least.
        memory: GiB asked for; None for the engine's least.
        nonpreemptible: Whether they may not be taken away.
        region: Whether a region was chosen.
    """

    apparatus: str
    gpu: str | None = None
    cpu: float | None = None
    memory: float | None = None
    nonpreemptible: bool = False
    region: bool = False

    @property
    def name(self) -> str:
        """As a person calls it."""
        return f"{self.apparatus} {self.gpu}" if self.gpu else self.apparatus


@dataclass(frozen=True)
class Rates:
    """What one engine charges.

    Args:
        table: As the file has it.
    """

    table: Mapping[str, Any]

    @property
    def basis(self) -> str:
        """Whose rates, and when they were read."""
        source, as_of = self.table.get("source"), self.table.get("as_of")
        at = f" of {as_of:%Y-%m-%d}" if isinstance(as_of, date) else ""
        return f"rates{at}" + (f" from {source}" if source else "")

    def per_second(self, place: Place) -> float | None:
        """Dollars a second for one job; None if the GPU has no rate."""
        names, count = (place.gpu or "").partition(":")[::2]
        rate = 0.0
        if names:
            aliases, gpus = self.table.get("alias", {}), self.table.get("gpu", {})
            upper = names.upper()
            found = gpus.get(aliases.get(upper, upper))
            if found is None:
                return None
            rate += float(found) * int(count or 1)
        rate += self._number("cpu") * max(place.cpu or 0.0, self._number("minimum_cpu"))
        rate += self._number("memory") * max(place.memory or 0.0, self._number("minimum_memory"))
        rate *= self._number("nonpreemptible", 1.0) if place.nonpreemptible else 1.0
        return rate * (self._number("region", 1.0) if place.region else 1.0)

    def _number(self, name: str, default: float = 0.0) -> float:
        return float(self.table.get(name, default))


def load(folder: Path | None = None) -> dict[str, Rates]:
    """The rates of each paid engine.

    Args:
        folder: The project's; None for the one of the working directory.

    Raises:
        OptionError: The project's file is no TOML, or has something else than numbers in it.
    """
    tables = tomllib.loads(Path(__file__).with_name("rates.toml").read_text(encoding="utf-8"))
    path = (folder or project.root()) / FILE
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        own = {}
    except (OSError, ValueError) as error:
        raise OptionError(f"{path} cannot be read: {error}") from error
    for engine, table in own.items():
        if not isinstance(table, dict):
            raise OptionError(f"{path}: {engine} must be a table, [{engine}], with what that engine charges")
        before = tables.setdefault(engine, {})
        for name, value in table.items():
            _check(path, engine, name, value)
            before[name] = {**before.get(name, {}), **value} if isinstance(value, dict) else value
    return {engine: Rates(table) for engine, table in tables.items()}


def _check(path: Path, engine: str, name: str, value: Any) -> None:
    numbers = [value] if name in _NUMBERS else list(value.values()) if name == "gpu" else []
    if any(isinstance(one, bool) or not isinstance(one, int | float) or one < 0 for one in numbers):
        raise OptionError(f"{path}: {engine}.{name} must be in dollars a second, or a factor, and is {value!r}")
