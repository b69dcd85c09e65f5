"""What a report can show: all of it optional, and what is missing is said to be, never left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgead.bundle import ThresholdSpec
from edgead.errors import UsageError
from edgead.evaluation.evaluator import Evaluation

NOT_MEASURED = "not measured"
PERCENTILES = (50.0, 90.0, 99.0, 99.9)

Figures = Mapping[str, float | None]
Facts = Mapping[str, object]


@dataclass(frozen=True, eq=False)
class Latency:
    """Latencies of single inspections in ms: `values_ms`, each seen `counts` times (once where omitted).

    `stages_ms` has the values of each stage by name. `budget_ms` is the time allowed per part; `facts` is
    what else the run recorded. Values without counts are in the order of time.
    """

    values_ms: npt.ArrayLike
    counts: npt.ArrayLike | None = None
    stages_ms: Mapping[str, npt.ArrayLike] = field(default_factory=dict)
    scenario: str = ""
    budget_ms: float | None = None
    facts: Facts = field(default_factory=dict)

    def __post_init__(self) -> None:
        values, counts = self.histogram()
        if values.ndim != 1 or not values.size or values.shape != counts.shape or counts.sum() <= 0:
            raise UsageError(
                f"Expected latencies and as many counts, found shapes {values.shape} and {counts.shape}. "
                "Leave latency out of the report where nothing was measured."
            )

    def histogram(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ascending values in ms and how often each was seen."""
        values = np.asarray(self.values_ms, dtype=np.float64)
        counts = np.ones(values.shape) if self.counts is None else np.asarray(self.counts, dtype=np.float64)
        if values.shape != counts.shape:
            return values, counts
        order = np.argsort(values, kind="stable")
        return values[order], counts[order]

    def percentiles(self) -> dict[str, float]:
        """Return p50, p90, p99, p99.9 and the maximum, each a latency that was seen, in ms."""
        values, counts = self.histogram()
        return {**_percentiles(values, counts), "max": float(values[-1])}

    def stage_percentiles(self) -> dict[str, dict[str, float]]:
        """Return the same for each stage."""
        return {name: Latency(values).percentiles() for name, values in self.stages_ms.items()}


def latency_from_samples(
    samples_ns: Mapping[str, npt.ArrayLike],
    *,
    whole: str = "total",
    scenario: str = "",
    budget_ms: float | None = None,
    facts: Facts | None = None,
) -> Latency:
    """Return the latency of a benchmark's samples, in ns by stage; `whole` is the whole inspection."""
    if whole not in samples_ns:
        raise UsageError(f"Expected samples of '{whole}', found {', '.join(samples_ns) or 'none'}.")
    in_ms = {name: np.asarray(values, dtype=np.float64) / 1e6 for name, values in samples_ns.items()}
    return Latency(
        in_ms.pop(whole), stages_ms=in_ms, scenario=scenario, budget_ms=budget_ms, facts=facts or {}
    )


@dataclass(frozen=True, eq=False)
class ReportData:
    """The contents of one report.

    `evaluation` should hold its maps (`evaluate(..., keep_maps=True)`); `dataset` names what it ran on.
    `stages` has the figures before and after compiling in order, {"float": {...}, "int8": {...}}, measured on
    `stages_measured_on`. `trained` says what was trained on what, `chosen_by` which data chose what (the
    threshold, the checkpoint, the calibration), both as facts in the reader's words. `allocation` is the
    network chosen within limits, as JSON; `prediction` what was predicted for a device ("ms", "basis",
    "notes") and, where it was measured, the engine's median there ("measured_ms").
    """

    title: str
    dataset: str = ""
    model: str = ""
    created: str = ""
    evaluation: Evaluation | None = None
    threshold: ThresholdSpec | None = None
    stages: Mapping[str, Figures] = field(default_factory=dict)
    stages_measured_on: str = ""
    latency: Latency | None = None
    trained: Facts = field(default_factory=dict)
    chosen_by: Facts = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Facts = field(default_factory=dict)
    notes: Sequence[str] = ()
    allocation: Mapping[str, Any] | None = None
    prediction: Mapping[str, Any] | None = None


def _percentiles(values: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    reached = np.cumsum(counts)
    found = {}
    for p in PERCENTILES:
        at = int(np.searchsorted(reached, reached[-1] * p / 100 * (1 - 1e-12), side="left"))
        found[f"p{p:g}"] = float(values[min(at, len(values) - 1)])
    return found
