"""The selected channels of one stage, each with mean 0 and deviation 1 over the good images.

A backbone's channels differ a hundredfold in scale. Standardised, each counts the same in the loss of the
reconstruction and in the residuals, and one INT8 scale fits them all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgead.models.features.selection import StageSelection

_LEAST_DEVIATION = 1e-3  # a channel that hardly varies must not be blown up to noise


class SelectedFeatures(nn.Module):
    """B C h w -> B m h w: the selected channels, standardised."""

    indices: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, selection: StageSelection) -> None:
        super().__init__()
        self.channels = selection.channels
        count = len(selection.indices)
        self.register_buffer("indices", torch.tensor(selection.indices), persistent=False)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))

    @torch.no_grad()
    def fit(self, batches: Sequence[Tensor]) -> None:
        """Set mean and scale from the good images' feature maps, each B C h w."""
        chosen = [batch.index_select(1, self.indices).double() for batch in batches]
        count = sum(batch.numel() // batch.shape[1] for batch in chosen)
        nothing = torch.zeros_like(self.mean, dtype=torch.float64)
        mean = sum((batch.sum(dim=(0, 2, 3)) for batch in chosen), nothing) / count
        centred = [(batch - mean.view(1, -1, 1, 1)).square().sum(dim=(0, 2, 3)) for batch in chosen]
        deviation = (sum(centred, nothing) / count).sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(1.0 / deviation.clamp(min=_LEAST_DEVIATION))

    def forward(self, features: Tensor) -> Tensor:
        chosen = features.index_select(1, self.indices)
        return (chosen - self.mean.view(1, -1, 1, 1)) * self.scale.view(1, -1, 1, 1)

    @torch.no_grad()
    def as_convolution(self) -> nn.Conv2d:
        """The same as one 1 x 1 convolution: an engine runs that faster than a gather and two products."""
        count = len(self.indices)
        convolution = nn.Conv2d(self.channels, count, 1, device=self.scale.device)
        convolution.weight.zero_()
        rows = torch.arange(count, device=self.scale.device)
        convolution.weight[rows, self.indices, 0, 0] = self.scale
        convolution.bias = nn.Parameter(-self.mean * self.scale)
        return convolution.eval().requires_grad_(False)


def fit_selections(parts: nn.ModuleList, chunks: Sequence[Sequence[Tensor]]) -> None:
    """Fit each part on the maps of its stage; chunks: the maps of some good images, one for each part."""
    for part, maps in zip(parts, zip(*chunks, strict=True), strict=True):
        if isinstance(part, SelectedFeatures):
            part.fit(maps)


def folded_selections(parts: nn.ModuleList) -> nn.ModuleList:
    """Each selection as one 1 x 1 convolution; what is one already stays."""
    return nn.ModuleList(p.as_convolution() if isinstance(p, SelectedFeatures) else p for p in parts)
