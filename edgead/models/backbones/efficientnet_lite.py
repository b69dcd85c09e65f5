"""EfficientNet-Lite: depthwise convolutions and ReLU6, no squeeze-excitation, made for INT8.

Architecture and weights: TensorFlow's tpu/models/official/efficientnet/lite (Apache-2.0). Two habits of
TensorFlow matter for the numbers: "same" padding, which at stride 2 pads the right and the bottom more than
the left and the top, and batch norm with epsilon 1e-3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgead.models.backbones.base import Backbone, Normalise

MEAN = (127.0, 127.0, 127.0)
STD = (128.0, 128.0, 128.0)

# (expansion, kernel, stride, outputs, repeats) of the groups of Lite0, by the stage whose map they end with.
_GROUPS: tuple[tuple[tuple[int, int, int, int, int], ...], ...] = (
    ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2)),
    ((6, 5, 2, 40, 2),),
    ((6, 3, 2, 80, 3), (6, 5, 1, 112, 3)),
    ((6, 5, 2, 192, 4), (6, 3, 1, 320, 1)),
)
_STEM_CHANNELS = 32  # of every size
_DIVISOR = 8


@dataclass(frozen=True)
class Size:
    """A member of the family: by how much Lite0's groups are widened and repeated."""

    width: float = 1.0
    depth: float = 1.0

    def outputs(self, channels: int) -> int:
        """Channels in multiples of 8, never a tenth below what was asked for."""
        scaled = channels * self.width
        rounded = max(_DIVISOR, int(scaled + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
        return rounded if rounded >= 0.9 * scaled else rounded + _DIVISOR

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Of the four stages."""
        first, second, third, fourth = (self.outputs(groups[-1][3]) for groups in _GROUPS)
        return first, second, third, fourth

    def blocks(self) -> list[list[tuple[int, int, int, int, int]]]:
        """(expansion, kernel, stride, in, out) of each block of each stage; the family's first and last
        groups are repeated as often in every size.
        """
        stages, channels = [], _STEM_CHANNELS
        for groups in _GROUPS:
            blocks = []
            for group in groups:
                expansion, kernel, stride, channels_of_lite0, repeats = group
                is_fixed = group in (_GROUPS[0][0], _GROUPS[-1][-1])
                for number in range(repeats if is_fixed else math.ceil(self.depth * repeats)):
                    outputs = self.outputs(channels_of_lite0)
                    blocks.append((expansion, kernel, 1 if number else stride, channels, outputs))
                    channels = outputs
            stages.append(blocks)
        return stages


LITE0, LITE2 = Size(), Size(width=1.1, depth=1.2)


class ConvNorm(nn.Module):
    """Padding as TensorFlow's "same" for even sizes, convolution, batch norm, ReLU6 unless `linear`."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        total = kernel - stride  # pixels of padding in all, for sizes that the stride divides
        self.pad: nn.Module = nn.Identity()
        symmetric = total // 2
        if total % 2:  # stride 2: one pixel more at the right and the bottom
            self.pad = nn.ConstantPad2d((symmetric, total - symmetric) * 2, 0.0)
            symmetric = 0
        self.conv = nn.Conv2d(
            channels, outputs, kernel, stride=stride, padding=symmetric, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.act: nn.Module = nn.Identity() if linear else nn.ReLU6()

    def norm_pairs(self) -> list[tuple[str, str]]:
        return [("conv", "norm")]

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(self.pad(x))))


class InvertedResidual(nn.Module):
    """Widen with 1 x 1, filter each channel alone, narrow with 1 x 1; add the input where shapes agree."""

    def __init__(self, expansion: int, kernel: int, stride: int, channels: int, outputs: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand: nn.Module = ConvNorm(channels, wide) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, kernel=kernel, stride=stride, groups=wide)
        self.project = ConvNorm(wide, outputs, linear=True)
        self.residual = stride == 1 and channels == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite(Backbone):
    """Feature maps at strides 4, 8, 16 and 32: of 24, 40, 112 and 320 channels in Lite0."""

    def __init__(self, size: Size = LITE0) -> None:
        super().__init__()
        self.normalise = Normalise(MEAN, STD)
        self.conv_stem = ConvNorm(3, _STEM_CHANNELS, kernel=3, stride=2)
        for stage, blocks in enumerate(size.blocks(), start=1):
            self.add_module(f"layer{stage}", nn.Sequential(*(InvertedResidual(*block) for block in blocks)))

    def stem(self, x: Tensor) -> Tensor:
        return self.conv_stem(x)

    def first_convolution(self) -> nn.Conv2d:
        return self.conv_stem.conv

    def pad_first_convolution(self, value: float) -> bool:
        self.conv_stem.pad = nn.ConstantPad2d((0, 1, 0, 1), value)
        return True


_PARTS = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
_STEM = {"_conv_stem": "conv_stem.conv", "_bn0": "conv_stem.norm"}


def state_dict_from_published(
    published: Mapping[str, Tensor], *, size: Size = LITE0
) -> dict[str, torch.Tensor]:
    """Rename the tensors of the published file (`_blocks.7._bn1.weight`), leaving its classifier out.

    Names it does not know stay as they are, so that a strict load reports them.
    """
    positions = [(s, i) for s, blocks in enumerate(size.blocks(), start=1) for i in range(len(blocks))]
    return {_renamed(name, positions): value for name, value in published.items() if not _is_head(name)}


def _is_head(name: str) -> bool:
    return name.startswith(("_conv_head.", "_bn1.", "_fc."))


def _renamed(name: str, positions: list[tuple[int, int]]) -> str:
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block and int(block[1]) < len(positions) and block[2] in _PARTS:
        stage, index = positions[int(block[1])]
        return f"layer{stage}.{index}.{_PARTS[block[2]]}.{block[3]}"
    module, _, tensor = name.partition(".")
    return f"{_STEM[module]}.{tensor}" if module in _STEM else name
