"""The graph that goes to TensorRT: bytes cast first, Q/DQ before every quantized layer, answers as before."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from standin import SIZE, StandIn
from torch import nn

from edgead.bundle import read_bundle
from edgead.compiler.answers import answers_of_onnx
from edgead.compiler.export import onnx_from_model
from edgead.compiler.pipeline import ImageSets, Provenance, compile_model
from edgead.compiler.quantize import int8_onnx_from_onnx, kept_operations
from edgead.compiler.recipe import Recipe, load_recipe
from edgead.compiler.tensorrt_graph import cast_first, onnx_for_tensorrt, quantize_layer_inputs
from edgead.compiler.tensorrt_rules import check_for_target, check_model, find_version, versions
from edgead.errors import CompileError
from edgead.profiles.target import list_targets, read_target
from edgead.runtime.inspector import Inspector

TARGETS = [
    target for target in list_targets() if target.engine == "tensorrt" and target.name != "jetson-nano"
]
# The small networks have hardly more layers than the recipe keeps in float.
SPEC = dataclasses.replace(load_recipe("tensorrt").quantization, keep_first_layers=1)


@pytest.fixture(scope="module")
def for_tensorrt(original: bytes) -> bytes:
    return onnx_for_tensorrt(original)


@pytest.fixture(scope="module")
def explicit(for_tensorrt: bytes, images: ImageSets) -> bytes:
    return int8_onnx_from_onnx(for_tensorrt, [item.image for item in images.calibration], spec=SPEC)


def test_the_cast_comes_first_and_changes_nothing(
    original: bytes, for_tensorrt: bytes, images: ImageSets
) -> None:
    first, second = onnx.load_from_string(for_tensorrt).graph.node[:2]
    assert (first.op_type, second.op_type) == ("Cast", "Transpose")
    assert first.input[0] == "image"
    probes = [item.image for item in images.gate[:3]]
    for (one, score), (other, again) in zip(
        answers_of_onnx(original, probes), answers_of_onnx(for_tensorrt, probes), strict=True
    ):
        np.testing.assert_array_equal(one, other)
        assert score == again
    assert cast_first(onnx.load_from_string(for_tensorrt)) == 0


def test_every_quantized_layer_has_quantized_inputs(explicit: bytes) -> None:
    graph = onnx.load_from_string(explicit).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    layers = [node for node in graph.node if node.op_type == "Conv"]
    inputs = [[makers.get(name) == "DequantizeLinear" for name in node.input[:2]] for node in layers]
    assert all(all(found) or not any(found) for found in inputs)
    assert sum(all(found) for found in inputs) >= len(layers) - 3  # the two first ones and the head


def test_activations_have_one_scale_and_no_zero_point(explicit: bytes) -> None:
    graph = onnx.load_from_string(explicit).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert quantizers
    for node in quantizers:
        assert constants[node.input[1]].size == 1
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()


def test_the_head_stays_in_float(for_tensorrt: bytes, explicit: bytes) -> None:
    kept = kept_operations(onnx.load_from_string(for_tensorrt), SPEC)
    graph = onnx.load_from_string(explicit).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    head = [node for node in graph.node if node.name in kept and node.op_type == "Conv"]
    assert head
    for node in head:
        assert [makers.get(name) for name in node.input[:2]].count("DequantizeLinear") == 0


def test_quantizing_behind_moved_values_changes_no_answer() -> None:
    """A concatenation of two tensors of one scale: the pair behind it finds every value on its grid."""
    helper = onnx.helper
    scale, zero = numpy_helper.from_array(np.float32(0.5), "s"), numpy_helper.from_array(np.int8(0), "z")
    weights = numpy_helper.from_array(np.arange(-8, 8, dtype=np.int8).reshape(2, 8, 1, 1), "w")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["a"], name="a"),
        helper.make_node("Concat", ["a", "a"], ["c"], name="c", axis=1),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"], name="wd"),
        helper.make_node("Conv", ["c", "wd"], ["y"], name="layer"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "moved",
        [value("x", onnx.TensorProto.FLOAT, [1, 4, 8, 8])],
        [value("y", onnx.TensorProto.FLOAT, [1, 2, 8, 8])],
        [scale, zero, weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    before = model.SerializeToString()
    assert {f.rule for f in check_model(before, [find_version("10.3")])} == {"qdq-inputs"}
    assert quantize_layer_inputs(model) == []
    assert check_model(model.SerializeToString(), [find_version("10.3")]) == []
    import onnxruntime

    image = np.random.default_rng(0).normal(0, 9, (1, 4, 8, 8)).astype(np.float32)
    answers = [
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": image})[0]
        for content in (before, model.SerializeToString())
    ]
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-5, atol=1e-3)


def test_a_layer_whose_input_comes_from_float_is_told() -> None:
    helper = onnx.helper
    nodes = [
        helper.make_node("Exp", ["x"], ["a"], name="a"),
        helper.make_node("DequantizeLinear", ["w", "s"], ["wd"], name="wd"),
        helper.make_node("Conv", ["a", "wd"], ["y"], name="layer"),
    ]
    constants = [
        numpy_helper.from_array(np.ones((2, 4, 1, 1), np.int8), "w"),
        numpy_helper.from_array(np.float32(0.1), "s"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "float",
        [value("x", onnx.TensorProto.FLOAT, [1, 4, 8, 8])],
        [value("y", onnx.TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert quantize_layer_inputs(model) == ["layer"]
    assert len(model.graph.node) == 3


class _Backbone(nn.Module):
    """A backbone with the smallest of heads: what a family adds to the operators comes from elsewhere."""

    def __init__(self, name: str) -> None:
        super().__init__()
        from edgead.models.backbones import build_backbone
        from edgead.models.folding import fold_backbone

        self.network = fold_backbone(build_backbone(name, weights=None)).eval()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        deepest = self.network(images.permute(0, 3, 1, 2).float())[-1].square().mean(1)
        return deepest, deepest.amax((1, 2))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_target_refuses_the_standin_in_float_or_int8(
    for_tensorrt: bytes, explicit: bytes, target: object
) -> None:
    assert check_for_target(for_tensorrt, target) == []  # type: ignore[arg-type]
    assert check_for_target(explicit, target) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])  # all: benchmarks/jetson.py
def test_no_version_refuses_a_backbone(name: str) -> None:
    content = onnx_for_tensorrt(onnx_from_model(_Backbone(name).eval(), height=64, width=64))
    assert check_model(content, versions().values()) == []


def test_compiled_for_a_jetson(
    tmp_path: Path, standin: StandIn, images: ImageSets, provenance: Provenance, lenient: Recipe
) -> None:
    recipe = dataclasses.replace(lenient, quantization=SPEC)
    out = tmp_path / "jetson.edgead"
    report = compile_model(
        standin,
        images,
        provenance=provenance,
        target=read_target("jetson-orin"),
        recipe=recipe,
        out=out,
        threads=1,
    )
    checks = [stage for stage in report.stages if stage.name == "tensorrt_rules"]
    assert len(checks) == 2
    assert "no refusal by TensorRT 8.5, 8.6, 10.3, 10.16, 11.4; 0 places" in checks[-1].comparison
    bundle = read_bundle(out)
    assert (bundle.manifest.engine, bundle.manifest.precision) == ("tensorrt", "int8")
    assert bundle.manifest.input.height == SIZE
    with Inspector(bundle, engine="onnxruntime", threads=1) as inspector:  # the same bundle, proven here
        assert inspector.verification is not None
        assert inspector.verification.passed


def test_a_device_that_is_too_old_is_refused_at_once(
    tmp_path: Path, standin: StandIn, images: ImageSets, provenance: Provenance, lenient: Recipe
) -> None:
    out = tmp_path / "nano.edgead"
    with pytest.raises(CompileError, match="jetson-nano: its last system is JetPack 4"):
        compile_model(
            standin,
            images,
            provenance=provenance,
            target=read_target("jetson-nano"),
            recipe=lenient,
            out=out,
        )
    assert not out.exists()
