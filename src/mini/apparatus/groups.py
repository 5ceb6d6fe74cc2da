"""The config groups that are the same for all engines: `gpu`, `image`, and `results`."""

from __future__ import annotations

from dataclasses import dataclass

from mini.apparatus.options import Pairs, boolean, number, option, pairs, text, texts, whole

GPUS = (
    *("T4", "L4", "A10", "L40S", "A100", "A100-40GB", "A100-80GB", "RTX-PRO-6000"),
    *("H100", "H100!", "H200", "B200", "B200+", "B300", "A10G", "ANY"),
)
"""The names Modal knows in 2026 (https://modal.com/docs/guide/gpu). New ones appear: others are passed on."""

OFFERED = ("t4", "l4", "a10", "l40s", "a100", "a100-40gb", "a100-80gb", "rtx-pro-6000", "h100", "h200", "b200", "b300")
"""The choices of the group `gpu`, besides `none`."""


@dataclass(frozen=True)
class Gpu:
    """`gpu=…`: the type of GPU, how many for each job, and what to take instead where there is none."""

    name: str | None = option(None, "the type, such as `A100`; null for none", text)
    count: int = option(1, "GPUs for each job", whole(1))
    fallback: tuple[str, ...] = option((), "types to take instead where there is none, in this order", texts)

    @property
    def option(self) -> str | list[str] | None:
        """As an apparatus takes it: `A100`, `A100:2`, a list in order of preference, or None."""
        if self.name is None:
            return None
        names = [name if self.count == 1 or ":" in name else f"{name}:{self.count}" for name in self._names]
        return names if self.fallback else names[0]

    @property
    def unknown(self) -> list[str]:
        """The names Modal is not known to have."""
        return [name for name in self._names if name.split(":")[0].upper() not in GPUS]

    @property
    def _names(self) -> list[str]:
        return [name for name in (self.name, *self.fallback) if name is not None]


@dataclass(frozen=True)
class Image:
    """`image=…`: what a container is built from. On this machine the installed environment is used as it is."""

    python: str | None = option(None, 'the Python of the container, such as "3.12"; null: the one that runs here', text)
    base: str | None = option(None, "an image of a registry, such as `nvidia/cuda:13.0.1-devel-ubuntu24.04`", text)
    apt: tuple[str, ...] = option((), "Debian packages", texts)
    pip: tuple[str, ...] = option((), "Python packages beyond those of `uv.lock`", texts)
    run: tuple[str, ...] = option((), "shell commands", texts)
    env: Pairs = option((), "environment variables", pairs)
    source: tuple[str, ...] | None = option(
        None,
        "packages, modules or folders that ship, such as `[train.py, helpers, lib/]`, where `lib/` is what is in lib; "
        "null: what can be imported from the project",
        texts,
    )
    files: Pairs = option((), "files or folders here: the absolute path each shall have there", pairs)
    exclude_groups: tuple[str, ...] = option(("local", "dev"), "dependency groups that containers do without", texts)
    builder: str | None = option(
        None, "`package.module.function` from `modal.Image` to `modal.Image`, called last", text
    )
    max_upload: float | None = option(
        200.0, "MiB that may ship without a question, a twentieth of it in one file; null for any", number(0, "MiB")
    )
    hf_cache: bool = option(
        False, "keep what jobs download from Hugging Face on a volume all containers share", boolean
    )


@dataclass(frozen=True)
class Results:
    """`results.…`: how the table of a run is shown."""

    sort: str | None = option(None, "the column to sort by: `accuracy`, or `-accuracy` to begin with the highest", text)
    columns: tuple[str, ...] | None = option(None, "the columns to show; null: what was swept, and the metrics", texts)
    rows: int = option(20, "how many rows to show; the file has them all", whole(0))
    report: bool | None = option(
        None, "leave a page, `report.html`, in the run's folder; null: of up to 1,000 jobs", boolean
    )
