"""Measuring latency: monotonic integer nanoseconds, every sample kept, percentiles exact."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead.errors import UsageError

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
MLPERF_SECONDS = 600.0  # the least that MLPerf Inference asks of every scenario (its mlperf.conf)
MLPERF_COUNTS = {"SingleStream": 1024, "Server": 270_336}  # queries, without early stopping

_STEADY = 0.1  # the medians of the two halves of a valid run differ by less than this share

Samples = NDArray[np.int64]


def summarise_latency(samples_ns: Samples) -> dict[str, int]:
    """count, min, mean, p50, p90, p99, p99.9 and max of samples, in whole nanoseconds.

    A percentile is the nearest rank: the smallest sample that at least this share of all do not exceed. It is
    a latency that was seen, never an interpolation. Raises UsageError for no samples.
    """
    if len(samples_ns) == 0:
        raise UsageError("Expected at least one latency sample, found none. Measure for longer.")
    ordered = np.sort(np.asarray(samples_ns, np.int64))
    count = len(ordered)
    ranks = {name: max(0, math.ceil(share * count - 1e-9) - 1) for name, share in PERCENTILES.items()}
    summary = {"count": count, "min": int(ordered[0]), "mean": round(float(ordered.mean()))}
    summary |= {name: int(ordered[rank]) for name, rank in ranks.items()}
    return summary | {"max": int(ordered[-1])}


def drift_doubts(samples_ns: Samples) -> list[str]:
    """What to say of samples, in time order, whose halves have unlike medians; empty for steady ones."""
    halves = [float(np.median(half)) for half in np.array_split(samples_ns, 2) if len(half)]
    drift = max(halves, default=0.0) / max(min(halves, default=1.0), 1.0) - 1
    if drift < _STEADY:
        return []
    return [
        f"the median of one half is {drift:.0%} above the other's: stop other programs, fix the clocks, warm "
        "up for longer"
    ]


def latency_histogram(samples_ns: Samples, *, bins: int = 60) -> dict[str, list[int]]:
    """`edges` (ns, one more than counts) and `counts`, from the least to the largest sample."""
    counts, edges = np.histogram(samples_ns, bins=bins)
    return {"edges": [round(edge) for edge in edges.tolist()], "counts": counts.tolist()}


def mlperf_rules(scenario: str, *, seconds: float, count: int) -> dict[str, object]:
    """What MLPerf asks of its scenario and whether this run was as long; that makes no MLPerf result."""
    least = MLPERF_COUNTS[scenario]
    reached = seconds >= MLPERF_SECONDS and count >= least
    return {"scenario": scenario, "min_seconds": MLPERF_SECONDS, "min_count": least, "reached": reached}


@dataclass(frozen=True)
class ClosedLoop:
    """A scenario: one call after the other, as fast as it goes, until both minima are reached.

    The `warm_up_seconds` before are not counted.
    """

    min_seconds: float = 5.0
    min_count: int = 1000
    warm_up_seconds: float = 1.0

    def __post_init__(self) -> None:
        for name in ("min_seconds", "warm_up_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name}: expected a number of seconds from 0, found {value}.")
        if self.min_count < 1:
            raise UsageError(f"min_count: expected at least 1, found {self.min_count}.")


@dataclass(frozen=True, eq=False)
class LatencyRun:
    """The samples of a run (stage -> ns, equally long), its wall time, and the calls that warmed it up."""

    scenario: ClosedLoop
    samples: Mapping[str, Samples]
    seconds: float
    warm_up_calls: int

    @property
    def count(self) -> int:
        """Calls that were measured."""
        return len(next(iter(self.samples.values())))

    def doubts(self, stage: str) -> tuple[str, ...]:
        """Why the figures of a stage should not be quoted, each with advice; empty for a valid run."""
        samples = self.samples[stage]
        found = []
        if self.seconds < self.scenario.min_seconds or self.count < self.scenario.min_count:
            found.append(f"stopped after {self.count} calls in {self.seconds:.1f} s: let it finish")
        if len(samples) < 1000:
            found.append(f"{len(samples)} samples do not reach p99.9: ask for a count of at least 1000")
        found += drift_doubts(samples)
        return tuple(found)


def measure_closed_loop(
    call: Callable[[int], Mapping[str, int]],
    *,
    scenario: ClosedLoop,
    on_progress: Callable[[float], None] | None = None,
) -> LatencyRun:
    """Call `call(index)` by the scenario; it returns the nanoseconds of each stage, always the same stages.

    `on_progress` gets the share done, 0 to 1, at most about ten times a second, between two calls.
    """
    warm_up_calls = _warm_up(call, scenario.warm_up_seconds)
    samples = {stage: array("q") for stage in call(0)}
    clock, minimum_ns = time.perf_counter_ns, scenario.min_seconds * 1e9
    started = reported = now = clock()
    index = 0
    while index < scenario.min_count or now - started < minimum_ns:
        for stage, duration in call(index).items():
            samples[stage].append(duration)
        index += 1
        now = clock()
        if on_progress is not None and now - reported > 100_000_000:
            on_progress(min(index / scenario.min_count, (now - started) / max(minimum_ns, 1), 1.0))
            reported = clock()
    arrays = {stage: np.array(values, np.int64) for stage, values in samples.items()}
    return LatencyRun(scenario, arrays, (now - started) / 1e9, warm_up_calls)


def _warm_up(call: Callable[[int], Mapping[str, int]], seconds: float) -> int:
    until, calls = time.perf_counter_ns() + seconds * 1e9, 0
    while time.perf_counter_ns() < until:
        call(calls)
        calls += 1
    return calls
