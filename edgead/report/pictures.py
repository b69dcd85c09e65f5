"""Which images a report shows, each in three panels: the image, its heatmap, the true defect's outline."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edgead.datasets.masks import read_mask
from edgead.errors import DataError
from edgead.evaluation.evaluator import Evaluation, Record, resized_map
from edgead.images import read_image
from edgead.runtime.overlay import heatmap_overlay
from edgead.runtime.result import half_height

_LONG_SIDE = 420  # pixels of a panel as stored; shown at about half of it, sharp on dense screens and paper
_JPEG_QUALITY = 88
_MASK_COLOUR = (255, 214, 10)
_FOUND_COLOUR = (255, 255, 255)


@dataclass(frozen=True)
class HeatScale:
    """One colour scale for all pictures: colour starts at `low`, is strongest from `high`.

    `threshold` is the pixel threshold it is anchored at: a quarter of the way up, so that what stays below is
    hardly tinted and good parts look calm. `origin` says in words where it comes from.
    """

    low: float
    threshold: float
    high: float
    origin: str


@dataclass(frozen=True)
class Panel:
    """A picture as a data URI with its description, or only the words where the file is gone."""

    caption: str
    alt: str
    uri: str = ""


@dataclass(frozen=True)
class Case:
    """One image of the report."""

    name: str
    kind: str
    score: float
    verdict: str  # "caught", "missed", "false alarm", "passed" or ""
    panels: tuple[Panel, ...]
    is_wide: bool  # takes a row of its own, for the panels would be strips in half of one


@dataclass(frozen=True)
class CaseGroup:
    """A heading, what it means, and its images; `none` is said where there are none."""

    title: str
    meaning: str
    none: str
    cases: tuple[Case, ...]


def verdict_of(record: Record, threshold: float | None) -> str:
    """Return the verdict in words, empty without a threshold."""
    if threshold is None:
        return ""
    if record.is_anomalous:
        return "caught" if record.score >= threshold else "missed"
    return "false alarm" if record.score >= threshold else "passed"


def case_groups(
    evaluation: Evaluation, threshold: float | None, scale: HeatScale | None, *, per_group: int = 4
) -> tuple[CaseGroup, ...]:
    """Choose the images to show: the worst first, since they are what a reader must know."""
    groups = []
    for title, meaning, none, records in _chosen(evaluation.records, threshold):
        shown = records[: per_group if title != _CLEAR else _MOST_KINDS]
        cases = tuple(_case(record, threshold, scale) for record in shown)
        groups.append(CaseGroup(title, meaning, none, cases))
    return tuple(groups)


def heat_scale(evaluation: Evaluation, pixel_threshold: float | None) -> HeatScale | None:
    """Return the scale of all heatmaps; None where no record kept its map.

    Without a pixel threshold the anchor is the value that one of 200 pixels of good images exceeds.
    """
    kept = [record for record in evaluation.records if record.anomaly_map is not None]
    if not kept:
        return None
    origin = "the pixel threshold"
    if pixel_threshold is None:
        good = [record for record in kept if not record.is_anomalous] or kept
        values = np.concatenate([_map(record).ravel() for record in good])
        pixel_threshold = float(np.quantile(values, 0.995))
        origin = "the value that 0.5 % of the pixels of good images exceed (no pixel threshold was set)"
    peaks = np.array([float(_map(record).max()) for record in kept])
    above = peaks[peaks > pixel_threshold]
    high = float(np.quantile(above, 0.9)) if above.size else pixel_threshold + max(abs(pixel_threshold), 1e-6)
    return HeatScale(pixel_threshold - (high - pixel_threshold) / 3, pixel_threshold, high, origin)


def scale_legend(scale: HeatScale) -> str:
    """Return the colours of the scale over a grey ground, left `low` to right `high`, as a data URI."""
    ramp = np.linspace(scale.low, scale.high, 300, dtype=np.float32)[None].repeat(20, axis=0)
    return _uri(heatmap_overlay(np.full((20, 300, 3), 140, np.uint8), ramp, low=scale.low, high=scale.high))


def _map(record: Record) -> np.ndarray:
    return np.zeros((1, 1), np.float32) if record.anomaly_map is None else record.anomaly_map


_NO_DEFECT = "No defective part was given."
_CLEAR = "Clearest defects"  # one of each kind, hence more of them than of the other groups
_MOST_KINDS = 8
_NO_CATCH = "No defective part was caught."
_Choice = tuple[str, str, str, Sequence[Record]]  # the fields of a CaseGroup, with records for cases


def _chosen(records: Sequence[Record], threshold: float | None) -> list[_Choice]:
    bad = sorted((r for r in records if r.is_anomalous), key=lambda r: r.score)
    good = sorted((r for r in records if not r.is_anomalous), key=lambda r: -r.score)
    if threshold is None:
        return _ranked(bad, good)
    caught = [r for r in bad if r.score >= threshold]
    return [
        *_wrong(bad, good, threshold),
        ("Narrow catches", "Defective parts caught with the least margin.", _NO_CATCH, caught),
        (_CLEAR, "The highest score of each kind of defect.", _NO_CATCH, _best_by_kind(caught)),
        _passed_good(good, threshold),
    ]


def _ranked(bad: Sequence[Record], good: Sequence[Record]) -> list[_Choice]:
    no_good = "No good part was given."
    return [
        ("Least suspected defects", "Defective parts with the lowest scores.", _NO_DEFECT, bad),
        ("Most suspected good parts", "Good parts with the highest scores.", no_good, good),
        (_CLEAR, "The highest score of each kind.", _NO_DEFECT, _best_by_kind(bad)),
    ]


def _wrong(bad: Sequence[Record], good: Sequence[Record], threshold: float) -> list[_Choice]:
    missed = [r for r in bad if r.score < threshold]
    alarms = [r for r in good if r.score >= threshold]
    misses = "Defective parts that passed, the lowest scores first."
    rejects = "Good parts that were rejected, the highest scores first."
    return [
        (_counted("Missed defects (escapes)", missed), misses, "No defective part was missed.", missed),
        (_counted("False alarms (false rejects)", alarms), rejects, "No good part was rejected.", alarms),
    ]


def _passed_good(good: Sequence[Record], threshold: float) -> _Choice:
    passed = [r for r in good if r.score < threshold]
    middle = passed[len(passed) // 2 :][:2]
    return (
        "Good parts",
        "Good parts that passed, from the middle of their scores.",
        "No good part passed.",
        middle,
    )


def _counted(title: str, records: Sequence[Record]) -> str:
    return f"{title} ({len(records)})" if records else title


def _best_by_kind(ascending: Iterable[Record]) -> list[Record]:
    best = {record.kind: record for record in ascending}
    return sorted(best.values(), key=lambda record: -record.score)


def _case(record: Record, threshold: float | None, scale: HeatScale | None) -> Case:
    name = "/".join(record.path.parts[-3:])
    height, width = record.image_size
    return Case(
        name=name,
        kind=record.kind,
        score=record.score,
        verdict=verdict_of(record, threshold),
        panels=_panels(record, name, scale, is_rejected=threshold is not None and record.score >= threshold),
        is_wide=width > 2 * height,
    )


def _panels(record: Record, name: str, scale: HeatScale | None, *, is_rejected: bool) -> tuple[Panel, ...]:
    try:
        image = _at_panel_size(read_image(record.path))
    except DataError:
        return (Panel("image", f"{name} cannot be read any more"),)
    panels = [Panel("image", f"{name}: the image", _uri(image))]
    if record.anomaly_map is None or scale is None:
        panels.append(Panel("heatmap", "the map was not kept"))
    else:
        heat = _heat(image, record.anomaly_map, scale, is_rejected=is_rejected)
        panels.append(Panel("heatmap", f"{name}: the heatmap", _uri(heat)))
    panels.append(_truth(record, name, image))
    return tuple(panels)


def _truth(record: Record, name: str, image: np.ndarray) -> Panel:
    if not record.is_anomalous:
        return Panel("true defect", "a good part: no defect to outline")
    if record.mask_path is None:
        return Panel("true defect", "no mask was given")
    try:
        mask = read_mask(record.mask_path, record.image_size, has_class_numbers=record.has_class_numbers)
    except DataError:
        return Panel("true defect", "the mask cannot be read any more")
    if not mask.any():
        return Panel("true defect", "the mask is empty")
    share = cv2.resize(mask.astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return Panel(
        "true defect",
        f"{name}: the true defect, outlined",
        _uri(_outlined(image, share >= 0.5, _MASK_COLOUR)),
    )


def _heat(image: np.ndarray, anomaly_map: np.ndarray, scale: HeatScale, *, is_rejected: bool) -> np.ndarray:
    full = resized_map(anomaly_map, image.shape[:2])
    overlay = heatmap_overlay(image, full, low=scale.low, high=scale.high)
    return _outlined(overlay, _found(full, scale.threshold, is_rejected=is_rejected), _FOUND_COLOUR)


def _found(full: np.ndarray, threshold: float, *, is_rejected: bool) -> np.ndarray:
    """What the runtime outlines: at the threshold, or around the peak of a part whose map stays below it."""
    level = half_height(full) if is_rejected and full.max() < threshold else None
    if level is None:
        return full >= threshold
    _, labels = cv2.connectedComponents((full >= level).astype(np.uint8), connectivity=8)
    found: np.ndarray = labels == labels.flat[full.argmax()]
    return found


def _outlined(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Draw the outline in `colour` on a dark halo, so that it shows on any ground."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = np.ascontiguousarray(image).copy()
    cv2.drawContours(drawn, contours, -1, (0, 0, 0), 4, cv2.LINE_AA)
    cv2.drawContours(drawn, contours, -1, colour, 2, cv2.LINE_AA)
    return np.asarray(drawn)


def _at_panel_size(image: np.ndarray) -> np.ndarray:
    """Scale to the panel's long side, keeping the aspect; a line of 20,000 x 20 keeps at least one pixel."""
    height, width = image.shape[:2]
    scale = _LONG_SIDE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=method)


def _uri(image: np.ndarray) -> str:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
