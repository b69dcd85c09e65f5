"""What a model file may hold, checked before an engine reads its bytes.

Engines follow references out of a model: ONNX Runtime and OpenVINO read the weights of a tensor from a file
of the working directory, or from an address in the process's memory, where the model says so; and both run
loops without an end. A model of a bundle needs none of that: its weights are in it, its operators are those
of the ONNX standard, and it has no loops. The reader here knows the wire format of Protocol Buffers and the
messages of onnx.proto (ONNX IR version 3 to 12), and needs no package; fields that it does not know are
refused, since an engine may know them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import NoReturn
from xml.parsers import expat

from edgead.errors import BundleError

_STANDARD_DOMAINS = (b"", b"ai.onnx")
_CONTROL_FLOW = frozenset({b"If", b"Loop", b"Scan", b"SequenceMap"})
_DEEPEST = 16  # messages within each other; a model without subgraphs has 5
_MOST_NODES = 100_000

# Wire types of Protocol Buffers; groups (3 and 4) are obsolete and in no ONNX file.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}

# TensorProto.DataType -> bytes of an element; strings (8) and complex numbers are in no model of a bundle.
_ELEMENT_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
_HALF_BYTES = frozenset({21, 22, 23})  # uint4, int4, float4: two elements a byte
_SMALL_FLOATS = frozenset({17, 18, 19, 20, 24})  # of 8 bits
_TYPED_DATA = frozenset({4, 5, 7, 10, 11})  # float, int32, int64, double, uint64


def check_model_file(name: str, content: bytes | memoryview, files: Mapping[str, memoryview]) -> None:
    """Refuse a model file that reaches outside itself; `files` are all of its bundle.

    Files that are neither ONNX nor OpenVINO's XML by their names are data, which no engine interprets.
    Raises BundleError.
    """
    if name.endswith(".onnx"):
        check_onnx(content, origin=name)
    elif name.endswith(".xml"):
        weights = max((len(data) for other, data in files.items() if other.endswith(".bin")), default=0)
        check_openvino_xml(bytes(content), weights=weights, origin=name)


def check_onnx(content: bytes | memoryview, *, origin: str, any_operators: bool = False) -> None:
    """Refuse an ONNX model with weights outside it, foreign operators, functions or subgraphs.

    `any_operators`: these are another's to judge, and weights outside are refused alone, wherever they are.
    Raises BundleError, also for what is no ONNX model.
    """
    try:
        _Onnx(any_operators).model(memoryview(content).cast("B"))
    except _Refused as refusal:
        raise BundleError(
            f"{origin}: {refusal}. A model is complete in itself here. Do not open this one with another "
            "tool; make it again, or get it again from where it was compiled."
        ) from None


class _Refused(Exception):  # noqa: N818 - a verdict, which becomes a BundleError
    """Why a model is refused."""


class _Onnx:
    """The walk through one model."""

    def __init__(self, any_operators: bool) -> None:
        self._any, self._nodes = any_operators, 0

    def model(self, view: memoryview) -> None:
        graphs = 0
        for field, value in _fields(view, _MODEL_FIELDS, "the model"):
            if field == 7:
                graphs += 1
                self.graph(_message(value), 1)
            elif field == 8:
                self._opset(_message(value))
            elif field in (20, 25) and not (self._any and field == 25):
                raise _Refused("it has functions or training steps of its own")
            elif field == 25:
                self._function(_message(value))
        if graphs != 1:
            raise _Refused(f"expected an ONNX model with one graph, found {graphs} graphs")

    def _opset(self, view: memoryview) -> None:
        for field, value in _fields(view, {1, 2}, "an opset"):
            if field == 1:
                self._domain(value)

    def _function(self, view: memoryview) -> None:
        for field, value in _fields(view, _FUNCTION_FIELDS, "a function"):
            if field == 7:
                self._node(_message(value), 2)
            elif field == 11:
                self._attribute(_message(value), 3)

    def _domain(self, value: int | memoryview) -> None:
        domain = bytes(_message(value))
        if domain not in _STANDARD_DOMAINS and not self._any:
            raise _Refused(f"it has operators of {domain[:40]!r}, which are not of the ONNX standard")

    def graph(self, view: memoryview, depth: int) -> None:
        for field, value in _fields(view, _GRAPH_FIELDS, "the graph"):
            if field == 1:
                self._node(_message(value), depth + 1)
            elif field == 5:
                _tensor(_message(value))
            elif field == 15:
                raise _Refused("it has sparse weights")

    def _node(self, view: memoryview, depth: int) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES or depth > _DEEPEST:
            raise _Refused("it has too many operators")
        for field, value in _fields(view, _NODE_FIELDS, "an operator"):
            if field == 4 and bytes(_message(value)) in _CONTROL_FLOW and not self._any:
                raise _Refused(f"it has the operator {bytes(_message(value)).decode()}, which may not end")
            if field == 7:
                self._domain(value)
            if field == 5:
                self._attribute(_message(value), depth + 1)

    def _attribute(self, view: memoryview, depth: int) -> None:
        for field, value in _fields(view, _ATTRIBUTE_FIELDS, "an attribute"):
            if field in (5, 10):
                _tensor(_message(value))
            elif field in (6, 11) and self._any:
                self.graph(_message(value), depth + 1)
            elif field in (6, 11):
                raise _Refused("it has a graph within an operator")
            elif field in (22, 23):
                raise _Refused("it has sparse weights")


# Known fields by number, from onnx.proto.
_MODEL_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25}
_GRAPH_FIELDS = {1, 2, 5, 10, 11, 12, 13, 14, 15, 16}
_FUNCTION_FIELDS = {1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
_NODE_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 9}
_ATTRIBUTE_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 20, 21, 22, 23}
_TENSOR_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16}


def _tensor(view: memoryview) -> None:
    """One tensor: its numbers are in it, and as many as its dimensions say."""
    dimensions: list[int] = []
    kind, raw, typed = 0, None, 0
    for field, value in _fields(view, _TENSOR_FIELDS, "a tensor"):
        if field == 13 or (field == 14 and value != 0):
            raise _Refused("it has weights in another file or at an address in memory (external data)")
        if field == 1:
            dimensions += [value] if isinstance(value, int) else list(_packed(value))
        elif field == 2:
            kind = value if isinstance(value, int) else 0
        elif field in (3, 6):
            raise _Refused("it has a tensor of strings or in segments")
        elif field == 9:
            raw = len(_message(value))
        elif field in _TYPED_DATA:
            typed += len(value) if isinstance(value, memoryview) else 10
    if any(size >= 2**63 for size in dimensions):
        raise _Refused("it has a tensor of negative size")
    count = math.prod(dimensions)
    if raw is not None:
        if _bytes_of(count, kind) != raw or typed:
            raise _Refused(f"it has a tensor of {count} elements in {raw} bytes of type {kind}")
    elif count > typed:
        raise _Refused(f"it has a tensor of {count} elements in {typed} bytes")


def _bytes_of(count: int, kind: int) -> int | None:
    if kind in _HALF_BYTES:
        return (count + 1) // 2
    each = 1 if kind in _SMALL_FLOATS else _ELEMENT_BYTES.get(kind)
    return None if each is None else count * each


def _fields(view: memoryview, known: set[int], what: str) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: number, and an integer or a view of its bytes."""
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        field, wire = key >> 3, key & 7
        if field not in known:
            raise _Refused(f"expected an ONNX model, found field {field} in {what}")
        value: int | memoryview
        if wire == _VARINT:
            value, at = _varint(view, at)
        elif wire == _BYTES:
            size, at = _varint(view, at)
            value, at = _cut(view, at, size)
        elif wire in _FIXED_SIZES:
            value, at = _cut(view, at, _FIXED_SIZES[wire])
        else:
            raise _Refused(f"expected an ONNX model, found wire type {wire} in {what}")
        yield field, value


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise _Refused("expected an ONNX model, found one that is cut short")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise _Refused("expected an ONNX model, found a number that does not end")


def _cut(view: memoryview, at: int, size: int) -> tuple[memoryview, int]:
    if size > len(view) - at:
        raise _Refused("expected an ONNX model, found one that is cut short")
    return view[at : at + size], at + size


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _Refused("expected an ONNX model, found a number where a part of it should be")
    return value


def _packed(view: memoryview) -> Iterator[int]:
    at = 0
    while at < len(view):
        value, at = _varint(view, at)
        yield value


_OPSETS = re.compile(r"opset\d{1,2}")
_BODIES = frozenset({"TensorIterator", "Loop", "If"})
_DEEPEST_XML = 64


def check_openvino_xml(content: bytes, *, weights: int, origin: str) -> None:
    """Refuse an OpenVINO model with a DTD, entities, foreign layers, loops, or data outside `weights` bytes.

    Raises BundleError, also for what is no such model.
    """
    try:
        _OpenVinoXml(weights).read(content)
    except (_Refused, expat.ExpatError) as refusal:
        raise BundleError(
            f"{origin}: {refusal}. A model of a bundle is complete in itself: get it again from where it was "
            "compiled."
        ) from None


class _OpenVinoXml:
    """The walk through one description of layers."""

    def __init__(self, weights: int) -> None:
        self._weights, self._depth, self._root = weights, 0, ""

    def read(self, content: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse_declaration
        parser.ExternalEntityRefHandler = _refuse_declaration
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.Parse(content, True)
        if self._root != "net":
            raise _Refused(f"expected a model of OpenVINO, found <{self._root}>")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._root = self._root or name
        self._depth += 1
        if self._depth > _DEEPEST_XML:
            raise _Refused("its elements are too deep")
        if name == "layer":
            if not _OPSETS.fullmatch(attributes.get("version", "opset1")):
                found = f"{attributes.get('type', '')[:40]} of {attributes['version'][:40]}"
                raise _Refused(f"it has a layer {found}, which is not OpenVINO's")
            if attributes.get("type") in _BODIES:
                raise _Refused(f"it has the layer {attributes['type']}, which may not end")
        if name == "body":
            raise _Refused("it has a graph within a layer")
        if name == "data" and "offset" in attributes:
            self._check_range(attributes)

    def _check_range(self, attributes: Mapping[str, str]) -> None:
        try:
            offset, size = int(attributes["offset"]), int(attributes["size"])
        except (KeyError, ValueError):
            raise _Refused("it has data whose place is not a number") from None
        if offset < 0 or size < 0 or offset + size > self._weights:
            raise _Refused(f"it has {size} bytes of data at {offset}, beyond its {self._weights} bytes")

    def _end(self, name: str) -> None:
        self._depth -= 1


def _refuse_declaration(*_: object) -> NoReturn:
    raise _Refused("it has a DTD or an entity")
