from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from standin import StandIn

import edgead
from edgead.bundle import ThresholdSpec, read_bundle
from edgead.cli import main
from edgead.compiler.pipeline import ImageSets, Provenance, compile_model
from edgead.compiler.recipe import Recipe, load_recipe
from edgead.errors import BundleError, CompileError, UnknownNameError, UsageError
from edgead.profiles.target import read_target


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


def test_the_half_precision_model_lies_beside_the_one_in_int8(
    standin: StandIn, images: ImageSets, provenance: Provenance, lenient: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "part.edgead"
    signed = dataclasses.replace(load_recipe("tensorrt"), gate=lenient.gate)
    report = _compile(standin, images, provenance, signed, out, target="jetson-orin", with_half=True)
    assert "half_onnx_from_onnx" in [stage.name for stage in report.stages]
    half = onnx.load_model_from_string(read_bundle(out).read("model.f16.onnx"))
    assert "QuantizeLinear" not in {node.op_type for node in half.graph.node}
    weights = [item for item in half.graph.initializer if len(item.dims) == 4]
    assert weights
    assert {item.data_type for item in weights} == {onnx.TensorProto.FLOAT16}
    with edgead.open(out, engine="onnxruntime") as inspector:  # an engine without a choice: the one in INT8
        assert inspector.verification is not None


def test_half_precision_is_refused_where_no_engine_would_choose_it(
    standin: StandIn, images: ImageSets, provenance: Provenance, lenient: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="Leave --with-half out"):
        _compile(standin, images, provenance, lenient, tmp_path / "part.edgead", with_half=True)


def _compile(
    model: StandIn,
    images: ImageSets,
    provenance: Provenance,
    recipe: Recipe,
    out: Path,
    *,
    target: str = "intel-cpu",
    **more,
):
    device = read_target(target)
    return compile_model(model, images, provenance=provenance, target=device, recipe=recipe, out=out, **more)


def test_the_manifest_says_what_was_done(
    standin: StandIn, images: ImageSets, provenance: Provenance, lenient: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "part.edgead"

    def set_threshold(answer) -> ThresholdSpec:
        scores = [score for _, score in answer([item.image for item in images.gate[:4]])]
        return dataclasses.replace(provenance.threshold, score=max(scores))

    report = _compile(standin, images, provenance, lenient, out, set_threshold=set_threshold)
    manifest = read_bundle(out).manifest
    assert (manifest.target, manifest.engine, manifest.precision) == ("intel-cpu", "openvino", "int8")
    assert manifest.metrics.float == report.float_figures
    assert manifest.metrics.compiled == report.compiled_figures
    assert manifest.hashes.calibration == manifest.hashes.files["calibration.json"]
    assert manifest.threshold.score != provenance.threshold.score
    assert {"torch", "onnx", "nncf", "openvino", "edgead"} <= set(manifest.versions)
    json.dumps(report.to_json(), allow_nan=False)


def test_f32_needs_no_calibration_and_keeps_the_answers(
    standin: StandIn, images: ImageSets, provenance: Provenance, lenient: Recipe, tmp_path: Path
) -> None:
    report = _compile(standin, images, provenance, lenient, tmp_path / "f.edgead", precision="f32")
    assert [stage.name for stage in report.stages] == ["onnx_from_model", "bundle_from_onnx"]
    assert (report.compiled_figures["map_correlation"] or 0) > 0.9999
    assert read_bundle(tmp_path / "f.edgead").manifest.model_files == ["model.onnx"]


def test_a_full_disk_leaves_the_older_bundle(
    standin: StandIn,
    images: ImageSets,
    provenance: Provenance,
    lenient: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "part.edgead"
    out.write_bytes(b"older")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BundleError, match="Free space on that disk"):
        _compile(standin, images, provenance, lenient, out, precision="f32")
    assert out.read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir()] == ["part.edgead"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"calibration": s.gate}, "must be apart"),
        (lambda s: {"gate": []}, "images must all have the model's size; found"),
        (lambda s: {"withheld": {s.calibration[0].sha256: "test/a.png"}}, "test/a.png"),
    ],
)
def test_images_that_cannot_be_used_stop_the_compile(
    change,
    message: str,
    standin: StandIn,
    images: ImageSets,
    provenance: Provenance,
    lenient: Recipe,
    tmp_path: Path,
) -> None:
    wrong = dataclasses.replace(images, **change(images))
    with pytest.raises(CompileError, match=re.escape(message)):
        _compile(standin, wrong, provenance, lenient, tmp_path / "x.edgead")
    assert list(tmp_path.iterdir()) == []


def test_a_target_of_an_engine_that_does_not_run_is_refused_at_once(
    standin: StandIn, images: ImageSets, provenance: Provenance, lenient: Recipe, tmp_path: Path
) -> None:
    target = dataclasses.replace(read_target("cpu"), name="mine", engine="abacus")
    stages: list[object] = []
    with pytest.raises(CompileError, match="Target mine runs on abacus, which this version"):
        compile_model(
            standin,
            images,
            provenance=provenance,
            target=target,
            recipe=lenient,
            out=tmp_path / "part.edgead",
            on_stage=stages.append,
        )
    assert stages == []
    assert list(tmp_path.iterdir()) == []


def test_a_precision_that_the_target_lacks_is_named(
    standin: StandIn, images: ImageSets, provenance: Provenance, lenient: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match="int8"):
        _compile(standin, images, provenance, lenient, tmp_path / "x.edgead", precision="int4")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--target", "intel-cup"], 2, "Did you mean intel-cpu"),
        (["--target", "cpu", "--recipe", "defalt"], 2, "Did you mean default"),
        (["--target", "cpu", "--max-drop", "2"], 2, "is not in the range"),
        (["--target", "cpu"], 1, "is not a run folder"),
    ],
)
def test_the_command_refuses_with_its_status(
    arguments: list[str], status: int, message: str, tmp_path: Path
) -> None:
    out = tmp_path / "x.edgead"
    result = CliRunner().invoke(main, ["compile", str(tmp_path / "none"), "--out", str(out), *arguments])
    assert result.exit_code == status
    assert message in result.output
    assert not out.exists()
