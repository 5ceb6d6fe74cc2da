"""Keys of an application's own config that look as if they were meant for where jobs run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mini.apparatus import options
from mini.apparatus.groups import Gpu, Image
from mini.launcher.short_forms import PREFIX

_GROUPS = {"image": Image, "gpu": Gpu}


def notes(config: Mapping[str, Any]) -> list[str]:
    """What to tell of a config in which all keys below `image` or `gpu` are options of ours.

    Args:
        config: The application's own part of a job's config, as plain values.
    """
    found = []
    for group, schema in _GROUPS.items():
        own = config.get(group)
        valid = {name for name, one in options.fields(schema).items() if one.config}
        if isinstance(own, Mapping) and own and own.keys() <= valid:
            keys = ", ".join(f"{group}.{name}={value}" for name, value in own.items())
            found.append(
                f"note: {keys} in this application's config is its own, and does nothing for containers; what they are "
                f"built from is {PREFIX}{group}.{next(iter(own))}"
            )
    return found
