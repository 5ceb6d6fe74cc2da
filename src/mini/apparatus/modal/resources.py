"""What Modal gives a function, as its documentation has it: checked before anything starts.

https://modal.com/docs/guide/gpu, /resources, /region-selection and /preemption, in 2026.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mini.apparatus.groups import GPUS
from mini.errors import OptionError

if TYPE_CHECKING:
    from mini.apparatus.modal.plugin import ModalOptions

CORES, MEMORY, DISK = 64.0, 344_064, 3_145_728
"""The most that can be asked for: cores, MiB of memory (336 GiB), and MiB of disk (3 TiB)."""

CLOUDS = ("aws", "gcp", "oci", "auto")

_GPUS_EACH, _FEWER = 8, {"A10": 4, "A10G": 4}
_AREAS = ("us", "eu", "uk", "ap", "ca", "sa", "me", "mx", "af", "jp", "au", "in")
_DIRECTIONS = (
    *("east", "west", "north", "south", "central"),
    *("northeast", "northwest", "southeast", "southwest"),
)
_AREAS_OF_GOOGLE = ("us", "europe", "asia", "northamerica", "southamerica", "australia", "me", "africa")
_CITIES = (
    *("ashburn", "chicago", "phoenix", "sanjose", "frankfurt", "amsterdam", "paris", "marseille", "madrid", "milan"),
    *("stockholm", "zurich", "london", "cardiff", "toronto", "montreal", "tokyo", "osaka", "seoul", "chuncheon"),
    *("mumbai", "hyderabad", "singapore", "sydney", "melbourne", "dubai", "abudhabi", "jeddah", "riyadh"),
    *("johannesburg", "saopaulo", "vinhedo", "santiago", "bogota", "queretaro", "monterrey"),
)
_REGION = re.compile(
    rf"(?:{'|'.join(_AREAS)})(?:-(?:{'|'.join(_DIRECTIONS)})(?:-?\d{{1,2}})?|-(?:{'|'.join(_CITIES)})-\d)?"
    rf"|(?:{'|'.join(_AREAS_OF_GOOGLE)})-(?:{'|'.join(_DIRECTIONS)})\d{{1,2}}"
)


def check(options: ModalOptions) -> None:
    """Refuse what Modal would refuse.

    Args:
        options: Of a function.

    Raises:
        OptionError: Which option, what it may be, and what was probably meant.
    """
    for gpu in _list(options.gpu):
        _check_gpu(str(gpu))
    if options.nonpreemptible and _list(options.gpu):
        raise OptionError(
            "apparatus.nonpreemptible=true is not possible with a GPU: Modal has it for functions without one only"
        )
    for region in _list(options.region):
        if not _REGION.fullmatch(region):
            raise OptionError(f"apparatus.region={region!r} is no region of Modal's; {_near_region(region)}")
    if options.cloud is not None and options.cloud.lower() not in CLOUDS:
        near = _near(options.cloud.lower(), CLOUDS)
        raise OptionError(f"apparatus.cloud={options.cloud!r} is no cloud of Modal's; {near}it is {_words(CLOUDS)}")
    _check_amount("cpu", options.cpu, CORES, "cores")
    _check_amount("memory", options.memory, MEMORY, "MiB (336 GiB)")
    if options.ephemeral_disk is not None and options.ephemeral_disk > DISK:
        raise OptionError(
            f"apparatus.ephemeral_disk={options.ephemeral_disk} is not possible: at most {DISK} MiB (3 TiB)"
        )


def _check_gpu(asked: str) -> None:
    name, _, count = asked.partition(":")
    name = name.upper()
    near = "" if name in GPUS else _near(name, [one for one in GPUS if one != "ANY"])
    if near:  # what is near to none may be new, and is asked for as it is
        raise OptionError(f"gpu.name={name!r} is no GPU of Modal's; {near}It has {', '.join(GPUS[:-2])}")
    most = _FEWER.get(name, _GPUS_EACH)
    if count and (not count.isdigit() or not 1 <= int(count) <= most):
        raise OptionError(f"gpu.count={count} is not possible: a container has from 1 to {most} {name}")


def _check_amount(name: str, value: Any, most: float, unit: str) -> None:
    if value is None:
        return
    parts = value if isinstance(value, tuple) else (value,)
    for part in parts:
        if not 0 < part <= most:
            raise OptionError(
                f"apparatus.{name}={part:g} is not possible: it must be above 0, and at most {most:g} {unit}"
            )
    if len(parts) == 2 and parts[1] < parts[0]:
        raise OptionError(
            f"apparatus.{name}=[{parts[0]:g},{parts[1]:g}] is not possible: the limit, the second, is below the request"
        )


def _near_region(region: str) -> str:
    known = [*_AREAS, *(f"{area}-{one}" for area in _AREAS[:5] for one in _DIRECTIONS)]
    return (
        f"{_near(region.lower(), known)}it is an area ({', '.join(_AREAS[:9])}), a part of one such as us-east, or a "
        "cloud's own, such as us-east-1 or europe-west4"
    )


def _near(word: str, known: Any) -> str:
    found = difflib.get_close_matches(word, list(known), n=2, cutoff=0.6)
    return f"did you mean {' or '.join(found)}? " if found else ""


def _words(names: Any) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"


def _list(value: Any) -> Iterator[Any] | tuple[Any, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
