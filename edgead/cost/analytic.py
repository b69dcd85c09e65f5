"""Latency from a device's published figures alone, for devices that nobody could measure.

The engine turns layers into kernels. Each kernel takes a fixed time, in cycles of the device's clock, and
then as long as its arithmetic or its memory traffic takes, whichever is longer, at a fixed share of the dense
peak and of the bandwidth:

    t = sum over kernels of  cycles / clock + max(operations / (share * peak), bytes / (share * bandwidth))

At batch 1 the first term is most of the time of small networks, which is why a plain roofline is wrong
3 to 30 fold. The three numbers are fitted on published latencies, all networks, devices and precisions alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgead.cost.layers import Layer
from edgead.cost.prediction import PUBLISHED_POINTS, LatencyPrediction
from edgead.errors import UnknownNameError, UsageError
from edgead.profiles.target import Mode, Target

ENGINES = ("tensorrt",)  # of which there are published points
_BYTES = {"int8": 1, "f16": 2, "bf16": 2, "f32": 4}
# TensorRT adds, multiplies and so on within the kernel that made their operand.
_TAKES_ELEMENTWISE = {"conv", "depthwise", "linear", "elementwise", "activation"}
_MATRIX_KINDS = {"conv", "linear"}  # depthwise convolutions are plain arithmetic


@dataclass(frozen=True)
class Observation:
    """A latency that was measured, by whomever, of layers on a device."""

    layers: Sequence[Layer]
    mode: Mode
    precision: str
    ms: float


@dataclass(frozen=True)
class AnalyticModel:
    """The fitted numbers.

    launch_cycles: of the device's clock, for each kernel.
    compute_share: of the dense peak, and memory_share: of the bandwidth, that a kernel reaches.
    relative_error: on points whose device and whose family of networks took no part in the fit; median within
        each family, then of the families. That is where a RealNet on an unmeasured device stands.
    """

    launch_cycles: float
    compute_share: float
    memory_share: float
    relative_error: float | None = None

    @classmethod
    def fit(cls, observations: Sequence[Observation]) -> AnalyticModel:
        """Least squares of the logarithm of the latency, robust against single odd points."""
        from scipy.optimize import least_squares  # predicting needs none of it

        work = [_Work.of(fuse(seen.layers), seen.mode, seen.precision) for seen in observations]
        wanted = np.log([seen.ms for seen in observations])

        def residuals(logarithms: np.ndarray) -> np.ndarray:
            model = cls(*np.exp(logarithms))
            return np.log([model._of(item).sum() for item in work]) - wanted

        start = np.log([10_000.0, 0.5, 0.7])
        found = least_squares(residuals, start, loss="soft_l1", f_scale=0.1)
        return cls(*(float(value) for value in np.exp(found.x)))

    def milliseconds(self, observation: Observation) -> float:
        """What this model says of an observation's layers, whatever was measured."""
        work = _Work.of(fuse(observation.layers), observation.mode, observation.precision)
        return float(self._of(work).sum())

    def predict(
        self, layers: Sequence[Layer], target: Target, *, mode: str | None = None, precision: str
    ) -> LatencyPrediction:
        """Latency at batch 1 by part, and memory, in a power mode of the target (None: its default).

        Raises UsageError for a target that this model knows nothing of, UnknownNameError for an unknown mode
        or a precision that the target does not run.
        """
        if target.engine not in ENGINES:
            raise UsageError(
                f"Target {target.name} runs on {target.engine}, of which no published latencies are known. "
                "Measure the device: edgead targets measure --out my-device.toml"
            )
        if precision not in target.precisions:
            raise UnknownNameError(f"precision of target {target.name}", precision, target.precisions)
        if not layers:
            raise UsageError("There is nothing to predict: the network has no layers.")
        kernels = fuse(layers)
        times = self._of(_Work.of(kernels, target.mode(mode), precision))
        parts: dict[str, float] = {}
        for kernel, ms in zip(kernels, times.tolist(), strict=True):
            parts[kernel.part] = parts.get(kernel.part, 0.0) + ms
        return LatencyPrediction(
            parts_ms=parts,
            total_ms=math.fsum(parts.values()),
            peak_memory_mb=memory_mb(layers, precision),
            basis=PUBLISHED_POINTS,
            relative_error=self.relative_error,
        )

    def _of(self, work: _Work) -> np.ndarray:
        """Milliseconds of each kernel."""
        busy = np.maximum(work.compute_ms / self.compute_share, work.memory_ms / self.memory_share)
        return self.launch_cycles / work.cycles_per_ms + busy


# As `python benchmarks/budget_published.py` fits it on all points; a test fits it again.
PUBLISHED = AnalyticModel(
    launch_cycles=12_440, compute_share=0.5804, memory_share=0.7846, relative_error=0.194
)


def fuse(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """The kernels that TensorRT makes of layers: an elementwise one joins the layer that it follows."""
    kernels: list[Layer] = []
    for layer in layers:
        if kernels and _joins(layer, kernels[-1]):
            last = kernels[-1]
            others = max(layer.input_bytes - last.output_bytes, 0)  # the other operand, as of a shortcut
            parameters = last.parameters + layer.parameters
            kernels[-1] = replace(last, parameters=parameters, input_bytes=last.input_bytes + others)
        else:
            kernels.append(layer)
    return tuple(kernels)


def _joins(layer: Layer, last: Layer) -> bool:
    same = layer.part == last.part and layer.output_bytes == last.output_bytes
    return same and layer.kind == "elementwise" and last.kind in _TAKES_ELEMENTWISE


def memory_mb(layers: Sequence[Layer], precision: str) -> float:
    """MB (10^6 bytes) of the weights, the largest layer's maps, and what the parts hand to one another.

    The engine's own memory, some hundreds of MB for a CUDA context, comes on top.
    """
    weights = sum(layer.parameters for layer in layers)
    largest = max((layer.input_bytes + layer.output_bytes for layer in layers), default=0)
    first_of_parts = {layer.part: layer for layer in reversed(layers)}
    handed_on = sum(layer.input_bytes for layer in first_of_parts.values())
    return (weights + largest + handed_on) * _BYTES[precision] / 1e6


@dataclass(frozen=True)
class _Work:
    """Of each kernel, milliseconds at the device's full peak and at its full bandwidth."""

    cycles_per_ms: float
    compute_ms: np.ndarray
    memory_ms: np.ndarray

    @classmethod
    def of(cls, kernels: Sequence[Layer], mode: Mode, precision: str) -> _Work:
        matrix = mode.peak_tops(precision)
        plain = mode.peak_tops(precision, matrix_units=False)
        peaks = np.array([matrix if kernel.kind in _MATRIX_KINDS else plain for kernel in kernels])
        operations = np.array([2.0 * kernel.macs for kernel in kernels])
        traffic = np.array([k.parameters + k.input_bytes + k.output_bytes for k in kernels], dtype=float)
        bandwidth = mode.value("bandwidth_gb_per_s")
        return cls(
            cycles_per_ms=mode.value("clock_mhz") * 1e3,
            compute_ms=operations / peaks / 1e9,
            memory_ms=traffic * _BYTES[precision] / bandwidth / 1e6,
        )
