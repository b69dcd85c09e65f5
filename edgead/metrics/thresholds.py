"""Metrics at thresholds of the normalised map, as ADer's benchmark defines them, and the same without a grid.

ADer (arXiv 2406.03262) brings the maps of one class to 0..1 by the lowest and highest pixel of all its test
images, calls a pixel anomalous above a threshold, pools the pixels of the class and takes

    mean of F1, recall ("mAcc") and IoU over the thresholds 0.2, 0.3, ... 0.8
    highest F1 and IoU over 0, 0.05, ... 1
    AU-PRO from 100 thresholds over the maps' range: points with a false-positive rate below 0.3, that rate
    stretched to 0..1 over them, trapezoids

These depend on the grid: a map whose best threshold lies between two of its points scores lower. Beside them
stand `exact_*`: the mean over every threshold in 0.2..0.8, that is the integral of the step function divided
by 0.6. The exact highest F1, highest IoU and AU-PRO are those of `PixelMetrics`.

Everything is read from the sorted runs of `PixelAccumulator`: counting above a threshold is a lookup in each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgead.metrics.pixel import (
    AREA_BITS,
    PixelAccumulator,
    pixel_weights,
    range_bounds,
    value_of_key,
)
from edgead.metrics.sorted_runs import Run, count_range, read_range, read_unsorted

LOW, HIGH = 0.2, 0.8
MEAN_GRID = tuple(step / 10 for step in range(2, 9))
MAX_GRID = tuple(step / 20 for step in range(21))
PRO_STEPS = 100
FPR_LIMIT = 0.3
_AT_ONCE = 1 << 21  # pixels of a range of values: a dozen arrays of that length are in use at a time
_EPS = 1e-8  # ADer's, in each denominator


@dataclass(frozen=True)
class ThresholdMetrics:
    """Each in 0..1; nan where there is no anomalous or no normal pixel, as in `PixelMetrics`.

    `recall` is what ADer calls Acc. `f1_max`, `iou_max` and `au_pro` are grid values; the exact maxima, in
    `PixelMetrics`, are never lower. `exact_*` use every threshold in 0.2..0.8.
    """

    f1: float = math.nan
    recall: float = math.nan
    iou: float = math.nan
    f1_max: float = math.nan
    iou_max: float = math.nan
    au_pro: float = math.nan
    exact_f1: float = math.nan
    exact_recall: float = math.nan
    exact_iou: float = math.nan


def threshold_metrics(accumulators: Sequence[PixelAccumulator], *, exact: bool = True) -> ThresholdMetrics:
    """Return the metrics of the images of several accumulators, which together are one class.

    Without `exact` the integrals are left out (nan): they read every pixel in 0.2..0.8 of the range again.
    """
    pixels = _Pixels(accumulators)
    if not pixels.normal_count or not pixels.anomalous_count:
        return ThresholdMetrics()
    means = np.mean([pixels.at(threshold) for threshold in MEAN_GRID], axis=0)
    highest = np.max([pixels.at(threshold) for threshold in MAX_GRID], axis=0)
    integrals = pixels.integrals() if exact else (math.nan, math.nan, math.nan)
    return ThresholdMetrics(
        f1=float(means[0]),
        recall=float(means[1]),
        iou=float(means[2]),
        f1_max=float(highest[0]),
        iou_max=float(highest[2]),
        au_pro=pixels.au_pro(),
        exact_f1=integrals[0],
        exact_recall=integrals[1],
        exact_iou=integrals[2],
    )


class _Pixels:
    """The sorted pixels of one class, and what is above a threshold."""

    def __init__(self, accumulators: Sequence[PixelAccumulator]) -> None:
        self._normal = [run for a in accumulators for run in a.normal_runs()]
        self._anomalous = [run for a in accumulators for run in a.anomalous_runs()]
        self.normal_count = sum(a.normal_pixels for a in accumulators)
        self.anomalous_count = sum(a.anomalous_pixels for a in accumulators)
        self._regions = sum(a.regions for a in accumulators)
        if self.normal_count and self.anomalous_count:
            self._lowest, self._highest = self._key_range()

    def _key_range(self) -> tuple[int, int]:
        ends = [(int(run.index[0]), int(run.read(run.length - 1, run.length)[0])) for run in self._normal]
        ends += [
            (int(run.index[0]) >> AREA_BITS, int(run.read(run.length - 1, run.length)[0]) >> AREA_BITS)
            for run in self._anomalous
        ]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def at(self, threshold: float) -> tuple[float, float, float]:
        """F1, recall and IoU of calling what is above `threshold` anomalous, with ADer's small constant."""
        key = self._first_key_above(threshold)
        hits, called = self._hits(key), self._hits(key) + self._false(key)
        precision, recall = hits / (called + _EPS), hits / (self.anomalous_count + _EPS)
        union = called + self.anomalous_count - hits
        return 2 * precision * recall / (precision + recall + _EPS), recall, hits / (union + _EPS)

    def au_pro(self) -> float:
        """AU-PRO over the grid; nan where fewer than two thresholds have a rate below the limit."""
        low, high = self._values(np.array([self._lowest, self._highest]))
        keys = [self._first_key(low + (high - low) * step / PRO_STEPS) for step in range(PRO_STEPS)]
        rates = np.array([self._false(key) for key in keys]) / self.normal_count
        covered = self._weight_from(keys) / self._regions
        kept = rates < FPR_LIMIT
        if kept.sum() < 2 or rates[kept].max() == rates[kept].min():
            return math.nan
        x, y = rates[kept][::-1], covered[kept][::-1]
        x = (x - x[0]) / (x[-1] - x[0])
        return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))

    def integrals(self) -> tuple[float, float, float]:
        """Means of F1, recall and IoU over every threshold from 0.2 to 0.8, by value ranges from the top."""
        if self._lowest == self._highest:
            return 0.0, 0.0, 0.0  # nothing is above the normalised value of a constant map, 0
        sums, hits, false, upper = np.zeros(3), 0, 0, HIGH
        bounds = range_bounds(self._normal, self._anomalous, _AT_ONCE)
        for low, high in zip(bounds[-2::-1], bounds[:0:-1], strict=True):
            if high <= self._lowest or low > self._highest:
                continue
            here = count_range(self._normal, low, high)
            found = count_range(self._anomalous, low << AREA_BITS, high << AREA_BITS)
            if not here and not found:
                continue
            top = float(self._normalised(np.array([min(high - 1, self._highest)]))[0])
            bottom = float(self._normalised(np.array([max(low, self._lowest)]))[0])
            if high - low == 1 or bottom >= HIGH or top <= LOW:  # no step inside: counting is enough
                if bottom < HIGH:
                    sums += (upper - max(top, LOW)) * self._curve(hits, false)
                    upper = max(top, LOW)
                hits, false = hits + found, false + here
            else:
                positions, is_hit = self._merged(low, high)
                edges = np.clip(self._normalised(positions), LOW, upper)
                widths = -np.diff(np.r_[upper, edges])
                hit_counts = hits + np.r_[0, np.cumsum(is_hit)[:-1]]
                all_counts = hits + false + np.arange(len(positions))
                sums += (self._curve(hit_counts, all_counts - hit_counts) * widths).sum(axis=1)
                hits, false, upper = hits + found, false + here, float(edges[-1])
            if upper <= LOW:
                break
        sums += max(upper - LOW, 0.0) * self._curve(hits, false)
        f1, recall, iou = sums / (HIGH - LOW)
        return float(f1), float(recall), float(iou)

    def _curve(self, hits: int | np.ndarray, false: int | np.ndarray) -> np.ndarray:
        """F1, recall and IoU of these counts, stacked first; the denominators hold the defects: never 0."""
        hit = np.asarray(hits, dtype=np.float64)
        called = hit + false
        return np.stack(
            [
                2 * hit / (called + self.anomalous_count),
                hit / self.anomalous_count,
                hit / (called - hit + self.anomalous_count),
            ]
        )

    def _merged(self, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys in [low, high) of all pixels, highest first, and which are anomalous."""
        normal = read_range(self._normal, low, high)
        records = read_range(self._anomalous, low << AREA_BITS, high << AREA_BITS)
        anomalous = (records >> np.uint64(AREA_BITS)).astype(np.uint32)
        at = np.searchsorted(normal, anomalous) + np.arange(len(anomalous))
        is_hit = np.zeros(len(normal) + len(anomalous), dtype=bool)
        is_hit[at] = True
        keys = np.empty(len(is_hit), dtype=np.uint32)
        keys[is_hit], keys[~is_hit] = anomalous, normal
        return keys[::-1], is_hit[::-1]

    def _first_key_above(self, threshold: float) -> int:
        """The lowest key whose normalised value, in float32 as ADer computes it, exceeds `threshold`."""
        low, high = self._values(np.array([self._lowest, self._highest])).astype(np.float32)
        with np.errstate(over="ignore"):
            span = high - low
        if not np.isfinite(span) or span == 0:  # beyond float32, or one value for all: 0 above nothing
            return self._first_key(float(low) + threshold * (float(high) - float(low)))

        def is_above(key: int) -> bool:
            value = value_of_key(np.array([key], dtype=np.uint32))[0]
            return float((value - low) / span) > threshold

        return self._bisected(is_above)

    def _first_key(self, value: float) -> int:
        """The lowest key of a value above `value`."""
        return self._bisected(lambda key: float(self._values(np.array([key]))[0]) > value)

    def _bisected(self, is_above: Callable[[int], bool]) -> int:
        low, high = self._lowest, self._highest + 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if is_above(middle) else (middle + 1, high)
        return low

    def _hits(self, key: int) -> int:
        return sum(run.length - run.rank(key << AREA_BITS) for run in self._anomalous)

    def _false(self, key: int) -> int:
        return sum(run.length - run.rank(key) for run in self._normal)

    def _weight_from(self, keys: Sequence[int]) -> np.ndarray:
        """For each of the ascending keys the sum of 1 / area over anomalous pixels at or above it."""
        limits = np.array(keys, dtype=np.int64)
        sums = np.zeros(len(keys) + 1)
        for records in _all_records(self._anomalous):
            values = (records >> np.uint64(AREA_BITS)).astype(np.int64)
            passed = np.searchsorted(limits, values, side="right")  # thresholds that this pixel exceeds
            sums += np.bincount(passed, weights=pixel_weights(records), minlength=len(keys) + 1)
        return sums[:0:-1].cumsum()[::-1]

    def _values(self, keys: np.ndarray) -> np.ndarray:
        return value_of_key(keys.astype(np.uint32)).astype(np.float64)

    def _normalised(self, keys: np.ndarray) -> np.ndarray:
        low, high = self._values(np.array([self._lowest, self._highest]))
        return np.asarray((self._values(keys) - low) / (high - low))


def _all_records(runs: Sequence[Run]) -> Iterator[np.ndarray]:
    return read_unsorted(runs, 0, 1 << (2 * AREA_BITS))
