"""The one block that compact networks are built from."""

from __future__ import annotations

from torch import nn


def conv_norm(channels: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU: one operation once folded and fused."""
    return nn.Sequential(
        nn.Conv2d(channels, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
