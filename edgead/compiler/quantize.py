"""INT8 as Q/DQ nodes in the ONNX graph, made once by NNCF and read by every engine.

Quantizing the ONNX graph rather than OpenVINO's own costs nothing in speed: with EfficientNet-Lite0 and three
reconstruction networks at 256 x 256, on one shared core with AMX, OpenVINO ran the Q/DQ graph 1.1 to 1.25
times as fast as the one that NNCF made of the OpenVINO model. Maps correlated alike with float (0.972 and
0.973); the scores of 20 images did not settle which is better. Not measured: processors without AMX.
"""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgead.compiler.distances import quantize_distances
from edgead.compiler.export import INPUT
from edgead.compiler.graph import GraphIndex, remove_dead, sort_initializers, sort_nodes
from edgead.compiler.recipe import QuantizationSpec
from edgead.compiler.rounding import round_weights
from edgead.compiler.tensorrt_graph import quantize_layer_inputs
from edgead.device.machine import adds_int8_in_32_bits
from edgead.errors import CompileError, UsageError

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
# Read when NNCF is imported: by NNCF, which sends nothing then, and by the library that it would send with,
# which then writes no identity into the user's home.
_SENDS_NOTHING = {"NNCF_CI": "1", "CI": "true"}
_QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}


def int8_onnx_from_onnx(
    model: bytes, images: Sequence[np.ndarray], *, spec: QuantizationSpec, kept: Collection[str] = ()
) -> bytes:
    """Quantize an exported graph with ranges from `images` (uint8 H W 3); operations in `kept` stay float.

    Raises CompileError when the quantizer fails, UsageError for a pattern that fits no operation.
    """
    nncf = _import_nncf()
    proto = onnx.load_model_from_string(model)
    ignored = sorted({*kept, *kept_operations(proto, spec)})
    dataset = nncf.Dataset([{INPUT: image[None]} for image in images])
    with _quiet():
        try:
            result = nncf.quantize(
                proto,
                dataset,
                ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
                **_arguments(spec, len(images)),
            )
        except Exception as error:  # NNCF raises many kinds
            raise CompileError(
                f"NNCF could not quantize the graph: {str(error)[:300]}. Keep the operation that it names in "
                "float with quantization.keep_layers or keep_kinds of the recipe."
            ) from error
    if spec.activations == "signed-per-tensor":
        make_activations_signed(result)
        quantize_layer_inputs(result)
    if spec.weight_rounding == "calibrated":
        round_weights(result, proto, images)
    quantize_distances(result, kept=spec.keep_layers)
    remove_dead(result)
    sort_initializers(result)
    return bytes(result.SerializeToString(deterministic=True))


def _arguments(spec: QuantizationSpec, images: int) -> dict[str, Any]:
    nncf = _import_nncf()
    from nncf.quantization import advanced_parameters as advanced
    from nncf.quantization.range_estimator import RangeEstimatorParameters, RangeEstimatorParametersSet

    # ONNX Runtime's fused convolutions fail on a scale per channel; TensorRT documents that it takes none.
    per_channel = spec.activations == "per-channel"
    # NNCF averages the images' extremes by default. Anomalies are the few images with large values
    # in the residuals: averaged with good ones, their range is cut and they all score alike.
    ranges = RangeEstimatorParametersSet.MINMAX if spec.ranges == "maximum" else RangeEstimatorParameters()
    return {
        "preset": nncf.QuantizationPreset(spec.preset),
        "target_device": nncf.TargetDevice(spec.device.upper()),
        "subset_size": images,
        "fast_bias_correction": spec.bias_correction != "accurate",
        "advanced_parameters": nncf.AdvancedQuantizationParameters(
            overflow_fix=advanced.OverflowFix(_overflow_fix(spec.weight_range)),
            activations_quantization_params=advanced.QuantizationParameters(
                per_channel=None if per_channel else False
            ),
            activations_range_estimator_params=ranges,
            disable_bias_correction=spec.bias_correction == "none",
            smooth_quant_alphas=advanced.AdvancedSmoothQuantParameters(convolution=spec.smooth_convolutions),
        ),
    }


def _overflow_fix(weight_range: str) -> str:
    """NNCF's name of what keeps sums of 8-bit products from saturating, for a range of the weights.

    x86 processors before VNNI add pairs of products in 16 bits; with weights in half the range they fit.
    There an edge detector's maps correlated with float by 0.856 in the full range, by 0.9998 in half of it.
    """
    if weight_range == "auto":
        weight_range = "full" if adds_int8_in_32_bits() else "half"
    return {"full": "disable", "half": "enable"}[weight_range]


def _import_nncf() -> Any:
    """NNCF, without the usage reports that it sends to its makers unless its environment names a test.

    A factory's network is not for them. Each is sent by a process forked beside the threads of torch and
    OpenVINO, and the first writes an identity into the user's home. It is imported late because it is slow.
    """
    before = {name: os.environ.get(name) for name in _SENDS_NOTHING}
    os.environ.update(_SENDS_NOTHING)
    try:
        import nncf
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return nncf


def make_activations_signed(model: onnx.ModelProto) -> int:
    """Give every activation one symmetric int8 scale, as TensorRT documents; returns how many changed.

    Done here because NNCF refuses to force signedness for its device "any". Raises CompileError for a
    quantizer whose zero point is not that of a symmetric range.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    changed = 0
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
        if zero.any():
            raise CompileError(f"'{node.name}' has a zero point; only symmetric ranges can be made signed.")
        if zero.dtype == np.uint8 or scale.ndim:
            levels = 255 / 127 if zero.dtype == np.uint8 else 1.0  # the same range in fewer steps
            constants[node.input[1]].CopyFrom(
                numpy_helper.from_array(np.float32(scale.max() * levels), node.input[1])
            )
            constants[node.input[2]].CopyFrom(numpy_helper.from_array(np.int8(0), node.input[2]))
            changed += 1
    for node in model.graph.node:
        reads_activation = node.op_type == "DequantizeLinear" and node.input[0] not in constants
        if node.op_type == "QuantizeLinear" or reads_activation:
            kept = [attribute for attribute in node.attribute if attribute.name != "axis"]
            del node.attribute[:]
            node.attribute.extend(kept)
    del model.graph.value_info[:]  # it may state the unsigned types
    return changed


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A library must not write to its host's terminal: NNCF's progress bars and notes are kept back."""
    from nncf.common.logging.track_progress import track

    logger, initialise = logging.getLogger("nncf"), track.__init__
    level = logger.level

    def silent(self: Any, *args: Any, **options: Any) -> None:
        initialise(self, *args, **{**options, "disable": True})

    logger.setLevel(logging.ERROR)
    track.__init__ = silent
    try:
        yield
    finally:
        track.__init__ = initialise
        logger.setLevel(level)


def kept_operations(model: onnx.ModelProto, spec: QuantizationSpec) -> set[str]:
    """The operations that a recipe keeps in float: by name or pattern, by kind, and the score head."""
    names = [node.name for node in model.graph.node]
    kept = {node.name for node in model.graph.node if node.op_type in spec.keep_kinds}
    for pattern in spec.keep_layers:
        found = set(fnmatch.filter(names, pattern))
        if not found:
            layers = [node.name for node in model.graph.node if node.op_type in WEIGHTED]
            raise UsageError(
                f"quantization.keep_layers: '{pattern}' fits no operation of the model. "
                f"Layers: {', '.join(layers)}."
            )
        kept |= found
    kept |= first_operations(model, spec.keep_first_layers)
    return kept | squares(model) | head_operations(model, spec.keep_head_layers)


def matching_operations(model: bytes, patterns: Collection[str]) -> set[str]:
    """The names of the operations that fit any of the patterns, as in "/bank/*"."""
    names = [node.name for node in onnx.load_model_from_string(model).graph.node]
    return {name for pattern in patterns for name in fnmatch.filter(names, pattern)}


def first_operations(model: onnx.ModelProto, layers: int) -> set[str]:
    """The first weighted layers behind the stem: their errors pass through all the others.

    Not the stem: it reads pixels, which are whole numbers of 8 bits already, and its few weights lose next to
    nothing where they are rounded together.
    """
    return {node.name for node in [n for n in model.graph.node if n.op_type in WEIGHTED][1 : 1 + layers]}


def squares(model: onnx.ModelProto) -> set[str]:
    """Products of a tensor with itself: NNCF 3.4 fails on some, for it quantizes the one edge twice."""
    return {node.name for node in model.graph.node if node.op_type == "Mul" and len(set(node.input)) == 1}


def head_operations(model: onnx.ModelProto, layers: int) -> set[str]:
    """The operations with fewer than `layers` weighted layers behind them on every way to an output.

    They stay in float because a map of 256 steps gives images with equal scores, which no threshold
    separates.
    """
    kept = set()
    # The weighted layers on the longest way from a tensor to an output.
    behind: dict[str, int] = dict.fromkeys((value.name for value in model.graph.output), 0)
    for node in reversed(model.graph.node):
        passed = max((behind[name] for name in node.output if name in behind), default=layers)
        if passed < layers:
            kept.add(node.name)
        passed += node.op_type in WEIGHTED
        for name in node.input:
            behind[name] = max(behind.get(name, 0), passed)
    return kept


def quantized_operations(model: onnx.ModelProto) -> list[str]:
    """The operations that read a dequantized activation, in the order of the graph."""
    index = GraphIndex(model.graph)
    return [
        node.name
        for node in model.graph.node
        if node.op_type not in _QUANTIZERS and any(_is_dequantized(name, index) for name in node.input)
    ]


def _is_dequantized(name: str, index: GraphIndex) -> bool:
    producer = index.producer.get(name)
    return producer is not None and producer.op_type == "DequantizeLinear"


def revert_operations(quantized: bytes, original: bytes, names: Collection[str]) -> bytes:
    """Give the named operations of a Q/DQ graph the float inputs, weights and bias of the original graph.

    Quantizers that nothing reads any more disappear; those of other operations keep their ranges.
    """
    model, source = onnx.load_model_from_string(quantized), onnx.load_model_from_string(original)
    wanted = {node.name: node for node in source.graph.node if node.name in names}
    if missing := sorted(set(names) - wanted.keys()):
        raise CompileError(f"No such operation in the float graph: {', '.join(missing)}.")
    weights = {tensor.name: tensor for tensor in source.graph.initializer}
    present = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.name in wanted:
            inputs = wanted[node.name].input
            del node.input[:]
            node.input.extend(_float_name(name, weights, present, model) for name in inputs)
    _restore_producers(model, source)
    sort_nodes(model)
    remove_dead(model)
    sort_initializers(model)
    return bytes(model.SerializeToString(deterministic=True))


def _restore_producers(model: onnx.ModelProto, source: onnx.ModelProto) -> None:
    """Bring back nodes that quantization left out, such as a cast that a quantizer moved across."""
    makers = {name: node for node in source.graph.node for name in node.output}
    made = {name for node in model.graph.node for name in node.output}
    queue = [name for node in model.graph.node for name in node.input]
    while queue:
        name = queue.pop()
        if name in makers and name not in made:
            made.update(makers[name].output)
            model.graph.node.append(makers[name])
            queue += makers[name].input


def _float_name(
    name: str,
    weights: dict[str, onnx.TensorProto],
    present: dict[str, onnx.TensorProto],
    model: onnx.ModelProto,
) -> str:
    """The name of a float tensor in the Q/DQ graph; a weight that changed there is added under a new one."""
    if name not in weights:
        return name
    value = numpy_helper.to_array(weights[name])
    if name in present and np.array_equal(numpy_helper.to_array(present[name]), value):
        return name
    fresh = f"{name}_float"
    if fresh not in present:
        present[fresh] = numpy_helper.from_array(value, fresh)
        model.graph.initializer.append(present[fresh])
    return fresh
