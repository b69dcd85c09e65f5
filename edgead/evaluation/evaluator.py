"""Runs a predictor over labelled images and measures it: overall, by kind of defect, image by image.

Every accuracy that edgead states, of a run, a compiled model or a bundle, comes from here.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from edgead.datasets import Sample
from edgead.datasets.masks import read_mask
from edgead.errors import DataError
from edgead.images import read_image, resize_image
from edgead.map_and_score import MapAndScore
from edgead.metrics import (
    BY_KIND,
    SUMMARY,
    Figures,
    ImageMetrics,
    PixelAccumulator,
    PixelMetrics,
    ThresholdMetrics,
    figures,
    image_metrics,
    part_scores,
    pixel_metrics,
    threshold_metrics,
)

if TYPE_CHECKING:
    import torch


GOOD = "good"
_NAMED = 5  # files in a remark
_MOST_OF_THE_PICTURE = 0.5


class InspectionResult(Protocol):
    """What a runtime's `Result` gives an evaluation."""

    @property
    def score(self) -> float: ...
    @property
    def model_map(self) -> np.ndarray: ...


class Inspects(Protocol):
    """An opened bundle, whichever runtime opened it."""

    def inspect(self, image: np.ndarray, /) -> InspectionResult:
        """Inspect one image, uint8 H W 3."""


Predict = Callable[[np.ndarray], MapAndScore]


@dataclass(frozen=True)
class Record:
    """One evaluated image, `image_size` (height, width); `anomaly_map` is kept only where asked for."""

    path: Path
    kind: str
    is_anomalous: bool
    score: float
    seconds: float
    image_size: tuple[int, int]
    mask_path: Path | None = None
    anomaly_map: np.ndarray | None = None
    has_class_numbers: bool = False
    part: str | None = None
    mask_share: float | None = None  # of the picture, at the size of the pixel metrics; None without a mask


@dataclass(frozen=True)
class KindFigures:
    """One kind of defect against all good images: how many images, and the figures by key."""

    count: int
    figures: Figures


@dataclass(frozen=True)
class Measurement:
    """The figures of answers to images in memory; `pixel` is None where no anomalous image has a mask."""

    image: ImageMetrics
    pixel: PixelMetrics | None
    thresholds: ThresholdMetrics | None = None
    parts: ImageMetrics | None = None

    def summary(self) -> Figures:
        """The figures that runs and manifests keep."""
        return figures(self, SUMMARY)


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate_samples`; `pixel` is None where no anomalous image has a mask.

    Pixel figures are at `size` (height, width). An anomalous image without a mask counts in the image metrics
    alone (`without_mask`): which of its pixels are anomalous is not known.
    """

    records: tuple[Record, ...]
    image: ImageMetrics
    pixel: PixelMetrics | None
    by_kind: dict[str, KindFigures]
    size: tuple[int, int]
    without_mask: int = 0
    thresholds: ThresholdMetrics | None = None  # only where asked for
    parts: ImageMetrics | None = None  # of whole parts, where images are views of one

    def summary(self) -> Figures:
        """The figures that runs and manifests keep, by key."""
        return figures(self, SUMMARY)

    @property
    def mask_remarks(self) -> tuple[str, ...]:
        """What is strange about the masks, in sentences; none where nothing is."""
        masked = [record for record in self.records if record.mask_share is not None]
        empty = [record.path.name for record in masked if not record.mask_share]
        shares = [record.mask_share for record in masked if record.mask_share]
        remarks = []
        if empty:
            named = ", ".join(empty[:_NAMED]) + (" ..." if len(empty) > _NAMED else "")
            remarks.append(
                f"{len(empty)} of {len(masked)} masks are empty at {self.size[0]} x {self.size[1]}: no pixel "
                f"of {named} counts as a defect. Draw them, or leave these images without a mask."
            )
        if shares and statistics.median(shares) > _MOST_OF_THE_PICTURE:
            remarks.append(
                f"Half of the masks cover more than {_MOST_OF_THE_PICTURE:.0%} of their pictures. Are they "
                "inverted? White (255) is the defect."
            )
        return tuple(remarks)

    def to_json(self, *, records: bool = True) -> dict[str, Any]:
        """Return plain data for `json.dumps`, nan as None; `records=False` leaves the single images out."""
        data: dict[str, Any] = {
            "metrics": self.summary(),
            "images": len(self.records),
            "anomalous_images": sum(record.is_anomalous for record in self.records),
            "images_without_mask": self.without_mask,
            "size": list(self.size),
            "by_kind": {
                kind: {"count": found.count, **found.figures} for kind, found in self.by_kind.items()
            },
        }
        if records:
            data["records"] = [_record_json(record) for record in self.records]
        return data


def predictor_from_module(
    module: torch.nn.Module, *, height: int, width: int, rule: str = "stretch-area"
) -> Predict:
    """Return a predictor of a torch model (uint8 B H W 3 -> map B h w, score B) fed at `height` x `width`.

    The model is put in eval mode and runs where its weights are, one image at a time.
    """
    import torch

    module.eval()
    weights = next(iter([*module.parameters(), *module.buffers()]), None)
    device = torch.device("cpu") if weights is None else weights.device

    def predict(image: np.ndarray) -> MapAndScore:
        batch = torch.from_numpy(np.ascontiguousarray(resize_image(image, height, width, rule=rule)))[None]
        with torch.inference_mode():
            anomaly_map, score = module(batch.to(device))
        return MapAndScore(anomaly_map[0].float().cpu().numpy(), float(score[0]))

    return predict


def predictor_from_inspector(inspector: Inspects) -> Predict:
    """Return a predictor of an opened bundle."""

    def predict(image: np.ndarray) -> MapAndScore:
        result = inspector.inspect(image)
        return MapAndScore(result.model_map, result.score)

    return predict


def evaluate_samples(
    predict: Predict,
    samples: Sequence[Sample],
    *,
    size: tuple[int, int] = (256, 256),
    keep_maps: bool = False,
    with_thresholds: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Predict every sample (uint8 H W 3 in the image's own size) and return all metrics.

    For the pixel metrics maps are resized bilinearly to `size` (height, width) and masks to the nearest
    pixel, as papers at 256 x 256 do. `keep_maps` keeps each predicted map in its record, for a report: 16 kB
    per image on a grid of 64 x 64. `with_thresholds` adds the figures of benchmarks over several data sets.
    `on_progress(done, total)` is called after each image. Raises DataError
    for no samples, an image or mask that cannot be read, and a prediction that is not finite, naming the
    image.
    """
    if not samples:
        raise DataError(
            "Expected images to evaluate, found none. Give a folder with test/good and test/<kind>."
        )
    records: list[Record] = []
    without_mask = 0
    with ExitStack() as stack:
        accumulators: dict[str, PixelAccumulator] = {}
        for sample in samples:
            record, usable = _evaluate_one(predict, sample)
            without_mask += not usable
            if usable:
                if sample.kind not in accumulators:
                    accumulators[sample.kind] = stack.enter_context(PixelAccumulator())
                share = _add_pixels(accumulators[sample.kind], record, size)
                record = replace(record, mask_share=share)
            records.append(record if keep_maps else replace(record, anomaly_map=None))
            if on_progress is not None:
                on_progress(len(records), len(samples))
        pixel, pixel_by_kind = _pixel_results(accumulators)
        with_thresholds = with_thresholds and pixel is not None
        thresholds = threshold_metrics(list(accumulators.values())) if with_thresholds else None
    image, by_kind = _image_results(records, pixel_by_kind)
    parts = _part_results(records)
    return Evaluation(tuple(records), image, pixel, by_kind, size, without_mask, thresholds, parts)


def _evaluate_one(predict: Predict, sample: Sample) -> tuple[Record, bool]:
    """Return the record with its map, and whether its pixels' classes are known."""
    image = read_image(sample.path)
    start = time.perf_counter_ns()
    prediction = predict(image)
    elapsed = (time.perf_counter_ns() - start) / 1e9
    score = float(prediction.score)
    if not math.isfinite(score):
        raise DataError(
            f"Expected a finite score for {sample.path}, found {score}. "
            "Look for nan in the model's weights, or for an overflow in reduced precision."
        )
    record = Record(
        path=sample.path,
        kind=sample.kind,
        is_anomalous=sample.is_anomalous,
        score=score,
        seconds=elapsed,
        image_size=(image.shape[0], image.shape[1]),
        mask_path=sample.mask_path,
        has_class_numbers=sample.has_class_numbers,
        part=sample.part,
        anomaly_map=np.array(prediction.anomaly_map, dtype=np.float32),  # a copy: engines reuse buffers
    )
    return record, not sample.is_anomalous or sample.mask_path is not None


def _add_pixels(accumulator: PixelAccumulator, record: Record, size: tuple[int, int]) -> float | None:
    """Count the pixels of an image; return the share of them that its mask covers, None without one."""
    anomaly_map = record.anomaly_map
    if anomaly_map is None or anomaly_map.ndim != 2 or not anomaly_map.size:
        shape = None if anomaly_map is None else anomaly_map.shape
        raise DataError(f"Expected an anomaly map of shape h w for {record.path}, found {shape}.")
    mask = resized_mask(record, size)
    accumulator.add(resized_map(anomaly_map, size), mask, name=str(record.path))
    return None if mask is None else float(mask.mean())


def resized_map(anomaly_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a map, float32 h w, interpolated bilinearly to `size` (height, width)."""
    if anomaly_map.shape == tuple(size):
        return anomaly_map
    return cv2.resize(anomaly_map, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def resized_mask(record: Record, size: tuple[int, int]) -> np.ndarray | None:
    """Return the record's mask, bool, at `size` (height, width) by nearest pixel; None where it has none."""
    if record.mask_path is None:
        return None
    mask = read_mask(record.mask_path, record.image_size, has_class_numbers=record.has_class_numbers)
    if mask.shape == tuple(size):
        return mask
    whole = mask.astype(np.uint8)
    return cv2.resize(whole, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)


def measure(answers: Sequence[MapAndScore], masks: Sequence[np.ndarray | None]) -> Measurement:
    """Measure answers to images in memory. `masks`: bool H W of each, None for a good image.

    Maps are enlarged to the masks, as `evaluate_samples` does. Raises DataError for answers not finite.
    """
    shape = next((mask.shape for mask in masks if mask is not None), None)
    scores = [float(answer.score) for answer in answers]
    image = image_metrics(scores, [mask is not None for mask in masks])
    if shape is None:
        return Measurement(image, None)
    with PixelAccumulator() as pixels:
        for answer, mask in zip(answers, masks, strict=True):
            pixels.add(resized_map(answer.anomaly_map, (shape[0], shape[1])), mask)
        return Measurement(image, pixels.compute())


def _pixel_results(
    accumulators: dict[str, PixelAccumulator],
) -> tuple[PixelMetrics | None, dict[str, PixelMetrics]]:
    defects = {kind: found for kind, found in accumulators.items() if kind != GOOD}
    if not defects:
        return None, {}
    good = [accumulators[GOOD]] if GOOD in accumulators else []
    by_kind = {kind: pixel_metrics([*good, found]) for kind, found in defects.items()}
    return pixel_metrics(list(accumulators.values())), by_kind


def _image_results(
    records: Sequence[Record], pixel: dict[str, PixelMetrics]
) -> tuple[ImageMetrics, dict[str, KindFigures]]:
    by_kind = {}
    for kind in sorted({record.kind for record in records if record.is_anomalous}):
        scores, labels = _scores(record for record in records if record.kind in (kind, GOOD))
        measured = Measurement(image_metrics(scores, labels), pixel.get(kind))
        by_kind[kind] = KindFigures(int(labels.sum()), figures(measured, BY_KIND))
    return image_metrics(*_scores(records)), by_kind


def _part_results(records: Sequence[Record]) -> ImageMetrics | None:
    parts = [record.part for record in records]
    if None in parts:
        return None
    return image_metrics(*part_scores(*_scores(records), parts))


def _scores(records: Iterable[Record]) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(record.score, record.is_anomalous) for record in records]
    return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs], dtype=bool)


def _record_json(record: Record) -> dict[str, Any]:
    return {
        "path": str(record.path),
        "kind": record.kind,
        "is_anomalous": record.is_anomalous,
        "score": record.score,
        "seconds": record.seconds,
    }
