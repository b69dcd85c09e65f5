"""Each rule of TensorRT's parser on a model that breaks it, and on one that does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgead.compiler.tensorrt_rules import (
    check_model,
    demand,
    find_version,
    rules,
    versions,
    versions_for_target,
    versions_of,
)
from edgead.compiler.tensorrt_rules.checks import CHECKS
from edgead.compiler.tensorrt_rules.table import Rule
from edgead.errors import CompileError, UnknownNameError
from edgead.profiles.target import list_targets, read_target

FLOAT, UINT8, INT8, INT64, DOUBLE = (
    TensorProto.FLOAT,
    TensorProto.UINT8,
    TensorProto.INT8,
    TensorProto.INT64,
    TensorProto.DOUBLE,
)
SHAPE = [1, 4, 8, 8]
SCALE, ZERO = np.float32(0.1), np.int8(0)


def model(
    nodes: Sequence[onnx.NodeProto],
    *,
    inputs: dict[str, tuple[int, list[Any]]] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    **constants: Any,
) -> bytes:
    """A model of these nodes; `x` is float 1 x 4 x 8 x 8 unless told."""
    given = inputs or {"x": (FLOAT, SHAPE)}
    graph = helper.make_graph(
        list(nodes),
        "rule",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in given.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(proto)
    for value in inferred.graph.output:
        if not value.type.tensor_type.elem_type:
            value.type.tensor_type.elem_type = FLOAT
        value.type.tensor_type.shape.SetInParent()  # the checker wants one, known or not
    return bytes(inferred.SerializeToString())


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(","), outputs.split(","), name=kind.lower(), **attributes)


def quantized_layer(
    kind: str = "Conv",
    *,
    activation_scale: Any = SCALE,
    weight_scale: Any = None,
    axis: int = 0,
    zero: Any = ZERO,
    quantize_activation: bool = True,
    weights: np.ndarray | None = None,
    **attributes: Any,
) -> bytes:
    """One weighted layer with Q/DQ on its weights and, unless told, on its activation."""
    weights = np.ones((4, 4, 3, 3), np.int8) if weights is None else weights
    scales = np.full(weights.shape[0], 0.1, np.float32) if weight_scale is None else weight_scale
    extra: dict[str, Any] = {"axis": 1} if np.ndim(activation_scale) else {}
    nodes = [node("DequantizeLinear", "w,ws,wz", "wd", axis=axis), node(kind, "a,wd", **attributes)]
    if quantize_activation:
        nodes[:0] = [
            node("QuantizeLinear", "x,s,z", "q", **extra),
            node("DequantizeLinear", "q,s,z", "a", **extra),
        ]
    else:
        nodes.insert(0, node("Relu", "x", "a"))
    zeros = np.full(np.shape(activation_scale), zero) if np.ndim(activation_scale) else zero
    return model(
        nodes, s=activation_scale, z=zeros, w=weights, ws=scales, wz=np.zeros(np.shape(scales), np.int8)
    )


def residual(*, both: bool) -> bytes:
    """A quantized convolution whose answer is added to a quantized tensor, itself quantized or not."""
    nodes = [
        node("QuantizeLinear", "x,s,z", "q"),
        node("DequantizeLinear", "q,s,z", "a"),
        node("DequantizeLinear", "w,s,z", "wd"),
        node("Conv", "a,wd", "c", pads=[1, 1, 1, 1]),
    ]
    if both:
        nodes += [node("QuantizeLinear", "c,s,z", "cq"), node("DequantizeLinear", "cq,s,z", "cd")]
    nodes.append(node("Add", "a,cd" if both else "a,c"))
    return model(nodes, s=np.float32(0.1), z=np.int8(0), w=np.ones((4, 4, 3, 3), np.int8))


def pooled(kind: str, **attributes: Any) -> bytes:
    return model([node(kind, "x", kernel_shape=[2, 2], **attributes)], opset=attributes.pop("opset", 17))


def resized(**attributes: Any) -> bytes:
    attributes = {"mode": "linear", **attributes}
    scales = np.asarray(attributes.pop("scales", [1, 1, 2, 2]), np.float32)
    opset = attributes.pop("opset", 17)
    return model([node("Resize", "x,,k", **attributes)], k=scales, opset=opset)


def computed(kind: str, position: int, *, values: Sequence[int], opset: int = 17, others: str = "") -> bytes:
    """An operator one of whose inputs is the sum of a constant and an input, and so not known."""
    names = ["x", *filter(None, others.split(","))]
    names += [""] * (position - len(names))
    names.insert(position, "i")
    constants = {"b": np.asarray([0], np.int64), "e": np.asarray([8], np.int64), "f": np.float32(0)}
    used = {name: constants[name] for name in names if name in constants}
    extra = ",v" if kind == "TopK" else ""
    return model(
        [
            node("Add", "k,c", "i"),
            helper.make_node(kind, names, ["y", *filter(None, extra.split(","))], name="t"),
        ],
        inputs={"x": (FLOAT, SHAPE), "k": (INT64, [len(values)])},
        c=np.asarray(values, np.int64),
        opset=opset,
        **used,
    )


def norm_of_computed_scale() -> bytes:
    nodes = [node("Relu", "g", "i"), node("InstanceNormalization", "x,i,b")]
    given = {"x": (FLOAT, SHAPE), "g": (FLOAT, [4])}
    return model(nodes, inputs=given, b=np.zeros(4, np.float32))


def einsum(equation: str, *shapes: list[int]) -> bytes:
    given = {name: (FLOAT, shape) for name, shape in zip("xw", shapes, strict=False)}
    return model([node("Einsum", ",".join(given), equation=equation)], inputs=given)


def of_type(kind: int) -> bytes:
    return model([node("Cast", "x", "m", to=kind), node("Cast", "m", "y", to=FLOAT)])


BYTES = {"x": (UINT8, [1, 8, 8, 3])}
TOPK = {"values": [3], "others": ""}
# rule -> (version, a model that breaks it)
BROKEN: dict[str, tuple[str, Callable[[], bytes]]] = {
    "opset": ("8.6", lambda: model([node("Relu", "x")], opset=18)),
    "operator": ("8.5", lambda: model([node("LayerNormalization", "x,s")], s=np.ones(8, np.float32))),
    "static-shapes": ("10.3", lambda: model([node("Relu", "x")], inputs={"x": (FLOAT, ["n", 4, 8, 8])})),
    "types-8": ("8.6", lambda: of_type(TensorProto.BFLOAT16)),
    "types-10": ("10.3", lambda: of_type(TensorProto.INT16)),
    "double": ("10.3", lambda: of_type(DOUBLE)),
    "int64-range": (
        "8.5",
        lambda: model([node("Add", "x,c")], inputs={"x": (INT64, [1])}, c=np.int64(2**40)),
    ),
    "uint8-inside": (
        "8.6",
        lambda: model(
            [node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Cast", "t", to=FLOAT)], inputs=BYTES
        ),
    ),
    "topk-constant": ("8.5", lambda: computed("TopK", 1, **TOPK)),
    "norm-constant": ("8.5", norm_of_computed_scale),
    "slice-axes": ("8.6", lambda: computed("Slice", 3, values=[1], others="b,e")),
    "squeeze-axes": ("10.3", lambda: computed("Unsqueeze", 1, values=[0])),
    "pad-axes": ("10.3", lambda: pad_axes()),
    "reduce-axes": ("10.16", lambda: computed("ReduceSum", 1, values=[1])),
    "cumsum-axis": ("10.3", lambda: computed("CumSum", 1, values=[1])),
    "topk-limit": ("8.6", lambda: topk(3841)),
    "topk-limit-10": ("10.3", lambda: topk(3840)),
    "topk-sorted": ("10.3", lambda: topk(5, sorted=0)),
    "resize-mode": ("8.6", lambda: resized(mode="cubic")),
    "resize-coordinates": (
        "10.3",
        lambda: resized(coordinate_transformation_mode="half_pixel_symmetric", opset=19),
    ),
    "resize-nearest": ("8.5", lambda: resized(mode="nearest", nearest_mode="simple")),
    "resize-aspect": ("10.3", lambda: resized(keep_aspect_ratio_policy="not_larger", opset=18)),
    "resize-antialias": ("10.3", lambda: resized(antialias=1, opset=18)),
    "resize-dimensions": ("8.6", lambda: resized(scales=[2, 1, 2, 2])),
    "pool-rank": (
        "8.6",
        lambda: model([node("MaxPool", "x", kernel_shape=[2])], inputs={"x": (FLOAT, [1, 4, 8])}),
    ),
    "norm-rank": (
        "8.5",
        lambda: model(
            [node("InstanceNormalization", "x,s,b")],
            inputs={"x": (FLOAT, [1, 4, 2, 2, 2, 2])},
            s=np.ones(4, np.float32),
            b=np.zeros(4, np.float32),
        ),
    ),
    "gridsample-rank": (
        "10.16",
        lambda: model(
            [node("GridSample", "x,g")],
            inputs={"x": (FLOAT, [1, 1, 4, 4, 4]), "g": (FLOAT, [1, 2, 2, 2, 3])},
            opset=20,
        ),
    ),
    "pool-indices": (
        "8.5",
        lambda: model([node("MaxPool", "x", "y,i", kernel_shape=[2, 2])], outputs=("y", "i")),
    ),
    "layernorm-outputs": (
        "10.3",
        lambda: model(
            [node("LayerNormalization", "x,s,b", "y,m")],
            outputs=("y", "m"),
            s=np.ones(8, np.float32),
            b=np.zeros(8, np.float32),
        ),
    ),
    "pool-dilations": ("10.3", lambda: pooled("MaxPool", dilations=[2, 2])),
    "scatter-reduction": (
        "10.3",
        lambda: model(
            [node("ScatterND", "x,i,u", reduction="add")],
            i=np.zeros((1, 1), np.int64),
            u=np.zeros((1, 4, 8, 8), np.float32),
        ),
    ),
    "einsum": ("8.6", lambda: einsum("...i,...j->...ij", [2, 3], [2, 4])),
    "qdq-zero-point": ("10.3", lambda: quantized_layer(zero=np.int8(3))),
    "qdq-type": ("8.6", lambda: quantized_layer(zero=np.uint8(0))),
    "qdq-type-10": ("10.16", lambda: quantized_layer(zero=np.uint8(0))),
    "qdq-scale": ("10.3", lambda: quantized_layer(activation_scale=np.float32(0))),
    "qdq-activation-scale": ("10.3", lambda: quantized_layer(activation_scale=np.full(4, 0.1, np.float32))),
    "qdq-weight-axis": ("8.5", lambda: quantized_layer("ConvTranspose", axis=1)),
    "qdq-grouped-deconvolution": ("8.6", lambda: quantized_layer("ConvTranspose", group=2)),
    "qdq-inputs": ("10.3", lambda: quantized_layer(quantize_activation=False)),
    "qdq-residual": ("10.3", lambda: residual(both=False)),
}


def topk(number: int, **attributes: Any) -> bytes:
    given = {"x": (FLOAT, [1, 5000])}
    return model([node("TopK", "x,k", "y,i", **attributes)], inputs=given, k=np.asarray([number], np.int64))


def pad_axes() -> bytes:
    return model(
        [node("Add", "k,c", "i"), node("Pad", "x,p,,i")],
        inputs={"x": (FLOAT, SHAPE), "k": (INT64, [1])},
        c=np.asarray([1], np.int64),
        p=np.asarray([1, 1], np.int64),
        opset=18,
    )


CLEAN: dict[str, Callable[[], bytes]] = {
    "a convolution": lambda: quantized_layer(),
    "a transposed one with a scale for its tensor": lambda: quantized_layer(
        "ConvTranspose", weight_scale=np.float32(0.1)
    ),
    "a residual sum": lambda: residual(both=True),
    "the largest K": lambda: topk(3839),
    "align_corners": lambda: resized(coordinate_transformation_mode="align_corners"),
    "nearest": lambda: resized(mode="nearest", nearest_mode="floor"),
    "a cast of bytes": lambda: model(
        [node("Cast", "x", "c", to=FLOAT), node("Transpose", "c", perm=[0, 3, 1, 2])], inputs=BYTES
    ),
    "a product of matrices": lambda: einsum("bct,bcs->bts", [1, 2, 3], [1, 2, 4]),
    "pooling": lambda: pooled("AveragePool"),
}


def names(content: bytes, version: str) -> set[str]:
    return {finding.rule for finding in check_model(content, [find_version(version)])}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_each_rule_is_found_where_it_is_broken(rule: Rule):
    version, make = BROKEN[rule.name]
    assert rule.name in names(make(), version)


@pytest.mark.parametrize("rule", [r for r in rules() if r.since or r.before], ids=lambda rule: rule.name)
def test_a_rule_holds_for_its_versions_alone(rule: Rule):
    content = BROKEN[rule.name][1]()
    holds = {name for name in versions() if rule.name in names(content, name)}
    assert holds == {name for name, version in versions().items() if rule.holds_for(version)}
    assert holds < versions().keys()


@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.parametrize("version", versions())
def test_what_is_right_has_no_finding(name: str, version: str):
    assert names(CLEAN[name](), version) == set()


@pytest.mark.parametrize("equation", ["ii->i", "bct,bcs->bts"])
def test_diagonals_and_broadcasting_are_found(equation: str):
    shapes = ([3, 3],) if equation == "ii->i" else ([1, 2, 3], [2, 2, 4])
    assert "einsum" in names(einsum(equation, *shapes), "8.6")


def test_every_rule_has_a_check_and_a_source():
    assert {rule.check for rule in rules()} == CHECKS.keys()
    assert {rule.level for rule in rules()} == {"refuse", "slow"}
    assert all(rule.reason and rule.remedy and rule.source for rule in rules())


def test_versions_compare_as_numbers():
    assert [v.name for v in versions().values()] == sorted(versions(), key=lambda n: find_version(n).number)
    assert find_version("10.3.0") is find_version("10.3")
    assert find_version("10.16.2.10").name == "10.16"
    with pytest.raises(UnknownNameError, match=r"10\.3"):
        find_version("10.30")


# From onnx-tensorrt docs/operators.md, as read: (operator, versions whose table has it).
TABLES = [
    ("GroupNormalization", {"8.6", "10.3", "10.13", "10.16", "11.4"}),
    ("LayerNormalization", {"8.6", "10.3", "10.13", "10.16", "11.4"}),
    ("Gelu", {"10.3", "10.13", "10.16", "11.4"}),
    ("Hardmax", {"10.16", "11.4"}),
    ("GridSample", set(versions())),
    ("NonZero", set(versions())),
    ("Conv", set(versions())),
    ("ReduceMin", set(versions())),
    ("QLinearConv", set()),
    ("ConvInteger", set()),
    ("DynamicQuantizeLinear", set()),
    ("MaxUnpool", set()),
    ("Unique", set()),
]


@pytest.mark.parametrize(("operator", "expected"), TABLES)
def test_operators_are_those_of_the_tables(operator: str, expected: set[str]):
    assert {name for name, version in versions().items() if operator in version.operators} == expected


# The rows that say N in the tables that were read whole.
DENIED = {
    "8.5": (
        "Bernoulli BitShift BlackmanWindow Compress ConcatFromSequence ConvInteger DFT Det "
        "DynamicQuantizeLinear HammingWindow HannWindow Hardmax IsInf LayerNormalization MatMulInteger "
        "MaxRoiPool MaxUnpool MelWeightMatrix Multinomial NegativeLogLikelihoodLoss Optional "
        "OptionalGetElement OptionalHasElement QLinearConv QLinearMatMul STFT SequenceAt "
        "SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap "
        "SoftmaxCrossEntropyLoss SplitToSequence StringNormalizer TfIdfVectorizer Unique"
    ),
    "10.16": (
        "AffineGrid Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Col2Im CenterCropPad "
        "Compress ConcatFromSequence ConvInteger DFT Det DynamicQuantizeLinear ImageDecoder MatMulInteger "
        "MaxRoiPool MaxUnpool MelWeightMatrix Multinomial NegativeLogLikelihoodLoss Optional "
        "OptionalGetElement OptionalHasElement QLinearConv QLinearMatMul RegexFullMatch SequenceAt "
        "SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap "
        "SoftmaxCrossEntropyLoss"
    ),
}


@pytest.mark.parametrize("name", DENIED)
def test_what_a_table_denies_is_refused(name: str):
    assert not set(DENIED[name].split()) & versions()[name].operators


def test_every_operator_of_the_tables_is_one_of_onnx():
    operators = [version.operators for version in versions().values()]
    assert all(older <= newer for older, newer in itertools.pairwise(operators))
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    of_older_onnx = {"ImageScaler", "ParametricSoftplus", "ScaledTanh"}
    of_newer_onnx = {"Attention", "RMSNormalization", "RotaryEmbedding"}
    assert operators[-1] - known <= of_older_onnx | of_newer_onnx


def test_a_jetson_has_the_versions_of_its_jetpacks():
    assert [version.name for version in versions_of(7.2)] == ["8.5"]
    assert [version.name for version in versions_of(8.7)] == ["8.5", "8.6", "10.3", "10.16", "11.4"]
    assert [version.name for version in versions_of(11.0)] == ["10.13", "10.16", "11.4"]
    assert len(versions_of(8.6)) == len(versions_of(None)) == len(versions())


def test_each_target_for_tensorrt_has_versions_or_says_why_not():
    targets = [target for target in list_targets() if target.engine == "tensorrt"]
    assert len(targets) >= 8
    refused = []
    for target in targets:
        try:
            assert versions_for_target(target)
        except CompileError as error:
            refused.append((target.name, str(error)))
    assert [name for name, _ in refused] == ["jetson-nano"]
    assert "JetPack 4" in refused[0][1]


def test_a_refusal_names_nodes_and_remedies():
    findings = check_model(BROKEN["uint8-inside"][1](), versions_for_target(read_target("jetson-orin")))
    with pytest.raises(CompileError, match=r"jetson-orin.*Transpose 'transpose'.*Cast the image.*more"):
        demand(findings, origin="Target jetson-orin")
    slow = check_model(BROKEN["qdq-inputs"][1](), [find_version("10.3")])
    demand(slow, origin="a model")  # slow is no refusal
    assert [finding.level for finding in slow] == ["slow"]


@pytest.mark.parametrize("content", [b"", b"junk", b"\x08\x08", model([node("Relu", "x")])[:-30]])
def test_what_is_no_model_is_refused(content: bytes):
    with pytest.raises(CompileError, match="Not a valid ONNX model"):
        check_model(content, [find_version("10.3")])
