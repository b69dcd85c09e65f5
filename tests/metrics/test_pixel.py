"""Pixel metrics against scikit-learn, ADEval and a brute-force AU-PRO, also when runs spill to disk."""

from __future__ import annotations

import errno
import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn import metrics

from edgead.errors import DataError
from edgead.metrics import PixelAccumulator, PixelMetrics, pixel_metrics, sorted_runs
from edgead.metrics import pixel as pixel_module


def brute_force_au_pro(maps, masks, limit=0.3):
    """The definition, word for word: every threshold, mean covered part of the regions, trapezoids."""
    labelled = [ndimage.label(mask, structure=np.ones((3, 3))) for mask in masks]
    normal = sum(int((~mask).sum()) for mask in masks)
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.stack(maps))[::-1]:
        found = [m >= threshold for m in maps]
        covered = [
            float(f[labels == k].mean())
            for f, (labels, count) in zip(found, labelled, strict=True)
            for k in range(1, count + 1)
        ]
        false = sum(int((f & ~mask).sum()) for f, mask in zip(found, masks, strict=True))
        points.append((false / normal, float(np.mean(covered))))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 >= limit:
            break
        if x1 > limit:
            y1, x1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0), limit
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def accumulated(maps, masks, **options):
    with PixelAccumulator(**options) as accumulator:
        for anomaly_map, mask in zip(maps, masks, strict=True):
            accumulator.add(anomaly_map, mask)
        return accumulator.compute()


def random_case(seed, *, count=4, size=(24, 20), levels=None):
    rng = np.random.default_rng(seed)
    masks = [ndimage.gaussian_filter(rng.normal(size=size), 2) > 0.12 for _ in range(count)]
    maps = [(rng.normal(size=size) + 0.8 * mask).astype(np.float32) for mask in masks]
    if levels:
        maps = [np.round(m * levels) / levels for m in maps]
    return maps, masks


def assert_equals_references(found, maps, masks):
    labels, scores = np.stack(masks).ravel(), np.stack(maps).ravel()
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert found.auroc == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert found.ap == pytest.approx(metrics.average_precision_score(labels, scores), abs=1e-12)
    assert found.f1_max == pytest.approx(f1.max(), abs=1e-12)
    assert found.au_pro == pytest.approx(brute_force_au_pro(maps, masks), abs=1e-12)


@pytest.mark.parametrize("run_length", [64, 1 << 20], ids=["on disk", "in memory"])
@pytest.mark.parametrize("levels", [None, 4, 1], ids=["distinct", "ties", "heavy ties"])
def test_equals_scikit_learn_and_brute_force(levels, run_length, monkeypatch):
    monkeypatch.setattr(sorted_runs, "INDEX_STEP", 16)
    monkeypatch.setattr(pixel_module, "INDEX_STEP", 16)
    monkeypatch.setattr(pixel_module, "RUN_LENGTH", 128)  # many ranges
    maps, masks = random_case(3, levels=levels)
    assert_equals_references(accumulated(maps, masks, run_length=run_length), maps, masks)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_small_maps(data):
    size = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    values = st.sampled_from([-2.5, -1.0, -0.0, 0.0, 1e-40, 0.25, 0.3, 3e38])
    count = data.draw(st.integers(1, 3))
    pixels = size[0] * size[1]
    draw = lambda of: np.array(data.draw(st.lists(of, min_size=pixels, max_size=pixels))).reshape(size)  # noqa: E731
    maps = [draw(values).astype(np.float32) for _ in range(count)]
    masks = [draw(st.booleans()).astype(bool) for _ in range(count)]
    found = accumulated(maps, masks, run_length=3)
    if not np.stack(masks).any() or np.stack(masks).all():
        assert math.isnan(found.auroc)
        assert math.isnan(found.au_pro)
        return
    assert_equals_references(found, maps, masks)


def test_close_to_adeval(monkeypatch):
    adeval = pytest.importorskip("adeval", reason="ADEval is not installed")
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)  # ADEval 1.1 predates numpy 2's name
    maps, masks = random_case(5, count=8, size=(64, 64))
    low, high = float(np.stack(maps).min()), float(np.stack(maps).max())
    other = adeval.EvalAccumulator(low, high, low, high, skip_pixel_aupro=False, nstrips=20000)
    for anomaly_map, mask in zip(maps, masks, strict=True):
        other.add_anomap(anomaly_map, mask.astype(np.uint8) * 255)
        other.add_image(float(anomaly_map.max()), bool(mask.any()))
    other.add_image(low, False)
    with np.errstate(invalid="ignore"):
        expected = other.summary()
    found = accumulated(maps, masks)
    assert found.auroc == pytest.approx(expected["p_auroc"], abs=1e-3)
    assert found.ap == pytest.approx(expected["p_aupr"], abs=2e-3)
    assert found.au_pro == pytest.approx(expected["p_aupro"], abs=2e-3)


def test_several_accumulators_equal_one():
    maps, masks = random_case(7)
    parts = [PixelAccumulator(run_length=100) for _ in range(2)]
    for i, (anomaly_map, mask) in enumerate(zip(maps, masks, strict=True)):
        parts[i % 2].add(anomaly_map, mask)
    together, alone = pixel_metrics(parts), accumulated(maps, masks)
    for part in parts:
        part.close()
    for name in PixelMetrics.__dataclass_fields__:
        assert getattr(together, name) == pytest.approx(getattr(alone, name), abs=1e-12)


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(pixel_module, "RUN_LENGTH", 1 << 20)
    rng = np.random.default_rng(1)
    mask = np.zeros((256, 256), bool)
    mask[50:90, 50:90] = True
    tracemalloc.start()
    with PixelAccumulator(run_length=1 << 20) as accumulator:
        for i in range(200):  # 13 million pixels: 52 MB of float32
            accumulator.add(rng.random((256, 256), np.float32), mask if i % 2 else None)
        accumulator.compute()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_compute_may_be_called_between_adds():
    maps, masks = random_case(9)
    with PixelAccumulator(run_length=300) as accumulator:
        for anomaly_map, mask in zip(maps, masks, strict=True):
            accumulator.add(anomaly_map, mask)
            accumulator.compute()
        assert accumulator.compute() == accumulated(maps, masks, run_length=300)


MASK = np.zeros((10, 10), bool)
MASK[2:4, 2:7] = True


@pytest.mark.parametrize(
    ("anomaly_map", "mask", "expected"),
    [
        pytest.param(np.zeros((10, 10)), None, (math.nan,) * 4, id="no mask"),
        pytest.param(np.zeros((10, 10)), ~(MASK | ~MASK), (math.nan,) * 4, id="empty mask"),
        pytest.param(np.zeros((10, 10)), MASK | True, (math.nan,) * 4, id="full mask"),
        pytest.param(np.full((10, 10), 0.7), MASK, (0.5, 0.1, 2 / 11, 0.15), id="constant map"),
        pytest.param(MASK * 1.0, MASK, (1, 1, 1, 1), id="perfect"),
        pytest.param(-1.0 * MASK, MASK, (0, 0.1, 2 / 11, 0), id="inverted"),
    ],
)
def test_edge_cases_have_a_defined_answer(anomaly_map, mask, expected):
    found = accumulated([anomaly_map], [mask])
    assert (found.auroc, found.ap, found.f1_max, found.au_pro) == pytest.approx(expected, nan_ok=True)


def test_diagonal_neighbours_are_one_region():
    with PixelAccumulator() as accumulator:
        accumulator.add(np.zeros((4, 4)), np.eye(4, dtype=bool))
        assert accumulator.compute().regions == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_maps_that_are_not_finite_are_named(bad):
    anomaly_map = np.zeros((3, 3))
    anomaly_map[1, 1] = bad
    accumulator = PixelAccumulator()
    with pytest.raises(DataError, match=r"test/crack/7\.png.* 1 of 9"):
        accumulator.add(anomaly_map, name="test/crack/7.png")
    assert accumulator.images == 0


@pytest.mark.parametrize(
    ("shape", "mask_shape", "message"),
    [((3, 3), (3, 4), r"mask of shape \(3, 3\)"), ((3, 3, 1), None, "H W"), ((0, 3), None, "H W")],
)
def test_wrong_shapes(shape, mask_shape, message):
    mask = None if mask_shape is None else np.zeros(mask_shape, bool)
    with pytest.raises(DataError, match=message):
        PixelAccumulator().add(np.zeros(shape), mask)


def test_a_full_disk_says_what_to_do(monkeypatch):
    def no_room(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sorted_runs.tempfile, "TemporaryFile", no_room)
    accumulator = PixelAccumulator(run_length=10)
    with pytest.raises(DataError, match=r"No space left.*TMPDIR"):
        accumulator.add(np.zeros((8, 8)))
