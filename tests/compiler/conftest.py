"""The stand-in model, its images and the recipe with which most tests compile."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from drawn_parts import anomalous_image, good_image
from standin import SIZE, StandIn

from edgead.bundle import ThresholdSpec
from edgead.compiler.export import onnx_from_model
from edgead.compiler.pipeline import ImageSets, Provenance
from edgead.compiler.quantize import int8_onnx_from_onnx
from edgead.compiler.recipe import QuantizationSpec, Recipe


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def images() -> ImageSets:
    calibration = [good_image(i) for i in range(10)] + [anomalous_image(i) for i in range(5)]
    gate = [good_image(i) for i in range(100, 112)] + [anomalous_image(i) for i in range(100, 112)]
    return ImageSets(calibration, gate)


@pytest.fixture(scope="session")
def standin() -> StandIn:
    return StandIn()


@pytest.fixture(scope="session")
def original(standin: StandIn) -> bytes:
    return onnx_from_model(standin, height=SIZE, width=SIZE)


@pytest.fixture(scope="session")
def quantized(original: bytes, images: ImageSets) -> bytes:
    return int8_onnx_from_onnx(
        original, [item.image for item in images.calibration], spec=QuantizationSpec(keep_first_layers=1)
    )


@pytest.fixture
def provenance() -> Provenance:
    threshold = ThresholdSpec(0.5, 0.4, 0.01, 0.0, 0.05, 0.95, 12, "maximum of held-out good scores")
    return Provenance("part", "stand-in", threshold, "0" * 64, "1" * 64, score_rule="highest cell")


@pytest.fixture
def lenient() -> Recipe:
    """The default recipe without a limit: what INT8 costs an untrained network means nothing."""
    return dataclasses.replace(Recipe().with_max_drop(1.0), name="lenient")
