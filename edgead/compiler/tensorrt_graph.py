"""What TensorRT wants of a graph beyond what other engines read alike; none of it changes float answers."""

from __future__ import annotations

import numpy as np
import onnx

from edgead.compiler.graph import GraphIndex, add_quantizer, sort_nodes

_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
# Operations whose answers lie within the range of what they read: position of that input, or all of them.
_WITHIN_RANGE = {
    "AveragePool": 0,
    "Concat": None,
    "DepthToSpace": 0,
    "Flatten": 0,
    "Gather": 0,
    "MaxPool": 0,
    "Relu": 0,
    "Reshape": 0,
    "Resize": 0,
    "Slice": 0,
    "Squeeze": 0,
    "Transpose": 0,
    "Unsqueeze": 0,
}


def onnx_for_tensorrt(model: bytes) -> bytes:
    """An exported graph in the form that TensorRT's parser takes."""
    proto = onnx.load_model_from_string(model)
    cast_first(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def cast_first(model: onnx.ModelProto) -> int:
    """Move the cast of the image before the transpose that reads it, for TensorRT has no bytes inside.

    Returns how many were moved. Other engines keep the order that moves a quarter of the memory.
    """
    index, moved = GraphIndex(model.graph), 0
    inputs = {value.name for value in model.graph.input}
    for node in list(model.graph.node):
        cast = index.only_reader(node.output[0]) if node.op_type == "Transpose" else None
        if cast is None or cast.op_type != "Cast" or node.input[0] not in inputs:
            continue
        between, answer = f"{node.input[0]}_cast", cast.output[0]
        cast.input[0], cast.output[0] = node.input[0], between
        node.input[0], node.output[0] = between, answer
        moved += 1
    if moved:
        del model.graph.value_info[:]  # it states the type of the transposed bytes
        sort_nodes(model)
    return moved


def quantize_layer_inputs(model: onnx.ModelProto) -> list[str]:
    """Put Q/DQ before weighted layers whose weights are quantized and whose activation is not.

    Quantizers leave them out behind operations that only move or average values, as behind a concatenation;
    TensorRT, which looks for a pair on each input, would compute these layers in float. The scale is the
    largest of those from which the values come: exact where they are moved and the scales agree. Returns the
    names of the layers for which no scale is known, which stay as they were.
    """
    left = []
    made: dict[str, str] = {}
    for node in [n for n in model.graph.node if n.op_type in _WEIGHTED]:
        index = GraphIndex(model.graph)
        activation, weights = node.input[:2]
        if not _is_dequantized(weights, index) or _is_dequantized(activation, index):
            continue
        if activation not in made:
            scale = _scale_of(activation, index)
            if scale is None:
                left.append(node.name)
                continue
            made[activation] = add_quantizer(model, activation, scale, base=f"{activation}_layer_input")
        node.input[0] = made[activation]
    if made:
        sort_nodes(model)
    return left


def _is_dequantized(name: str, index: GraphIndex) -> bool:
    return name in index.producer and index.producer[name].op_type == "DequantizeLinear"


def _scale_of(name: str, index: GraphIndex) -> float | None:
    """The largest scale of the quantizers from which a tensor's values come; None where one is in float."""
    maker = index.producer.get(name)
    if maker is None:
        return None
    if maker.op_type == "DequantizeLinear":
        scale = index.constant(maker.input[1])
        return None if scale is None else float(np.max(scale))
    if maker.op_type not in _WITHIN_RANGE:
        return None
    position = _WITHIN_RANGE[maker.op_type]
    read = list(maker.input) if position is None else [maker.input[position]]
    scales = [_scale_of(one, index) for one in read]
    known = [scale for scale in scales if scale is not None]
    return max(known) if known and len(known) == len(scales) else None
