"""Draw an anomaly map and its regions over the image."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import UsageError
from edgead.runtime.result import FloatMap, Region, resize_map

_MAX_OPACITY = 0.6
_BOX_COLOUR = (255, 40, 40)


def heatmap_overlay(
    image: NDArray[np.uint8], anomaly_map: FloatMap, *, low: float, high: float
) -> NDArray[np.uint8]:
    """Blend the map over the image (uint8 H W 3 RGB): clear up to `low`, hottest and most opaque from `high`.

    The map may have any size; the result has the image's. Raises UsageError unless low < high, both finite.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise UsageError(f"heatmap: expected finite low < high, found low={low}, high={high}.")
    full = resize_map(np.ascontiguousarray(anomaly_map, np.float32), *image.shape[:2])
    heat = np.clip((np.nan_to_num(full, nan=high, posinf=high, neginf=low) - low) / (high - low), 0, 1)
    colours = cv2.applyColorMap(np.round(heat * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    opacity = (heat * _MAX_OPACITY)[..., None]
    return np.asarray(np.round(image * (1 - opacity) + colours * opacity), np.uint8)


def draw_regions(image: NDArray[np.uint8], regions: Iterable[Region]) -> NDArray[np.uint8]:
    """A copy of the image (uint8 H W 3 RGB) with a box around each region."""
    drawn = np.ascontiguousarray(image).copy()
    thickness = max(1, round(min(drawn.shape[:2]) / 256))
    for region in regions:
        corner = (region.x + region.width - 1, region.y + region.height - 1)
        cv2.rectangle(drawn, (region.x, region.y), corner, _BOX_COLOUR, thickness)
    return np.asarray(drawn)


def overlay_range(pixel_threshold: float) -> tuple[float, float]:
    """`low` and `high` of a heatmap in which the pixel threshold lies in the middle of the colours."""
    spread = abs(pixel_threshold) / 2 or 0.5
    return pixel_threshold - spread, pixel_threshold + spread
