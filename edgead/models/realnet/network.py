"""RealNet in sizes that a device can afford: one configuration from the paper's parts down to compact ones.

Feature selection, reconstruction, residual selection and the discriminator are RealNet's (Zhang et al., CVPR
2024). Ours are: standardised features, compact networks, absolute residuals instead of squared ones, joined
on the grid of a chosen stage instead of the largest, and a memory bank of good features whose distances
count beside the discriminator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgead.errors import UsageError
from edgead.models.backbones import Backbone
from edgead.models.banked_network import BankedNetwork
from edgead.models.features.resize import resize_bilinear
from edgead.models.features.selection import FeatureSelection
from edgead.models.features.standardise import SelectedFeatures, fit_selections, folded_selections
from edgead.models.network import FeatureBatch, Optimisation
from edgead.models.realnet.config import RealNetConfig
from edgead.models.realnet.parts import DISCRIMINATORS, RECONSTRUCTIONS, RESIDUALS
from edgead.models.realnet.parts.residual_selection import ResidualSelection
from edgead.models.scoring.components import ScoreComponents
from edgead.models.scoring.rule import pool_highest

_SEGMENTATION_WEIGHT = 4.0
_ANOMALOUS_WEIGHT = 2.0  # of anomalous cells, which are few
_LEAST_RESIDUAL = 0.1  # of features with deviation 1; smaller ones are noise, and INT8 makes more of it


@dataclass(frozen=True)
class RealNetOutput:
    """Logits B h w, and per stage the reconstruction of its features and the difference to it, B m h w."""

    logits: Tensor
    reconstructions: list[Tensor]
    differences: list[Tensor]


class RealNet(BankedNetwork):
    """Feature maps of a frozen backbone -> logits of an anomaly per cell of the map, reconstructions."""

    config: RealNetConfig
    learns_from_anomalies = True
    last_part = "discriminator"

    def __init__(self, config: RealNetConfig, backbone: Backbone, selection: FeatureSelection) -> None:
        super().__init__(config, backbone, selection)
        self.standardise = nn.ModuleList(SelectedFeatures(stage) for stage in selection.stages)
        build = RECONSTRUCTIONS[config.reconstruction]
        self.reconstructions = nn.ModuleList(
            build(m, w) for m, w in zip(config.channels, config.reconstruction_widths, strict=True)
        )
        kept, half = sum(config.channels), config.residual_count // 2
        self.residual_selection: nn.Module = nn.Identity()
        if half:
            self.residual_selection = ResidualSelection(kept, by_max=half, by_mean=half)
        self.discriminator = DISCRIMINATORS[config.discriminator](
            2 * half or kept, config.discriminator_width
        )

    @property
    def parts(self) -> dict[str, str]:
        parts = super().parts | {"residual_selection": "selection", "discriminator": "discriminator"}
        for position, stage in enumerate(self.config.stages):
            for module in ("standardise", "reconstructions"):
                parts[f"{module}.{position}"] = f"reconstruction {stage}"
        return parts

    @property
    def optimisation(self) -> Optimisation:
        weights = {"segmentation": _SEGMENTATION_WEIGHT, "image": self.config.image_weight}
        return Optimisation(loss_weights=weights)

    def fit_good(self, chunks: Sequence[list[Tensor]], generator: torch.Generator) -> None:
        fit_selections(self.standardise, chunks)
        super().fit_good(chunks, generator)

    def standardised(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The selected channels of each stage, standardised: the targets, for good images."""
        return [standardise(m) for standardise, m in zip(self.standardise, maps, strict=True)]

    def forward(self, maps: Sequence[Tensor]) -> RealNetOutput:
        """maps: the backbone's, one for each stage, B C_k h_k w_k."""
        features = self.standardised(maps)
        rebuilt = [network(x) for network, x in zip(self.reconstructions, features, strict=True)]
        differences = [x.float() - y.float() for x, y in zip(features, rebuilt, strict=True)]
        (grid,) = self.maps_of((self.config.grid_stage,), maps)
        size = (int(grid.shape[-2]), int(grid.shape[-1]))
        seen = [_on_grid(RESIDUALS[self.config.residual_kind](d), size) for d in differences]
        logits = self.discriminator(self.residual_selection(torch.cat(seen, dim=1)))
        return RealNetOutput(logits, rebuilt, differences)

    def losses(self, output: RealNetOutput, batch: FeatureBatch) -> dict[str, Tensor]:
        """Squared error to the good features of each stage; cross-entropy per cell of the map and per image.

        A cell's target is the share of its pixels that are anomalous. Equation 6 of the paper, with weights
        of ours for the sum. Ours is the loss of the images: what stands for one in the score, the mean of its
        highest logits, must tell whether it has an anomaly. Cells alone let a few high ones on good images
        pass, since they are few; the score is made of them.
        """
        if batch.masks is None:
            raise UsageError("RealNet is trained on batches with anomalies and their masks; found none.")
        height, width = output.logits.shape[-2:]
        wanted = F.adaptive_avg_pool2d(batch.masks[:, None].float(), (int(height), int(width)))[:, 0]
        weight = torch.full((), _ANOMALOUS_WEIGHT, device=batch.masks.device)
        segmentation = F.binary_cross_entropy_with_logits(output.logits.float(), wanted, pos_weight=weight)
        pairs = zip(output.reconstructions, self.standardised(batch.targets), strict=True)
        errors = [F.mse_loss(rebuilt.float(), target.float()) for rebuilt, target in pairs]
        losses = {"segmentation": segmentation, "reconstruction": torch.stack(errors).sum()}
        if self.config.image_weight:
            pooled = pool_highest(output.logits.float(), batch.top_share)
            has_anomaly = batch.masks.flatten(1).any(dim=1).float()
            losses["image"] = F.binary_cross_entropy_with_logits(pooled, has_anomaly)
        return losses

    def score_components(self, maps: Sequence[Tensor]) -> ScoreComponents:
        output = self(maps)
        squares = [d.square() for d in self.maps_of(self.config.residual_map_stages, output.differences)]
        return ScoreComponents(
            logits=output.logits,
            residuals=[torch.log(square.mean(dim=1) + _LEAST_RESIDUAL) for square in squares],
            distances=self.distances(maps),
        )

    def fold(self) -> None:
        """Write the selections as 1 x 1 convolutions; drop the banks' repeated prototypes."""
        super().fold()
        self.standardise = folded_selections(self.standardise)


def _on_grid(residual: Tensor, size: tuple[int, int]) -> Tensor:
    if residual.shape[-1] > size[1]:
        return F.avg_pool2d(residual, int(residual.shape[-1]) // size[1])
    return resize_bilinear(residual, size, align_corners=False)
