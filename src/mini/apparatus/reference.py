"""The reference of all options as Markdown, from the options dataclasses: `python -m mini.apparatus.reference`."""

from __future__ import annotations

from collections.abc import Iterator

from mini.apparatus import registry
from mini.apparatus.groups import OFFERED, Gpu, Image
from mini.apparatus.options import table

_HEAD = """# Options

Made from the options dataclasses by `./go docs`; a test compares the two. Any of these may be swept, and may stand in a
config file of the application.
"""


def markdown() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD
    for kind in registry.OWN:
        plugin = registry.find(kind)
        yield f"## `apparatus={kind}`\n"
        yield f"{plugin.summary[:1].upper()}{plugin.summary[1:]}.\n"
        yield from table(plugin.options, "apparatus")
        yield ""
    yield "## `gpu=…`\n"
    choices = ", ".join(f"`{name}`" for name in ("none", *OFFERED))
    yield f"Choices: {choices}. On this machine a GPU that is there is used.\n"
    yield from table(Gpu, "gpu")
    yield ""
    yield "## `image=auto`\n"
    yield "What a container is built from. On this machine the installed environment is used as it is.\n"
    yield from table(Image, "image")


if __name__ == "__main__":
    print(markdown(), end="")
