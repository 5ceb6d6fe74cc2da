"""Interpolations parsed once: OmegaConf parses their text anew whenever one is resolved, half a millisecond each.

The same few are resolved for every job of a sweep (`${hydra.job.num}`, the name of a log file), and often by what the
user's function reads. A parse tree is only read by whoever has it, so it can be kept.
"""

from __future__ import annotations

import functools

from omegaconf import base, grammar_parser

from mini import fallbacks
from mini.launcher import supported


def cache_parse_trees() -> None:
    """Let OmegaConf keep its parse trees, in versions this was checked against. A second call does nothing."""
    reason = supported.unchecked("grammar")
    if reason is not None:
        fallbacks.note("grammar", reason)
    elif getattr(base, "parse", None) is grammar_parser.parse:
        base.parse = functools.lru_cache(maxsize=4096)(grammar_parser.parse)  # type: ignore[attr-defined]
