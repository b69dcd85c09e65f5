"""Records: frozen dataclasses in JSON and TOML and back; no field missing, none unknown, each of its type.

Whatever edgead reads of its own (manifests, runs, profiles, recipes) comes through `record_from`; what a
record means (ranges, names that must be known) is its `__post_init__`'s to check.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgead.errors import DataError, EdgeadError
from edgead.files import read_file

_Record = TypeVar("_Record")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # half of a character of two escapes, or alone
_ADVICE = "Make it again, or use the version that wrote it."


def parse_json(text: bytes | str, *, origin: str, error: type[EdgeadError] = DataError) -> Any:
    """The value of `text`; raises `error` for malformed JSON, NaN, infinities and a key that occurs twice.

    Likewise for half a character (a lone surrogate), which nothing could write again.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_float=_finite
        )
        if _SURROGATE.search(text if isinstance(text, bytes) else text.encode()):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError) as fault:  # ValueError covers undecodable UTF-8 and malformed JSON
        raise error(f"{origin}: not valid JSON ({fault}). Copy it again, or make it again.") from fault


def read_json(path: Path, *, what: str, advice: str) -> Any:
    """The value of a JSON file; DataError where it cannot be read, or is none. `what`: in words."""
    try:
        return parse_json(read_file(path), origin=str(path))
    except OSError as fault:
        raise DataError(f"{path} is no {what} ({fault.strerror}). {advice}") from fault


def record_from(
    kind: type[_Record],
    value: Any,
    *,
    origin: str,
    error: type[EdgeadError] = DataError,
    complete: bool = False,
    advice: str = _ADVICE,
) -> _Record:
    """Build the dataclass `kind` from parsed JSON or TOML.

    Types are exact: true is no number, 1.0 no integer, but 1 is a float. A list becomes a tuple where that is
    declared. With `complete`, fields that have a default must be there as well. Raises `error`, beginning
    with `origin` and ending with `advice`, for what does not fit; errors of edgead that the records raise
    themselves pass through.
    """
    _refuse_unknown(kind, value, origin, error, complete, advice)
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as fault:
        reason = str(fault).replace(" - at `$", " at `").replace("`.", "`")
        raise error(f"{origin}: {reason}. {advice}") from fault


def json_from(record: Any, *, origin: str, error: type[EdgeadError] = DataError) -> bytes:
    """UTF-8 JSON of a record, indented, keys in the order of the fields; raises `error` for NaN."""
    try:
        text = json.dumps(dataclasses.asdict(record), indent=2, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as fault:  # an array, a Path, a NaN: a mistake of the caller
        raise error(f"{origin}: cannot be written as JSON ({fault}). Use plain finite values.") from fault
    return text.encode("utf-8") + b"\n"


def json_schema(kind: type[Any]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a record; unknown fields are refused, as `record_from` refuses them."""
    schema = msgspec.json.schema(kind)
    for definition in schema.get("$defs", {}).values():
        if definition.get("type") == "object" and "properties" in definition:
            definition["additionalProperties"] = False
    plain: dict[str, Any] = json.loads(json.dumps(schema))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **plain}


def _refuse_unknown(
    hint: Any, value: Any, origin: str, error: type[EdgeadError], complete: bool, advice: str
) -> None:
    """msgspec passes over fields that a dataclass does not have; a strict reader must not."""
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        hints = typing.get_type_hints(hint)
        known = {field.name: hints[field.name] for field in dataclasses.fields(hint)}
        for name in value:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                meant = f" (did you mean '{near[0]}'?)" if near else ""
                raise error(f"{origin}: unknown field '{str(name)[:80]}'{meant}. {advice}")
            _refuse_unknown(known[name], value[name], f"{origin}: {name}", error, complete, advice)
        missing = [field.name for field in dataclasses.fields(hint) if complete and field.name not in value]
        if missing:
            raise error(f"{origin}: Object missing required field `{missing[0]}`. {advice}")
    else:
        for inner, item in _inner(hint, value):
            _refuse_unknown(inner, item, origin, error, complete, advice)


def _inner(hint: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    """What a hint of a collection or union says of the parts of a value."""
    kind, arguments = typing.get_origin(hint), typing.get_args(hint)
    if kind in (types.UnionType, typing.Union):
        yield from ((argument, value) for argument in arguments if argument is not type(None))
    elif isinstance(value, Mapping) and len(arguments) == 2:
        yield from ((arguments[1], item) for item in value.values())
    elif isinstance(value, (list, tuple)) and arguments:
        yield from ((arguments[0], item) for item in value)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return keys


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value
