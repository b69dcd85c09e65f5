"""Compact fuser and decoder for feature inversion, made for INT8 and for matrix units.

The roles are InvAD's (edgead/models/invad/parts/style_modulation.py): features of all stages pass a narrow
style at the deepest grid, and a decoder that begins with a learned constant rebuilds them, modulated by it.
The parts are others: plain convolutions with batch norm that folds instead of a norm over the whole map,
nearest resizing instead of transposed convolution and blur, one modulation for each stage instead of one for
each convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgead.models.features.convolution import conv_norm


class CompactFuser(nn.Module):
    """Features of all stages -> style maps, deepest first, B width_k h_k w_k."""

    def __init__(self, channels: Sequence[int], width: int, widths: Sequence[int]) -> None:
        super().__init__()
        strides = [2**depth for depth in reversed(range(len(channels)))]
        self.shrink = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, s, stride=s, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for c, s in zip(channels, strides, strict=True)
        )
        self.join = nn.Sequential(
            conv_norm(len(channels) * width, width, kernel=1),
            conv_norm(width, width),
            conv_norm(width, width),
        )
        ends = list(reversed(widths))
        self.pyramid = nn.ModuleList(
            conv_norm(width if depth == 0 else ends[depth - 1], end) for depth, end in enumerate(ends)
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        shrunk = [shrink(x) for shrink, x in zip(self.shrink, features, strict=True)]
        style = self.join(torch.cat(shrunk, dim=1))
        styles: list[Tensor] = []
        for step in self.pyramid:
            style = step(_twice(style) if styles else style)
            styles.append(style)
        return styles


class CompactStage(nn.Module):
    """One stage of the decoder: what came from the deeper one is modulated by the style and convolved."""

    def __init__(self, channels: int, width: int, outputs: int, *, blocks: int) -> None:
        super().__init__()
        self.enter: nn.Module = conv_norm(channels, width)
        self.gamma = nn.Conv2d(width, width, 1)
        self.beta = nn.Conv2d(width, width, 3, padding=1)
        self.body = nn.Sequential(*(conv_norm(width, width) for _ in range(blocks)))
        self.leave = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """What the next stage begins with, B width h w, and the features of this one, B outputs h w."""
        modulated = F.relu(self.enter(x) * self.gamma(style) + self.beta(style))
        inner = self.body(modulated)
        return inner, self.leave(inner)


class CompactDecoder(nn.Module):
    """Style maps, deepest first -> features of the stages, shallowest first, B C_k h_k w_k."""

    def __init__(
        self, channels: Sequence[int], widths: Sequence[int], *, blocks: int, size: tuple[int, int]
    ) -> None:
        super().__init__()
        ends, outputs = list(reversed(widths)), list(reversed(channels))
        self.constant = nn.Parameter(torch.randn(1, ends[0], *size))
        self.stages = nn.ModuleList(
            CompactStage(ends[max(depth - 1, 0)], end, out, blocks=blocks)
            for depth, (end, out) in enumerate(zip(ends, outputs, strict=True))
        )

    def forward(self, styles: Sequence[Tensor]) -> list[Tensor]:
        x = self.constant.expand(len(styles[0]), -1, -1, -1)
        rebuilt: list[Tensor] = []
        for stage, style in zip(self.stages, styles, strict=True):
            x, features = stage(_twice(x) if rebuilt else x, style)
            rebuilt.append(features)
        return rebuilt[::-1]

    @torch.no_grad()
    def fold(self) -> None:
        """Write what is computed from the constant alone as a constant, in place."""
        first = cast(CompactStage, self.stages[0])
        self.constant = nn.Parameter(first.enter(self.constant), requires_grad=False)
        first.enter = nn.Identity()


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
