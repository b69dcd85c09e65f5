"""NSA (arXiv 2109.15222): a piece of another good image cloned in without a seam, by Poisson editing."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from edgead.synthesis.blending import blend, bounding_box
from edgead.synthesis.masks import anchor_in, draw_mask
from edgead.synthesis.patches import cut_patch, rectangle_mask
from edgead.synthesis.sources import AnomalySource

__all__ = ["SeamlessSource", "clone_seamlessly"]

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Generator = np.random.Generator

_HALF_WIDTH = (0.03, 2.0, 0.05)  # of the side: 0.03 + Gamma(shape 2, scale 0.05)
_WIDEST = 0.25
_SCALE = (1.0, 0.5, 0.7, 1.3)  # normal with mean and deviation, clipped
_MARGIN = 2  # pixels around the mask that the solver needs


class SeamlessSource(AnomalySource):
    """A resized, shifted, sometimes turned piece of another good image; the strength is its opacity.

    The published settings mix the gradients of both images on textures and take the piece's own on objects;
    a part that fills the frame may be either, so both are drawn there.
    """

    name: ClassVar[str] = "seamless"
    strength_range: ClassVar[tuple[float, float]] = (0.5, 1.0)

    def alter(self, image: Image, rng: Generator, *, strength: float, foreground: Mask) -> tuple[Image, Mask]:
        """See `AnomalySource.alter`."""
        centre_yx = anchor_in(foreground, rng)
        mask = _region(image, centre_yx, rng, foreground=foreground)
        rows, columns = bounding_box(mask)
        inside = np.ascontiguousarray(mask[rows, columns])
        height, width = image.shape[:2]
        shift = rng.normal(0, 0.2, 2) * (height, width)
        origin = np.clip(np.asarray(centre_yx) + shift, 0, (height - 1, width - 1))
        scale = float(np.clip(rng.normal(*_SCALE[:2]), *_SCALE[2:]))
        padded_hw = (inside.shape[0] + 2 * _MARGIN, inside.shape[1] + 2 * _MARGIN)
        piece = cut_patch(
            self.material.other_image(rng),
            padded_hw,
            centre_yx=(float(origin[0]), float(origin[1])),
            scale=scale,
            degrees=_turn(rng),
        )
        mixed = self.material.fills_frame and rng.random() < 0.5
        patch = np.ascontiguousarray(image[rows, columns])
        altered = image.copy()
        altered[rows, columns] = blend(
            patch, clone_seamlessly(patch, piece, inside, mixed=mixed), inside, opacity=strength
        )
        return altered, mask


def clone_seamlessly(patch: Image, piece: Image, mask: Mask, *, mixed: bool) -> Image:
    """`piece` in `patch` under `mask` with gradients of the piece (or `mixed`); uint8, as large as `patch`.

    `piece` is two pixels wider than `patch` on every side. Where OpenCV refuses the clone the piece is
    returned as it is, which is a plain paste.
    """
    plain = np.ascontiguousarray(piece[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN])
    margins = (_MARGIN,) * 4
    target = cv2.copyMakeBorder(patch, *margins, cv2.BORDER_REFLECT)
    # the solver pins the mask's border, so it must not lie on the border of the picture
    where = cv2.copyMakeBorder(mask.view(np.uint8) * np.uint8(255), *margins, cv2.BORDER_CONSTANT, value=0)
    x, y, width, height = cv2.boundingRect(where)
    centre_xy = (x + width // 2, y + height // 2)  # OpenCV centres the mask's box, not the picture
    method = cv2.MIXED_CLONE if mixed else cv2.NORMAL_CLONE
    try:
        cloned = cv2.seamlessClone(piece, target, where, centre_xy, method)
    except cv2.error:
        return plain
    if cloned is None or cloned.shape != target.shape:
        return plain
    return np.ascontiguousarray(cloned[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN], np.uint8)


def _turn(rng: Generator) -> float:
    """Degrees; half of the pieces are turned, as a piece of an even surface hardly shows otherwise."""
    return 0.0 if rng.random() < 0.5 else float(rng.uniform(-90, 90))


def _region(image: Image, centre_yx: tuple[int, int], rng: Generator, *, foreground: Mask) -> Mask:
    """Mostly a turned rectangle of gamma-distributed half widths, sometimes a blob."""
    if rng.random() < 0.3:
        return draw_mask(foreground, rng, families={"blob": 0.7, "edge-break": 0.3})
    least, shape, scale = _HALF_WIDTH
    halves = np.minimum(least + rng.gamma(shape, scale, 2), _WIDEST) * image.shape[:2]
    size_hw = (max(3.0, float(2 * halves[0])), max(3.0, float(2 * halves[1])))
    shape_hw = (image.shape[0], image.shape[1])
    degrees = float(rng.choice([0.0, rng.uniform(-45, 45)]))
    return rectangle_mask(shape_hw, centre_yx=centre_yx, size_hw=size_hw, degrees=degrees) & foreground
