"""The manifest: every field is needed, of its type, and none beside them is accepted."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgead
from edgead.bundle.manifest import manifest_from_json
from edgead.errors import BundleError
from tests.runtime.tiny_bundle import tiny_manifest

PLAIN: dict[str, Any] = json.loads(tiny_manifest().to_json())


def paths(value: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every declared field; the contents of free dictionaries are not declared."""
    free = {"config", "versions", "licences", "files", "float", "compiled"}
    found = []
    for key, item in value.items():
        found.append((*prefix, key))
        if isinstance(item, dict) and key not in free:
            found += paths(item, (*prefix, key))
    return found


def changed(path: tuple[str, ...], value: Any = None, *, remove: bool = False) -> bytes:
    manifest = copy.deepcopy(PLAIN)
    inner = manifest
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    if remove:
        del inner[path[-1]]
    return json.dumps(manifest).encode()


def test_round_trip():
    assert manifest_from_json(tiny_manifest().to_json(), origin="m") == tiny_manifest()


@pytest.mark.parametrize("path", paths(PLAIN), ids=".".join)
def test_a_missing_field_is_named(path: tuple[str, ...]):
    with pytest.raises(BundleError, match=f"m.*missing required field `{path[-1]}`"):
        manifest_from_json(changed(path, remove=True), origin="m")


@pytest.mark.parametrize("path", paths(PLAIN), ids=".".join)
@pytest.mark.parametrize("value", [None, [None], {"a": {}}, True], ids=["null", "list", "object", "bool"])
def test_a_wrong_type_is_named(path: tuple[str, ...], value: Any):
    if path == ("config",) and isinstance(value, dict):
        pytest.skip("the configuration is free")
    with pytest.raises(BundleError, match=path[-1]):
        manifest_from_json(changed(path, value), origin="m")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(b"", "not valid JSON", id="empty"),
        pytest.param(b"[]", "Expected `object`, got `array`", id="list"),
        pytest.param(b"\xff\xfe", "not valid JSON", id="not utf-8"),
        pytest.param(b"[" * 100_000, "not valid JSON", id="deep"),
        pytest.param(b'{"a": 1, "a": 2}', "twice", id="duplicate key"),
        pytest.param(changed(("threshold", "score"), float("nan")), "NaN is not a number", id="nan"),
        pytest.param(changed(("threshold", "score"), float("inf")), "Infinity is not", id="infinity"),
        pytest.param(
            changed(("threshold", "score"), 0).replace(b'"score": 0', b'"score": 1e999'),
            "too large",
            id="1e999",
        ),
        pytest.param(changed(("treshold",), 1), "'treshold' .did you mean 'threshold'", id="unknown field"),
        pytest.param(changed(("input", "depth"), 1), "unknown field 'depth'", id="unknown inner field"),
        pytest.param(changed(("input", "height"), 0), "input.height", id="no height"),
        pytest.param(changed(("input", "height"), 10**9), "input.height", id="absurd height"),
        pytest.param(changed(("input", "channels"), 4), "input.channels", id="four channels"),
        pytest.param(changed(("input", "colour_order"), "bgr"), "colour_order", id="colour order"),
        pytest.param(changed(("threshold", "false_alarm_rate"), 1.5), "false_alarm_rate", id="rate over 1"),
        pytest.param(changed(("schema_version",), 0), "schema version 2, found 0", id="old schema"),
        pytest.param(b'{"schema_version": 3}', "later edgead.*Upgrade", id="later schema"),
        pytest.param(changed(("model_files",), []), "model_files", id="no model"),
        pytest.param(changed(("model_files",), ["a", "a"]), "model_files", id="model twice"),
        pytest.param(changed(("model_files",), ["manifest.json"]), "model_files", id="manifest as model"),
        pytest.param(changed(("model_files",), ["../a"]), "unsafe file name", id="path as model"),
        pytest.param(changed(("hashes", "files"), {"a": "xyz"}), "64 hexadecimal digits", id="not a hash"),
        pytest.param(changed(("engine",), ""), "engine is empty", id="no engine"),
        pytest.param(b" " * (2**20 + 1), "expected at most", id="too large"),
    ],
)
def test_what_is_refused(text: bytes, message: str):
    with pytest.raises(BundleError, match=message):
        manifest_from_json(text, origin="m")


@given(st.binary(max_size=100))
def test_noise_is_refused_cleanly(noise: bytes):
    with pytest.raises(BundleError, match="m"):
        manifest_from_json(noise, origin="m")


def test_nan_cannot_be_written():
    import dataclasses

    manifest = dataclasses.replace(tiny_manifest(), config={"rate": float("nan")})
    with pytest.raises(BundleError, match="cannot be written as JSON"):
        manifest.to_json()


def test_manifests_are_made_in_one_place():
    """A new field of the manifest is a field of the record and a value in `draft_manifest`, nothing else."""
    package = Path(edgead.__file__).parent
    makers = [path for path in package.rglob("*.py") if re.search(r"\bManifest\(", path.read_text("utf-8"))]
    assert [path.relative_to(package).as_posix() for path in makers] == ["bundle/manifest.py"]
