from __future__ import annotations

import json
from pathlib import Path

import pytest
from standin import StandIn

import edgead
from edgead.bundle import read_bundle
from edgead.compile.pipeline import ImageSets, Provenance, compile_model
from edgead.compile.recipe import Recipe
from edgead.data.target import read_target


@pytest.mark.parametrize("target", ["intel-cpu", "cpu"])
def test_a_model_becomes_a_bundle_that_inspects(
    target: str, standin: StandIn, images: ImageSets, provenance: Provenance, lenient: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "part.edgead"
    report = compile_model(
        standin, images, provenance=provenance, target=read_target(target), recipe=lenient, out=out
    )
    names = [stage.name for stage in report.stages]
    assert names == ["onnx_from_model", "int8_onnx_from_onnx", "accuracy_gate", "bundle_from_onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["part.edgead"]
    with edgead.open(out) as inspector:
        result = inspector.inspect(images.gate[0].image)
    assert result.anomaly_map.shape == images.gate[0].image.shape[:2]
    listed = json.loads(bytes(read_bundle(out).read("calibration.json")))["images"]
    assert len(listed) == len(images.calibration)
