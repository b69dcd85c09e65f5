"""CutPaste (arXiv 2104.04015): a piece of a good image pasted elsewhere, as a patch or as a thin scar."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgead.synthesis.blending import blend, bounding_box
from edgead.synthesis.masks import anchor_in
from edgead.synthesis.patches import cut_patch, rectangle_mask
from edgead.synthesis.sources import AnomalySource

__all__ = ["CutPasteSource"]

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Generator = np.random.Generator

_PATCH_AREA = (0.002, 0.15)  # of the image; the paper starts at 0.02, too large for small defects
_PATCH_ASPECT = (0.3, 3.3)
_SCAR_WIDTH = (2.0, 16.0)  # pixels of a 256-pixel image
_SCAR_LENGTH = (10.0, 25.0)
_SCAR_DEGREES = 45.0
_JITTER = 0.1  # of brightness and contrast
_FROM_OTHER_IMAGE = 0.3


class CutPasteSource(AnomalySource):
    """Patches and scars in equal shares, with slight changes of light; the strength is their opacity.

    Half of the patches cover the surface wholly and grow with the strength instead: on products of few
    tones nothing real is half transparent.
    """

    name: ClassVar[str] = "cutpaste"
    strength_range: ClassVar[tuple[float, float]] = (0.25, 1.0)

    def alter(self, image: Image, rng: Generator, *, strength: float, foreground: Mask) -> tuple[Image, Mask]:
        """See `AnomalySource.alter`."""
        donor = self.material.other_image(rng) if rng.random() < _FROM_OTHER_IMAGE else image
        kind, opacity = float(rng.random()), strength
        if kind < 0.5:
            size_hw, degrees = _scar(image, rng)
        else:
            size_hw, degrees = _patch(image, rng)
        if kind > 0.75:  # the area grows with the square of the strength
            size_hw, opacity = (max(2.0, size_hw[0] * strength), max(2.0, size_hw[1] * strength)), 1.0
        shape_hw = (image.shape[0], image.shape[1])
        mask = rectangle_mask(
            shape_hw, centre_yx=anchor_in(foreground, rng), size_hw=size_hw, degrees=degrees
        )
        mask &= foreground
        rows, columns = bounding_box(mask)
        inside = np.ascontiguousarray(mask[rows, columns])
        content = cut_patch(
            donor, (inside.shape[0], inside.shape[1]), centre_yx=anchor_in(foreground, rng), degrees=degrees
        )
        altered = image.copy()
        altered[rows, columns] = blend(image[rows, columns], _jittered(content, rng), inside, opacity=opacity)
        return altered, mask


def _patch(image: Image, rng: Generator) -> tuple[tuple[float, float], float]:
    """Height and width in pixels, and the turn in degrees (none)."""
    area = np.exp(rng.uniform(*np.log(_PATCH_AREA))) * image.shape[0] * image.shape[1]
    aspect = np.exp(rng.uniform(*np.log(_PATCH_ASPECT)))
    return (max(1.0, float(np.sqrt(area * aspect))), max(1.0, float(np.sqrt(area / aspect)))), 0.0


def _scar(image: Image, rng: Generator) -> tuple[tuple[float, float], float]:
    unit = min(image.shape[:2]) / 256
    length, width = float(rng.uniform(*_SCAR_LENGTH)), float(np.exp(rng.uniform(*np.log(_SCAR_WIDTH))))
    return (max(1.0, length * unit), max(1.0, width * unit)), float(
        rng.uniform(-_SCAR_DEGREES, _SCAR_DEGREES)
    )


def _jittered(content: Image, rng: Generator) -> Image:
    gain, offset = float(rng.uniform(1 - _JITTER, 1 + _JITTER)), float(rng.uniform(-_JITTER, _JITTER)) * 255
    levels = np.arange(256, dtype=np.float32) * np.float32(gain) + np.float32(offset)
    return np.take(np.clip(np.rint(levels), 0, 255).astype(np.uint8), content)
