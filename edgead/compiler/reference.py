"""The answers by which a device proves itself, and how far another device may be from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Reference, map_difference
from edgead.bundle.reference import LOOSEST_MAP, LOOSEST_SCORE
from edgead.compiler.calibration import PreparedImage
from edgead.errors import CompileError
from edgead.map_and_score import MapAndScore

IMAGES = 4
_NOISE = 4  # grey levels, what a camera adds: noise is an anomaly, and more of it would set the scale
_MARGIN = 2.0
_TIGHTEST = 1e-3  # of the largest answer


def reference_images(images: Sequence[PreparedImage], *, seed: int = 0) -> NDArray[np.uint8]:
    """Four inputs N H W 3: a good and an anomalous image, each plain and under random noise.

    Not pure noise: activations beyond the calibrated ranges would set the scale of the tolerance.
    """
    good = next((item.image for item in images if not item.is_anomalous), None)
    anomalous = next((item.image for item in images if item.is_anomalous), good)
    if good is None:
        good = anomalous
    if good is None or anomalous is None:
        raise CompileError("Reference answers need at least one image; the gate set is empty.")
    generator = np.random.default_rng(seed)
    plain = np.stack([good, anomalous])
    noise = generator.integers(-_NOISE, _NOISE + 1, plain.shape)
    return np.concatenate([plain, np.clip(plain + noise, 0, 255).astype(np.uint8)])


def reference_from_answers(
    inputs: NDArray[np.uint8], answers: Sequence[MapAndScore], *, second: Sequence[MapAndScore]
) -> Reference:
    """Expected answers with tolerances taken from a `second` program that runs the same graph.

    One engine repeats itself to the bit on one machine. Another processor takes other kernels, whose float
    rounding now and then moves an activation to the next INT8 step; how much that moves an answer is a
    property of the model, so it is measured: twice the difference between the engine and ONNX Runtime on
    these inputs, at least 0.1 % of the largest answer and at most 5 % (of a map) or 10 % (of a score).
    """
    maps = np.stack([anomaly_map for anomaly_map, _ in answers]).astype(np.float32)
    scores = np.array([score for _, score in answers], np.float32)
    other_maps = np.stack([anomaly_map for anomaly_map, _ in second])
    other_scores = np.array([score for _, score in second])
    return Reference(
        inputs=inputs,
        anomaly_maps=maps,
        scores=scores,
        map_tolerance=_tolerance(map_difference(other_maps, maps), maps, loosest=LOOSEST_MAP),
        score_tolerance=_tolerance(float(np.abs(scores - other_scores).max()), scores, loosest=LOOSEST_SCORE),
    )


def _tolerance(difference: float, expected: NDArray[np.float32], *, loosest: float) -> float:
    scale = float(np.abs(expected).max()) or 1.0
    return scale * min(max(_MARGIN * difference / scale, _TIGHTEST), loosest)
