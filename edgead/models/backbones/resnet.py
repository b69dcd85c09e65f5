"""ResNet-18, -34, -50 and WideResNet-50-2, with the names of torchvision's state dicts.

Papers: Deep Residual Learning (He et al., 2015), Wide Residual Networks (Zagoruyko and Komodakis, 2016). As
torchvision does, a bottleneck halves the resolution in its 3 x 3 convolution.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from edgead.models.backbones.base import Backbone, Normalise

MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
_PLANES = (64, 128, 256, 512)


def channels(block: type[BasicBlock | Bottleneck]) -> tuple[int, int, int, int]:
    """Channels of the four stages of a ResNet of such blocks."""
    first, second, third, fourth = (planes * block.expansion for planes in _PLANES)
    return first, second, third, fourth


def _conv(channels: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)


def _shortcut(channels: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels == outputs:
        return None
    return nn.Sequential(_conv(channels, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, channels: int, planes: int, stride: int, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(channels, planes, stride)

    def norm_pairs(self) -> list[tuple[str, str]]:
        return [("conv1", "bn1"), ("conv2", "bn2")]

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions and a shortcut; `width` is that of the 3 x 3 relative to 64."""

    expansion = 4

    def __init__(self, channels: int, planes: int, stride: int, width: int) -> None:
        super().__init__()
        inner, outputs = planes * width // 64, planes * self.expansion
        self.conv1 = _conv(channels, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = _conv(inner, inner, 3, stride)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = _conv(inner, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, outputs, stride)

    def norm_pairs(self) -> list[tuple[str, str]]:
        return [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")]

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(Backbone):
    """`depths` blocks per stage; feature maps at strides 4, 8, 16 and 32."""

    def __init__(
        self, block: type[BasicBlock | Bottleneck], depths: tuple[int, int, int, int], *, width: int = 64
    ) -> None:
        super().__init__()
        self.normalise = Normalise(MEAN, STD)
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for stage, (planes, depth) in enumerate(zip(_PLANES, depths, strict=True), start=1):
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 1 and index == 0 else 1
                blocks.append(block(channels, planes, stride, width))
                channels = planes * block.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))

    def norm_pairs(self) -> list[tuple[str, str]]:
        return [("conv1", "bn1")]

    def stem(self, x: Tensor) -> Tensor:
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))

    def first_convolution(self) -> nn.Conv2d:
        return self.conv1


def state_dict_from_published(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a torchvision file without its classifier `fc`."""
    return {name: value for name, value in published.items() if not name.startswith("fc.")}
