"""An engine of somebody else's: each job in a process of its own, which ends with it."""

from dataclasses import dataclass

from mini.apparatus.options import Options, option, text, whole
from mini.apparatus.plugin import Plugin


@dataclass(frozen=True)
class SoloOptions(Options):
    """`apparatus=solo`."""

    slots: int = option(2, "jobs at a time", whole(1))
    label: str | None = option(None, "what a job finds in its environment as SOLO_LABEL", text)


def _make(name, options):
    from mini_solo.apparatus import SoloApparatus

    return SoloApparatus(name)


PLUGIN = Plugin("solo", "a process of its own for each job", SoloOptions, _make)
