"""The network as it is deployed: pixels in, one anomaly map and one score out."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from edgead.models.folding import fold_backbone, fold_batch_norms
from edgead.models.network import InspectionNetwork
from edgead.models.scoring.rule import ScoreRule, fuse
from edgead.models.scoring.scales import Scales


class _ProductScales(nn.Module):
    """`ScoreRule.scales_of` under a name of its own in the exported graph."""

    def __init__(self, rule: ScoreRule) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, context: Tensor) -> Scales:
        return self.rule.scales_of(context)


class InspectionModel(nn.Module):
    """images uint8 B H W 3, RGB, at the input size -> anomaly_map float32 B h w, score float32 B.

    The network is a submodule with the name of its family, as in "realnet.discriminator".
    """

    def __init__(self, network: InspectionNetwork, rule: ScoreRule) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.family: str = network.config.family
        self.add_module(self.family, network)
        self.rule = rule
        if rule.products:
            self.products = _ProductScales(rule)
        self.eval().requires_grad_(False)

    @property
    def network(self) -> InspectionNetwork:
        return cast(InspectionNetwork, self.get_submodule(self.family))

    @property
    def kept_in_float(self) -> tuple[str, ...]:
        """Patterns of operations that the quantizer leaves alone: the network's, and products' scales."""
        return (*self.network.kept_in_float, *(("/products/*",) if self.rule.products else ()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.backbone(images.permute(0, 3, 1, 2).float())
        if not self.rule.products:
            return fuse(self.network.score_components(maps), self.rule)
        components = self.network.components_with_context(maps)
        return fuse(components, self.rule, self.products(components.context))


def fold_for_export(model: InspectionModel) -> InspectionModel:
    """Fold, in place, batch norms and normalisation, and what the network folds of its own."""
    fold_backbone(model.backbone)
    fold_batch_norms(model.network)
    model.network.fold()
    return model.eval().requires_grad_(False)
