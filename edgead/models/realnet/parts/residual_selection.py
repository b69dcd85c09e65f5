"""The strongest residuals of one image: reconstruction residual selection (RRS).

Residuals of all stages are brought to one resolution. Per image, the channels with the largest maximum and
those with the largest mean are kept, in the order of their rank: what follows sees "the strongest residual",
"the second strongest", and so on, not fixed channels. Source: RealNet (Zhang et al., CVPR 2024), section 3.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgead.errors import UsageError
from edgead.models.features.resize import resize_bilinear

MAX_TOP_K = 3840  # TensorRT's limit of its TopK layer


class ResidualSelection(nn.Module):
    """B C h w -> B (by_max + by_mean) h w: the channels of the largest maxima, then of the largest means.

    Channels are compared after a batch norm without parameters, so that stages of different scale compete
    fairly; what is passed on is the residual itself. No gradient flows through the choice. A channel may
    appear in both lists. In evaluation at batch 1 the gather is an index_select along channels: exported, it
    is ONNX's Gather instead of GatherElements with an index as large as the features.
    """

    def __init__(self, channels: int, *, by_max: int, by_mean: int) -> None:
        super().__init__()
        _check_counts(channels, by_max, by_mean)
        self.channels, self.by_max, self.by_mean = channels, by_max, by_mean
        # torch's momentum is the weight of the new batch: running = 0.1 old + 0.9 new, as published.
        self.norm = nn.BatchNorm2d(channels, affine=False, momentum=0.9)

    @property
    def outputs(self) -> int:
        return self.by_max + self.by_mean

    def forward(self, residuals: Tensor) -> Tensor:
        ranks = self.ranks(residuals.detach())  # B r
        if len(residuals) == 1 and not self.training:
            return residuals.index_select(1, ranks[0])
        index = ranks[:, :, None, None].expand(-1, -1, *residuals.shape[-2:])
        return residuals.gather(1, index)

    @torch.no_grad()
    def ranks(self, residuals: Tensor) -> Tensor:
        """Return the channel numbers of each image in order of rank, B (by_max + by_mean) int64."""
        highest, mean = self._statistics(residuals)
        parts = [
            values.topk(count, dim=1, sorted=True).indices
            for values, count in ((highest, self.by_max), (mean, self.by_mean))
            if count
        ]
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def _statistics(self, residuals: Tensor) -> tuple[Tensor, Tensor]:
        """Spatial maximum and mean of each normalised channel, each B C."""
        if self.training:
            normed = self.norm(residuals)
            return normed.amax(dim=(2, 3)), normed.mean(dim=(2, 3))
        # With fixed statistics the norm is an increasing line per channel, which maximum and mean commute
        # with: normalise 2 C numbers instead of C h w.
        mean, variance = self.norm.running_mean, self.norm.running_var
        if mean is None or variance is None:
            raise UsageError("The batch norm of the residual selection has lost its running statistics.")
        scale = (variance + self.norm.eps).rsqrt()
        highest, average = residuals.amax(dim=(2, 3)), residuals.mean(dim=(2, 3))
        return (highest - mean) * scale, (average - mean) * scale


class PaperDiscriminator(nn.Module):
    """Ranked residuals B r h w -> logits B 2 H W of normal and anomalous, H x W the size of the image.

    Two residual blocks of constant width, then ever narrower convolutions and two bilinear enlargements.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_residual_branch(channels) for _ in range(2))
        self.act = nn.ReLU()
        self.narrow = nn.Sequential(
            nn.Conv2d(channels, 128, 3, padding=1),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 8, 3, padding=1),
            nn.ReLU(),
        )
        self.classify = nn.Sequential(nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))

    def forward(self, selected: Tensor, size: tuple[int, int]) -> Tensor:
        x = selected
        for block in self.blocks:
            x = x + block(x)
        x = self.narrow(self.act(x))
        height, width = x.shape[-2:]
        return resize_bilinear(self.classify(resize_bilinear(x, (2 * height, 2 * width))), size)


def _residual_branch(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1, bias=False),
    )


def _check_counts(channels: int, by_max: int, by_mean: int) -> None:
    if min(by_max, by_mean) < 0 or by_max + by_mean == 0:
        raise UsageError(
            f"Residual selection needs channels to keep, got {by_max} by maximum, {by_mean} by mean."
        )
    if max(by_max, by_mean) > channels:
        raise UsageError(
            f"Residual selection cannot keep {by_max} channels by maximum and {by_mean} by mean of "
            f"{channels}: each must be at most {channels}. Keep fewer, or raise the channels."
        )
    if max(by_max, by_mean) > MAX_TOP_K:
        raise UsageError(f"Residual selection keeps at most {MAX_TOP_K} channels per rule, TensorRT's limit.")
