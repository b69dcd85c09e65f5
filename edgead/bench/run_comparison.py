"""Whether two runs of `edgead bench` differ: ratios of their percentiles with intervals.

A run's samples are not independent: a busy second makes a hundred of them slow. So whole batches of
neighbours are drawn again, with replacement, not single samples (the block bootstrap of Carlstein, Annals of
Statistics 14, 1986). What it cannot know is how much two runs of the same bundle differ from day to day.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bench.latency import PERCENTILES
from edgead.errors import DataError, UsageError

_LEAST_BATCHES = 16
_BEYOND = 20  # samples above a percentile, in each run, for it to be compared
_MAX_BYTES = 2**28
_AT_ONCE = 100  # resamplings, for memory

# What should be alike for the figures to say something of the bundle; a path through the JSON, its name.
_CONDITIONS = {
    "scenario": ("scenario",),
    "arrival rate": ("settings", "rate_hz"),
    "line rate": ("settings", "line_rate_hz"),
    "web width": ("settings", "width"),
    "tiling": ("settings", "web"),
    "bundle files": ("bundle", "files"),
    "precision": ("bundle", "precision"),
    "engine": ("engine", "engine"),
    "engine version": ("engine", "version"),
    "pinned to": ("pinned_cpus",),
    "engine threads": ("engine", "inference_num_threads"),
    "processor": ("machine", "cpu"),
    "usable cores": ("machine", "usable_cores"),
    "clock governor": ("machine", "governor"),
    "system": ("machine", "system"),
}


@dataclass(frozen=True)
class Ratio:
    """A percentile of run B over that of run A, its interval, and whether that leaves out 1."""

    percentile: str
    a_ns: int
    b_ns: int
    ratio: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        return not self.low <= 1 <= self.high

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "differs": self.differs}


@dataclass(frozen=True)
class RunComparison:
    """Percentiles that could be compared and that could not, what else differs, doubts of each run."""

    ratios: tuple[Ratio, ...]
    not_compared: tuple[str, ...]
    conditions: Mapping[str, tuple[Any, Any]]
    doubts: tuple[str, ...]
    confidence: float

    @property
    def differ(self) -> bool:
        return any(ratio.differs for ratio in self.ratios)

    def to_json(self) -> dict[str, Any]:
        return {
            "differ": self.differ,
            "confidence": self.confidence,
            "ratios": [ratio.to_json() for ratio in self.ratios],
            "not_compared": list(self.not_compared),
            "conditions": {name: list(values) for name, values in self.conditions.items()},
            "doubts": list(self.doubts),
        }


def read_bench_json(path: str | Path) -> dict[str, Any]:
    """What `edgead bench --json` wrote; raises DataError for anything else."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise DataError(
                f"{path}: expected the JSON of `edgead bench`, found more than {_MAX_BYTES} bytes."
            )
        report = json.loads(content)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected the JSON of `edgead bench`, found no JSON ({error}).") from error
    if not isinstance(report, dict):
        raise DataError(f"{path}: expected the JSON of `edgead bench`, found a {type(report).__name__}.")
    _batches(report, str(path))
    return report


def compare_runs(
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    *,
    names: tuple[str, str] = ("A", "B"),
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> RunComparison:
    """B over A for each percentile that both runs reach; the intervals hold together with that confidence.

    Raises DataError for runs without batches or with too few.
    """
    if not (0 < confidence < 1 and resamples >= 100):
        raise UsageError("Expected a confidence between 0 and 1 and at least 100 resamples.")
    runs = [_Batches(_batches(report, name), name) for report, name in zip((a, b), names, strict=True)]
    least = min(run.samples for run in runs)
    shares = {name: share for name, share in PERCENTILES.items() if least * (1 - share) >= _BEYOND}
    generator = np.random.default_rng(seed)
    drawn = [run.resampled(list(shares.values()), resamples, generator) for run in runs]
    stated = [run.percentiles(np.ones((1, run.batches)), list(shares.values()))[0] for run in runs]
    tail = (1 - confidence) / 2 / max(len(shares), 1)  # Bonferroni: all at once
    ratios = []
    for at, name in enumerate(shares):
        low, high = np.quantile(drawn[1][:, at] / drawn[0][:, at], (tail, 1 - tail))
        before, after = (int(values[at]) for values in stated)
        ratios.append(Ratio(name, before, after, after / max(before, 1), float(low), float(high)))
    conditions = {name: (_at(a, path), _at(b, path)) for name, path in _CONDITIONS.items()}
    doubts = [
        f"{name}: {doubt}"
        for name, report in zip(names, (a, b), strict=True)
        for doubt in (report.get("doubts") or ())
    ]
    return RunComparison(
        ratios=tuple(ratios),
        not_compared=tuple(name for name in PERCENTILES if name not in shares),
        conditions={name: pair for name, pair in conditions.items() if pair[0] != pair[1]},
        doubts=tuple(doubts),
        confidence=confidence,
    )


class _Batches:
    """A run's batches as counts (batches x values) of the ascending values that occur in it."""

    def __init__(self, batches: Sequence[Mapping[str, int]], name: str) -> None:
        if len(batches) < _LEAST_BATCHES:
            raise DataError(
                f"{name}: {len(batches)} batches of samples are too few to compare by ({_LEAST_BATCHES} are "
                "needed). Measure for longer."
            )
        self.batches = len(batches)
        self.values = np.array(sorted({int(value) for batch in batches for value in batch}), np.int64)
        self.counts = np.zeros((len(batches), len(self.values)))
        for row, batch in enumerate(batches):
            at = np.searchsorted(self.values, [int(value) for value in batch])
            self.counts[row, at] = list(batch.values())
        self.samples = int(self.counts.sum())

    def percentiles(self, weights: NDArray[np.float64], shares: Sequence[float]) -> NDArray[np.float64]:
        """Nearest ranks (rows of weights x shares) of the batches, each counted `weights` times."""
        reached = np.cumsum(weights @ self.counts, axis=1)
        found = np.empty((len(weights), len(shares)))
        for row, counts in enumerate(reached):
            ranks = [max(1, math.ceil(share * counts[-1] - 1e-9)) for share in shares]
            found[row] = self.values[np.searchsorted(counts, ranks, side="left")]
        return found

    def resampled(
        self, shares: Sequence[float], resamples: int, generator: np.random.Generator
    ) -> NDArray[np.float64]:
        """Percentiles (resamples x shares) of the batches drawn with replacement; at least 1 ns each."""
        even = np.full(self.batches, 1 / self.batches)
        pieces = []
        for first in range(0, resamples, _AT_ONCE):
            rows = min(_AT_ONCE, resamples - first)
            weights = generator.multinomial(self.batches, even, size=rows).astype(np.float64)
            pieces.append(self.percentiles(weights, shares))
        return np.maximum(np.concatenate(pieces), 1.0)


def _batches(report: Mapping[str, Any], name: str) -> list[dict[str, int]]:
    found = report.get("batches_ns")
    if not isinstance(found, list) or not found or not all(map(_is_batch, found)):
        raise DataError(
            f"{name}: expected the JSON of `edgead bench` with its batches of samples, found none. "
            "Measure again with this version, with --json."
        )
    return found


def _is_batch(batch: object) -> bool:
    return (
        isinstance(batch, dict)
        and bool(batch)
        and all(value.isascii() and value.isdigit() and len(value) < 19 for value in batch)
        and all(type(count) is int and 0 < count < 2**40 for count in batch.values())
    )


def _at(report: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        report = report.get(key) if isinstance(report, Mapping) else None
    return report
