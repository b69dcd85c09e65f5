"""RealNet's simple reconstruction network, which its authors advise for one model of many products.

A U-Net of plain convolutions with instance norms, without the attention of the published default: less able
to rebuild whatever it is shown.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _unit(channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
        nn.InstanceNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _doubled(channels: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, outputs, 4, stride=2, padding=1)


class _Residual(nn.Module):
    """3 x 3 to half the channels and 1 x 1 back, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class SimpleReconstruction(nn.Module):
    """B m h w -> B m h w; h and w are multiples of 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        m = channels
        self.first = nn.Sequential(_unit(m, m), _unit(m, 2 * m))
        self.second = nn.Sequential(_unit(2 * m, 2 * m), _unit(2 * m, 4 * m))
        self.pool = nn.AvgPool2d(2)
        self.middle = nn.Sequential(_Residual(4 * m), _Residual(4 * m), nn.ReLU())
        self.up = nn.Sequential(_doubled(8 * m, 2 * m), nn.InstanceNorm2d(2 * m), nn.ReLU(inplace=True))
        self.leave = _doubled(4 * m, m)

    def forward(self, features: Tensor) -> Tensor:
        half = self.pool(self.first(features))
        quarter = self.pool(self.second(half))
        widened = self.up(torch.cat((self.middle(quarter), quarter), dim=1))
        return self.leave(torch.cat((widened, half), dim=1))
