"""The one resize of feature maps, in networks and in the score."""

from __future__ import annotations

from torch import Tensor, nn


def resize_bilinear(x: Tensor, size: tuple[int, int], *, align_corners: bool = True) -> Tensor:
    """Resize B C h w to `size`; nothing where it has that size already."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return nn.functional.interpolate(x, tuple(size), mode="bilinear", align_corners=align_corners)
