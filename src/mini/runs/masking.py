"""Secrets in what this package writes down: values under names such as `password` or `api_key` become `***`.

So do the values of environment variables that a job is given, in `image.env` and `apparatus.env`, whatever their names,
and a name and password in an address. Numbers, truth values and interpolations stay.

What is computed with them is not touched, and neither is what a job returns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
"""What is written in the place of a secret."""

_SECRET = frozenset(
    ("password", "passwd", "passphrase", "pwd", "secret", "apikey", "credential", "credentials", "webhook", "notify")
)
_KEYS = frozenset(("api", "access", "private", "secret", "auth", "account", "signing", "encryption", "ssh", "license"))
"""What a `…_key` is of that is a secret."""
_TOKENS_OF_TEXT = frozenset(
    ("pad", "eos", "bos", "unk", "mask", "sep", "cls", "special", "start", "end", "stop", "image", "prefix", "suffix")
)
"""What a `…_token` is of that is a word of a language model, and no secret."""

_OF_ENVIRONMENT = re.compile(r"(?:^|[.@/+~])(?:image|apparatus)\.env(?:$|\.)")
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s:@${}]*:[^/\s@${}]+(?=@)")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ASSIGNED = re.compile(
    r"""(?P<name>[\w.@/~+-]*\w)(?P<between>["']?\s*[:=]\s*)(?P<value>"[^"]*"|'[^']*'|\$\{[^}]*\}|[^\s,;&}\]"']+)"""
)
_OVERRIDE = re.compile(r"(?P<key>[+~]{0,2}[\w.@/:-]+)=(?P<value>.*)", re.DOTALL)
_NO_SECRET = re.compile(
    r"""["']?(?:\$\{.*|\?\?\?|null|none|true|false|[+-]?[\d._]+(?:e[+-]?\d+)?|)["']?""", re.I | re.S
)


def is_secret(name: str) -> bool:
    """Whether a name, the last part of a dotted one, is one that secrets have."""
    words = [word.lower() for word in _WORD.findall(re.split(r"[./@]", name)[-1])]
    if not words:
        return False
    if words[-1] == "token":
        return len(words) == 1 or words[-2] not in _TOKENS_OF_TEXT
    return words[-1] in _SECRET or (len(words) > 1 and words[-1] == "key" and words[-2] in _KEYS)


def _is_hidden(name: str) -> bool:
    return is_secret(name) or (".env" in name and _OF_ENVIRONMENT.search(name) is not None)


def mask_variable(line: str) -> str:
    """A line `NAME=value` of an environment, without the value."""
    name, _, value = line.partition("=")
    return line if _NO_SECRET.fullmatch(value) else f"{name}={HIDDEN}"


def mask(value: Any, name: str = "") -> Any:
    """A value of JSON without secrets.

    Args:
        value: Anything of mappings, lists and scalars.
        name: What it is called.

    Returns:
        A copy in which each text with the name of a secret is `HIDDEN`; an interpolation stays as it is written.
    """
    if isinstance(value, Mapping):
        return {key: mask(part, str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        if len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], str) and is_secret(value[0]):
            return [value[0], mask(value[1], value[0])]
        return [mask(part, name) for part in value]
    if not isinstance(value, str):
        return value
    if _is_hidden(name):
        return value if _NO_SECRET.fullmatch(value) else HIDDEN
    return _mask_text(value)


def mask_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Flat columns without secrets."""
    return {name: mask(value, name) if isinstance(value, str) else value for name, value in row.items()}


def _mask_text(text: str) -> str:
    """A text without the secrets that it assigns: an override, a line of a mapping, an environment variable."""
    override = _OVERRIDE.fullmatch(text)
    if override is not None and _is_hidden(override["key"]):
        return text if _NO_SECRET.fullmatch(override["value"]) else f"{override['key']}={HIDDEN}"
    if "://" in text:
        text = _IN_ADDRESS.sub(HIDDEN, text)
    return _ASSIGNED.sub(_mask_assigned, text)


def _mask_assigned(found: re.Match[str]) -> str:
    if not is_secret(found["name"]) or _NO_SECRET.fullmatch(found["value"]):
        return found[0]
    return f"{found['name']}{found['between']}{HIDDEN}"
