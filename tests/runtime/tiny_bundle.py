"""A real bundle with a real, tiny ONNX model, made without any training: for the tests of every layer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgead.bundle import (
    InputSpec,
    Manifest,
    MetricsSpec,
    OutputSpec,
    Reference,
    ThresholdSpec,
    draft_manifest,
    write_bundle,
)

STRIDE = 4


def tiny_onnx(height: int = 32, width: int = 32) -> bytes:
    """uint8 1 H W 3 -> anomaly_map float32 1 H/4 W/4 (mean of 4 x 4 cells, 0 to 1), score its maximum."""
    kernel = np.full((1, 3, STRIDE, STRIDE), 1 / (3 * STRIDE * STRIDE * 255), np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["cells"], strides=[STRIDE, STRIDE]),
        helper.make_node("Squeeze", ["cells", "one"], ["anomaly_map"]),
        helper.make_node("ReduceMax", ["anomaly_map"], ["score"], axes=[1, 2], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height, width, 3])]
    map_shape = [1, height // STRIDE, width // STRIDE]
    outputs = [
        helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, map_shape),
        helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
    ]
    constants = [
        numpy_helper.from_array(kernel, "kernel"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def tiny_answer(image: np.ndarray) -> tuple[np.ndarray, float]:
    """What the tiny model answers for a uint8 H W 3 image of its own size, worked out in numpy."""
    height, width, _ = image.shape
    cells = image.astype(np.float64).reshape(height // STRIDE, STRIDE, width // STRIDE, STRIDE, 3)
    anomaly_map = (cells.mean(axis=(1, 3, 4)) / 255).astype(np.float32)
    return anomaly_map, float(anomaly_map.max())


def tiny_reference(height: int = 32, width: int = 32, *, count: int = 2) -> Reference:
    """Random images and the answers expected of them."""
    images = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    answers = [tiny_answer(image) for image in images]
    maps = np.stack([anomaly_map for anomaly_map, _ in answers])
    scores = np.array([score for _, score in answers], np.float32)
    return Reference(images, maps, scores, map_tolerance=1e-4, score_tolerance=1e-4)


def tiny_manifest(height: int = 32, width: int = 32, *, engine: str = "openvino") -> Manifest:
    """A complete manifest for the tiny model; anything brighter than half of white is anomalous."""
    threshold = ThresholdSpec(
        score=0.75,
        pixel=0.5,
        false_alarm_rate=0.01,
        interval_low=0.0,
        interval_high=0.05,
        confidence=0.95,
        good_images=100,
        method="quantile of held-out good images",
    )
    draft = draft_manifest(
        name="tiny",
        target={"openvino": "intel-cpu"}.get(engine, "cpu"),
        engine=engine,
        precision="f32",
        input=InputSpec(height, width),
        output=OutputSpec(height // STRIDE, width // STRIDE, "maximum"),
        threshold=threshold,
        family="tiny",
        config={"stride": STRIDE},
        versions={"edgead": "0.1.0"},
        licences={"model": "Apache-2.0"},
    )
    metrics = MetricsSpec("drawn images", {"image_auroc": 1.0}, {"image_auroc": None})
    return dataclasses.replace(draft, created="2026-01-01T00:00:00+00:00", metrics=metrics)


def write_tiny_bundle(path: Path, height: int = 32, width: int = 32, **changes: object) -> Path:
    """Write the tiny bundle to `path`; `changes` replace fields of its manifest."""
    engine = str(changes.pop("engine", "openvino"))
    manifest = dataclasses.replace(tiny_manifest(height, width, engine=engine), **changes)  # type: ignore[arg-type]
    files = {"model.onnx": tiny_onnx(height, width)}
    write_bundle(path, manifest, files=files, reference=tiny_reference(height, width))
    return path
