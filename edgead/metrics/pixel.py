"""Pixel and region metrics of anomaly maps, exact over every distinct value, in bounded memory.

All four metrics follow from one list: for each distinct value u that an anomalous pixel has, the number of
anomalous pixels with that value, the sum of their weights, and the number of normal pixels above u (`gt`) and
at or above u (`ge`). Values that only normal pixels have bend no curve. With N normal pixels, a group of
weight s adds to the area under a ROC curve, up to a false-positive count L, s times the integral of a ramp
that rises from 0 at gt to 1 at ge (a vertical step where no normal pixel ties, else the trapezoid's slope):

    s * (L - (gt + ge) / 2)           if ge <= L
    s * (L - gt)^2 / (2 (ge - gt))    if gt < L < ge      (linear interpolation at the limit)

AUROC takes s = number of pixels and L = N. AU-PRO (Bergmann et al., "The MVTec Anomaly Detection Dataset",
IJCV 2021, with regions 8-connected) is the mean over regions of the covered part, against the false-positive
rate: a ROC in which each pixel of a region weighs 1 / area, with L = 0.3 N, divided by 0.3.

Counting `gt` and `ge` needs the pixels in order. A float32 map, upsampled from a coarse grid, has nearly as
many distinct values as pixels, so binning would not be exact and a histogram of distinct values not small.
float32 bit patterns sort as integers, therefore pixels become uint32 keys (with the area beside it for
anomalous ones: uint64), sorted externally in runs on disk (`sorted_runs`); then value ranges of a few million
pixels are merged from the highest down. Ranges without anomalous pixels are counted but never read, and a
boundary value is a range of its own, so that no amount of ties can exceed the memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from edgead.errors import DataError
from edgead.metrics.sorted_runs import (
    INDEX_STEP,
    RUN_LENGTH,
    Run,
    SortedRuns,
    count_range,
    read_range,
    read_unsorted,
)

FPR_LIMIT = 0.3
_KEYS = 1 << 32
AREA_BITS = 32


@dataclass(frozen=True)
class PixelMetrics:
    """How well maps separate normal from anomalous pixels, each metric in 0..1.

    nan in all four when there is no anomalous or no normal pixel: no curve exists then. A constant map has
    AUROC 0.5, AP equal to the share of anomalous pixels, F1 of calling all anomalous, and AU-PRO 0.15 (the
    diagonal up to 0.3). The counts say what was measured.
    """

    auroc: float
    ap: float
    f1_max: float
    au_pro: float
    images: int = 0
    normal_pixels: int = 0
    anomalous_pixels: int = 0
    regions: int = 0

    @property
    def iou_max(self) -> float:
        """The highest intersection over union of any threshold: F1 = 2 IoU / (1 + IoU), so that of F1-max."""
        return self.f1_max / (2 - self.f1_max)


class PixelAccumulator:
    """Collects maps and masks one by one; disk takes 4 bytes per normal and 8 per anomalous pixel.

    Memory does not grow with the number of maps; benchmarks/metrics.py measures 10,000 of 256 x 256.
    `folder` holds the unlinked temporary file (default: the system's temporary folder). Use it as a context
    manager, or call `close`, to give the disk back at once.
    """

    def __init__(self, *, folder: Path | None = None, run_length: int = RUN_LENGTH) -> None:
        self._normal = SortedRuns(np.uint32, run_length=run_length, folder=folder)
        self._anomalous = SortedRuns(np.uint64, run_length=max(run_length // 2, 1), folder=folder)
        self.images = 0
        self.normal_pixels = 0
        self.anomalous_pixels = 0
        self.regions = 0

    def add(self, anomaly_map: np.ndarray, mask: np.ndarray | None = None, *, name: str = "") -> None:
        """Add one float H W map (larger is more anomalous; read as float32) and its bool H W mask.

        No mask, or an empty one, means that every pixel is normal. Raises DataError, naming `name`, for a map
        that is not two-dimensional or not finite, or a mask of another shape; nothing is added then.
        """
        values = _checked_map(anomaly_map, name or f"map {self.images}")
        if mask is not None and mask.shape != values.shape:
            raise DataError(
                f"Expected a mask of shape {values.shape} for {name or f'map {self.images}'}, "
                f"found {mask.shape}. Resize the mask to the map's size."
            )
        keys = _sortable(values)
        self.images += 1
        if mask is None or not mask.any():
            self._add_normal(keys.ravel())
            return
        inside = np.asarray(mask, dtype=bool)
        self._add_normal(keys[~inside])
        self._add_anomalous(keys, inside)

    def compute(self) -> PixelMetrics:
        """Return the metrics of everything added so far; more may be added afterwards."""
        return pixel_metrics([self])

    def normal_runs(self) -> tuple[Run, ...]:
        """The normal pixels' keys, sorted within each run."""
        return self._normal.runs()

    def anomalous_runs(self) -> tuple[Run, ...]:
        """The anomalous pixels' keys above AREA_BITS, the areas of their regions below; sorted."""
        return self._anomalous.runs()

    def close(self) -> None:
        """Give back memory and disk; the accumulator is empty afterwards."""
        self._normal.close()
        self._anomalous.close()
        self.images = self.normal_pixels = self.anomalous_pixels = self.regions = 0

    def __enter__(self) -> PixelAccumulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add_normal(self, keys: np.ndarray) -> None:
        self._normal.append(keys)
        self.normal_pixels += keys.size

    def _add_anomalous(self, keys: np.ndarray, inside: np.ndarray) -> None:
        count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA].astype(np.uint64)[labels[inside]]
        self._anomalous.append((keys[inside].astype(np.uint64) << np.uint64(AREA_BITS)) | areas)
        self.anomalous_pixels += areas.size
        self.regions += count - 1


def pixel_metrics(accumulators: Sequence[PixelAccumulator]) -> PixelMetrics:
    """Return the metrics of the images of several accumulators together.

    One accumulator per kind of defect and one for the good images give the figures of every kind, each
    against the same good images, without storing these twice.
    """
    images = sum(a.images for a in accumulators)
    normal = sum(a.normal_pixels for a in accumulators)
    anomalous = sum(a.anomalous_pixels for a in accumulators)
    regions = sum(a.regions for a in accumulators)
    if not normal or not anomalous:
        return PixelMetrics(math.nan, math.nan, math.nan, math.nan, images, normal, anomalous, regions)
    sums = _Sums(normal, anomalous, regions)
    normal_runs = [run for a in accumulators for run in a.normal_runs()]
    anomalous_runs = [run for a in accumulators for run in a.anomalous_runs()]
    for groups in _groups(normal_runs, anomalous_runs):
        sums.add(groups)
    return PixelMetrics(*sums.metrics(), images, normal, anomalous, regions)


@dataclass(frozen=True)
class _Groups:
    """Distinct values of anomalous pixels, highest first (one entry each)."""

    count: np.ndarray  # anomalous pixels of the value, int64
    weight: np.ndarray  # sum of their 1 / area, float64
    gt: np.ndarray  # normal pixels above the value, int64
    ge: np.ndarray  # normal pixels at or above it, int64


class _Sums:
    """The running sums that the four metrics need, over groups that come highest value first."""

    def __init__(self, normal: int, anomalous: int, regions: int) -> None:
        self._normal, self._anomalous, self._regions = normal, anomalous, regions
        self._found = 0
        self._twice_roc = 0  # integer, hence exact: ties count one, wins two
        self._ap = 0.0
        self._f1 = 0.0
        self._pro = 0.0

    def add(self, groups: _Groups) -> None:
        found = self._found + np.cumsum(groups.count)
        self._found = int(found[-1])
        self._twice_roc += int(np.sum(groups.count * (2 * self._normal - groups.gt - groups.ge)))
        called = found + groups.ge
        self._ap += float(np.sum(groups.count * (found / called)))
        self._f1 = max(self._f1, float(np.max(2 * found / (called + self._anomalous))))
        self._pro += float(np.sum(groups.weight * _ramp_area(groups, FPR_LIMIT * self._normal)))

    def metrics(self) -> tuple[float, float, float, float]:
        auroc = self._twice_roc / (2 * self._normal * self._anomalous)
        au_pro = self._pro / (FPR_LIMIT * self._normal * self._regions)
        return auroc, self._ap / self._anomalous, self._f1, min(au_pro, 1.0)


def _ramp_area(groups: _Groups, limit: float) -> np.ndarray:
    """Integrate from 0 to `limit` the ramp from 0 at gt to 1 at ge; the module's docstring has the cases."""
    gt, ge = groups.gt.astype(np.float64), groups.ge.astype(np.float64)
    cut = np.maximum(limit - gt, 0.0) ** 2 / (2 * np.maximum(ge - gt, 1.0))
    return np.where(ge <= limit, limit - (gt + ge) / 2, cut * (gt < limit))


def _groups(normal: Sequence[Run], anomalous: Sequence[Run]) -> Iterator[_Groups]:
    """Yield the groups by value ranges, from the highest down."""
    above = 0
    bounds = range_bounds(normal, anomalous)
    for low, high in zip(bounds[-2::-1], bounds[:0:-1], strict=True):
        low_record, high_record = low << AREA_BITS, high << AREA_BITS
        here = count_range(normal, low, high)
        if not count_range(anomalous, low_record, high_record):
            pass
        elif high - low == 1:
            weights = (
                pixel_weights(records) for records in read_unsorted(anomalous, low_record, high_record)
            )
            yield _tied(weights, above, above + here)
        else:
            yield _merged(
                read_range(normal, low, high), read_range(anomalous, low_record, high_record), above
            )
        above += here


def range_bounds(normal: Sequence[Run], anomalous: Sequence[Run], length: int | None = None) -> list[int]:
    """Return ascending keys from 0 to 2^32 with about `length` (RUN_LENGTH) pixels between neighbours.

    Each inner bound b is followed by b + 1: a value with more ties than fit in memory is always such a b.
    """
    samples = [run.index.astype(np.int64) for run in normal]
    samples += [(run.index >> np.uint64(AREA_BITS)).astype(np.int64) for run in anomalous]
    pooled = np.sort(np.concatenate(samples))
    inner = pooled[:: max((length or RUN_LENGTH) // INDEX_STEP, 1)]
    bounds = np.unique(np.concatenate([[0, _KEYS], inner, inner + 1]))
    return [int(bound) for bound in bounds]


def _tied(weights: Iterator[np.ndarray], gt: int, ge: int) -> _Groups:
    count, total = 0, 0.0
    for piece in weights:
        count += len(piece)
        total += float(piece.sum())
    return _Groups(np.array([count]), np.array([total]), np.array([gt]), np.array([ge]))


def _merged(keys: np.ndarray, records: np.ndarray, above: int) -> _Groups:
    """Group sorted `records` by value and count the sorted normal `keys` above each."""
    values = (records >> np.uint64(AREA_BITS)).astype(np.uint32)
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    distinct = values[starts]
    return _Groups(
        count=np.diff(np.r_[starts, len(values)])[::-1],
        weight=np.add.reduceat(pixel_weights(records), starts)[::-1],
        gt=above + len(keys) - np.searchsorted(keys, distinct, side="right")[::-1],
        ge=above + len(keys) - np.searchsorted(keys, distinct, side="left")[::-1],
    )


def pixel_weights(records: np.ndarray) -> np.ndarray:
    """1 / area of the region of each record of an anomalous pixel."""
    return np.asarray(1.0 / (records & np.uint64((1 << AREA_BITS) - 1)).astype(np.float64))


def _checked_map(anomaly_map: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, refused below
        values = np.asarray(anomaly_map, dtype=np.float32)
    if values.ndim != 2 or not values.size:
        raise DataError(f"Expected an anomaly map of shape H W for {name}, found shape {values.shape}.")
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise DataError(
            f"Expected a finite anomaly map for {name}, found nan or infinity in {bad} of {values.size} "
            "pixels. Look for nan in the model's weights, or for an overflow in reduced precision."
        )
    return values


def _sortable(values: np.ndarray) -> np.ndarray:
    """Map float32 to uint32 so that the order is kept; -0.0 and 0.0 become one key."""
    bits = (values + np.float32(0)).view(np.uint32)
    negative = bits >> np.uint32(31) != 0
    return np.asarray(np.where(negative, ~bits, bits | np.uint32(0x80000000)))


def value_of_key(keys: np.ndarray) -> np.ndarray:
    """The float32 of each uint32 key: `_sortable` backwards."""
    positive = keys >> np.uint32(31) != 0
    return np.where(positive, keys & np.uint32(0x7FFFFFFF), ~keys).astype(np.uint32).view(np.float32)
