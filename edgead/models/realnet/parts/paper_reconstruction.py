"""RealNet's published reconstruction network: a U-Net with attention, one per stage of the backbone.

It maps the selected features of an anomalous image to those of the normal one. Three levels of m/2, m and
2m channels for m selected channels; two residual blocks per level on the way down, three on the way up;
attention with heads of 64 channels in the lower two levels and in the middle. Derived from the U-Net of
diffusion models (Dhariwal and Nichol, 2021), without time embedding and dropout, with one convolution per
block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgead.errors import UsageError
from edgead.models.backbones.base import is_exporting

HEAD_CHANNELS = 64
_NORM_GROUPS = 32
_DOWN_BLOCKS, _UP_BLOCKS = 2, 3
_LEVELS = (1, 2, 4)  # width of each level, in units of m / 2


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_NORM_GROUPS, channels)


def _zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """Start as a constant zero, so that a branch says nothing before it has learned something."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _doubled(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)


class ResidualBlock(nn.Module):
    """Group norm, SiLU, one 3 x 3 convolution; the skip is a 1 x 1 convolution where widths differ.

    `resample` makes the same change of resolution on both paths, each with a module of its own.
    """

    def __init__(self, channels: int, outputs: int, *, resample: str = "none") -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.act = nn.SiLU()
        self.resample_main = _resampler(resample, channels)
        self.resample_skip = _resampler(resample, channels)
        self.conv = nn.Conv2d(channels, outputs, 3, padding=1)
        self.skip: nn.Module = nn.Identity() if channels == outputs else nn.Conv2d(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        main = self.conv(self.resample_main(self.act(self.norm(x))))
        return main + self.skip(self.resample_skip(x))


def _resampler(kind: str, channels: int) -> nn.Module:
    if kind == "down":
        return nn.AvgPool2d(2)
    return _doubled(channels) if kind == "up" else nn.Identity()


class Attention(nn.Module):
    """Every position attends to every position, in heads of 64 channels; added to the input.

    Written with matrix products of static shapes, which every engine has, and softmax in float32.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD_CHANNELS
        self.norm = _norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project = _zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        heads = self.qkv(self.norm(x)).reshape(batch * self.heads, 3, HEAD_CHANNELS, height * width)
        query, key, value = heads.unbind(dim=1)  # each B*heads 64 T
        scale = HEAD_CHANNELS**-0.25  # half on each side: products stay within the range of half precision
        weights = torch.matmul((query * scale).transpose(1, 2), key * scale)  # B*heads T T
        weights = weights.float().softmax(dim=-1).to(value.dtype)
        attended = torch.matmul(value, weights.transpose(1, 2))
        return x + self.project(attended.reshape(batch, channels, height, width))


class PaperReconstruction(nn.Module):
    """B m h w -> B m h w; h and w are multiples of 4. The output starts as zeros.

    Raises UsageError when m is not a multiple of 64: heads have 64 channels, and the narrowest level of m/2
    channels is normalised in 32 groups.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < HEAD_CHANNELS or channels % HEAD_CHANNELS:
            raise UsageError(
                f"The paper's reconstruction network needs a multiple of {HEAD_CHANNELS} channels, got "
                f"{channels}: its heads have {HEAD_CHANNELS} channels. Keep "
                f"{max(1, round(channels / HEAD_CHANNELS)) * HEAD_CHANNELS}, or use a compact network."
            )
        base = channels // 2
        skips = self._build_down(channels, base)
        deepest = base * _LEVELS[-1]
        self.middle = nn.Sequential(
            ResidualBlock(deepest, deepest), Attention(deepest), ResidualBlock(deepest, deepest)
        )
        self._build_up(base, skips)
        self.out = nn.Sequential(_norm(base), nn.SiLU(), _zeroed(nn.Conv2d(base, channels, 3, padding=1)))

    def _build_down(self, channels: int, base: int) -> list[int]:
        """Build the encoder; return the width of each of its outputs, all of which are skips."""
        self.stem = nn.Conv2d(channels, base, 3, padding=1)
        self.down = nn.ModuleList()
        widths = [base]
        for level, factor in enumerate(_LEVELS):
            for _ in range(_DOWN_BLOCKS):
                self.down.append(_level_block(widths[-1], base * factor, attend=level > 0))
                widths.append(base * factor)
            if level < len(_LEVELS) - 1:
                self.down.append(ResidualBlock(widths[-1], widths[-1], resample="down"))
                widths.append(widths[-1])
        return widths

    def _build_up(self, base: int, skips: list[int]) -> None:
        self.up = nn.ModuleList()
        width = base * _LEVELS[-1]
        for level, factor in reversed(list(enumerate(_LEVELS))):
            for index in range(_UP_BLOCKS):
                block = _level_block(width + skips.pop(), base * factor, attend=level > 0)
                width = base * factor
                if level > 0 and index == _UP_BLOCKS - 1:
                    block.append(ResidualBlock(width, width, resample="up"))
                self.up.append(block)

    def forward(self, x: Tensor) -> Tensor:
        _check_size(x)
        skips = [self.stem(x)]
        for block in self.down:
            skips.append(block(skips[-1]))
        y = self.middle(skips[-1])
        for block in self.up:
            y = block(torch.cat([y, skips.pop()], dim=1))
        return self.out(y)


def _check_size(x: Tensor) -> None:
    if is_exporting():
        return
    multiple = 2 ** (len(_LEVELS) - 1)
    height, width = x.shape[-2:]
    if height % multiple or width % multiple or not height * width:
        raise UsageError(
            f"The paper's reconstruction network halves its input twice: expected features of a multiple of "
            f"{multiple} in height and width, got {height} x {width}. Use larger images or shallower stages."
        )


def _level_block(channels: int, outputs: int, *, attend: bool) -> nn.Sequential:
    block = nn.Sequential(ResidualBlock(channels, outputs))
    if attend:
        block.append(Attention(outputs))
    return block
