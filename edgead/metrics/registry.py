"""Every metric by name: the one place that evaluation, gate, training, reports and tables take them from.

A metric is added by an entry of `METRICS`; it then stands in the figures of an evaluation, in the columns of
tables and, where it says so, in the summary that runs and manifests keep and in the rows by kind of defect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from edgead.metrics.image import ImageMetrics
from edgead.metrics.pixel import PixelMetrics
from edgead.metrics.thresholds import ThresholdMetrics

Figures = dict[str, float | None]


class MetricSource(Protocol):
    """What an evaluation measured; None where it did not."""

    @property
    def image(self) -> ImageMetrics: ...
    @property
    def pixel(self) -> PixelMetrics | None: ...
    @property
    def thresholds(self) -> ThresholdMetrics | None: ...
    @property
    def parts(self) -> ImageMetrics | None: ...


@dataclass(frozen=True)
class Metric:
    """`key`: in JSON. `title`: in reports. `column`: in tables, by ADer's name where it has one.

    `is_summary`: among the figures that runs and manifests keep. `is_by_kind`: also for each kind of defect.
    `is_optional`: a column only where a model has it.
    """

    key: str
    title: str
    column: str
    take: Callable[[MetricSource], float | None]
    is_summary: bool = False
    is_by_kind: bool = False
    is_optional: bool = False

    def of(self, measured: MetricSource) -> float | None:
        """The figure, higher is better; None where it is not defined."""
        value = self.take(measured)
        return value if value is not None and math.isfinite(value) else None


def _pixel(name: str) -> Callable[[MetricSource], float | None]:
    return lambda measured: None if measured.pixel is None else getattr(measured.pixel, name)


def _grid(name: str) -> Callable[[MetricSource], float | None]:
    return lambda measured: None if measured.thresholds is None else getattr(measured.thresholds, name)


def _part(name: str) -> Callable[[MetricSource], float | None]:
    return lambda measured: None if measured.parts is None else getattr(measured.parts, name)


IMAGE_AUROC = Metric("image_auroc", "image AUROC", "AUROC_I", lambda m: m.image.auroc, True, True)
IMAGE_AP = Metric("image_ap", "image AP", "AP_I", lambda m: m.image.ap, True)
IMAGE_F1_MAX = Metric("image_f1_max", "image F1-max", "F1max_I", lambda m: m.image.f1_max, True)
PIXEL_AUROC = Metric("pixel_auroc", "pixel AUROC", "AUROC_P", _pixel("auroc"), True, True)
PIXEL_AP = Metric("pixel_ap", "pixel AP", "AP_P", _pixel("ap"), True)
# What a line asks: how many of the defects are caught where so many good parts may be rejected.
CAUGHT_AT_2_PERCENT = Metric(
    "caught_at_2_percent",
    "caught at 2 % false rejects",
    "TPR at 2 %",
    lambda m: m.image.caught_at_2_percent,
    is_summary=True,
    is_by_kind=True,
    is_optional=True,
)
CAUGHT_AT_0_1_PERCENT = Metric(
    "caught_at_0_1_percent",
    "caught at 0.1 % false rejects",
    "TPR at 0.1 %",
    lambda m: m.image.caught_at_0_1_percent,
    is_summary=True,
    is_optional=True,
)
GRID_F1_MAX = Metric("grid_f1_max", "pixel F1-max over a grid", "F1max_P", _grid("f1_max"))
AU_PRO = Metric("au_pro", "AU-PRO at 0.3", "PRO", _pixel("au_pro"), True, True)
# ADer's seven, of which mAD is the mean.
_SEVEN = (IMAGE_AUROC, IMAGE_AP, IMAGE_F1_MAX, PIXEL_AUROC, PIXEL_AP, GRID_F1_MAX, AU_PRO)


def _mean_of_seven(measured: MetricSource) -> float | None:
    values = [metric.of(measured) for metric in _SEVEN]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


# First the columns of ADer's tables (arXiv 2406.03262), in their order and by their definitions, then what it
# does not have.
ADER_METRICS: tuple[Metric, ...] = (
    *_SEVEN,
    Metric("grid_f1", "mean pixel F1", "mF1", _grid("f1")),
    Metric("grid_recall", "mean pixel recall", "mAcc", _grid("recall")),
    Metric("grid_iou", "mean IoU", "mIoU", _grid("iou")),
    Metric("grid_iou_max", "IoU-max over a grid", "IoUmax", _grid("iou_max")),
    Metric("mad", "mean of the first seven", "mAD", _mean_of_seven),
)
METRICS: tuple[Metric, ...] = (
    *ADER_METRICS,
    Metric("pixel_f1_max", "pixel F1-max", "F1max_P exact", _pixel("f1_max"), True, is_optional=True),
    CAUGHT_AT_2_PERCENT,
    CAUGHT_AT_0_1_PERCENT,
    Metric("exact_f1", "mean pixel F1, exact", "mF1 exact", _grid("exact_f1"), is_optional=True),
    Metric("exact_recall", "mean recall, exact", "mAcc exact", _grid("exact_recall"), is_optional=True),
    Metric("exact_iou", "mean IoU, exact", "mIoU exact", _grid("exact_iou"), is_optional=True),
    Metric("iou_max", "IoU-max, exact", "IoUmax exact", _pixel("iou_max"), is_optional=True),
    Metric("grid_au_pro", "AU-PRO of 100 steps", "PRO of 100 steps", _grid("au_pro"), is_optional=True),
    Metric("part_auroc", "AUROC of parts", "AUROC_S", _part("auroc"), is_optional=True),
    Metric("part_ap", "AP of parts", "AP_S", _part("ap"), is_optional=True),
    Metric("part_f1_max", "F1-max of parts", "F1max_S", _part("f1_max"), is_optional=True),
)
SUMMARY: tuple[Metric, ...] = tuple(metric for metric in METRICS if metric.is_summary)
GATED: tuple[Metric, ...] = (IMAGE_AUROC, AU_PRO)  # that quantization may lower by a limit alone
BY_KIND: tuple[Metric, ...] = tuple(metric for metric in METRICS if metric.is_by_kind)
KEY_WIDTH = max(len(metric.key) for metric in METRICS)  # of a column of keys in a terminal


def figures(measured: MetricSource, metrics: Iterable[Metric] = METRICS) -> Figures:
    """The figures by key, None where one is not defined."""
    return {metric.key: metric.of(measured) for metric in metrics}


def title_of(key: str) -> str:
    """The title of a metric; other figures (a drop, a correlation) are called by their key."""
    return next((metric.title for metric in METRICS if metric.key == key), key)
