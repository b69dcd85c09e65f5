"""Compact reconstruction network and discriminator, made for INT8 and for matrix units.

RealNet's own networks (paper_reconstruction.py, PaperDiscriminator) spend 100 of their 115 GMAC behind the
backbone. These keep the roles and change the parts: plain convolutions with batch norm that folds, no
attention, nearest resizing instead of transposed convolution, and a discriminator that works on the
residuals' grid and writes each of its cells as 2 x 2 pixels of the map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgead.models.features.convolution import conv_norm


class CompactReconstruction(nn.Module):
    """Rebuilds the good features of one stage from those of a possibly anomalous image.

    B m h w -> B m h w. The narrow path at half the resolution is what an anomaly has to pass.
    `width` is the number of channels of that path's ends; h and w must be even.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.enter = conv_norm(channels, width)
        self.down = conv_norm(width, 2 * width, stride=2)
        self.middle = conv_norm(2 * width, 2 * width)
        self.up = conv_norm(2 * width, width)
        self.leave = nn.Conv2d(2 * width, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        entered = self.enter(features)
        narrow = self.up(self.middle(self.down(entered)))
        widened = F.interpolate(narrow, scale_factor=2.0, mode="nearest")
        return self.leave(torch.cat((entered, widened), dim=1))


class CompactDiscriminator(nn.Module):
    """Segments the anomaly in the selected residuals: B r h w -> logits, B 2h 2w."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.enter = conv_norm(channels, width)
        self.body = conv_norm(width, width)
        self.down = conv_norm(width, 2 * width, stride=2)
        self.middle = conv_norm(2 * width, 2 * width)
        self.up = conv_norm(2 * width, width)
        self.fuse = conv_norm(2 * width, width)
        self.leave = nn.Conv2d(width, 4, 1)

    def forward(self, residuals: Tensor) -> Tensor:
        shallow = self.body(self.enter(residuals))
        deep = F.interpolate(self.up(self.middle(self.down(shallow))), scale_factor=2.0, mode="nearest")
        fused = self.fuse(torch.cat((shallow, deep), dim=1))
        return F.pixel_shuffle(self.leave(fused), 2).squeeze(1)
