"""Regions of a map, and what is drawn of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from edgead.errors import UsageError
from edgead.runtime.overlay import draw_regions, heatmap_overlay, overlay_range
from edgead.runtime.result import Region, find_regions, resize_map

EIGHT = np.ones((3, 3))


def test_no_region_in_a_quiet_map():
    assert find_regions(np.zeros((5, 5), np.float32), 0.5) == ()


def test_regions_by_falling_peak():
    anomaly_map = np.zeros((8, 10), np.float32)
    anomaly_map[1:3, 2:5] = 0.6
    anomaly_map[6, 9] = 0.9
    assert find_regions(anomaly_map, 0.5) == (
        Region(9, 6, 1, 1, 1, pytest.approx(0.9)),
        Region(2, 1, 3, 2, 6, pytest.approx(0.6)),
    )


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 1, 2])
    )
)
def test_regions_agree_with_scipy(anomaly_map: np.ndarray):
    labels, count = ndimage.label(anomaly_map >= 1, EIGHT)
    expected = sorted(
        (int((labels == label).sum()), float(anomaly_map[labels == label].max()))
        for label in range(1, count + 1)
    )
    regions = find_regions(anomaly_map, 1.0)
    assert sorted((region.area, region.peak) for region in regions) == expected
    for region in regions:
        box = anomaly_map[region.y : region.y + region.height, region.x : region.x + region.width]
        assert box.max() >= region.peak


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (16, 8), (3, 100)])
def test_resizing_keeps_a_constant(size: tuple[int, int]):
    resized = resize_map(np.full((4, 4), 0.25, np.float32), *size)
    np.testing.assert_allclose(resized, np.full(size, 0.25), rtol=1e-6)


def test_a_heatmap_is_clear_below_and_hot_above():
    image = np.full((4, 8, 3), 100, np.uint8)
    anomaly_map = np.zeros((4, 8), np.float32)
    anomaly_map[:, 4:] = 5
    drawn = heatmap_overlay(image, anomaly_map, low=1, high=2)
    np.testing.assert_array_equal(drawn[:, :4], image[:, :4])
    assert (drawn[:, 4:, 0] > drawn[:, 4:, 2]).all()  # TURBO's hot end is red


def test_a_heatmap_shows_what_is_not_a_number_as_hot():
    image = np.full((2, 2, 3), 100, np.uint8)
    not_a_number = heatmap_overlay(image, np.full((2, 2), np.nan, np.float32), low=0, high=1)
    np.testing.assert_array_equal(
        not_a_number, heatmap_overlay(image, np.ones((2, 2), np.float32), low=0, high=1)
    )


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (float("nan"), 1), (0, float("inf"))])
def test_a_heatmap_needs_a_range(low: float, high: float):
    with pytest.raises(UsageError, match="low < high"):
        heatmap_overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32), low=low, high=high)


def test_boxes_are_drawn_on_a_copy():
    image = np.zeros((10, 10, 3), np.uint8)
    drawn = draw_regions(image, [Region(2, 3, 4, 5, 20, 1.0)])
    assert image.max() == 0
    rows, columns = np.nonzero(drawn.any(axis=2))
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (2, 3, 5, 7)


@pytest.mark.parametrize("pixel_threshold", [-1.0, 0.0, 0.5, 100.0])
def test_the_pixel_threshold_is_in_the_middle(pixel_threshold: float):
    low, high = overlay_range(pixel_threshold)
    assert low < pixel_threshold < high
