"""Memory banks of single stages, each on its own grid: what is small shows where the features are fine.

One bank of joined deep stages sees a part's texture and shape; a short scratch or a missing hole vanishes in
cells that are 32 pixels wide. Here a stage has a bank of its own, of features averaged over 3 x 3 cells
(PatchCore's neighbourhood, Roth et al., CVPR 2022), and the distances are brought to the mean and deviation
that good images have at each place of the grid: at an edge or a print good parts differ more than elsewhere.

Every second place in either direction is compared: the windows of 3 x 3 cells around them overlap and leave
no cell out, and the distances, which cost more than all else of a bank, are a quarter as many. Each stands
in the map for 2 x 2 cells of which it is the first: half a cell to one side, 4 pixels at stride 8.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgead.models.backbones.base import FeatureInfo
from edgead.models.features.memory_bank import MemoryBank

_PRIOR_IMAGES = 10  # weight, in images, of what all places have in common
_LEAST_DEVIATION = 1e-3  # of a squared distance of standardised features; less is rounding


class DetailBank(nn.Module):
    """The features of one stage, B C h w -> distances, in deviations of good images at each place.

    The distances are of every `stride`-th place in either direction, B ceil(h / stride) ceil(w / stride);
    `grid` is (h, w).
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, channels: int, grid: tuple[int, int], *, components: int, size: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.stride = stride
        places = [-(-length // stride) for length in grid]
        self.bank = MemoryBank([channels], components=min(components, channels), size=size, density=True)
        self.register_buffer("mean", torch.zeros(*places))
        self.register_buffer("scale", torch.ones(*places))

    @torch.no_grad()
    def fit(self, chunks: Sequence[Tensor], generator: torch.Generator) -> None:
        """Set the bank, and mean and deviation at each place, from the maps of good images.

        The bank holds features of all places. Mean and deviation are averaged over 3 x 3 of those compared,
        and drawn towards those of all; the fewer images, the further. Raises TrainingError when the features
        do not vary.
        """
        near = [_neighbourhoods(maps.float()) for maps in chunks]
        self.bank.fit([[maps] for maps in near], generator)
        compared = [maps[..., :: self.stride, :: self.stride] for maps in near]
        distances = torch.cat([self.bank([maps]) for maps in compared]).double()
        count, common = len(distances), distances.mean()
        mean = _towards(_neighbourhoods(distances.mean(dim=0)[None])[0], common, count)
        spread = (distances - mean).square().mean(dim=0)
        variance = _towards(_neighbourhoods(spread[None])[0], (distances - common).square().mean(), count)
        self.mean.copy_(mean)
        self.scale.copy_(1.0 / variance.sqrt().clamp(min=_LEAST_DEVIATION))

    def forward(self, maps: Tensor) -> Tensor:
        return (self.bank([_neighbourhoods(maps, self.stride)]) - self.mean) * self.scale

    def fold(self) -> None:
        """Drop the bank's repeated prototypes."""
        self.bank = self.bank.without_repeated()


def detail_banks_of(
    infos: Sequence[FeatureInfo],
    stages: Sequence[int],
    input_size: tuple[int, int],
    *,
    components: int,
    size: int,
    stride: int,
) -> nn.ModuleList:
    """A bank, not fitted, for each of these stages; input_size is (height, width) of an image."""
    known = {info.stage: info for info in infos}
    height, width = input_size
    return nn.ModuleList(
        DetailBank(
            known[stage].channels,
            (height // known[stage].stride, width // known[stage].stride),
            components=components,
            size=size,
            stride=stride,
        )
        for stage in stages
    )


def fit_details(banks: nn.ModuleList, chunks: Sequence[Sequence[Tensor]], generator: torch.Generator) -> None:
    """Fit each bank on the maps of its stage; chunks: the maps of some good images, one for each bank."""
    for bank, maps in zip(banks, zip(*chunks, strict=True), strict=True):
        if isinstance(bank, DetailBank):
            bank.fit(maps, generator)


def _neighbourhoods(maps: Tensor, stride: int = 1) -> Tensor:
    """The mean of 3 x 3 cells around each `stride`-th; of those that exist at the border."""
    return F.avg_pool2d(maps, 3, stride=stride, padding=1, count_include_pad=False)


def _towards(own: Tensor, common: Tensor, count: int) -> Tensor:
    return (count * own + _PRIOR_IMAGES * common) / (count + _PRIOR_IMAGES)
