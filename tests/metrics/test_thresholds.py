"""Threshold metrics against the definitions done by hand and in plain numpy; parts; means over classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from edgead.errors import DataError
from edgead.metrics import (
    PixelAccumulator,
    mean_over_classes,
    part_scores,
    pixel_metrics,
    threshold_metrics,
)
from edgead.metrics import pixel as pixel_module
from tests.metrics.test_pixel import random_case


def found(maps, masks, **options):
    with PixelAccumulator(**options) as accumulator:
        for anomaly_map, mask in zip(maps, masks, strict=True):
            accumulator.add(anomaly_map, mask)
        return threshold_metrics([accumulator]), accumulator.compute()


def figures(called, mask):
    """F1, recall, IoU of one threshold, from the counts."""
    hits, eps = int((called & mask).sum()), 1e-8
    precision, recall = hits / (called.sum() + eps), hits / (mask.sum() + eps)
    return 2 * precision * recall / (precision + recall + eps), recall, hits / ((called | mask).sum() + eps)


def in_plain_numpy(maps, masks):
    """ADer's definitions, word for word, on whole arrays."""
    maps, masks = np.stack(maps), np.stack(masks)
    scaled = (maps - maps.min()) / (maps.max() - maps.min())
    means = np.mean([figures(scaled > t, masks) for t in np.arange(0.2, 0.801, 0.1)], axis=0)
    highest = np.max([figures(scaled > t, masks) for t in np.arange(0, 1.001, 0.05)], axis=0)
    low, high = float(maps.min()), float(maps.max())
    points = []
    for threshold in low + np.arange(100) * (high - low) / 100:
        called = maps > threshold
        covered = []
        for one, mask in zip(called, masks, strict=True):
            labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
            covered += [one[labels == k].mean() for k in range(1, count + 1)]
        points.append((called[~masks].mean(), np.mean(covered)))
    x, y = np.array([p for p in points if p[0] < 0.3]).T
    x = (x - x.min()) / (x.max() - x.min())
    return (*means, highest[0], highest[2], -np.trapezoid(y, x))


def by_fine_steps(maps, masks, steps=60_000):
    """The integrals over 0.2..0.8, as a mean over the middles of very many steps."""
    maps, masks = np.stack(maps).astype(np.float64), np.stack(masks)
    scaled = (maps - maps.min()) / (maps.max() - maps.min())
    t = 0.2 + 0.6 * (np.arange(steps) + 0.5) / steps
    every, hit = np.sort(scaled.ravel()), np.sort(scaled[masks])
    called = every.size - np.searchsorted(every, t, side="right")
    hits = hit.size - np.searchsorted(hit, t, side="right")
    f1 = 2 * hits / (called + hit.size)
    return f1.mean(), (hits / hit.size).mean(), (hits / (called + hit.size - hits)).mean()


@pytest.mark.parametrize("run_length", [64, 1 << 20], ids=["on disk", "in memory"])
@pytest.mark.parametrize("levels", [None, 7], ids=["distinct", "ties"])
def test_equals_the_definitions(levels, run_length, monkeypatch):
    monkeypatch.setattr(pixel_module, "RUN_LENGTH", 2048)
    maps, masks = random_case(11, levels=levels)
    threshold, _ = found(maps, masks, run_length=run_length)
    grid = (
        threshold.f1,
        threshold.recall,
        threshold.iou,
        threshold.f1_max,
        threshold.iou_max,
        threshold.au_pro,
    )
    assert grid == pytest.approx(in_plain_numpy(maps, masks), abs=1e-9)
    exact = (threshold.exact_f1, threshold.exact_recall, threshold.exact_iou)
    assert exact == pytest.approx(by_fine_steps(maps, masks), abs=2e-4)


def test_by_hand():
    # Normalised, the defect's three pixels are at 1, 0.5 and 0.25, one good pixel at 0.35, the others at 0.
    anomaly_map = np.array([[5.0, 3.0, 2.0, 2.4, 1.0, 1.0]])
    mask = np.array([[True, True, True, False, False, False]])
    threshold, exact = found([anomaly_map], [mask])
    # above 0.2: 3 hits 1 false; 0.3: 2 and 1; 0.4: 2 and 0; 0.5 to 0.8: 1 and 0 (0.5 is not above 0.5)
    f1 = [6 / 7, 4 / 6, 4 / 5, *[2 / 4] * 4]
    assert threshold.f1 == pytest.approx(np.mean(f1), abs=1e-7)
    assert threshold.recall == pytest.approx((3 + 2 + 2 + 4) / 3 / 7, abs=1e-7)
    assert threshold.iou == pytest.approx((3 / 4 + 2 / 4 + 2 / 3 + 4 / 3) / 7, abs=1e-7)
    assert threshold.f1_max == pytest.approx(6 / 7, abs=1e-7)
    assert threshold.iou_max == pytest.approx(3 / 4, abs=1e-7)
    widths = [(0.05, 3, 1), (0.10, 2, 1), (0.15, 2, 0), (0.30, 1, 0)]
    assert threshold.exact_recall == pytest.approx(sum(w * h / 3 for w, h, _ in widths) / 0.6)
    assert threshold.exact_iou == pytest.approx(sum(w * h / (3 + f) for w, h, f in widths) / 0.6)
    assert threshold.exact_f1 == pytest.approx(sum(w * 2 * h / (3 + h + f) for w, h, f in widths) / 0.6)
    assert exact.iou_max == pytest.approx(3 / 4)


def test_the_grid_misses_a_peak_between_its_points():
    anomaly_map = np.array([[0.0, 0.52, 0.53, 1.0]])  # only a threshold between 0.52 and 0.53 separates
    threshold, exact = found([anomaly_map], [np.array([[False, False, True, True]])])
    assert (exact.f1_max, exact.iou_max) == (1, 1)
    assert threshold.f1_max < 0.9
    assert threshold.iou_max < 0.7


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_small_maps(data):
    values = st.sampled_from([-2.5, -1.0, -0.0, 0.0, 1e-40, 0.2, 0.25, 0.3, 0.8, 3.0])
    pixels = st.integers(2, 12)
    size = data.draw(pixels)
    anomaly_map = np.array([data.draw(st.lists(values, min_size=size, max_size=size))], np.float32)
    mask = np.array([data.draw(st.lists(st.booleans(), min_size=size, max_size=size))], bool)
    threshold, exact = found([anomaly_map], [mask], run_length=3)
    if mask.all() or not mask.any():
        assert all(math.isnan(value) for value in vars(threshold).values())
        return
    if np.ptp(anomaly_map) == 0:
        assert (threshold.f1, threshold.iou_max, threshold.exact_f1) == (0, 0, 0)
        return
    assert threshold.f1_max <= exact.f1_max + 1e-9
    assert threshold.iou_max <= exact.iou_max + 1e-9
    grid = in_plain_numpy([anomaly_map], [mask]) if threshold.au_pro == threshold.au_pro else None
    if grid is not None:
        got = (threshold.f1, threshold.recall, threshold.iou, threshold.f1_max, threshold.iou_max)
        assert got == pytest.approx(grid[:5], abs=1e-9)
    exact_figures = (threshold.exact_f1, threshold.exact_recall, threshold.exact_iou)
    assert exact_figures == pytest.approx(by_fine_steps([anomaly_map], [mask], steps=6000), abs=2e-3)


def test_values_beyond_float32_and_constant_maps():
    mask = np.array([[True, False, False]])
    threshold, _ = found([np.array([[3e38, -3e38, 0.0]], np.float32)], [mask])
    assert (threshold.f1, threshold.exact_recall) == (pytest.approx(13 / 14, abs=0.1), 1)
    threshold, _ = found([np.full((1, 3), 0.4)], [mask])
    assert (threshold.recall, threshold.exact_recall) == (0, 0)
    assert math.isnan(threshold.au_pro)


def test_close_to_adeval_in_its_settings_without_the_limit_of_strips(monkeypatch):
    adeval = pytest.importorskip("adeval", reason="ADEval is not installed")
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)  # ADEval 1.1 predates numpy 2's name
    maps, masks = random_case(21, count=6, size=(48, 48))
    low, high = float(np.stack(maps).min()), float(np.stack(maps).max())
    other = adeval.EvalAccumulator(low, high, low, high, nstrips=20000)
    scores = [float(m.max()) for m in maps] + [low + 0.1, low + 0.2]
    labels = [True] * 6 + [False] * 2
    parts = [0, 0, 1, 1, 2, 3, 3, 4]  # part 3 has an anomalous view and a good one
    for anomaly_map, mask in zip(maps, masks, strict=True):
        other.add_anomap(anomaly_map, mask.astype(np.uint8) * 255)
    other.add_image(scores, labels)
    part, part_label = part_scores(scores, labels, parts)
    other.add_sample(part, part_label)
    with np.errstate(invalid="ignore"):
        expected = other.summary()
    _, exact = found(maps, masks)
    assert exact.au_pro == pytest.approx(expected["p_aupro"], abs=2e-3)
    from edgead.metrics import image_metrics

    assert image_metrics(part, part_label).auroc == pytest.approx(expected["s_auroc"], abs=1e-3)


def test_several_accumulators_are_one_class():
    maps, masks = random_case(7)
    parts = [PixelAccumulator(run_length=100) for _ in range(2)]
    for i, (anomaly_map, mask) in enumerate(zip(maps, masks, strict=True)):
        parts[i % 2].add(anomaly_map, mask)
    together, alone = threshold_metrics(parts), found(maps, masks)[0]
    assert list(vars(together).values()) == pytest.approx(list(vars(alone).values()), abs=1e-12)
    assert math.isnan(threshold_metrics(parts, exact=False).exact_f1)
    assert pixel_metrics(parts).iou_max <= 1
    for part in parts:
        part.close()


def test_a_part_takes_the_highest_of_its_views():
    scores, labels = part_scores([0.1, 0.9, 0.4, 0.2], [False, True, False, False], ["a", "a", "b", "a"])
    assert (scores.tolist(), labels.tolist()) == ([0.9, 0.4], [True, False])
    with pytest.raises(DataError, match="2 scores, 2 labels and 1 parts"):
        part_scores([1, 2], [0, 1], ["a"])


def test_means_over_classes_need_every_class():
    rows = [{"a": 1.0, "b": 0.5}, {"a": 0.0, "b": math.nan}]
    assert mean_over_classes(rows) == {"a": 0.5, "b": None}
    assert mean_over_classes([{"a": 1.0}, {}]) == {"a": None}
    assert mean_over_classes([]) == {}
