"""Putting new content into an image, and finding the pixels that really changed.

All blending works on uint8 before any normalisation, as in RealNet: A = (1-M) I + (1-d) M I + d M P with the
image I, the mask M, the opacity d and the content P.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["altered_pixels", "blend", "bounding_box", "max_difference"]

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float32]

_WINDOW = 5  # pixels over which the eye, and a network of stride 4, averages a change
_LEAST_CHANGE = 3.0  # grey levels that a mean over the window must reach in a flat area
_MASKING = 0.3  # ... and this share of the local deviation more in a textured one
_CERTAIN_CHANGE = 10.0  # a change of a single pixel that counts anywhere
_TINY_IMAGE = 1024  # pixels; in such an image each of them matters
_STRONG_SHARE = 0.2  # of an island of weak changes
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


def max_difference(first: Image, second: Image) -> Image:
    """Per pixel, the largest absolute difference of the three colours, uint8 H W."""
    # numpy, because cv2 takes an array of a few pixels for a scalar
    difference = np.maximum(first, second) - np.minimum(first, second)
    return np.asarray(np.maximum(np.maximum(difference[..., 0], difference[..., 1]), difference[..., 2]))


def altered_pixels(original: Image, altered: Image, drawn: Mask) -> tuple[Image, Mask]:
    """The altered image and the pixels of `drawn` that visibly changed; what nobody could see is no label.

    A change counts where its mean over 5 x 5 pixels exceeds what the texture around it would hide, or where
    the pixel itself changed by 10 levels. A region that changed half as much is part of it when a fifth of
    it counts (as the thresholds of Canny's edges do), so that a new texture is one region, not crumbs.
    Changed specks of one to three pixels, and everything outside `drawn`, are set back to the original.
    """
    rows, columns = bounding_box(drawn)
    mask = np.zeros(drawn.shape, np.bool_)
    result = original.copy()
    if rows.stop == rows.start:
        return result, mask
    before, after, region = original[rows, columns], altered[rows, columns], drawn[rows, columns]
    strong, weak = _changed(before, after)
    strong &= region
    kept = _connected(strong, weak & region, least=_SPECK_PIXELS if drawn.size >= _TINY_IMAGE else 1)
    undo = ~region | (strong & ~kept)
    kept = _closed(kept) & region
    result[rows, columns] = np.where((undo & ~kept)[..., None], before, after)
    mask[rows, columns] = kept
    return result, mask


def _changed(before: Image, after: Image) -> tuple[Mask, Mask]:
    """Where a change counts, and where it may count as part of one that does."""
    change = max_difference(before, after).astype(np.float32)
    grey = before[..., 1].astype(np.float32)
    window = (_WINDOW, _WINDOW)
    variance = cv2.blur(grey * grey, window) - np.square(cv2.blur(grey, window))
    hidden = _LEAST_CHANGE + _MASKING * np.sqrt(np.maximum(variance, 0))
    limit = np.minimum(hidden, _CERTAIN_CHANGE)
    mean = cv2.blur(change, window)
    strong = np.asarray((mean >= limit) | (change >= _CERTAIN_CHANGE))
    return strong, np.asarray(strong | (mean >= limit * np.float32(0.5)))


def _connected(strong: Mask, weak: Mask, *, least: int) -> Mask:
    """Islands of `weak` that are strong enough, the strong pixels of the others, and no islands of specks."""
    count, labels = cv2.connectedComponents(weak.view(np.uint8), connectivity=8)
    areas = np.bincount(labels.ravel(), minlength=count)
    strengths = np.bincount(labels[strong], minlength=count)
    counts = strengths >= least
    counts[0] = False
    whole = counts & (strengths >= _STRONG_SHARE * areas)
    return np.asarray(whole[labels] | (strong & counts[labels]))


def _closed(mask: Mask) -> Mask:
    """Gaps of a few pixels filled: new texture meets the old by chance there, and is still new texture."""
    kernel = np.ones((_WINDOW, _WINDOW), np.uint8)
    return np.asarray(cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_CLOSE, kernel)).view(np.bool_)
