"""The masks of data sets as they are published: pictures, folders of pictures, text files of boxes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgead.errors import DataError
from edgead.images import read_bytes, read_stored
from edgead.picture_files import pictures_in

Mask = npt.NDArray[np.bool_]


def read_mask(
    path: str | os.PathLike[str], shape_hw: tuple[int, int], *, has_class_numbers: bool = False
) -> Mask:
    """The mask in a file as bool H W, True on the defect; `shape_hw` is the size of its image.

    A pixel is on where any colour is above half of full scale, or above 0 in a mask of zeros and ones; with
    `has_class_numbers`, where any is above 0. A folder stands for the masks in it, which count together; a
    text file for its boxes, one per line: left, top, right, bottom in pixels, and what else the line says.
    Raises `DataError` when the sizes differ, and for grey levels that fit neither reading (class numbers).
    """
    path = Path(path)
    if path.is_dir():
        return _union(path, shape_hw, has_class_numbers)
    if path.suffix.lower() == ".txt":
        return _boxes(path, shape_hw)
    stored = read_stored(path)
    if stored.shape[:2] != tuple(shape_hw):
        raise DataError(
            f"Mask {path} should be as large as its image, {shape_hw[1]} x {shape_hw[0]} (width x height), "
            f"and is {stored.shape[1]} x {stored.shape[0]}. Export it again in the image's size."
        )
    levels = stored if stored.ndim == 2 else _levels_of_colours(stored)
    highest, half = int(levels.max()), int(np.iinfo(levels.dtype).max) // 2
    if has_class_numbers:
        return levels > 0
    if 1 < highest <= half:
        raise DataError(
            f"Mask {path} should hold 0 and 255 (or 0 and 1), and its highest value is {highest}. "
            "If its values are numbers of classes, set every defect to 255."
        )
    return levels > (half if highest > 1 else 0)


def _levels_of_colours(stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The highest colour of each pixel; its opacity where the mask is drawn in that, and is black."""
    colours: npt.NDArray[Any] = stored[..., :3].max(axis=2)
    if stored.shape[2] == 4 and not colours.any() and stored[..., 3].min() < stored[..., 3].max():
        opacity: npt.NDArray[Any] = stored[..., 3]
        return opacity
    return colours


def _union(folder: Path, shape_hw: tuple[int, int], has_class_numbers: bool) -> Mask:
    masks = pictures_in(folder).pictures
    if not masks:
        raise DataError(f"{folder} should hold the masks of one image, and holds no picture. Copy it again.")
    found = np.zeros(shape_hw, dtype=bool)
    for mask in masks:
        found |= read_mask(mask, shape_hw, has_class_numbers=has_class_numbers)
    return found


def _boxes(path: Path, shape_hw: tuple[int, int]) -> Mask:
    found = np.zeros(shape_hw, dtype=bool)
    for number, line in enumerate(read_bytes(path).decode("utf-8", "replace").splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        try:
            left, top, right, bottom = (int(word) for word in words[:4])
        except ValueError:
            raise DataError(
                f"{path}, line {number}: expected left, top, right and bottom of a box in pixels, found "
                f"'{line[:60]}'. Copy the file again."
            ) from None
        if not (0 <= left < right <= shape_hw[1] and 0 <= top < bottom <= shape_hw[0]):
            raise DataError(
                f"{path}, line {number}: the box {left}, {top}, {right}, {bottom} is empty or outside of its "
                f"image, {shape_hw[1]} x {shape_hw[0]} (width x height). Is it the file of another image?"
            )
        found[top:bottom, left:right] = True
    return found
