"""Figures of a device profile, each with where it comes from, read from TOML tables."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgead.errors import UnknownNameError, UsageError

BASES = {
    "measured": "on the device",
    "published": "read in the source",
    "derived": "calculated from published figures; the source says how",
}
_KEYS = ("value", "basis", "source")


@dataclass(frozen=True)
class Figure:
    """A number above zero; its unit is in its name. `source` names an entry of the profile's sources."""

    value: float
    basis: str
    source: str


def read_figures(
    table: object, *, known: Mapping[str, str], sources: Mapping[str, str], origin: str
) -> dict[str, Figure]:
    """A table of figures, each `{ value = ..., basis = "...", source = "..." }`; UsageError for any other."""
    content = as_table(table, origin)
    check_keys(content, required=(), optional=known, origin=origin)
    return {name: _figure(value, sources, f"{origin}: {name}") for name, value in content.items()}


def _figure(content: object, sources: Mapping[str, str], origin: str) -> Figure:
    if not isinstance(content, dict):
        raise UsageError(
            f'{origin}: expected {{ value = 1.0, basis = "published", source = "..." }}, found {content!r}.'
        )
    check_keys(content, required=_KEYS, optional=(), origin=origin)
    value = content["value"]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise UsageError(f"{origin}: expected a number above zero, found {value!r}.")
    basis = known_name("basis", as_text(content["basis"], f"{origin}: basis"), BASES, origin)
    source = known_name("source", as_text(content["source"], f"{origin}: source"), sources, origin)
    return Figure(float(value), basis, source)


def as_table(value: object, origin: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{origin}: expected a table, found {value!r}.")
    return value


def as_text(value: object, origin: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{origin}: expected text, found {value!r}.")
    return value.strip()


def known_name(what: str, name: str, known: Iterable[str], origin: str) -> str:
    """The name, if it is known; UnknownNameError with near matches otherwise."""
    if name not in (names := tuple(known)):
        raise UnknownNameError(f"{what} in {origin}", name, names)
    return name


def check_keys(
    table: Mapping[str, Any], *, required: Iterable[str], optional: Iterable[str], origin: str
) -> None:
    """UsageError for a key that is missing, or for one that is unknown, with near matches."""
    required = set(required)
    known = {*required, *optional}
    if missing := sorted(required - set(table)):
        raise UsageError(
            f"{origin}: missing '{missing[0]}'. Add it; the packaged targets show how (`edgead targets`)."
        )
    for key in sorted(set(table) - known):
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"{origin}: unknown key '{key}'. {hint}Known: {', '.join(sorted(known)) or 'none'}.")
