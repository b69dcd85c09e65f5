"""The checks that rules name: each takes a graph and a rule's settings and yields what breaks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from edgead.compiler.tensorrt_rules.table import Version

_DOMAINS = {"", "ai.onnx"}
_QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_INT32 = np.iinfo(np.int32)
# (name of the node or tensor, operator or "", what was found)
Breach: TypeAlias = tuple[str, str, str]


@dataclass
class CheckedGraph:
    """A graph under test with what the checks ask for: constants, makers, readers, types and shapes."""

    model: onnx.ModelProto
    version: Version
    constants: dict[str, onnx.TensorProto] = field(init=False)
    makers: dict[str, onnx.NodeProto] = field(init=False)
    readers: dict[str, list[onnx.NodeProto]] = field(init=False)
    types: dict[str, str] = field(init=False)
    shapes: dict[str, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            value = next(
                (a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value"), None
            )
            if value is not None:
                self.constants[node.output[0]] = value
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        inferred = shape_inference.infer_shapes(self.model).graph
        values = [*inferred.input, *inferred.value_info, *inferred.output]
        self.types = {value.name: _type_name(value.type.tensor_type.elem_type) for value in values}
        self.types |= {name: _type_name(tensor.data_type) for name, tensor in self.constants.items()}
        self.shapes = {
            value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in values
            if value.type.tensor_type.HasField("shape")
        }
        self.shapes |= {name: list(tensor.dims) for name, tensor in self.constants.items()}

    def constant(self, name: str) -> np.ndarray | None:
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def nodes(self, *operators: str) -> Iterator[onnx.NodeProto]:
        """The nodes of these operators, in order."""
        return (node for node in self.model.graph.node if node.op_type in operators)

    def is_dequantized(self, name: str) -> bool:
        maker = self.makers.get(name)
        return maker is not None and maker.op_type == "DequantizeLinear"


def _type_name(number: int) -> str:
    return onnx.TensorProto.DataType.Name(number) if number else ""


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    found = next((a for a in node.attribute if a.name == name), None)
    value = default if found is None else onnx.helper.get_attribute_value(found)
    return value.decode() if isinstance(value, bytes) else value


def _label(node: onnx.NodeProto) -> tuple[str, str]:
    return node.name or (node.output[0] if node.output else ""), node.op_type


def opset(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    low, high = graph.version.opset
    for entry in graph.model.opset_import:
        if entry.domain in _DOMAINS and not low <= entry.version <= high:
            yield "the model", "", f"opset {entry.version}, and it reads {low} to {high}"


def operator(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.model.graph.node:
        if node.domain not in _DOMAINS:
            yield *_label(node), f"{node.op_type} of the domain {node.domain}"
        elif node.op_type not in graph.version.operators:
            yield *_label(node), node.op_type


def static_shapes(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for value in graph.model.graph.input:
        shape = graph.shapes.get(value.name, [0])
        if value.name not in graph.constants and not all(shape):
            yield value.name, "", "x".join(str(size or "?") for size in shape)


def types(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for name, kind in graph.types.items():
        if kind and kind not in settings["types"]:
            yield name, "", kind.lower()


def double(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    yield from ((name, "", "double") for name, kind in graph.types.items() if kind == "DOUBLE")


def int64_range(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for name, tensor in graph.constants.items():
        if tensor.data_type == onnx.TensorProto.INT64:
            value = numpy_helper.to_array(tensor)
            if value.size and (value.min() < _INT32.min or value.max() > _INT32.max):
                yield name, "", str(value.flat[int(np.abs(value.astype(np.float64)).argmax())])


def uint8_inside(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    outputs = {value.name for value in graph.model.graph.output}
    inputs = {value.name for value in graph.model.graph.input}
    for node in graph.model.graph.node:
        if node.op_type in _QUANTIZERS:
            continue  # of another rule: their type says how values are quantized
        made = [name for name in node.output if graph.types.get(name) == "UINT8" and name not in outputs]
        taken = [name for name in node.input if graph.types.get(name) == "UINT8" and name in inputs]
        if made or (taken and node.op_type != "Cast"):
            yield *_label(node), f"{node.op_type} of unsigned bytes"


def constant_inputs(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for kind, positions in settings["inputs"].items():
        for node in graph.nodes(kind):
            for position in positions:
                name = node.input[position] if position < len(node.input) else ""
                if name and name not in graph.constants:
                    yield *_label(node), f"'{name}' is computed"


def topk_limit(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes("TopK"):
        value = graph.constant(node.input[1]) if len(node.input) > 1 else _attribute(node, "k", None)
        if value is not None and int(np.asarray(value).reshape(-1)[0]) > settings["most"]:
            yield *_label(node), f"K = {int(np.asarray(value).reshape(-1)[0])}"


def attribute(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes(*settings["operators"]):
        value = _attribute(node, settings["attribute"], settings["default"])
        only_nearest = (
            settings["attribute"] == "nearest_mode" and _attribute(node, "mode", "nearest") != "nearest"
        )
        if value not in settings["values"] and not only_nearest:
            yield *_label(node), f"{settings['attribute']} = {value}"


def resize_dimensions(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes("Resize"):
        before, after = graph.shapes.get(node.input[0]), graph.shapes.get(node.output[0])
        if before and after and _attribute(node, "mode", "nearest") == "linear":
            outer = max(0, len(before) - settings["most"])
            if before[:outer] != after[:outer]:
                yield *_label(node), f"{before} to {after}"


def rank(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes(*settings["operators"]):
        shape = graph.shapes.get(node.input[0])
        if shape is not None and len(shape) not in settings["ranks"]:
            yield *_label(node), f"an input of {len(shape)} dimensions"


def outputs(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes(*settings["operators"]):
        used = [name for name in node.output[settings["most"] :] if name]
        if used:
            yield *_label(node), f"the outputs {', '.join(used)}"


def dilations(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes(*settings["operators"]):
        found = list(_attribute(node, "dilations", []))
        if any(value != 1 for value in found):
            yield *_label(node), f"dilations {found}"


def einsum(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes("Einsum"):
        equation = _attribute(node, "equation", "").replace(" ", "")
        terms = equation.split("->")[0].split(",")
        diagonal = any(len(set(letters)) != len(letters) for letters in map(_letters, terms))
        if "..." in equation or diagonal or _broadcasts(graph, node, terms):
            yield *_label(node), equation


def _letters(term: str) -> list[str]:
    return re.findall(r"[A-Za-z]", term)


def _broadcasts(graph: CheckedGraph, node: onnx.NodeProto, terms: list[str]) -> bool:
    sizes: dict[str, set[int]] = {}
    for name, term in zip(node.input, terms, strict=False):
        for letter, size in zip(term, graph.shapes.get(name, []), strict=False):
            sizes.setdefault(letter, set()).add(size)
    return any(len(found) > 1 for found in sizes.values())


def zero_point(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes(*_QUANTIZERS):
        if len(node.input) < 3 or not node.input[2]:
            continue
        value = graph.constant(node.input[2])
        if value is None:
            yield *_label(node), "a computed zero point"
        elif value.astype(np.float32).any():
            yield *_label(node), f"a zero point of {value.reshape(-1)[np.flatnonzero(value)[0]]}"


def quantized_type(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes(*_QUANTIZERS):
        quantized = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
        zero = node.input[2] if len(node.input) > 2 else ""
        kind = graph.types.get(zero) or graph.types.get(quantized) or "UINT8"  # ONNX's default
        if kind not in settings["types"]:
            yield *_label(node), kind.lower()


def scale(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes(*_QUANTIZERS):
        value = graph.constant(node.input[1])
        if value is None:
            yield *_label(node), "a computed scale"
        elif not (np.isfinite(value).all() and (value > 0).all()):
            yield *_label(node), f"a scale of {value.reshape(-1)[int(np.argmin(value))]}"


def activation_scale(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes(*_QUANTIZERS):
        value = graph.constant(node.input[1])
        if value is not None and value.size > 1 and not _is_weight(graph, node):
            yield *_label(node), f"{value.size} scales"


def _is_weight(graph: CheckedGraph, node: onnx.NodeProto) -> bool:
    """Whether a quantizer works on a constant, directly or behind another one."""
    name = node.input[0]
    while name in graph.makers and graph.makers[name].op_type in _QUANTIZERS | {"Cast"}:
        name = graph.makers[name].input[0]
    return name in graph.constants


def weight_axis(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for kind, wanted in settings["axes"].items():
        for node in graph.nodes(kind):
            quantizer = graph.makers.get(node.input[1])
            if quantizer is None or quantizer.op_type != "DequantizeLinear":
                continue
            value = graph.constant(quantizer.input[1])
            axis = _attribute(quantizer, "axis", 1)
            if value is not None and value.size > 1 and axis != wanted:
                yield *_label(node), f"scales along axis {axis}"


def grouped_deconvolution(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes("ConvTranspose"):
        quantized = any(graph.is_dequantized(name) for name in node.input[:2])
        if quantized and _attribute(node, "group", 1) > 1:
            yield *_label(node), f"{_attribute(node, 'group', 1)} groups"


def all_inputs(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes(*settings["operators"]):
        found = [graph.is_dequantized(name) for name in node.input[:2]]
        if any(found) and not all(found):
            yield *_label(node), f"'{node.input[found.index(False)]}' is not quantized"


def residual_add(graph: CheckedGraph, settings: Mapping[str, Any]) -> Iterator[Breach]:
    for node in graph.nodes("Add"):
        found = [graph.is_dequantized(name) for name in node.input]
        others = [name for name, quantized in zip(node.input, found, strict=True) if not quantized]
        computed = [name for name in others if _is_quantized_convolution(graph, name)]
        if any(found) and computed:
            yield *_label(node), f"'{computed[0]}' is not quantized"


def _is_quantized_convolution(graph: CheckedGraph, name: str) -> bool:
    maker = graph.makers.get(name)
    quantized = maker is not None and any(graph.is_dequantized(i) for i in maker.input)
    return quantized and maker is not None and maker.op_type in _WEIGHTED


CHECKS: dict[str, Callable[[CheckedGraph, Mapping[str, Any]], Iterator[Breach]]] = {
    check.__name__: check
    for check in (
        opset,
        operator,
        static_shapes,
        types,
        double,
        int64_range,
        uint8_inside,
        constant_inputs,
        topk_limit,
        attribute,
        resize_dimensions,
        rank,
        outputs,
        dilations,
        einsum,
        zero_point,
        quantized_type,
        scale,
        activation_scale,
        weight_axis,
        grouped_deconvolution,
        all_inputs,
        residual_add,
    )
}
