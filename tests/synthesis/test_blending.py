"""Blending by the formula, and masks that hold what changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.synthesis.blending import altered_pixels, blend, bounding_box, max_difference


def _random(seed, shape_hw):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, *shape_hw, 3), dtype=np.uint8)
    return images[0], images[1], rng.random(shape_hw) < 0.4


cases = {
    "seed": st.integers(0, 2**32 - 1),
    "shape_hw": st.tuples(st.integers(1, 30), st.integers(1, 30)),
}


@given(**cases, opacity=st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_blend_follows_the_formula(seed, shape_hw, opacity):
    image, content, mask = _random(seed, shape_hw)
    m, d = mask[..., None].astype(np.float64), opacity
    expected = (1 - m) * image + (1 - d) * m * image + d * m * content
    blended = blend(image, content, mask, opacity=opacity)
    assert blended.dtype == np.uint8
    assert np.abs(blended - expected).max() <= 0.501


@given(**cases)
@settings(max_examples=80, deadline=None)
def test_altered_pixels_keep_to_what_was_drawn(seed, shape_hw):
    before, after, drawn = _random(seed, shape_hw)
    result, mask = altered_pixels(before, after, drawn)
    assert not (mask & ~drawn).any()
    np.testing.assert_array_equal(result[~drawn], before[~drawn])
    np.testing.assert_array_equal(result[mask], after[mask])
    assert max_difference(result, before)[~mask].max(initial=0) < 10


@given(**cases)
@settings(max_examples=30, deadline=None)
def test_no_change_is_no_label(seed, shape_hw):
    before, _, drawn = _random(seed, shape_hw)
    result, mask = altered_pixels(before, before.copy(), drawn)
    assert not mask.any()
    np.testing.assert_array_equal(result, before)


@pytest.mark.parametrize(("levels", "seen"), [(1, False), (2, False), (6, True), (40, True)])
def test_a_change_counts_from_a_few_levels_in_a_flat_area(levels, seen):
    before = np.full((40, 40, 3), 100, np.uint8)
    drawn = np.zeros((40, 40), np.bool_)
    drawn[10:30, 10:30] = True
    after = blend(before, before + np.uint8(levels), drawn, opacity=1.0)
    _, mask = altered_pixels(before, after, drawn)
    assert mask.any() == seen
    if levels >= 10:
        np.testing.assert_array_equal(mask, drawn)


def test_texture_hides_faint_changes():
    rough = np.random.default_rng(0).integers(60, 200, (40, 40, 1), dtype=np.uint8).repeat(3, axis=2)
    drawn = np.zeros((40, 40), np.bool_)
    drawn[10:30, 10:30] = True
    faint = blend(rough, rough + np.uint8(5), drawn, opacity=1.0)
    assert not altered_pixels(rough, faint, drawn)[1].any()


def test_specks_are_undone_rather_than_labelled():
    before = np.full((40, 40, 3), 100, np.uint8)
    after = before.copy()
    after[5, 5] = 200
    drawn = np.zeros((40, 40), np.bool_)
    drawn[5, 5] = True
    result, mask = altered_pixels(before, after, drawn)
    assert not mask.any()
    np.testing.assert_array_equal(result, before)


def test_bounding_box_of_nothing_is_empty():
    rows, columns = bounding_box(np.zeros((5, 6), np.bool_))
    assert rows.start == rows.stop
    assert columns.start == columns.stop
