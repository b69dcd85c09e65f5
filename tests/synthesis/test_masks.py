"""Masks of every family, at every size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import UnknownNameError
from edgead.synthesis.masks import FAMILIES, anchor_in, draw_mask, feather, perlin_mask, perlin_noise

shapes = st.tuples(st.integers(1, 70), st.integers(1, 70))
seeds = st.integers(0, 2**32 - 1)


def _noise_by_definition(shape_hw, angles):
    """Perlin noise pixel by pixel, to hold the matrix form against."""
    cells_y, cells_x = angles.shape[0] - 1, angles.shape[1] - 1
    noise = np.zeros(shape_hw)
    for row in range(shape_hw[0]):
        for column in range(shape_hw[1]):
            y, x = row * cells_y / shape_hw[0], column * cells_x / shape_hw[1]
            for corner_y in (int(y), int(y) + 1):
                for corner_x in (int(x), int(x) + 1):
                    dy, dx = y - corner_y, x - corner_x
                    fade = [1 - t**3 * (t * (t * 6 - 15) + 10) for t in (abs(dy), abs(dx))]
                    angle = angles[corner_y, corner_x]
                    noise[row, column] += fade[0] * fade[1] * (np.cos(angle) * dx + np.sin(angle) * dy)
    return noise * np.sqrt(2)


@pytest.mark.parametrize(("shape_hw", "exponents"), [((16, 24), (1, 2)), ((9, 13), (2, 0)), ((7, 5), (3, 3))])
def test_noise_is_perlin_noise(shape_hw, exponents):
    noise = perlin_noise(shape_hw, np.random.default_rng(3), exponents_yx=exponents)
    cells = (2 ** exponents[0] + 1, 2 ** exponents[1] + 1)
    angles = np.random.default_rng(3).random(cells, dtype=np.float32) * np.float32(2 * np.pi)
    np.testing.assert_allclose(noise, _noise_by_definition(shape_hw, angles), atol=2e-5)


@given(shape_hw=shapes, seed=seeds)
@settings(max_examples=60, deadline=None)
def test_noise_is_finite_and_bounded(shape_hw, seed):
    noise = perlin_noise(shape_hw, np.random.default_rng(seed))
    assert noise.shape == shape_hw
    assert noise.dtype == np.float32
    assert np.abs(noise).max() <= 1.5


def test_perlin_masks_cover_a_few_percent_and_reach_the_corners():
    masks = [perlin_mask((64, 64), np.random.default_rng(seed)) for seed in range(300)]
    share = np.mean(masks, axis=0)
    assert 0.02 < share.mean() < 0.2
    assert min(share[0, 0], share[0, -1], share[-1, 0], share[-1, -1]) > 0


@given(family=st.sampled_from(sorted(FAMILIES)), shape_hw=shapes, seed=seeds, sparse=st.booleans())
@settings(max_examples=200, deadline=None)
def test_drawn_masks_lie_in_the_foreground_and_are_not_empty(family, shape_hw, seed, sparse):
    rng = np.random.default_rng(seed)
    foreground = np.ones(shape_hw, np.bool_)
    if sparse:
        foreground = rng.random(shape_hw) < 0.1
        foreground[rng.integers(shape_hw[0]), rng.integers(shape_hw[1])] = True
    mask = draw_mask(foreground, rng, families={family: 1.0})
    assert mask.dtype == np.bool_
    assert mask.shape == shape_hw
    assert mask.any()
    assert not (mask & ~foreground).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_families_vary_in_size(family):
    foreground = np.ones((128, 128), np.bool_)
    areas = [
        draw_mask(foreground, np.random.default_rng(seed), families={family: 1.0}).mean()
        for seed in range(80)
    ]
    assert np.quantile(areas, 0.9) > 2 * np.quantile(areas, 0.1)
    assert max(areas) < 0.9


def test_sizes_run_from_a_few_pixels_to_half_the_image():
    foreground = np.ones((256, 256), np.bool_)
    families = dict.fromkeys(FAMILIES, 1.0)
    areas = [
        draw_mask(foreground, np.random.default_rng(seed), families=families).mean() for seed in range(300)
    ]
    assert min(areas) < 30 / 256**2
    assert max(areas) > 0.35


def test_edge_breaks_lie_on_the_edge_of_the_part():
    foreground = np.zeros((64, 64), np.bool_)
    foreground[16:48, 16:48] = True
    edge = foreground.copy()
    edge[17:47, 17:47] = False
    for seed in range(30):
        mask = draw_mask(foreground, np.random.default_rng(seed), families={"edge-break": 1.0})
        assert (mask & edge).any()


def test_unknown_families_are_refused():
    with pytest.raises(UnknownNameError, match="perlin"):
        draw_mask(np.ones((4, 4), np.bool_), np.random.default_rng(0), families={"perlim": 1.0})


@given(shape_hw=shapes, seed=seeds, width=st.floats(0, 20))
@settings(max_examples=60, deadline=None)
def test_feathered_weights_stay_in_the_mask(shape_hw, seed, width):
    mask = np.random.default_rng(seed).random(shape_hw) < 0.6
    weights = feather(mask, width)
    assert weights.dtype == np.float32
    assert (weights[~mask] == 0).all()
    assert (weights[mask] > 0).all()
    assert weights.max(initial=0) <= 1


def test_anchor_finds_a_single_pixel():
    foreground = np.zeros((50, 70), np.bool_)
    foreground[31, 69] = True
    assert anchor_in(foreground, np.random.default_rng(0)) == (31, 69)
