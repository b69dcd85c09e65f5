"""What an inspection answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """A connected part of the map, in pixels of the inspected image, and the highest value in it."""

    x: int
    y: int
    width: int
    height: int
    area: int
    peak: float


@dataclass(frozen=True, eq=False)
class Result:
    """Score and verdict of one image; the full-size map and the regions are computed when first asked for.

    Most parts are good and need neither, and at the size of a line camera they cost more than the model.
    `model_map` is the map as the model gives it (float32 h w); `timings_ns` has the stages resize, infer and
    postprocess, which do not include the two.
    """

    score: float
    is_anomalous: bool
    threshold: float
    pixel_threshold: float
    image_height: int
    image_width: int
    model_map: FloatMap = field(repr=False)
    timings_ns: Mapping[str, int]

    @cached_property
    def anomaly_map(self) -> FloatMap:
        """float32 H W in the size of the inspected image; larger is more anomalous."""
        return resize_map(self.model_map, self.image_height, self.image_width)

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """Connected parts (8 neighbours) of the map at or above the pixel threshold, highest peak first.

        An anomalous part always has one, so that no verdict is without a place: where its whole map stays
        below the pixel threshold, the region around the highest peak, down to half its height over the
        map's median. A map without any peak has none.
        """
        if self.model_map.max() >= self.pixel_threshold:  # interpolation never exceeds its inputs
            return find_regions(self.anomaly_map, self.pixel_threshold)
        level = half_height(self.anomaly_map) if self.is_anomalous else None
        return () if level is None else find_regions(self.anomaly_map, level)[:1]


def resize_map(anomaly_map: FloatMap, height: int, width: int) -> FloatMap:
    """Bring a map (float32 h w) to another size: bilinear, and averaging areas where both sides shrink."""
    if anomaly_map.shape == (height, width):
        return anomaly_map
    shrinks = height <= anomaly_map.shape[0] and width <= anomaly_map.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(anomaly_map, (width, height), interpolation=method), np.float32)


def half_height(anomaly_map: FloatMap) -> float | None:
    """Half way from the median of a map (float32 H W) to its peak; None where it has no peak, or is NaN."""
    peak, ground = float(anomaly_map.max()), float(np.median(anomaly_map))
    return (peak + ground) / 2 if peak > ground else None


def find_regions(anomaly_map: FloatMap, pixel_threshold: float) -> tuple[Region, ...]:
    """Connected parts (8 neighbours) of a map (float32 H W) >= `pixel_threshold`, highest peak first."""
    above = anomaly_map >= pixel_threshold
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above.astype(np.uint8), connectivity=8)
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, np.asarray(labels, np.int32)[above], anomaly_map[above])
    boxes = []
    for label in range(1, count):  # 0 is the background
        x, y, width, height, area = map(int, stats[label])
        boxes.append(Region(x, y, width, height, area, float(peaks[label])))
    return tuple(sorted(boxes, key=lambda region: (-region.peak, region.y, region.x)))
