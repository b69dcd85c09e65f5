"""Latency samples of a long run: memory taken once, every sample kept, and how sure a percentile is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int64]

BATCHES = 64
_DIGITS = 4  # of a stored latency: half a unit of the fourth is 0.05 % at most


class SampleStore:
    """Rows of nanoseconds, one column per stage; allocated and touched at once, so that a soak does not grow.

    More rows than expected are kept as well, in twice the room.
    """

    def __init__(self, stages: Sequence[str], capacity: int) -> None:
        self.stages = tuple(stages)
        self._rows = np.full((max(capacity, 1), len(self.stages)), -1, np.int64)
        self.count = 0

    def add(self, stages_ns: Mapping[str, int]) -> None:
        """Keep one row; `stages_ns` has every stage."""
        if self.count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.full_like(self._rows, -1)])
        row = self._rows[self.count]
        for column, stage in enumerate(self.stages):
            row[column] = stages_ns[stage]
        self.count += 1

    def arrays(self) -> dict[str, Samples]:
        """The samples by stage, in the order in which they came."""
        return {name: self._rows[: self.count, column].copy() for column, name in enumerate(self.stages)}


def batches_of(samples: Samples, *, batches: int = BATCHES) -> list[dict[str, int]]:
    """The samples in time order, cut into equal batches: each latency (ns, four digits) -> how often.

    What two runs are compared by: a batch keeps what neighbouring samples have in common.
    """
    pieces = np.array_split(np.asarray(samples, np.int64), min(batches, max(1, len(samples))))
    return [
        {
            str(value): int(count)
            for value, count in zip(*np.unique(_rounded(p), return_counts=True), strict=True)
        }
        for p in pieces
    ]


def percentile_interval(
    samples: Samples, share: float, *, confidence: float = 0.95
) -> tuple[int | None, int | None]:
    """Order statistics between which the true percentile lies, if samples are independent; None: unbounded.

    The number of samples below a percentile is binomial, whatever the distribution (David and Nagaraja, Order
    Statistics, section 7.1). None on the upper side says that there are too few samples to bound it.
    """
    ordered = np.sort(np.asarray(samples, np.int64))
    count, tail = len(ordered), (1 - confidence) / 2
    first, cumulative = _binomial(count, share)
    low = first + int(np.searchsorted(cumulative, tail, side="right"))  # P(fewer than this are below) <= tail
    high = first + int(np.searchsorted(cumulative, 1 - tail, side="left")) + 1
    return (
        int(ordered[low - 1]) if low >= 1 else None,
        int(ordered[high - 1]) if high <= count else None,
    )


def _binomial(count: int, share: float) -> tuple[int, NDArray[np.float64]]:
    """(k, P(X <= k), P(X <= k + 1), ...) over the ten standard deviations around the mean."""
    mean, spread = count * share, 10 * math.sqrt(count * share * (1 - share)) + 10
    first, last = max(0, math.floor(mean - spread)), min(count, math.ceil(mean + spread))
    whole = math.lgamma(count + 1)
    log_share, log_rest = math.log(share), math.log1p(-share)
    terms = [
        math.exp(
            whole - math.lgamma(k + 1) - math.lgamma(count - k + 1) + k * log_share + (count - k) * log_rest
        )
        for k in range(first, last + 1)
    ]
    return first, np.cumsum(terms)


def _rounded(samples: Samples) -> Samples:
    digits = np.floor(np.log10(np.maximum(np.abs(samples), 1))).astype(np.int64) + 1
    unit = 10 ** np.maximum(digits - _DIGITS, 0)
    return np.asarray((samples + unit // 2) // unit * unit)
