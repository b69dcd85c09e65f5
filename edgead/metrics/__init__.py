"""Image, pixel and region metrics: exact, in bounded memory, with an answer for every edge case."""

from __future__ import annotations

from edgead.metrics.image import ImageMetrics, image_metrics
from edgead.metrics.pixel import PixelAccumulator, PixelMetrics, pixel_metrics

__all__ = ["ImageMetrics", "PixelAccumulator", "PixelMetrics", "image_metrics", "pixel_metrics"]
