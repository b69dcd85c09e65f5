"""Tiny bundles for TensorRT: INT8 with Q/DQ nodes, with or without the half-precision model beside it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgead.bundle import Manifest, read_bundle, write_bundle
from tests.runtime.tiny_bundle import tiny_manifest, tiny_onnx, tiny_reference

HALF_MODEL = "model.f16.onnx"


def tiny_int8_onnx(height: int = 32, width: int = 32) -> bytes:
    """The tiny model with Q/DQ nodes on its pixels: zero point 0, steps of two grey levels."""
    model = onnx.load_from_string(tiny_onnx(height, width))
    graph = model.graph
    nodes = [
        helper.make_node("QuantizeLinear", ["planes", "scale", "zero"], ["quantized"]),
        helper.make_node("DequantizeLinear", ["quantized", "scale", "zero"], ["dequantized"]),
    ]
    position = next(index for index, node in enumerate(graph.node) if node.op_type == "Conv")
    graph.node[position].input[0] = "dequantized"
    for offset, node in enumerate(nodes):
        graph.node.insert(position + offset, node)
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(2.0, np.float32), "scale"),
            numpy_helper.from_array(np.array(0, np.int8), "zero"),
        ]
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_jetson_bundle(path: Path, *, half: bool = False, tolerance: float = 0.02) -> Path:
    """A bundle in INT8 for jetson-orin-nx; `half` puts the model without Q/DQ beside it."""
    files = {"model.onnx": tiny_int8_onnx()}
    if half:
        files[HALF_MODEL] = tiny_onnx()
    manifest: Manifest = dataclasses.replace(
        tiny_manifest(engine="tensorrt"), target="jetson-orin-nx", precision="int8", model_files=list(files)
    )
    reference = dataclasses.replace(tiny_reference(), map_tolerance=tolerance, score_tolerance=tolerance)
    write_bundle(path, manifest, files=files, reference=reference)
    assert read_bundle(path).manifest.model_files == list(files)
    return path
