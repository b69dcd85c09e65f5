"""InvAD's networks as published: the fuser that makes style maps, the decoder that they modulate.

Source: Learning Feature Inversion for Multi-class Anomaly Detection under General-purpose COCO-AD Benchmark
(Zhang et al., arXiv 2404.10760); written from a description of the architecture and held to its published
numbers of parameters and multiply-accumulates. Convolutions with equalised learning rates, and enlargement by
a transposed convolution and a blur, are StyleGAN2's (Karras et al., CVPR 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STYLE_RATE = 0.01  # learning rate of the style pyramid, relative to the others'
_SLOPE = 0.2  # of the leaky ReLU below 0
_EPSILON = 1e-5  # of a variance, as torch's norms have it
_BLUR = (1.0, 3.0, 3.0, 1.0)


class EqualConv(nn.Module):
    """A convolution, "same"-padded, whose weights are kept at deviation 1 and scaled when they are used.

    Scaled by 1 / sqrt(inputs of one output) and by `rate`, which is thereby a learning rate of its own. With
    `enlarge` it is transposed with stride 2 and blurred with [1, 3, 3, 1]: B C h w -> B C' 2h 2w.
    """

    blur: Tensor

    def __init__(
        self,
        channels: int,
        outputs: int,
        kernel: int = 3,
        *,
        bias: float | None = 0.0,
        rate: float = 1.0,
        enlarge: bool = False,
    ) -> None:
        super().__init__()
        shape = (channels, outputs) if enlarge else (outputs, channels)
        self.weight = nn.Parameter(torch.randn(*shape, kernel, kernel) / rate)
        self.bias = None if bias is None else nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale, self.rate = rate / math.sqrt(channels * kernel * kernel), rate
        self.kernel, self.enlarge = kernel, enlarge
        if enlarge:
            line = torch.tensor(_BLUR)
            blur = torch.outer(line, line) / line.sum() ** 2 * 4  # 4: three of four pixels are new
            self.register_buffer("blur", blur.expand(outputs, 1, 4, 4).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale
        bias = None if self.bias is None else self.bias * self.rate
        if not self.enlarge:
            return F.conv2d(x, weight, bias, padding=self.kernel // 2)
        wide = F.conv_transpose2d(x, weight, stride=2)  # B C' 2h + kernel - 2
        smooth = F.conv2d(wide, self.blur, padding=(5 - self.kernel) // 2, groups=len(self.blur))
        return smooth if bias is None else smooth + bias.view(1, -1, 1, 1)


class StyleActivation(nn.Module):
    """Leaky ReLU, scaled to keep the deviation."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, _SLOPE) * math.sqrt(2)


class StyleFuser(nn.Module):
    """Features of all stages -> style maps, one for each stage, deepest first, B `width` h_k w_k.

    Strided convolutions bring every stage to the grid of the deepest; what passes its `width` channels there
    is all that the decoder learns of the image.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        strides = [2**depth for depth in reversed(range(len(channels)))]
        self.shrink = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, c, stride, stride=stride), nn.BatchNorm2d(c))
            for c, stride in zip(channels, strides, strict=True)
        )
        self.join = nn.Sequential(nn.Conv2d(sum(channels), width, 1), nn.BatchNorm2d(width), nn.ReLU())
        inner = width // 4
        self.bottleneck = nn.Sequential(
            nn.Conv2d(width, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.pyramid = nn.ModuleList(
            nn.Sequential(
                EqualConv(width, width, rate=_STYLE_RATE, enlarge=depth > 0),
                StyleActivation(),
                EqualConv(width, width, rate=_STYLE_RATE),
                StyleActivation(),
            )
            for depth in range(len(channels))
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        shrunk = [shrink(x) for shrink, x in zip(self.shrink, features, strict=True)]
        joined = self.join(torch.cat(shrunk, dim=1))
        style = F.relu(joined + self.bottleneck(joined))
        styles = []
        for step in self.pyramid:
            style = step(style)
            styles.append(style)
        return styles


def normalise_map(x: Tensor) -> Tensor:
    """Bring each image's map, B C h w, to mean 0 and deviation 1 in float32: a layer norm without weights.

    Spelt out, because TensorRT 8.5 has no LayerNormalization.
    """
    centred = x.float() - x.float().mean(dim=(1, 2, 3), keepdim=True)
    return centred * (centred.square().mean(dim=(1, 2, 3), keepdim=True) + _EPSILON).rsqrt()


class StyledConv(nn.Module):
    """Normalise over the whole map, modulate by the style, convolve, activate.

    Without a `style` width, as in the convolution that enlarges, nothing modulates.
    """

    def __init__(self, channels: int, outputs: int, style: int | None, *, enlarge: bool = False) -> None:
        super().__init__()
        self.gamma = None if style is None else EqualConv(style, channels, bias=1.0)
        self.beta = None if style is None else EqualConv(style, channels)
        self.conv = EqualConv(channels, outputs, enlarge=enlarge)
        self.act = StyleActivation()

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = normalise_map(x)
        if self.gamma is not None and self.beta is not None:
            x = x * self.gamma(style) + self.beta(style)
        return self.act(self.conv(x))


class StyledBlock(nn.Module):
    """Two styled convolutions beside a 1 x 1 convolution; the first one may enlarge."""

    def __init__(self, channels: int, outputs: int, style: int, *, enlarge: bool) -> None:
        super().__init__()
        self.conv1 = StyledConv(channels, outputs, None if enlarge else style, enlarge=enlarge)
        self.conv2 = StyledConv(outputs, outputs, style)
        self.skip = EqualConv(channels, outputs, 1, bias=None, enlarge=enlarge)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x, style), style) + self.skip(x)) / math.sqrt(2)


class StyleDecoder(nn.Module):
    """Style maps, deepest first -> features of the stages, shallowest first, B C_k h_k w_k.

    Begins with a learned constant of the deepest stage's `size` (h, w): whatever the features show of this
    image, they show through the modulation alone. `blocks` styled blocks follow for each stage.
    """

    def __init__(
        self, channels: Sequence[int], width: int, *, latent: int, blocks: int, size: tuple[int, int]
    ) -> None:
        super().__init__()
        widths = list(reversed(channels))
        self.constant = nn.Parameter(torch.randn(1, widths[0], *size))
        self.enter: nn.Module = EqualConv(widths[0], widths[0])
        self.latents = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, latent, 3, padding=1))
            for _ in widths
        )
        self.stages = nn.ModuleList()
        for depth, outputs in enumerate(widths):
            first = widths[max(depth - 1, 0)]
            self.stages.append(
                nn.ModuleList(
                    StyledBlock(
                        first if number == 0 else outputs, outputs, latent, enlarge=depth > 0 and number == 0
                    )
                    for number in range(blocks)
                )
            )

    def forward(self, styles: Sequence[Tensor]) -> list[Tensor]:
        x = self.enter(self.constant).expand(len(styles[0]), -1, -1, -1)
        rebuilt = []
        for blocks, latent, style in zip(self.stages, self.latents, styles, strict=True):
            codes = latent(style)
            for block in cast(nn.ModuleList, blocks):
                x = block(x, codes)
            rebuilt.append(x)
        return rebuilt[::-1]

    @torch.no_grad()
    def fold(self) -> None:
        """Write what is computed from the constant alone as a constant, in place."""
        self.constant = nn.Parameter(self.enter(self.constant), requires_grad=False)
        self.enter = nn.Identity()
