"""The strict reader of records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from edgead.errors import BundleError, DataError
from edgead.records import json_from, json_schema, parse_json, record_from


@dataclass(frozen=True)
class Inner:
    count: int
    sizes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.count > 5:
            raise ValueError("count is above 5")


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    more: dict[str, Inner | None]
    free: Any = None


GOOD = {"name": "a", "inner": {"count": 1, "sizes": [1, 2.5]}, "more": {"k": None, "l": {"count": 2}}}


def test_a_record_goes_out_and_comes_back():
    record = record_from(Outer, GOOD, origin="x")
    assert record.inner == Inner(1, (1.0, 2.5))
    assert record_from(Outer, parse_json(json_from(record, origin="x"), origin="x"), origin="x") == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"inner": {"count": True}}, "Expected `int`, got `bool` at `inner.count`", id="bool"),
        pytest.param({"inner": {"count": 1.0}}, "Expected `int`, got `float`", id="float for int"),
        pytest.param({"inner": {}}, "missing required field `count`", id="missing"),
        pytest.param({"inner": {"cuont": 1}}, r"did you mean 'count'\?", id="near match"),
        pytest.param({"more": {"k": {"count": 1, "b": 2}}}, "unknown field 'b'", id="unknown, deep"),
        pytest.param({"inner": {"count": 9}}, "count is above 5", id="its own check"),
        pytest.param({"name": None}, "Expected `str`, got `null`", id="null"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], message: str):
    with pytest.raises(BundleError, match=f"^file: .*{message}"):
        record_from(Outer, {**GOOD, **change}, origin="file", error=BundleError)


def test_a_complete_record_has_the_fields_with_defaults_as_well():
    whole = {**GOOD, "more": {}, "free": 1}
    assert record_from(Outer, whole, origin="x", complete=True).free == 1
    without = {**whole, "inner": {"count": 1}}
    with pytest.raises(DataError, match=r"^x: inner: Object missing required field `sizes`"):
        record_from(Outer, without, origin="x", complete=True)
    assert record_from(Outer, without, origin="x").inner.count == 1


@pytest.mark.parametrize(
    "text", [b"{", b'{"a": NaN}', b'{"a": 1e999}', b'{"a": 1, "a": 2}', b"\xff", b"[" * 100_000]
)
def test_malformed_json_is_refused(text: bytes):
    with pytest.raises(DataError, match=r"^file: not valid JSON"):
        parse_json(text, origin="file")


def test_a_schema_refuses_unknown_fields():
    schema = json_schema(Outer)
    assert {d["additionalProperties"] for d in schema["$defs"].values()} == {False}
