"""Hydra's sweepers compose every job of a batch to see whether it can be, and drop what they composed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.plugins import sweeper

from mini import fallbacks
from mini.launcher.fast.compose import TemplateLoader

_original = sweeper.Sweeper.validate_batch_is_legal


def install() -> None:
    """Let sweepers that compose from templates only check. A second call does nothing."""
    if sweeper.Sweeper.validate_batch_is_legal is _original:
        sweeper.Sweeper.validate_batch_is_legal = _validate  # type: ignore[method-assign]


def _validate(self: Any, batch: Sequence[Sequence[str]]) -> None:
    context = getattr(self, "hydra_context", None)
    loader = getattr(context, "config_loader", None)
    if not isinstance(loader, TemplateLoader):
        fallbacks.note("validate", "jobs are not composed from templates")
        _original(self, batch)
        return
    for overrides in batch:
        loader.check(self.config, list(overrides))
