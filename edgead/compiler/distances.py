"""Distances to fixed points in INT8: both sides rounded to one step, so that they stay distances.

|f - p|^2 is computed as |f|^2 + (|p|^2 - 2 f p), the bracket by a 1 x 1 convolution whose kernels are -2 p
and whose bias is |p|^2. It is a small difference of large numbers: a quantizer that rounds f and p in the
product alone, each with a scale of its own, leaves the rounding of the large numbers in the difference. Here
f and p become whole multiples of one step everywhere, in the squares as well: what comes out is the exact
distance of the rounded points.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx

from edgead.compiler.graph import GraphIndex, add_quantizer, new_initializer, sort_nodes

_LEVELS = 127
_ROOM = 1.25  # how far beyond the furthest point a feature may lie before it is cut off
_CLOSE = 1e-3  # relative difference of a bias and |p|^2, which an exporter may have summed in another order


@dataclass(frozen=True)
class _Distances:
    """The points of one convolution: `layer` reads `features`, and `points` are N C."""

    layer: onnx.NodeProto
    features: str
    points: np.ndarray


def distance_operations(model: onnx.ModelProto) -> set[str]:
    """The names of the convolutions and squares that are parts of distances to fixed points."""
    found = _find(model)
    features = {item.features for item in found}
    return {item.layer.name for item in found} | {node.name for node in _squares(model, features)}


def quantize_distances(model: onnx.ModelProto, *, kept: Collection[str] = ()) -> int:
    """Give every distance to fixed points one step for both sides, as Q/DQ; returns how many layers changed.

    A group of layers that read the same features shares the step. Those with a layer whose name fits a
    pattern of `kept` stay in float.
    """
    groups: dict[str, list[_Distances]] = {}
    for item in _find(model):
        groups.setdefault(item.features, []).append(item)
    changed = 0
    for features, items in groups.items():
        if any(fnmatch.fnmatch(item.layer.name, pattern) for item in items for pattern in kept):
            continue
        _quantize_group(model, features, items)
        changed += len(items)
    if changed:
        sort_nodes(model)
    return changed


def _find(model: onnx.ModelProto) -> list[_Distances]:
    """Convolutions 1 x 1 in float whose bias is the squared length of what their kernels are -2 times."""
    index = GraphIndex(model.graph)
    found = []
    for node in model.graph.node:
        if node.op_type != "Conv" or len(node.input) != 3:
            continue
        kernels, bias = index.constant(node.input[1]), index.constant(node.input[2])
        if kernels is None or bias is None or kernels.shape[2:] != (1, 1) or not kernels.any():
            continue
        points = kernels[:, :, 0, 0].astype(np.float64) / -2
        if np.allclose((points**2).sum(axis=1), bias, rtol=_CLOSE, atol=0):
            found.append(_Distances(node, node.input[0], points))
    return found


def _squares(model: onnx.ModelProto, features: Collection[str]) -> list[onnx.NodeProto]:
    return [
        n
        for n in model.graph.node
        if n.op_type == "Mul" and n.input[0] == n.input[1] and n.input[0] in features
    ]


def _quantize_group(model: onnx.ModelProto, features: str, items: list[_Distances]) -> None:
    step = float(np.float32(_ROOM * max(np.abs(item.points).max() for item in items) / _LEVELS))
    rounded = add_quantizer(model, features, step, base=f"{features}_whole_steps")
    for node in _squares(model, {features}):
        node.input[:] = [rounded, rounded]
    doubled = new_initializer(model, f"{features}_doubled_step", np.asarray(2 * step, np.float32))
    zero = new_initializer(model, f"{features}_points_zero", np.asarray(0, np.int8))
    for item in items:
        whole = np.rint(item.points / step)
        name = f"{item.layer.name}_points"
        kernels = new_initializer(model, f"{name}_quantized", (-whole[:, :, None, None]).astype(np.int8))
        bias = new_initializer(model, f"{name}_squared", ((step * whole) ** 2).sum(axis=1))
        answer = f"{name}_dequantized"
        model.graph.node.append(
            onnx.helper.make_node(
                "DequantizeLinear", [kernels, doubled, zero], [answer], name=f"{name}_DequantizeLinear"
            )
        )
        item.layer.input[:] = [rounded, answer, bias]
