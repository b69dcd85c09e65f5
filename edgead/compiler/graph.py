"""Exact rewrites of an ONNX graph that make it smaller, static and quicker to quantize.

Every pass takes a model and returns how many places it changed; none changes what the graph computes beyond
float rounding. The passes assume what the exporter guarantees: static shapes and batch 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from edgead.errors import CompileError

# Folding may enlarge a model (an Expand of one number); beyond this many elements a node is left alone.
_LARGEST_FOLDED = 65_536
_CHANNELWISE = {"Relu", "Clip", "LeakyRelu", "Sigmoid", "Identity"}


class GraphIndex:
    """Who makes and who reads each tensor of a graph; made anew after a pass has changed the graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.producer = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        self.outputs = {value.name for value in graph.output}
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}

    def constant(self, name: str) -> np.ndarray | None:
        tensor = self.initializers.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """An integer attribute of a node."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def fold_constants(model: onnx.ModelProto) -> int:
    """Replace nodes whose inputs are all known, shapes included, by initializers.

    Repeated until nothing changes: a padding of known size gives everything behind it a known shape.
    """
    total = 0
    while changed := _fold_constants_once(model):
        total += changed
    return total


def _fold_constants_once(model: onnx.ModelProto) -> int:
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.input, *graph.output]
    }
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    folded: list[onnx.NodeProto] = []
    for node in model.graph.node:
        values = _evaluate(node, known, shapes, model)
        if values is not None:
            folded.append(node)
            known.update(zip(node.output, values, strict=True))
            _add_initializers(model, dict(zip(node.output, values, strict=True)))
    _remove_nodes(model, folded)
    return len(folded)


def _evaluate(
    node: onnx.NodeProto,
    known: dict[str, np.ndarray],
    shapes: dict[str, list[int]],
    model: onnx.ModelProto,
) -> list[np.ndarray] | None:
    if node.op_type == "Shape" and not node.attribute:
        shape = shapes.get(node.input[0], [0])
        return [np.asarray(shape, np.int64)] if all(shape) else None
    if any(name and name not in known for name in node.input):
        return None
    inputs = {name: known[name] for name in node.input if name}
    graph = onnx.helper.make_graph(
        [node],
        "constant",
        [
            onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in inputs.items()
        ],
        [onnx.helper.make_empty_tensor_value_info(n) for n in node.output],
    )
    one = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    values = [np.asarray(v) for v in ReferenceEvaluator(one).run(None, inputs)]
    return values if all(v.size <= _LARGEST_FOLDED for v in values) else None


def remove_identities(model: onnx.ModelProto) -> int:
    """Drop Identity nodes, and casts to the type that is there, unless they name a graph output."""
    index = GraphIndex(model.graph)
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in [*inferred.value_info, *inferred.input]}
    removed = [
        node
        for node in model.graph.node
        if node.output[0] not in index.outputs
        and (node.op_type == "Identity" or (node.op_type == "Cast" and _keeps_type(node, types)))
    ]
    for node in removed:
        _rename_input(model, node.output[0], node.input[0])
    _remove_nodes(model, removed)
    return len(removed)


def _keeps_type(cast: onnx.NodeProto, types: dict[str, int]) -> bool:
    return types.get(cast.input[0]) == attribute(cast, "to", -1)


def fold_input_scale(model: onnx.ModelProto) -> int:
    """Fold a constant scale of a convolution's input into its weights.

    Only the scale: zero padding comes after normalisation, so an offset cannot move into the bias without
    changing the border. What stays is a subtraction of constants from whole numbers.
    """
    changed = 0
    for node in list(model.graph.node):
        index = GraphIndex(model.graph)
        convolution = index.only_reader(node.output[0])
        if node.op_type not in {"Mul", "Div"} or convolution is None or convolution.op_type != "Conv":
            continue
        factor = _channel_factor(node, index)
        weights = index.constant(convolution.input[1])
        if factor is None or weights is None or attribute(convolution, "group", 1) != 1:
            continue
        if factor.size not in {1, weights.shape[1]} or node.output[0] != convolution.input[0]:
            continue
        scaled = weights * factor.reshape(1, -1, 1, 1)
        convolution.input[1] = new_initializer(model, f"{convolution.input[1]}_scaled", scaled)
        convolution.input[0] = node.input[0]
        model.graph.node.remove(node)
        changed += 1
    return changed


def _channel_factor(node: onnx.NodeProto, index: GraphIndex) -> np.ndarray | None:
    """The factor of a Mul or Div by constants, one number or one per channel of B C H W."""
    value = index.constant(node.input[1])
    if value is None or index.constant(node.input[0]) is not None:
        return None
    per_channel = value.ndim in {3, 4} and value.size == value.shape[-3]
    if value.size != 1 and not per_channel:
        return None
    factor = value.astype(np.float64).reshape(-1)
    return 1.0 / factor if node.op_type == "Div" else factor


def fold_gather(model: onnx.ModelProto) -> int:
    """Fold a constant channel gather into the convolution before it, where nothing else reads that one.

    Activations between the two act on each channel alone, so the gather moves through them. A convolution
    with a second reader is left alone: folding would compute its kept channels twice.
    """
    changed = 0
    for node in list(model.graph.node):
        index = GraphIndex(model.graph)
        kept = index.constant(node.input[1]) if node.op_type == "Gather" else None
        if kept is None or kept.ndim != 1 or attribute(node, "axis", 0) != 1:
            continue
        convolution = _convolution_before(node, index)
        if convolution is None:
            continue
        for position, name in enumerate(convolution.input):
            value = index.constant(name) if position else None
            if value is not None:
                convolution.input[position] = new_initializer(model, f"{name}_kept", value[kept])
        _rename_input(model, node.output[0], node.input[0])
        model.graph.node.remove(node)
        changed += 1
    _forget_shapes(model, changed)
    return changed


def _convolution_before(node: onnx.NodeProto, index: GraphIndex) -> onnx.NodeProto | None:
    """The ungrouped convolution that feeds a node alone, through channelwise activations at most."""
    if node.output[0] in index.outputs:
        return None
    name = node.input[0]
    while index.only_reader(name) is not None and name in index.producer:
        before = index.producer[name]
        if before.op_type == "Conv":
            plain = attribute(before, "group", 1) == 1 and index.constant(before.input[1]) is not None
            return before if plain else None
        if before.op_type not in _CHANNELWISE:
            return None
        name = before.input[0]
    return None


def simplify_gather_elements(model: onnx.ModelProto) -> int:
    """Turn a gather of whole channels written as GatherElements into Gather on axis 1, exact at batch 1.

    `torch.gather` wants an index of the size of its answer: K x H x W whole numbers in memory instead of K,
    and a form that engines treat as scattered reads.
    """
    changed = 0
    for node in list(model.graph.node):
        index = GraphIndex(model.graph)
        expand = index.producer.get(node.input[1]) if node.op_type == "GatherElements" else None
        if expand is None or expand.op_type != "Expand" or attribute(node, "axis", 0) != 1:
            continue
        shape = index.constant(expand.input[1])
        if shape is None or shape.size != 4 or not _one_per_channel(model, expand.input[0]):
            continue
        flat = new_initializer(model, f"{node.name}_flat_shape", np.asarray([-1], np.int64))
        reshape = onnx.helper.make_node(
            "Reshape", [expand.input[0], flat], [f"{node.output[0]}_order"], name=f"{node.name}_order"
        )
        gather = onnx.helper.make_node(
            "Gather", [node.input[0], reshape.output[0]], [node.output[0]], name=node.name, axis=1
        )
        place = list(model.graph.node).index(node)
        model.graph.node.remove(node)
        model.graph.node.insert(place, gather)
        model.graph.node.insert(place, reshape)
        changed += 1
    return changed


def _one_per_channel(model: onnx.ModelProto, name: str) -> bool:
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    for value in graph.value_info:
        if value.name == name:
            shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
            return len(shape) == 4 and shape[0] == shape[2] == shape[3] == 1
    return False


def remove_dead(model: onnx.ModelProto) -> int:
    """Drop nodes and initializers from which no output is reached."""
    alive = {value.name for value in model.graph.output}
    dead = []
    for node in reversed(model.graph.node):
        if alive.isdisjoint(node.output):
            dead.append(node)
        else:
            alive.update(node.input)
    _remove_nodes(model, dead)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in alive]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return len(dead)


def sort_nodes(model: onnx.ModelProto) -> None:
    """Order nodes so that each follows what it reads, and otherwise as they were."""
    nodes = list(model.graph.node)
    made_here = {name for node in nodes for name in node.output}
    ordered: list[onnx.NodeProto] = []
    made: set[str] = set()
    while nodes:
        waiting = []
        for node in nodes:
            if all(name in made or name not in made_here for name in node.input):
                ordered.append(node)
                made.update(node.output)
            else:
                waiting.append(node)
        if len(waiting) == len(nodes):
            raise CompileError(f"The graph has a cycle through '{nodes[0].name}'.")
        nodes = waiting
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def sort_initializers(model: onnx.ModelProto) -> None:
    """Order initializers by first use, so that equal networks give equal bytes."""
    order: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            order.setdefault(name, len(order))
    tensors = sorted(model.graph.initializer, key=lambda tensor: order.get(tensor.name, len(order)))
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)


def describe_graph(model: bytes) -> str:
    """How many nodes a graph holds, and how many of them are convolutions."""
    counts = Counter(node.op_type for node in onnx.load_model_from_string(model).graph.node)
    return f"{counts.total()} nodes, {counts['Conv']} of them convolutions"


def new_initializer(model: onnx.ModelProto, name: str, value: np.ndarray) -> str:
    taken = {tensor.name for tensor in model.graph.initializer}
    while name in taken:
        name += "_"
    dtype = np.float32 if value.dtype.kind == "f" else value.dtype
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
    return name


def add_quantizer(model: onnx.ModelProto, name: str, scale: float, *, base: str) -> str:
    """Append a Q/DQ pair that reads a tensor, symmetric int8; returns the name of its answer.

    `base` begins the names of what is added. The nodes come last: sort them once all are there.
    """
    constants = (
        numpy_helper.from_array(np.asarray(scale, np.float32), f"{base}_scale"),
        onnx.helper.make_tensor(f"{base}_zero", onnx.TensorProto.INT8, [], [0]),
    )
    model.graph.initializer.extend(constants)
    inputs = [constant.name for constant in constants]
    for kind, source, answer in (
        ("QuantizeLinear", name, f"{base}_quantized"),
        ("DequantizeLinear", f"{base}_quantized", f"{base}_dequantized"),
    ):
        node = onnx.helper.make_node(kind, [source, *inputs], [answer], name=f"{base}_{kind}")
        model.graph.node.append(node)
    return f"{base}_dequantized"


def _add_initializers(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> None:
    for name, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, order="C"), name))


def _rename_input(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new


def _remove_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        model.graph.node.remove(node)


def _forget_shapes(model: onnx.ModelProto, changed: int) -> None:
    """A gather that moved changed the shapes recorded between; they are inferred again when asked for."""
    if changed:
        del model.graph.value_info[:]
