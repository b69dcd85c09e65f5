"""RealNet as published, for comparison: large, and measured against its own counts.

Source: RealNet: A Feature Selection Network with Realistic Synthetic Anomaly for Anomaly Detection (Zhang et
al., CVPR 2024), and its code. m_k channels per stage, one U-Net per stage, one discriminator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgead.errors import UsageError
from edgead.models.backbones import Backbone, build_backbone
from edgead.models.features.resize import resize_bilinear
from edgead.models.features.selection import FeatureSelection, first_channels
from edgead.models.realnet.parts.paper_reconstruction import PaperReconstruction
from edgead.models.realnet.parts.residual_selection import PaperDiscriminator, ResidualSelection

PAPER_BACKBONE = "wide_resnet50_2"
PAPER_CHANNELS = (256, 512, 512, 256)
PAPER_RESIDUALS = 512
_SCORE_WINDOW = 16  # pixels


def squared_residual(features: Tensor, reconstruction: Tensor) -> Tensor:
    """Element-wise (features - reconstruction) ** 2, in float32: half precision would underflow."""
    return (features.float() - reconstruction.float()).square()


def stack_residuals(residuals: Sequence[Tensor]) -> Tensor:
    """Maps B C_k h_k w_k at the largest of their sizes, corners aligned, joined along channels."""
    if not residuals:
        raise UsageError("Expected at least one map of residuals, got none.")
    height, width = max((r.shape[-2:] for r in residuals), key=lambda hw: hw[0] * hw[1])
    size = (int(height), int(width))
    return torch.cat([resize_bilinear(r, size) for r in residuals], dim=1)


class SelectChannels(nn.Module):
    """Gather the selected channels of each map: B C_k h w -> B m_k h w; nothing where all are kept."""

    def __init__(self, selection: FeatureSelection) -> None:
        super().__init__()
        self.selection = selection
        for position, stage in enumerate(selection.stages):
            # Saved with the selection as JSON, so not a second time with the weights.
            self.register_buffer(f"indices{position}", torch.tensor(stage.indices), persistent=False)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        pairs = enumerate(zip(maps, self.selection.stages, strict=True))
        return [
            m if len(stage.indices) == stage.channels else m.index_select(1, getattr(self, f"indices{k}"))
            for k, (m, stage) in pairs
        ]


@dataclass(frozen=True)
class PaperOutput:
    """What training needs: logits B 2 H W, and per stage the selected features and their reconstruction."""

    logits: Tensor
    features: list[Tensor]
    reconstructions: list[Tensor]


class PaperRealNet(nn.Module):
    """B 3 H W pixels of 0..255 in RGB -> logits, features and reconstructions."""

    def __init__(self, backbone: Backbone, selection: FeatureSelection, *, residuals: int) -> None:
        super().__init__()
        if backbone.stages != tuple(stage.stage for stage in selection.stages):
            raise UsageError(
                f"The backbone gives stages {backbone.stages}, the selection is of stages "
                f"{tuple(stage.stage for stage in selection.stages)}: they must agree."
            )
        self.backbone = backbone
        self.select = SelectChannels(selection)
        self.reconstructions = nn.ModuleList(PaperReconstruction(m) for m in selection.channels)
        self.residual_selection = ResidualSelection(
            sum(selection.channels), by_max=residuals - residuals // 2, by_mean=residuals // 2
        )
        self.discriminator = PaperDiscriminator(residuals)

    def features(self, images: Tensor) -> list[Tensor]:
        """The selected features of each stage, without gradient; the target of training for normal images."""
        with torch.no_grad():
            return self.select(self.backbone(images))

    def forward(self, images: Tensor) -> PaperOutput:
        features = self.features(images)
        reconstructions = [net(x) for net, x in zip(self.reconstructions, features, strict=True)]
        residuals = [squared_residual(x, y) for x, y in zip(features, reconstructions, strict=True)]
        selected = self.residual_selection(stack_residuals(residuals))
        height, width = images.shape[-2:]
        return PaperOutput(self.discriminator(selected, (height, width)), features, reconstructions)


def paper_loss(output: PaperOutput, targets: Sequence[Tensor], masks: Tensor) -> Tensor:
    """Cross-entropy per pixel plus, per stage, the mean squared error to the features of the normal image.

    targets: `features` of the normal images. masks: B H W, anomalous where non-zero. Equation 6 of the paper.
    """
    segmentation = nn.functional.cross_entropy(output.logits.float(), masks.ne(0).long())
    pairs = zip(output.reconstructions, targets, strict=True)
    return segmentation + sum(nn.functional.mse_loss(y.float(), t.float()) for y, t in pairs)


def paper_map_and_score(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the map of probabilities B H W, and the score B: its highest mean over 16 x 16 pixels."""
    anomaly_map = logits.float().softmax(dim=1)[:, 1]
    window = min(_SCORE_WINDOW, *anomaly_map.shape[-2:])
    pooled = nn.functional.avg_pool2d(anomaly_map[:, None], window, stride=1)
    return anomaly_map, pooled.amax(dim=(1, 2, 3))


def paper_realnet(
    *,
    backbone: str = PAPER_BACKBONE,
    stages: Sequence[int] = (1, 2, 3, 4),
    channels: Sequence[int] = PAPER_CHANNELS,
    residuals: int = PAPER_RESIDUALS,
    selection: FeatureSelection | None = None,
    weights: str | None = None,
) -> PaperRealNet:
    """Build the published network, by default at its published size (591 M parameters).

    Without a `selection` the first `channels[k]` channels of each stage stand in: right for costs and timing,
    wrong for accuracy. Under `torch.device("meta")` nothing is allocated.
    """
    network = build_backbone(backbone, stages=stages, weights=weights)
    chosen = selection or first_channels(network.feature_info, channels)
    return PaperRealNet(network, chosen, residuals=residuals)
