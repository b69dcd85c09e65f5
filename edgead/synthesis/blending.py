"""Putting new content into an image, and finding the pixels that really changed.

All blending works on uint8 before any normalisation, as in RealNet: A = (1-M) I + (1-d) M I + d M P with the
image I, the mask M, the opacity d and the content P.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["altered_pixels", "blend", "blend_weighted", "bounding_box", "max_difference"]

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float32]

_WINDOW = 5  # pixels over which the eye, and a network of stride 4, averages a change
_LEAST_CHANGE = 3.0  # grey levels that a mean over the window must reach in a flat area
_MASKING = 0.35  # ... and this share of the local deviation more in a textured one
_CERTAIN_CHANGE = 10.0  # a change of a single pixel that counts anywhere
_TINY_IMAGE = 1024  # pixels; in such an image each of them matters
_SPECK_PIXELS = 4  # smaller islands are undone instead of labelled


def bounding_box(mask: Mask) -> tuple[slice, slice]:
    """The rows and columns that hold the mask; two empty slices for an empty one."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(y, y + height), slice(x, x + width)


def blend(image: Image, content: Image, mask: Mask, *, opacity: float) -> Image:
    """`content` over `image` inside `mask` with `opacity` 0..1; both uint8 H W 3, a new image comes back."""
    base = image.astype(np.float32)
    mixed = base + (content.astype(np.float32) - base) * np.float32(opacity)
    return np.where(mask[..., None], np.rint(mixed).astype(np.uint8), image)


def blend_weighted(image: Image, content: Image, weights: Weights) -> Image:
    """The same with an opacity for each pixel, float32 H W in 0..1, for soft edges."""
    base = image.astype(np.float32)
    mixed = base + (content.astype(np.float32) - base) * weights[..., None]
    return np.rint(mixed).astype(np.uint8)


def max_difference(first: Image, second: Image) -> Image:
    """Per pixel, the largest absolute difference of the three colours, uint8 H W."""
    # numpy, because cv2 takes an array of a few pixels for a scalar
    difference = np.maximum(first, second) - np.minimum(first, second)
    return np.maximum(np.maximum(difference[..., 0], difference[..., 1]), difference[..., 2])


def altered_pixels(original: Image, altered: Image, drawn: Mask) -> tuple[Image, Mask]:
    """The altered image and the pixels of `drawn` that visibly changed; what nobody could see is no label.

    A change counts where its mean over 5 x 5 pixels exceeds what the texture around it would hide, or where
    the pixel itself changed by 10 levels. Changed specks of one to three pixels, and everything outside
    `drawn`, are set back to the original, so that no label is missing either.
    """
    rows, columns = bounding_box(drawn)
    mask = np.zeros(drawn.shape, np.bool_)
    result = original.copy()
    if rows.stop == rows.start:
        return result, mask
    before, after, region = original[rows, columns], altered[rows, columns], drawn[rows, columns]
    visible = _visible(before, after) & region
    kept = _without_specks(visible) if drawn.size >= _TINY_IMAGE else visible
    kept = _closed(kept) & region
    undo = ~region | (visible & ~kept)
    result[rows, columns] = np.where(undo[..., None], before, after)
    mask[rows, columns] = kept
    return result, mask


def _visible(before: Image, after: Image) -> Mask:
    change = max_difference(before, after).astype(np.float32)
    grey = before[..., 1].astype(np.float32)
    window = (_WINDOW, _WINDOW)
    variance = cv2.blur(grey * grey, window) - np.square(cv2.blur(grey, window))
    hidden = _LEAST_CHANGE + _MASKING * np.sqrt(np.maximum(variance, 0))
    limit = np.minimum(hidden, _CERTAIN_CHANGE)
    return np.asarray((cv2.blur(change, window) >= limit) | (change >= _CERTAIN_CHANGE))


def _closed(mask: Mask) -> Mask:
    """Gaps of a few pixels filled: new texture meets the old by chance there, and is still new texture."""
    kernel = np.ones((_WINDOW, _WINDOW), np.uint8)
    return np.asarray(cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_CLOSE, kernel)).view(np.bool_)


def _without_specks(mask: Mask) -> Mask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= _SPECK_PIXELS
    keep[0] = False
    return np.asarray(keep[labels])
