"""Image, pixel and region metrics: exact, in bounded memory, with an answer for every edge case."""

from __future__ import annotations

from edgead.metrics.image import ImageMetrics, image_metrics
from edgead.metrics.parts import mean_over_classes, part_scores
from edgead.metrics.pixel import PixelAccumulator, PixelMetrics, pixel_metrics
from edgead.metrics.registry import (
    ADER_METRICS,
    AU_PRO,
    BY_KIND,
    CAUGHT_AT_0_1_PERCENT,
    CAUGHT_AT_2_PERCENT,
    GATED,
    IMAGE_AUROC,
    KEY_WIDTH,
    METRICS,
    PIXEL_AP,
    PIXEL_AUROC,
    SUMMARY,
    Figures,
    Metric,
    figures,
    title_of,
)
from edgead.metrics.thresholds import ThresholdMetrics, threshold_metrics

__all__ = [
    "ADER_METRICS",
    "AU_PRO",
    "BY_KIND",
    "CAUGHT_AT_0_1_PERCENT",
    "CAUGHT_AT_2_PERCENT",
    "GATED",
    "IMAGE_AUROC",
    "KEY_WIDTH",
    "METRICS",
    "PIXEL_AP",
    "PIXEL_AUROC",
    "SUMMARY",
    "Figures",
    "ImageMetrics",
    "Metric",
    "PixelAccumulator",
    "PixelMetrics",
    "ThresholdMetrics",
    "figures",
    "image_metrics",
    "mean_over_classes",
    "part_scores",
    "pixel_metrics",
    "threshold_metrics",
    "title_of",
]
