"""Small pictures for the tests of synthesis."""

from __future__ import annotations

import cv2
import numpy as np


def surface(shape_hw: tuple[int, int] = (64, 64), *, seed: int = 0, colour: bool = False) -> np.ndarray:
    """A noisy ramp, grey or coloured, that fills the frame."""
    rng = np.random.default_rng(seed)
    planes = 3 if colour else 1
    ramp = np.linspace(80, 160, shape_hw[1])[None, :, None]
    image = np.clip(ramp + rng.normal(0, 6, (*shape_hw, planes)), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*shape_hw, 3)))


def surfaces(count: int = 3, **options) -> list[np.ndarray]:
    """Several of them."""
    return [surface(seed=seed, **options) for seed in range(count)]


def part(
    *, inside: tuple[int, int, int], outside: tuple[int, int, int], seed: int = 0, side: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """A ring with a tab on an even background, at a slightly different place for each seed, and its mask."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.uint8)
    centre = (side // 2 + int(rng.integers(-8, 9)), side // 2 + int(rng.integers(-8, 9)))
    cv2.circle(mask, centre, side // 4, 1, -1)
    cv2.rectangle(mask, (centre[0] - 6, centre[1]), (centre[0] + 6, centre[1] + side // 3), 1, -1)
    image = np.where(mask[..., None] > 0, np.array(inside), np.array(outside)).astype(np.float64)
    hole = np.zeros_like(mask)
    cv2.circle(hole, centre, side // 12, 1, -1)
    image[hole > 0] = outside
    image += rng.normal(0, 4, (side, side, 1)) + np.linspace(-6, 6, side)[:, None, None]
    return np.clip(image, 0, 255).astype(np.uint8), mask > 0
