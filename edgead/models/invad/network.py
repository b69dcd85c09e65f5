"""InvAD: one model for many products, by feature inversion, in the published sizes and a compact one.

A frozen backbone's features pass a narrow style; a decoder that begins with a constant rebuilds them from it.
Trained on good images alone; where an image has an anomaly, the features are not rebuilt. Source: Zhang et
al., arXiv 2404.10760. Ours are the compact networks, standardised features, and the memory bank of good
features whose distances count beside the inversion.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgead.models.backbones import Backbone
from edgead.models.banked_network import BankedNetwork
from edgead.models.features.resize import resize_bilinear
from edgead.models.features.selection import FeatureSelection
from edgead.models.features.standardise import SelectedFeatures, fit_selections, folded_selections
from edgead.models.invad.config import InvADConfig
from edgead.models.invad.parts.compact import CompactDecoder, CompactFuser
from edgead.models.invad.parts.style_modulation import StyleDecoder, StyleFuser
from edgead.models.network import FeatureBatch, Optimisation
from edgead.models.scoring.components import ScoreComponents

_LEAST_NORM = 1e-6


class InvAD(BankedNetwork):
    """Feature maps of a frozen backbone -> the same features, rebuilt from a narrow style."""

    config: InvADConfig
    learns_from_anomalies = False
    last_part = "decoder"

    def __init__(self, config: InvADConfig, backbone: Backbone, selection: FeatureSelection) -> None:
        super().__init__(config, backbone, selection)
        chosen = [s for s in selection.stages if s.stage in config.inverted_stages]
        plain = not config.standardised and not config.channels
        self.select = nn.ModuleList(nn.Identity() if plain else SelectedFeatures(stage) for stage in chosen)
        channels = [len(stage.indices) for stage in chosen]
        size = config.grid(config.inverted_stages[-1])
        if config.decoder == "published":
            self.fuser: nn.Module = StyleFuser(channels, config.style_width)
            self.decoder: StyleDecoder | CompactDecoder = StyleDecoder(
                channels, config.style_width, latent=config.latent_width, blocks=config.blocks, size=size
            )
        else:
            self.fuser = CompactFuser(channels, config.style_width, config.widths)
            self.decoder = CompactDecoder(channels, config.widths, blocks=config.blocks, size=size)

    @property
    def optimisation(self) -> Optimisation:
        if self.config.decoder == "published":
            weights = {"inversion": self.config.loss_weight}
            return Optimisation(
                (0.0, 0.99), weight_decay=0.0, clip=5.0, schedule="step", loss_weights=weights
            )
        return Optimisation(loss_weights={"inversion": self.config.loss_weight})

    @property
    def parts(self) -> dict[str, str]:
        return super().parts | {"select": "style", "fuser": "style", "decoder": "decoder"}

    def fit_good(self, chunks: Sequence[list[Tensor]], generator: torch.Generator) -> None:
        if self.config.standardised:
            fit_selections(self.select, [self.maps_of(self.config.inverted_stages, maps) for maps in chunks])
        super().fit_good(chunks, generator)

    def selected(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The features of the inverted stages: what is rebuilt."""
        inverted = self.maps_of(self.config.inverted_stages, maps)
        return [select(m) for select, m in zip(self.select, inverted, strict=True)]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The features of the inverted stages, rebuilt; maps: the backbone's, one for each stage."""
        rebuilt: list[Tensor] = self.decoder(self.fuser(self.selected(maps)))
        return rebuilt

    def losses(self, output: list[Tensor], batch: FeatureBatch) -> dict[str, Tensor]:
        """The mean squared error of each stage, summed."""
        pairs = zip(output, self.selected(batch.targets), strict=True)
        return {"inversion": torch.stack([F.mse_loss(y.float(), x.float()) for y, x in pairs]).sum()}

    def score_components(self, maps: Sequence[Tensor]) -> ScoreComponents:
        features = self.selected(maps)
        distance = cosine_distance(features, self.decoder(self.fuser(features)))
        return ScoreComponents(None, [smoothed(distance)], self.distances(maps))

    def fold(self) -> None:
        """Write the selections as 1 x 1 convolutions; drop what is constant and what is repeated."""
        super().fold()
        self.select = folded_selections(self.select)
        self.decoder.fold()


def cosine_distance(features: Sequence[Tensor], rebuilt: Sequence[Tensor]) -> Tensor:
    """1 - cosine of the angle between features and their reconstruction, B h w at the first stage's size.

    Each stage is brought to length 1 in every cell, then enlarged (corners aligned) and joined with the
    others, so that all stages count alike.
    """
    size = (int(features[0].shape[-2]), int(features[0].shape[-1]))
    sides = [
        torch.cat([resize_bilinear(_unit(x.float()), size) for x in side], dim=1)
        for side in (features, rebuilt)
    ]
    return 1.0 - (_unit(sides[0]) * _unit(sides[1])).sum(dim=1)


def _unit(x: Tensor) -> Tensor:
    return x * (x.square().sum(dim=1, keepdim=True) + _LEAST_NORM).rsqrt()


def smoothed(cells: Tensor) -> Tensor:
    """The mean of 3 x 3 cells, twice: a bell of deviation 1.15 cells.

    The paper's is a Gaussian of 4 pixels on a map of 256, 1 cell. Means stay in float when an engine
    quantizes convolutions.
    """
    once = F.avg_pool2d(cells[:, None], 3, stride=1, padding=1, count_include_pad=False)
    return F.avg_pool2d(once, 3, stride=1, padding=1, count_include_pad=False)[:, 0]
