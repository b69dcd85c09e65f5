"""JSON to frozen dataclasses and back: no field missing, none unknown, each of its declared type."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from typing import Any, TypeVar

from edgead.errors import BundleError

_T = TypeVar("_T")
_JSON_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "an integer"}
_JSON_NAMES |= {float: "a number", type(None): "null"}


def parse_json(text: bytes, *, origin: str) -> Any:
    """The value of `text`; raises BundleError for malformed JSON, NaN, infinities and duplicate keys."""
    try:
        return json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:  # ValueError covers undecodable UTF-8 and malformed JSON
        raise BundleError(f"{origin}: not valid JSON ({error}). Compile the bundle again.") from error


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


def dataclass_from_json(cls: type[_T], value: Any, *, origin: str) -> _T:
    """Build dataclass `cls` from parsed JSON; raises BundleError naming the field that does not fit."""
    if not isinstance(value, dict):
        raise _mismatch(origin, dict, value)
    hints = typing.get_type_hints(cls)
    _check_names(set(hints), set(value), origin)
    return cls(**{name: _convert(hint, value[name], f"{origin}: {name}") for name, hint in hints.items()})


def _check_names(expected: set[str], found: set[str], origin: str) -> None:
    for name in sorted(found - expected):
        near = difflib.get_close_matches(name, expected, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise BundleError(
            f"{origin}: unknown field '{name[:80]}'{hint}. Open it with the version of edgead that wrote it."
        )
    if missing := sorted(expected - found):
        raise BundleError(
            f"{origin}: missing field '{missing[0]}'. Compile the bundle again with this version."
        )


def _convert(hint: Any, value: Any, origin: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return dataclass_from_json(typing.cast(type, hint), value, origin=origin)
    kind, arguments = typing.get_origin(hint), typing.get_args(hint)
    if kind in (types.UnionType, typing.Union):
        return _convert_optional(arguments, value, origin)
    if kind is dict:
        items = _of_type(dict, value, origin).items()
        return {key: _convert(arguments[1], item, f"{origin}.{key}") for key, item in items}
    if kind is list:
        items = enumerate(_of_type(list, value, origin))
        return [_convert(arguments[0], item, f"{origin}[{index}]") for index, item in items]
    return value if hint is Any else _of_type(hint, value, origin)


def _convert_optional(arguments: tuple[Any, ...], value: Any, origin: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    (hint,) = (argument for argument in arguments if argument is not type(None))
    return _convert(hint, value, origin)


def _of_type(expected: type, value: Any, origin: str) -> Any:
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:  # exact: JSON's true must not pass for 1
        raise _mismatch(origin, expected, value)
    return value


def _mismatch(origin: str, expected: type, value: Any) -> BundleError:
    found = _JSON_NAMES.get(type(value), type(value).__name__)
    return BundleError(
        f"{origin}: expected {_JSON_NAMES.get(expected, expected.__name__)}, found {found}. "
        "Compile the bundle again."
    )


def json_from_dataclass(value: Any, *, origin: str) -> bytes:
    """UTF-8 JSON of a dataclass: indented, keys in the order of the fields; NaN raises BundleError."""
    try:
        text = json.dumps(dataclasses.asdict(value), indent=2, allow_nan=False, ensure_ascii=False)
        return text.encode("utf-8") + b"\n"
    except (TypeError, ValueError) as error:  # an array, a Path, a NaN: a mistake of the caller
        raise BundleError(
            f"{origin}: cannot be written as JSON ({error}). Use plain finite values."
        ) from error
