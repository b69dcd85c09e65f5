"""A device target: which engine runs a bundle there, and in which precisions."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edgead.data import list_data, read_data
from edgead.errors import UnknownNameError, UsageError

ENGINE_NAMES = ("onnxruntime", "openvino", "tensorrt")
PRECISIONS = ("bf16", "f16", "f32", "int8")
_REQUIRED = ("description", "engine", "precisions")
_OPTIONS = {"calibration": "the recipe that `edgead compile` uses unless told otherwise"}


@dataclass(frozen=True)
class Target:
    """One file of targets/; the first of `precisions` is the default."""

    name: str
    description: str
    engine: str
    precisions: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)


def list_targets() -> tuple[Target, ...]:
    """Every packaged target, by name."""
    return tuple(read_target(name) for name in list_data("targets"))


def read_target(name_or_path: str | os.PathLike[str]) -> Target:
    """A packaged target by name, or a user's own by path.

    Raises UnknownNameError with near matches, and UsageError for a field missing, unknown or of another type.
    """
    name, table = read_data("targets", name_or_path)
    origin = f"target '{os.fspath(name_or_path)}'"
    _check_keys(table, required=_REQUIRED, optional=("options",), origin=origin)
    options = table.get("options", {})
    if not isinstance(options, dict):
        raise UsageError(f"{origin}: options: expected a table, found {options!r}.")
    _check_keys(options, required=(), optional=_OPTIONS, origin=f"{origin}: options")
    return Target(
        name=name,
        description=_text(table, "description", origin),
        engine=_known("engine", _text(table, "engine", origin), ENGINE_NAMES, origin),
        precisions=_precisions(table["precisions"], origin),
        options={key: _text(options, key, f"{origin}: options") for key in options},
    )


def _check_keys(
    table: dict[str, Any], *, required: Iterable[str], optional: Iterable[str], origin: str
) -> None:
    required, known = set(required), {*required, *optional}
    if missing := sorted(required - set(table)):
        raise UsageError(f"{origin}: missing '{missing[0]}'. Add it; `edgead targets cpu` shows an example.")
    for key in sorted(set(table) - known):
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"{origin}: unknown key '{key}'. {hint}Known: {', '.join(sorted(known))}.")


def _text(table: dict[str, Any], key: str, origin: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{origin}: {key}: expected text, found {value!r}.")
    return value.strip()


def _known(what: str, name: str, known: tuple[str, ...], origin: str) -> str:
    if name not in known:
        raise UnknownNameError(f"{what} in {origin}", name, known)
    return name


def _precisions(value: Any, origin: str) -> tuple[str, ...]:
    is_list = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    if not is_list or len(set(value)) != len(value):
        raise UsageError(
            f'{origin}: precisions: expected distinct names such as ["int8", "f32"], found {value!r}.'
        )
    return tuple(_known("precision", item, PRECISIONS, origin) for item in value)
