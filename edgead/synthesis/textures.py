"""Foreign texture inside a mask: the substitute that RealNet and DRAEM use where nothing was generated."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from edgead.synthesis.blending import blend, bounding_box
from edgead.synthesis.masks import draw_mask
from edgead.synthesis.sources import AnomalySource

__all__ = ["AUGMENTATIONS", "TextureSource", "augment"]

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Generator = np.random.Generator
_LEVELS = np.arange(256, dtype=np.float32)


class TextureSource(AnomalySource):
    """A part of a texture after three random changes, in a mask; the strength is its opacity."""

    name: ClassVar[str] = "textures"
    strength_range: ClassVar[tuple[float, float]] = (0.2, 1.0)  # RealNet's range for textures
    families: ClassVar[dict[str, float]] = {"perlin": 0.7, "blob": 0.15, "stroke": 0.05, "edge-break": 0.1}

    def alter(self, image: Image, rng: Generator, *, strength: float, foreground: Mask) -> tuple[Image, Mask]:
        """See `AnomalySource.alter`."""
        mask = draw_mask(foreground, rng, families=self.families)
        rows, columns = bounding_box(mask)
        patch, inside = image[rows, columns], mask[rows, columns]
        height, width = inside.shape
        # cv2 takes arrays of a few pixels for scalars, and their histogram says nothing: 8 x 8 at least
        window = self.material.textures.window((max(height, 8), max(width, 8)), rng)
        content = augment(window, rng)[:height, :width]
        if self.material.is_grey:
            content = np.repeat(cv2.cvtColor(content, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        altered = image.copy()
        altered[rows, columns] = blend(patch, content, np.ascontiguousarray(inside), opacity=strength)
        return altered, mask


def augment(texture: Image, rng: Generator, *, count: int = 3) -> Image:
    """`count` different ones of the ten changes of `AUGMENTATIONS`, in random order; uint8 H W 3."""
    names = list(AUGMENTATIONS)
    for index in rng.permutation(len(names))[:count]:
        texture = AUGMENTATIONS[names[index]](texture, rng)
    return texture


def _through(texture: Image, table: npt.NDArray[np.float32]) -> Image:
    return np.asarray(cv2.LUT(texture, np.clip(np.rint(table), 0, 255).astype(np.uint8)), np.uint8)


def _gamma(texture: Image, rng: Generator) -> Image:
    return _through(texture, 255 * (_LEVELS / 255) ** np.float32(np.exp2(rng.uniform(-1, 1))))


def _brightness(texture: Image, rng: Generator) -> Image:
    return _through(texture, _LEVELS * np.float32(rng.uniform(0.8, 1.2)) + np.float32(rng.uniform(-30, 30)))


def _sharpness(texture: Image, rng: Generator) -> Image:
    amount = float(rng.uniform(0.5, 2.0))
    return np.asarray(cv2.addWeighted(texture, 1 + amount, cv2.blur(texture, (3, 3)), -amount, 0), np.uint8)


def _hue_saturation(texture: Image, rng: Generator) -> Image:
    planes = np.asarray(cv2.cvtColor(texture, cv2.COLOR_RGB2HSV), np.uint8)
    hue, saturation, value = planes[..., 0], planes[..., 1], planes[..., 2]
    hue = _through(hue, (_LEVELS + np.float32(rng.uniform(-35, 35))) % 180)  # cv2 halves degrees to 0..179
    saturation = _through(saturation, _LEVELS + np.float32(rng.uniform(-50, 50)))
    return np.asarray(cv2.cvtColor(cv2.merge([hue, saturation, value]), cv2.COLOR_HSV2RGB), np.uint8)


def _solarize(texture: Image, rng: Generator) -> Image:
    return _through(texture, np.where(rng.uniform(32, 128) > _LEVELS, _LEVELS, 255 - _LEVELS))


def _posterize(texture: Image, rng: Generator) -> Image:
    step = 2 ** int(rng.integers(3, 7))
    return _through(texture, np.floor(_LEVELS / step) * step + step / 2)


def _invert(texture: Image, rng: Generator) -> Image:
    return np.asarray(cv2.bitwise_not(texture), np.uint8)


def _autocontrast(texture: Image, rng: Generator) -> Image:
    low, high = float(texture.min()), float(texture.max())
    return _through(texture, (_LEVELS - low) * np.float32(255 / max(high - low, 1)))


def _equalize(texture: Image, rng: Generator) -> Image:
    return np.asarray(cv2.merge([cv2.equalizeHist(channel) for channel in cv2.split(texture)]), np.uint8)


def _rotate(texture: Image, rng: Generator) -> Image:
    height, width = texture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(-45, 45)), 1.0)
    return np.asarray(cv2.warpAffine(texture, turn, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)


AUGMENTATIONS: dict[str, Callable[[Image, Generator], Image]] = {
    "gamma": _gamma,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "hue-saturation": _hue_saturation,
    "solarize": _solarize,
    "posterize": _posterize,
    "invert": _invert,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "rotate": _rotate,
}
