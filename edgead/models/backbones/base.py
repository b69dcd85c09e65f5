"""What every backbone has in common: frozen, pixels in, feature maps of the wanted stages out."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgead.errors import UsageError

STAGES = (1, 2, 3, 4)


@dataclass(frozen=True)
class FeatureInfo:
    """One feature map of a backbone: its stage, channels, stride, and the module that makes it."""

    stage: int
    channels: int
    stride: int
    module: str


def is_exporting() -> bool:
    """Whether torch records the operations: the example input was checked in the run before."""
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]  # public, but not declared
    return bool(traced) or torch.compiler.is_compiling()


class Normalise(nn.Module):
    """(image - mean) / std per channel, on pixels of 0..255; the first operation of every backbone."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Constants of the architecture, not weights: kept out of the state dict so that its names stay
        # those of the published files.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", 1.0 / torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) * self.scale


class Subtract(nn.Module):
    """image - mean per channel: what is left of `Normalise` once its scale is in the first convolution."""

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return images - self.mean


class Backbone(nn.Module, abc.ABC):
    """A frozen network cut after the deepest stage in use; always in evaluation mode.

    Subclasses define `normalise`, `stem(x)`, `layer1` to `layer4`, and `first_convolution()`.
    """

    normalise: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.feature_info: tuple[FeatureInfo, ...] = ()
        self.weights_sha256: str | None = None  # of the file the weights came from

    @abc.abstractmethod
    def stem(self, x: Tensor) -> Tensor:
        """What comes before `layer1`; x is normalised."""

    @abc.abstractmethod
    def first_convolution(self) -> nn.Conv2d:
        """The convolution that reads the normalised image."""

    def pad_first_convolution(self, value: float) -> bool:
        """Make the first convolution see `value` instead of zero beyond the border of the image.

        Returns whether this backbone can; where not, `fold_normalisation` leaves the subtraction in place.
        """
        return False

    @property
    def stages(self) -> tuple[int, ...]:
        return tuple(info.stage for info in self.feature_info)

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this, the stride of the deepest stage."""
        return max(info.stride for info in self.feature_info)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of `stages`, shallowest first.

        images: B 3 H W, float, RGB, pixels of 0..255. Maps: B C H/stride W/stride.
        """
        self._check(images)
        x = self.stem(self.normalise(images))
        maps = []
        for stage in range(1, self.stages[-1] + 1):
            x = getattr(self, f"layer{stage}")(x)
            if stage in self.stages:
                maps.append(x)
        return maps

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode: a frozen backbone's batch statistics never move."""
        super().train(False)
        return self

    def cut_and_freeze(self, infos: Sequence[FeatureInfo]) -> None:
        """Keep the stages of `infos`, drop everything behind the deepest, freeze what is left."""
        self.feature_info = tuple(infos)
        for stage in range(self.stages[-1] + 1, STAGES[-1] + 1):
            delattr(self, f"layer{stage}")
        self.requires_grad_(False)
        self.train(False)

    def _check(self, images: Tensor) -> None:
        if is_exporting():
            return
        shape = tuple(images.shape)
        if len(shape) != 4 or shape[1] != 3 or not images.is_floating_point():
            raise UsageError(
                f"A backbone takes a float tensor of B x 3 x H x W in 0..255, got {images.dtype} of "
                f"{' x '.join(map(str, shape))}. Convert with images.permute(0, 3, 1, 2).float()."
            )
        if shape[2] % self.multiple or shape[3] % self.multiple or 0 in shape:
            raise UsageError(
                f"The input is {shape[2]} x {shape[3]} pixels, but stage {self.stages[-1]} has stride "
                f"{self.multiple}: resize to multiples of {self.multiple}, or use shallower stages."
            )
