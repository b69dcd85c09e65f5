"""Paddings move into the convolutions behind them."""

from __future__ import annotations

import numpy as np
import onnx

from edgead.compiler.graph import GraphIndex, new_initializer


def fold_padding(model: onnx.ModelProto) -> int:
    """Fold a padding of rows and columns into the convolution that alone reads it.

    Padding by a number c other than zero becomes a subtraction of c before, padding by zero, and c times the
    sum of the weights in the bias. Quantizers understand that form and leave the other in float.
    """
    changed = 0
    for node in list(model.graph.node):
        index = GraphIndex(model.graph)
        convolution = index.only_reader(node.output[0]) if node.op_type == "Pad" else None
        padded = index.constant(node.input[1]) if convolution is not None else None
        if convolution is None or convolution.op_type != "Conv" or padded is None or not _is_spatial(padded):
            continue
        value = _padding_value(node, index)
        weights = index.constant(convolution.input[1])
        if value is None or weights is None or not _bias_is_known(convolution, index):
            continue
        if value:
            _subtract_before(model, node, convolution, value, weights)
        convolution.input[0] = node.input[0]
        _add_pads(convolution, [int(padded[i]) for i in (2, 3, 6, 7)])
        model.graph.node.remove(node)
        changed += 1
    return changed


def _is_spatial(padded: np.ndarray) -> bool:
    return padded.size == 8 and not padded[[0, 1, 4, 5]].any() and bool((padded >= 0).all())


def _padding_value(node: onnx.NodeProto, index: GraphIndex) -> float | None:
    """The constant that a Pad writes; None for another mode or a value that is not known."""
    if any(a.name == "mode" and a.s != b"constant" for a in node.attribute) or len(node.input) > 3:
        return None
    if len(node.input) < 3 or not node.input[2]:
        return 0.0
    value = index.constant(node.input[2])
    return None if value is None else float(value)


def _bias_is_known(convolution: onnx.NodeProto, index: GraphIndex) -> bool:
    return len(convolution.input) < 3 or index.constant(convolution.input[2]) is not None


def _subtract_before(
    model: onnx.ModelProto,
    pad: onnx.NodeProto,
    convolution: onnx.NodeProto,
    value: float,
    weights: np.ndarray,
) -> None:
    index = GraphIndex(model.graph)
    constant = new_initializer(model, f"{pad.name}_value", np.asarray(value, np.float32))
    shifted = f"{pad.output[0]}_shifted"
    subtraction = onnx.helper.make_node("Sub", [pad.input[0], constant], [shifted], name=f"{pad.name}_shift")
    model.graph.node.insert(list(model.graph.node).index(pad), subtraction)
    pad.input[0] = shifted
    added = value * weights.astype(np.float64).sum(axis=tuple(range(1, weights.ndim)))
    before = index.constant(convolution.input[2]) if len(convolution.input) > 2 else None
    bias = added if before is None else before + added
    name = new_initializer(model, f"{convolution.name}_bias", bias)
    del convolution.input[2:]
    convolution.input.append(name)


def _add_pads(convolution: onnx.NodeProto, added: list[int]) -> None:
    before = next((a for a in convolution.attribute if a.name == "pads"), None)
    pads = list(before.ints) if before is not None else [0, 0, 0, 0]
    if before is not None:
        convolution.attribute.remove(before)
    total = [a + b for a, b in zip(pads, added, strict=True)]
    convolution.attribute.append(onnx.helper.make_attribute("pads", total))
