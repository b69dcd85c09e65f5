"""Distances to fixed points in INT8: both sides rounded to one step, so that they stay distances.

|f - p|^2 is computed as |f|^2 + (|p|^2 - 2 f p), the bracket by a 1 x 1 convolution whose kernels are -2 p
and whose bias is |p|^2. It is a small difference of large numbers: a quantizer that rounds f and p in the
product alone, each with a scale of its own, leaves the rounding of the large numbers in the difference. Here
f and p become whole multiples of one step everywhere, in the squares as well: what comes out is the exact
distance of the rounded points.

Where the least over the points follows, the convolution becomes a matrix product with the points along the
last axis: engines then write and reduce rows, where they would turn a result of thousands of channels around
first (OpenVINO on a CPU with bfloat16: a sixth of the whole model's time).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx

from edgead.compiler.graph import GraphIndex, add_quantizer, attribute, new_initializer, sort_nodes

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
    index = GraphIndex(model.graph)
    least = {item.layer.name: _least_of(item.layer, index) for item in items}
    rows = _rows_of(model, features, step) if any(least.values()) else None
    for item in items:
        name = f"{item.layer.name}_points"
        whole = np.rint(item.points / step)
        squared, found = ((step * whole) ** 2).sum(axis=1), least[item.layer.name]
        kernels = -whole[:, :, None, None] if rows is None or found is None else -whole.T
        quantized = new_initializer(model, f"{name}_quantized", kernels.astype(np.int8, order="C"))
        answer = f"{name}_dequantized"
        _append(model, "DequantizeLinear", [quantized, doubled, zero], answer)
        if rows is None or found is None:
            item.layer.input[:] = [rounded, answer, new_initializer(model, f"{name}_squared", squared)]
        else:
            _replace_by_product(model, item.layer, found, rows, points=answer, squared=squared)


@dataclass(frozen=True)
class _Least:
    """What follows a convolution: a constant taken off, where there is one, and the least over channels."""

    nodes: list[onnx.NodeProto]
    taken_off: np.ndarray | float

    @property
    def output(self) -> str:
        return str(self.nodes[-1].output[0])


def _least_of(layer: onnx.NodeProto, index: GraphIndex) -> _Least | None:
    nodes, taken_off = [], np.zeros(1)
    reader = index.only_reader(layer.output[0])
    if reader is not None and reader.op_type == "Sub" and reader.input[0] == layer.output[0]:
        constant = index.constant(reader.input[1])
        if constant is None:
            return None
        nodes, taken_off = [reader], constant.reshape(-1)
        reader = index.only_reader(reader.output[0])
    if reader is None or reader.op_type != "ReduceMin" or attribute(reader, "keepdims", 1) != 1:
        return None
    axes = [list(a.ints) for a in reader.attribute if a.name == "axes"]
    return _Least([*nodes, reader], taken_off) if axes == [[1]] else None


@dataclass(frozen=True)
class _Rows:
    """Rounded features as rows: the tensor 1 hw C of this name, and (h, w)."""

    name: str
    size: tuple[int, int]


def _rows_of(model: onnx.ModelProto, features: str, step: float) -> _Rows | None:
    """None where the shape of the features is not known, or is none of a map at batch 1."""
    shape = _shape_of(model, features)
    if len(shape) != 4 or shape[0] != 1 or not all(shape):
        return None
    _, channels, height, width = shape
    flat = new_initializer(model, f"{features}_flat_shape", np.asarray([1, channels, height * width]))
    _append(model, "Reshape", [features, flat], f"{features}_flat")
    _append(model, "Transpose", [f"{features}_flat"], f"{features}_rows", perm=[0, 2, 1])
    name = add_quantizer(model, f"{features}_rows", step, base=f"{features}_rows_whole_steps")
    return _Rows(name, (height, width))


def _replace_by_product(
    model: onnx.ModelProto,
    layer: onnx.NodeProto,
    least: _Least,
    rows: _Rows,
    *,
    points: str,
    squared: np.ndarray,
) -> None:
    """Put a matrix product and the least of each row in place of a convolution and what follows it."""
    name = layer.name
    bias = new_initializer(model, f"{name}_points_squared", (squared - least.taken_off).astype(np.float32))
    back = new_initializer(model, f"{name}_least_shape", np.asarray([1, 1, *rows.size]))
    for node in (layer, *least.nodes):
        model.graph.node.remove(node)
    _append(model, "MatMul", [rows.name, points], f"{name}_product", name=name)
    _append(model, "Add", [f"{name}_product", bias], f"{name}_brackets")
    _append(model, "ReduceMin", [f"{name}_brackets"], f"{name}_least", axes=[2], keepdims=1)
    _append(model, "Reshape", [f"{name}_least", back], least.output)


def _append(
    model: onnx.ModelProto, kind: str, inputs: list[str], answer: str, *, name: str = "", **attributes: object
) -> None:
    node = onnx.helper.make_node(kind, inputs, [answer], name=name or f"{answer}_{kind}", **attributes)
    model.graph.node.append(node)


def _shape_of(model: onnx.ModelProto, name: str) -> list[int]:
    """0 for a length that is not known; empty where nothing is."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {v.name: [int(d.dim_value) for d in v.type.tensor_type.shape.dim] for v in inferred.value_info}
    return shapes.get(name, [])
