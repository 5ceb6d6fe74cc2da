"""The part of a job's config that says where it runs, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mini.apparatus import options, registry
from mini.apparatus.groups import Gpu, Image
from mini.apparatus.options import Options


@dataclass(frozen=True)
class Spec:
    """Where one job runs. Jobs with equal specs run together.

    Args:
        kind: The engine.
        apparatus: Its options.
        gpu: The group `gpu`.
        image: The group `image`.
    """

    kind: str
    apparatus: Options
    gpu: Gpu
    image: Image


def parse(config: Mapping[str, Any]) -> Spec:
    """Check the groups of a job's config.

    Args:
        config: Plain values of `apparatus`, `gpu` and `image`; each may be missing, and `apparatus` may be a name only.

    Raises:
        OptionError: A key or an engine is unknown, with the valid ones, or a value has the wrong type.
    """
    given = config.get("apparatus") or {}
    if isinstance(given, str):
        given = {"kind": given}
    kind = given.get("kind", "local") if isinstance(given, Mapping) else "local"
    schema = registry.find(str(kind)).options
    own = {name: value for name, value in given.items() if name != "kind"} if isinstance(given, Mapping) else given
    return Spec(
        str(kind),
        options.parse(schema, own, "apparatus"),
        options.parse(Gpu, config.get("gpu") or {}, "gpu"),
        options.parse(Image, config.get("image") or {}, "image"),
    )
