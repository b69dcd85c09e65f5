"""Where the part is in its pictures, found without being told what the part is.

Anomalies drawn on the empty background would teach a network to watch it. Published methods name a threshold
rule for each product; here several rules are tried on some of the good images and the one is kept whose
background behaves like one: it reaches most of the picture's border, it is even, it differs from the part,
and it takes about the same area in every picture. Where no rule does, the part fills the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgead.errors import UsageError

__all__ = ["RULES", "ForegroundFinder", "find_foreground", "foreground_mask"]

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

RULES = ("otsu-bright", "otsu-dark", "triangle-bright", "triangle-dark", "border-colour")
_LONGEST_SIDE = 128  # rules are applied to pictures no larger than this
_JUDGED_IMAGES = 16
_LEAST_BORDER = 0.7  # share of the border that the background must reach, in nearly every picture
_AREA = (0.02, 0.92)  # plausible share of the part
_LEAST_SCORE = 0.45


@dataclass(frozen=True)
class ForegroundFinder:
    """A rule chosen from good images; `mask(image)` costs well under a millisecond at 256 x 256."""

    rule: str  # one of RULES, or "whole"

    def mask(self, image: Image) -> Mask:
        """The part in `image` (uint8 H W 3) as bool H W; never empty, all True where the rule fails on it."""
        shape_hw = (image.shape[0], image.shape[1])
        if self.rule == "whole":
            return np.ones(shape_hw, np.bool_)
        part = ~_background(_shrunk(image), self.rule)
        share = float(part.mean())
        if not _AREA[0] / 2 <= share:
            return np.ones(shape_hw, np.bool_)
        grown = cv2.resize(part.view(np.uint8), (shape_hw[1], shape_hw[0]), interpolation=cv2.INTER_NEAREST)
        return np.asarray(grown).view(np.bool_)


def find_foreground(images: Sequence[Image]) -> ForegroundFinder:
    """The rule that separates the part from its background best in `images` (uint8 H W 3), or "whole".

    Raises `UsageError` when there are no images.
    """
    if len(images) == 0:
        raise UsageError("The foreground is found from good images, and none were given. Give at least one.")
    chosen = np.linspace(0, len(images) - 1, min(len(images), _JUDGED_IMAGES)).astype(int)
    small = [_shrunk(images[int(index)]) for index in chosen]
    scores = {rule: _score(small, rule) for rule in RULES}
    best = max(scores, key=lambda rule: scores[rule])
    return ForegroundFinder(best if scores[best] >= _LEAST_SCORE else "whole")


def foreground_mask(images: Image | Sequence[Image]) -> Mask:
    """The part as bool H W, from one image (uint8 H W 3), or from several of one part: where most have it."""
    if isinstance(images, np.ndarray):
        if images.ndim == 3:
            return find_foreground([images]).mask(images)
        images = list(images)
    finder = find_foreground(images)
    share = np.mean([finder.mask(image) for image in images], axis=0)
    most = np.asarray(share >= 0.5)
    return most if most.any() else np.ones_like(most)


def _score(images: Sequence[Image], rule: str) -> float:
    """0 for a rule that cannot be right, otherwise how even and distinct its background is, 0..1."""
    border, areas, qualities = [], [], []
    for image in images:
        background = _background(image, rule)
        border.append(float(_frame(background).mean()))
        areas.append(1.0 - float(background.mean()))
        qualities.append(_separation(image, background))
    if np.quantile(border, 0.1) < _LEAST_BORDER or not _AREA[0] <= float(np.median(areas)) <= _AREA[1]:
        return 0.0
    steadiness = 1.0 - min(1.0, float(np.std(areas)) / max(float(np.mean(areas)), 1e-6))
    return float(np.mean(border)) * float(np.mean(qualities)) * steadiness


def _separation(image: Image, background: Mask) -> float:
    """Share of the background's distance from the part that its own unevenness leaves, 0..1."""
    part = ~background
    if not background.any() or not part.any():
        return 0.0
    pixels = image.astype(np.float32)
    outside, inside = pixels[background], pixels[part]
    distance = float(np.abs(np.median(outside, axis=0) - np.median(inside, axis=0)).max())
    unevenness = float(outside.std(axis=0).max())
    return distance / (distance + 2 * unevenness + 8.0)  # 8 levels: less cannot be told from noise


def _background(image: Image, rule: str) -> Mask:
    """Pixels unlike the part that can be reached from the picture's border."""
    unlike = _unlike_part(image, rule)
    side = min(image.shape[:2])
    kernel = np.ones((max(1, side // 40),) * 2, np.uint8)
    without_gaps = cv2.morphologyEx(unlike, cv2.MORPH_OPEN, kernel)  # thin gaps belong to the part
    without_threads = cv2.morphologyEx(without_gaps, cv2.MORPH_CLOSE, kernel)  # thin threads do not
    _, labels = cv2.connectedComponents(without_threads, connectivity=4)
    reached = np.zeros(int(labels.max()) + 1, np.bool_)
    reached[_frame(labels)] = True
    reached[0] = False
    return np.asarray(reached[labels])


def _unlike_part(image: Image, rule: str) -> npt.NDArray[np.uint8]:
    if rule == "border-colour":
        frame = _frame(image)
        colour = np.median(frame, axis=0)
        spread = np.median(np.abs(frame - colour), axis=0)
        distance = np.abs(image - colour.astype(np.float32)) - 4 * spread.astype(np.float32)
        return np.asarray(distance.max(axis=2) <= 12, np.uint8)
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (3, 3), 0)
    kind = cv2.THRESH_OTSU if rule.startswith("otsu") else cv2.THRESH_TRIANGLE
    _, bright = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | kind)
    return np.asarray(1 - bright if rule.endswith("bright") else bright, np.uint8)


def _frame(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The outermost pixels, as a list."""
    return np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])


def _shrunk(image: Image) -> Image:
    height, width = image.shape[:2]
    scale = min(1.0, _LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == (width, height):
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
