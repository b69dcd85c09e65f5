"""The layers of published networks add up to the published parameters and FLOPs."""

from __future__ import annotations

import pytest
import torch

from benchmarks.network_cost import count_macs
from benchmarks.published_networks import layers_of_network
from edgead.errors import UnknownNameError
from edgead.models.backbones import build_backbone


@pytest.mark.parametrize(
    ("name", "size", "gflops", "parameters"),
    [
        # Ultralytics' documentation of YOLO11 and YOLOv8: fused models at 640 pixels.
        pytest.param("yolo11n", 640, 6.5, 2.6e6, id="yolo11n"),
        pytest.param("yolo11s", 640, 21.5, 9.4e6, id="yolo11s"),
        pytest.param("yolo11m", 640, 68.0, 20.1e6, id="yolo11m"),
        pytest.param("yolo11l", 640, 86.9, 25.3e6, id="yolo11l"),
        pytest.param("yolo11x", 640, 194.9, 56.9e6, id="yolo11x"),
        pytest.param("yolov8n", 640, 8.7, 3.2e6, id="yolov8n"),
        pytest.param("yolov8s", 640, 28.6, 11.2e6, id="yolov8s"),
        pytest.param("yolov8m", 640, 78.9, 25.9e6, id="yolov8m"),
        # MLPerf Inference's table of models; Open Model Zoo counts 8.216 for ResNet-50.
        pytest.param("ssd-mobilenet", 300, 2.47, 6.91e6, id="ssd-mobilenet"),
        pytest.param("resnet50", 224, 8.2, 25.6e6, id="resnet50"),
    ],
)
def test_published_sums(name: str, size: int, gflops: float, parameters: float):
    layers = layers_of_network(name, size=size)
    assert 2 * sum(layer.macs for layer in layers) / 1e9 == pytest.approx(gflops, rel=0.01)
    assert sum(layer.parameters for layer in layers) == pytest.approx(parameters, rel=0.02)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_resnets_are_those_of_our_backbones(name: str):
    with torch.device("meta"):
        backbone = build_backbone(name, stages=(1, 2, 3, 4), weights=None).eval()
        macs = count_macs(lambda: backbone(torch.empty(1, 3, 224, 224)))
    layers = layers_of_network(name, size=224)
    assert sum(layer.macs for layer in layers if layer.kind == "conv") == macs


def test_a_batch_multiplies_all_but_the_weights():
    one, eight = (layers_of_network("resnet18", size=64, batch=batch) for batch in (1, 8))
    for small, large in zip(one, eight, strict=True):
        assert large.parameters == small.parameters
        assert (large.macs, large.output_bytes) == (8 * small.macs, 8 * small.output_bytes)


def test_an_unknown_network():
    with pytest.raises(UnknownNameError, match=r"Did you mean .*yolo11n"):
        layers_of_network("yolo11", size=640)
