"""The published JSON Schemas are those of the code, and what edgead writes fits them."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from edgead.bundle import read_bundle
from edgead.verdicts.verdict import Verdict
from tests.runtime.tiny_bundle import tiny_manifest

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = ROOT / "docs" / "schemas"


def published(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return schema


@pytest.mark.parametrize("name", ["manifest.schema.json", "verdict.schema.json"])
def test_they_are_up_to_date(name: str):
    script = runpy.run_path(str(ROOT / "docs" / "make_schemas.py"))
    assert set(script["schemas"]()) == {path.name for path in SCHEMAS.iterdir()}
    wanted = script["as_text"](script["schemas"]()[name])
    assert (SCHEMAS / name).read_text(encoding="utf-8") == wanted, "run python docs/make_schemas.py"


def test_manifests_fit():
    validator = Draft202012Validator(published("manifest.schema.json"))
    validator.validate(json.loads(tiny_manifest().to_json()))
    kept = read_bundle(ROOT / "tests" / "kept" / "realnet.edgead").manifest  # of an earlier schema, migrated
    validator.validate(json.loads(kept.to_json()))


@pytest.mark.parametrize("change", [{"unknown": 1}, {"name": 3}, {"threshold": None}], ids=str)
def test_a_manifest_that_the_reader_refuses_does_not_fit(change: dict[str, Any]):
    validator = Draft202012Validator(published("manifest.schema.json"))
    with pytest.raises(ValidationError):
        validator.validate({**json.loads(tiny_manifest().to_json()), **change})


@pytest.mark.parametrize("score", [1.5, None, math.nan], ids=str)
def test_verdicts_fit(score: float | None):
    verdict = Verdict(
        source="files://parts",
        sequence=0,
        number=7,
        is_anomalous=None if score is None else True,
        score=score,
        threshold=1.0,
        pixel_threshold=2.0,
        regions=({"x": 1, "y": 2, "width": 3, "height": 4, "area": 5, "peak": 6.0},),
        problem="" if score is not None else "the picture cannot be read",
        timings_ns={"infer": 1},
    )
    validator = Draft202012Validator(published("verdict.schema.json"))
    validator.validate(json.loads(verdict.to_line()))
    with pytest.raises(ValidationError):
        validator.validate({**json.loads(verdict.to_line()), "schema": "edgead.verdict/2"})
