"""Pieces cut out of good images, turned and scaled, to be put somewhere else."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["cut_patch", "rectangle_mask"]

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def cut_patch(
    image: Image,
    shape_hw: tuple[int, int],
    *,
    centre_yx: tuple[float, float],
    degrees: float = 0.0,
    scale: float = 1.0,
) -> Image:
    """`shape_hw` pixels of `image` (H W or H W 3) around a centre, mirrored beyond its border."""
    if degrees == 0.0 and scale == 1.0 and shape_hw[0] <= image.shape[0] and shape_hw[1] <= image.shape[1]:
        top = int(np.clip(round(centre_yx[0] - shape_hw[0] / 2), 0, image.shape[0] - shape_hw[0]))
        left = int(np.clip(round(centre_yx[1] - shape_hw[1] / 2), 0, image.shape[1] - shape_hw[1]))
        return np.ascontiguousarray(image[top : top + shape_hw[0], left : left + shape_hw[1]])
    cosine, sine = np.cos(np.deg2rad(degrees)) / scale, np.sin(np.deg2rad(degrees)) / scale
    middle_y, middle_x = (shape_hw[0] - 1) / 2, (shape_hw[1] - 1) / 2
    to_image = np.array(
        [
            [cosine, -sine, centre_yx[1] - cosine * middle_x + sine * middle_y],
            [sine, cosine, centre_yx[0] - sine * middle_x - cosine * middle_y],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (shape_hw[1], shape_hw[0])
    return np.asarray(
        cv2.warpAffine(image, to_image, size, flags=flags, borderMode=cv2.BORDER_REFLECT), np.uint8
    )


def rectangle_mask(
    shape_hw: tuple[int, int],
    *,
    centre_yx: tuple[int, int],
    size_hw: tuple[float, float],
    degrees: float = 0.0,
) -> Mask:
    """A turned rectangle as bool H W; its centre pixel is always part of it."""
    canvas = np.zeros(shape_hw, np.uint8)
    centre_xy = (float(centre_yx[1]), float(centre_yx[0]))
    corners = cv2.boxPoints((centre_xy, (max(size_hw[1] - 1, 0.0), max(size_hw[0] - 1, 0.0)), degrees))
    cv2.fillConvexPoly(canvas, np.rint(corners * 16).astype(np.int32), 1, cv2.LINE_8, 4)
    canvas[centre_yx] = 1
    return canvas.view(np.bool_)
