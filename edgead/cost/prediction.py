"""What a cost model says of a configuration on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MEASURED_TABLE = "measured table"
PUBLISHED_POINTS = "published points"


@dataclass(frozen=True)
class LatencyPrediction:
    """Predicted, not measured: latency at batch 1 and memory, with what they rest on.

    parts_ms: milliseconds by part of the network ("backbone", "reconstruction 1", ...), in sum `total_ms`.
    peak_memory_mb: MB (10^6 bytes) of weights and of the activations that live at the same time.
    basis: MEASURED_TABLE or PUBLISHED_POINTS.
    relative_error: median relative error of such predictions on points that were not fitted; None: unknown.
    """

    parts_ms: Mapping[str, float]
    total_ms: float
    peak_memory_mb: float
    basis: str
    relative_error: float | None
