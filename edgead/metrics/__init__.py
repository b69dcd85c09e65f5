"""Image, pixel and region metrics: exact, in bounded memory, with an answer for every edge case."""

from __future__ import annotations

from edgead.metrics.image import ImageMetrics, image_metrics
from edgead.metrics.parts import mean_over_classes, part_scores
from edgead.metrics.pixel import PixelAccumulator, PixelMetrics, pixel_metrics
from edgead.metrics.thresholds import ThresholdMetrics, threshold_metrics

__all__ = [
    "ImageMetrics",
    "PixelAccumulator",
    "PixelMetrics",
    "ThresholdMetrics",
    "image_metrics",
    "mean_over_classes",
    "part_scores",
    "pixel_metrics",
    "threshold_metrics",
]
