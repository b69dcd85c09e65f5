"""The foreground of parts on a background, of textures, and of pictures that are neither."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from synthesis_pictures import part, surfaces

from edgead.errors import UsageError
from edgead.images import read_image, resize_image
from edgead.synthesis import find_foreground, foreground_mask

COLOURS = {
    "bright on dark": ((190, 190, 190), (30, 30, 30)),
    "dark on bright": ((60, 60, 60), (230, 230, 230)),
    "green on grey": ((40, 140, 60), (120, 120, 120)),
    "grey on blue": ((120, 120, 120), (30, 60, 160)),
}


@pytest.mark.parametrize("name", COLOURS)
def test_parts_are_separated_from_their_background(name):
    inside, outside = COLOURS[name]
    drawn = [part(inside=inside, outside=outside, seed=seed) for seed in range(8)]
    finder = find_foreground([image for image, _ in drawn])
    assert finder.rule != "whole"
    for image, truth in drawn:
        found = finder.mask(image)
        overlap = np.count_nonzero(found & truth) / np.count_nonzero(found | truth)
        assert overlap > 0.85


def _striped(seed: int) -> np.ndarray:
    columns = np.arange(96) + seed * 5
    return np.repeat(np.repeat(np.where(columns // 12 % 2, 40, 210)[None, :, None], 96, 0), 3, 2).astype(
        np.uint8
    )


@pytest.mark.parametrize(
    "images",
    [
        surfaces(6),
        [_striped(seed) for seed in range(6)],
        [np.full((32, 32, 3), 90, np.uint8)] * 3,
        [np.full((1, 1, 3), 90, np.uint8)],
    ],
    ids=["ramp", "stripes", "constant", "one pixel"],
)
def test_what_fills_the_frame_is_all_foreground(images):
    finder = find_foreground(images)
    assert all(finder.mask(image).all() for image in images)


@pytest.mark.parametrize("product", ["mtd", "pcb"])
def test_real_surfaces_fill_the_frame(shared_data, product):
    paths = sorted((shared_data / product / "train" / "good").iterdir())[:32]
    images = [resize_image(read_image(path), 128, 128) for path in paths]
    assert find_foreground(images).rule == "whole"


def test_a_picture_unlike_the_others_still_gets_a_foreground():
    images = [part(inside=(190,) * 3, outside=(30,) * 3, seed=seed)[0] for seed in range(4)]
    finder = find_foreground(images)
    for level in (0, 30, 255):
        assert finder.mask(np.full((128, 128, 3), level, np.uint8)).any()


def test_one_array_of_several_images_is_as_good_as_a_list():
    images = [part(inside=(190,) * 3, outside=(30,) * 3, seed=seed)[0] for seed in range(4)]
    np.testing.assert_array_equal(foreground_mask(np.stack(images)), foreground_mask(images))


def test_no_images_are_refused():
    with pytest.raises(UsageError):
        find_foreground([])


def test_masks_are_cheap():
    image, _ = part(inside=(190,) * 3, outside=(30,) * 3, side=256)
    finder = find_foreground([image])
    start = time.perf_counter()
    for _ in range(20):
        finder.mask(image)
    assert (time.perf_counter() - start) / 20 < 0.02  # measured near 0.3 ms; the rest is for busy machines


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3))))
def test_never_empty_and_as_large_as_the_image(image):
    mask = foreground_mask(image)
    assert mask.shape == image.shape[:2]
    assert mask.any()
