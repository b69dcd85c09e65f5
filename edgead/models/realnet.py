"""RealNet in sizes that a device can afford: one configuration from the paper's parts down to compact ones.

Feature selection, reconstruction, residual selection and the discriminator are RealNet's (Zhang et al., CVPR
2024). Ours are: standardised features, compact networks, absolute residuals instead of squared ones, joined
on the grid of a chosen stage instead of the largest, and a bank of good features whose distances count
beside the discriminator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgead.errors import UnknownNameError, UsageError
from edgead.models.backbones import Backbone, build_backbone, feature_info
from edgead.models.compact import CompactDiscriminator, CompactReconstruction
from edgead.models.config import ModelConfig
from edgead.models.feature_selection import FeatureSelection, first_channels
from edgead.models.good_features import GoodFeatureBank
from edgead.models.network import FeatureBatch, InspectionNetwork, Optimisation, Views
from edgead.models.paper_reconstruction import PaperReconstruction
from edgead.models.residual_selection import (
    PaperDiscriminator,
    ResidualSelection,
    resize_bilinear,
)
from edgead.models.simple_reconstruction import SimpleReconstruction
from edgead.models.standardise import SelectedFeatures, folded_selections

_SEGMENTATION_WEIGHT = 4.0
_ANOMALOUS_WEIGHT = 2.0  # of anomalous cells, which are few
_LEAST_RESIDUAL = 0.1  # of features with deviation 1; smaller ones are noise, and INT8 makes more of it


@dataclass(frozen=True)
class RealNetConfig(ModelConfig):
    """Everything that decides the shape of a RealNet. Saved with a run; the paper's m_k are `budgets`."""

    family = "realnet"
    title = "RealNet"

    backbone: str = "efficientnet_lite0"
    stages: tuple[int, ...] = (1, 2, 3, 4)
    budgets: tuple[int, ...] = (24, 40, 96, 160)  # channels kept of each stage
    reconstruction: str = "compact"
    reconstruction_widths: tuple[int, ...] = (16, 24, 32, 48)  # read by "compact" alone
    residual: str = "absolute"  # what the discriminator sees of each difference; the paper's is "squared"
    grid_stage: int = 2  # residuals are joined at the resolution of this stage
    residuals: int = (
        96  # channels the residual selection passes on, half by maximum, half by mean; 0: all, unranked
    )
    discriminator: str = "compact"
    discriminator_width: int = 64  # read by "compact" alone
    residual_map_stages: tuple[int, ...] = (2, 3)  # whose mean residual counts in the map by itself
    bank_stages: tuple[int, ...] = (3, 4)  # none: no bank of good features
    bank_components: int = 64
    bank_size: int = 12288
    input_height: int = 256
    input_width: int = 256

    def __post_init__(self) -> None:
        infos = feature_info(self.backbone, self.stages)
        for name in ("budgets", "reconstruction_widths"):
            if len(getattr(self, name)) != len(self.stages):
                raise UsageError(f"{name} needs one number for each of the stages {self.stages}.")
        for info, budget in zip(infos, self.budgets, strict=True):
            if not 1 <= budget <= info.channels:
                raise UsageError(
                    f"Stage {info.stage} of {self.backbone} has {info.channels} channels; keep 1 to "
                    f"{info.channels} of them, not {budget}."
                )
        _check_table("reconstruction", self.reconstruction, RECONSTRUCTIONS)
        _check_table("residual", self.residual, RESIDUALS)
        _check_table("discriminator", self.discriminator, DISCRIMINATORS)
        for name, used in (
            ("grid_stage", (self.grid_stage,)),
            ("residual_map_stages", self.residual_map_stages),
            ("bank_stages", self.bank_stages),
        ):
            if not set(used) <= set(self.stages):
                raise UsageError(f"{name} {used} must be among the stages {self.stages}.")
        if self.residuals and not 2 <= self.residuals // 2 <= sum(self.budgets):
            raise UsageError(
                f"residuals must be 0 (no selection) or lie between 4 and twice the channels kept "
                f"({2 * sum(self.budgets)}), not {self.residuals}."
            )
        deepest = 2 * infos[-1].stride
        if self.input_height % deepest or self.input_width % deepest or min(self.input_size) < 2 * deepest:
            raise UsageError(
                f"The input must be at least {2 * deepest} pixels high and wide, in multiples of {deepest} "
                f"(twice the deepest stride), not {self.input_height} x {self.input_width}."
            )

    @property
    def map_size(self) -> tuple[int, int]:
        """(height, width) of the anomaly map: every cell of the grid is written as 2 x 2."""
        stride = 2**self.grid_stage
        return self.input_height // stride, self.input_width // stride

    @property
    def facts(self) -> dict[str, str]:
        bank = f"{self.bank_size} of stages {self.bank_stages}" if self.bank_stages else "none"
        return {
            "model": f"RealNet on {self.backbone}, stages {self.stages}, channels {self.budgets}",
            "residual selection": f"{self.residuals} channels at stride {2 ** (self.grid_stage + 1)}",
            "bank of good features (ours, beside RealNet)": bank,
        }


@dataclass(frozen=True)
class RealNetOutput:
    """Logits B h w, and per stage the reconstruction of its features and the difference to it, B m h w."""

    logits: Tensor
    reconstructions: list[Tensor]
    differences: list[Tensor]


class RealNet(InspectionNetwork):
    """Feature maps of a frozen backbone -> logits of an anomaly per cell of the map, reconstructions."""

    config: RealNetConfig
    learns_from_anomalies = True
    last_part = "discriminator"
    kept_in_float = ("/bank/*",)  # edgead.compile.distances rounds it, its own way

    def __init__(self, config: RealNetConfig, backbone: Backbone, selection: FeatureSelection) -> None:
        super().__init__(config, backbone, selection)
        self.standardise = nn.ModuleList(SelectedFeatures(stage) for stage in selection.stages)
        build = RECONSTRUCTIONS[config.reconstruction]
        self.reconstructions = nn.ModuleList(
            build(m, w) for m, w in zip(config.budgets, config.reconstruction_widths, strict=True)
        )
        kept, half = sum(config.budgets), config.residuals // 2
        self.residual_selection: nn.Module = nn.Identity()
        if half:
            self.residual_selection = ResidualSelection(kept, by_max=half, by_mean=half)
        self.discriminator = DISCRIMINATORS[config.discriminator](
            2 * half or kept, config.discriminator_width
        )
        self.bank = _build_bank(config)

    @property
    def parts(self) -> dict[str, str]:
        parts = {"residual_selection": "selection", "discriminator": "discriminator", "bank": "bank"}
        for position, stage in enumerate(self.config.stages):
            for module in ("standardise", "reconstructions"):
                parts[f"{module}.{position}"] = f"reconstruction {stage}"
        return parts

    @property
    def optimisation(self) -> Optimisation:
        return Optimisation(loss_weights={"segmentation": _SEGMENTATION_WEIGHT})

    def fit_good(self, chunks: Sequence[list[Tensor]], generator: torch.Generator) -> None:
        for standardise, maps in zip(self.standardise, zip(*chunks, strict=True), strict=True):
            standardise.fit(maps)  # type: ignore[operator]
        if self.bank is not None:
            self.bank.fit([self._bank_maps(maps) for maps in chunks], generator)

    def standardised(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The selected channels of each stage, standardised: the targets, for good images."""
        return [standardise(m) for standardise, m in zip(self.standardise, maps, strict=True)]

    def forward(self, maps: Sequence[Tensor]) -> RealNetOutput:
        """maps: the backbone's, one for each stage, B C_k h_k w_k."""
        features = self.standardised(maps)
        rebuilt = [network(x) for network, x in zip(self.reconstructions, features, strict=True)]
        differences = [x.float() - y.float() for x, y in zip(features, rebuilt, strict=True)]
        grid = maps[self._position(self.config.grid_stage)].shape[-2:]
        size = (int(grid[0]), int(grid[1]))
        seen = [_on_grid(RESIDUALS[self.config.residual](d), size) for d in differences]
        logits = self.discriminator(self.residual_selection(torch.cat(seen, dim=1)))
        return RealNetOutput(logits, rebuilt, differences)

    def losses(self, output: RealNetOutput, batch: FeatureBatch) -> dict[str, Tensor]:
        """Squared error to the good features of each stage, and cross-entropy per cell of the map.

        A cell's target is the share of its pixels that are anomalous. Equation 6 of the paper, with weights
        of ours for the sum.
        """
        if batch.masks is None:
            raise UsageError("RealNet is trained on batches with anomalies and their masks; found none.")
        height, width = output.logits.shape[-2:]
        wanted = F.adaptive_avg_pool2d(batch.masks[:, None].float(), (int(height), int(width)))[:, 0]
        weight = torch.full((), _ANOMALOUS_WEIGHT, device=batch.masks.device)
        segmentation = F.binary_cross_entropy_with_logits(output.logits.float(), wanted, pos_weight=weight)
        pairs = zip(output.reconstructions, self.standardised(batch.targets), strict=True)
        errors = [F.mse_loss(rebuilt.float(), target.float()) for rebuilt, target in pairs]
        return {"segmentation": segmentation, "reconstruction": torch.stack(errors).sum()}

    def views(self, maps: Sequence[Tensor]) -> Views:
        output = self(maps)
        kept = [
            output.differences[self._position(stage)].square() for stage in self.config.residual_map_stages
        ]
        return Views(
            logits=output.logits,
            residuals=[torch.log(residual.mean(dim=1) + _LEAST_RESIDUAL) for residual in kept],
            distances=self._distances(maps),
        )

    def _distances(self, maps: Sequence[Tensor]) -> Tensor | None:
        if self.bank is None:
            return None
        distances: Tensor = self.bank(self._bank_maps(maps))
        return distances

    def _bank_maps(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [maps[self._position(stage)] for stage in self.config.bank_stages]

    def fold(self) -> None:
        """Write the selections as 1 x 1 convolutions; drop the bank's repeated prototypes."""
        self.standardise = folded_selections(self.standardise)
        if self.bank is not None:
            self.bank = self.bank.without_repeated()


class _PaperLogits(nn.Module):
    """The paper's discriminator with one logit (anomalous against normal) per cell of twice the grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.network = PaperDiscriminator(channels)

    def forward(self, residuals: Tensor) -> Tensor:
        height, width = residuals.shape[-2:]
        logits = self.network(residuals, (2 * height, 2 * width))
        return logits[:, 1] - logits[:, 0]


# Absolute ones fit into 8 bits: where an anomaly gives 50 squared, a good part's 0.2 is less than a step.
RESIDUALS: dict[str, Callable[[Tensor], Tensor]] = {"absolute": torch.abs, "squared": torch.square}
RECONSTRUCTIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "compact": CompactReconstruction,
    "paper": lambda channels, _width: PaperReconstruction(channels),
    "simple": lambda channels, _width: SimpleReconstruction(channels),
}
DISCRIMINATORS: dict[str, Callable[[int, int], nn.Module]] = {
    "compact": CompactDiscriminator,
    "paper": lambda channels, _width: _PaperLogits(channels),
}


def build_realnet(
    config: RealNetConfig, *, selection: FeatureSelection | None = None, weights: str | None = "pretrained"
) -> RealNet:
    """Build the network; without a `selection` the first channels stand in, right for costs and timing."""
    backbone = build_backbone(config.backbone, stages=config.stages, weights=weights)
    return RealNet(config, backbone, selection or first_channels(backbone.feature_info, config.budgets))


def _build_bank(config: RealNetConfig) -> GoodFeatureBank | None:
    if not config.bank_stages:
        return None
    channels = {info.stage: info.channels for info in feature_info(config.backbone, config.stages)}
    wanted = [channels[stage] for stage in config.bank_stages]
    return GoodFeatureBank(wanted, components=config.bank_components, size=config.bank_size)


def _on_grid(residual: Tensor, size: tuple[int, int]) -> Tensor:
    if residual.shape[-1] > size[1]:
        return F.avg_pool2d(residual, int(residual.shape[-1]) // size[1])
    return resize_bilinear(residual, size, align_corners=False)


def _check_table(what: str, name: str, table: Mapping[str, Any]) -> None:
    if name not in table:
        raise UnknownNameError(what, name, table)
