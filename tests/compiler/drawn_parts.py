"""Small drawn parts, good and anomalous, that the tests of compiling share."""

from __future__ import annotations

import cv2
import numpy as np
from standin import SIZE

from edgead.compiler.calibration import PreparedImage


def draw_part(seed: int) -> np.ndarray:
    """A part with smooth texture that differs from seed to seed."""
    generator = np.random.default_rng(seed)
    grain = generator.normal(120, 60, (8, 8, 3)).astype(np.float32)
    return np.clip(cv2.resize(grain, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def good_image(seed: int) -> PreparedImage:
    return PreparedImage(f"{seed:03d}.png", draw_part(seed))


def anomalous_image(seed: int) -> PreparedImage:
    """The part of that seed with a bright square on it."""
    plain = good_image(seed)
    image, mask = plain.image.copy(), np.zeros((SIZE, SIZE), bool)
    row, column = np.random.default_rng(seed).integers(4, SIZE - 24, 2)
    mask[row : row + 16, column : column + 16] = True
    image[mask] = 255 - image[mask]
    return PreparedImage(
        plain.name, image, mask, source="square", seed=seed, strength=1.0, origin_sha256=plain.sha256
    )
