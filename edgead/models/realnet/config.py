"""Everything that decides the shape of a RealNet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from edgead.errors import UnknownNameError, UsageError
from edgead.models.backbones import feature_info
from edgead.models.config import BANKS_BEFORE, ModelConfig
from edgead.models.realnet.parts import DISCRIMINATORS, RECONSTRUCTIONS, RESIDUALS


@dataclass(frozen=True)
class RealNetConfig(ModelConfig):
    """Everything that decides the shape of a RealNet. Saved with a run; the paper's m_k are `channels`."""

    family = "realnet"
    added_fields: ClassVar[Mapping[str, object]] = {**BANKS_BEFORE, "image_weight": 0.0}
    title = "RealNet"

    backbone: str = "efficientnet_lite0"
    stages: tuple[int, ...] = (1, 2, 3, 4)
    channels: tuple[int, ...] = (24, 40, 96, 160)  # channels kept of each stage
    reconstruction: str = "compact"
    reconstruction_widths: tuple[int, ...] = (16, 24, 32, 48)  # read by "compact" alone
    residual_kind: str = "absolute"  # what the discriminator sees of a difference; the paper's is "squared"
    grid_stage: int = 2  # residuals are joined at the resolution of this stage
    residual_count: int = 96  # channels that RRS passes on, half by maximum, half by mean; 0: all, unranked
    discriminator: str = "compact"
    discriminator_width: int = 48  # read by "compact" alone
    image_weight: float = 8.0  # of the loss of whole images; that of their cells counts 4. The paper's: 0
    residual_map_stages: tuple[int, ...] = (2, 3)  # whose mean residual counts in the map by itself
    bank_stages: tuple[int, ...] = (3, 4)  # of the memory bank; none: without one
    bank_components: int = 64
    bank_size: int = 2048
    bank_density: bool = True  # distances less the local density of good features
    detail_stages: tuple[int, ...] = (2,)  # of which each has a bank of its own, on its own grid
    detail_size: int = 2048  # features of each of these banks
    detail_stride: int = 2  # every which place of the grid is compared with them
    input_height: int = 256
    input_width: int = 256

    def __post_init__(self) -> None:
        infos = feature_info(self.backbone, self.stages)
        self._check_channels(infos)
        if len(self.reconstruction_widths) != len(self.stages):
            raise UsageError(f"reconstruction_widths needs one number for each of the stages {self.stages}.")
        tables: dict[str, Mapping[str, object]] = {
            "reconstruction": RECONSTRUCTIONS,
            "residual_kind": RESIDUALS,
            "discriminator": DISCRIMINATORS,
        }
        for name, table in tables.items():
            if getattr(self, name) not in table:
                raise UnknownNameError(name, getattr(self, name), table)
        if self.grid_stage not in self.stages:
            raise UsageError(f"grid_stage {self.grid_stage} must be among the stages {self.stages}.")
        self._check_stages_of("residual_map_stages", "bank_stages", "detail_stages")
        self._check_counts("bank_components", "bank_size", "detail_size", "detail_stride")
        if self.residual_count and not 2 <= self.residual_count // 2 <= sum(self.channels):
            raise UsageError(
                f"residual_count must be 0 (no selection) or lie between 4 and twice the channels kept "
                f"({2 * sum(self.channels)}), not {self.residual_count}."
            )
        if not (math.isfinite(self.image_weight) and self.image_weight >= 0):
            raise UsageError(f"image_weight must be a finite number from 0 up, not {self.image_weight}.")
        deepest = 2 * infos[-1].stride
        self._check_input(multiple=deepest, least=2 * deepest, reason="twice the deepest stride")

    def fields_for(self, stages: tuple[int, ...], channels: tuple[int, ...] | None) -> dict[str, Any]:
        """Stages keep their own channels and widths. The grid moves to the shallowest stage where its own is
        gone; residuals in the map and the memory banks keep the stages that are left.
        """
        positions = [self.stages.index(stage) for stage in stages]
        chosen = tuple(self.channels[k] for k in positions) if channels is None else channels
        return {
            "channels": chosen,
            "reconstruction_widths": tuple(self.reconstruction_widths[k] for k in positions),
            "grid_stage": self.grid_stage if self.grid_stage in stages else stages[0],
            "residual_map_stages": tuple(k for k in self.residual_map_stages if k in stages),
            "bank_stages": tuple(k for k in self.bank_stages if k in stages),
            "detail_stages": tuple(k for k in self.detail_stages if k in stages),
            "residual_count": min(self.residual_count, 2 * sum(chosen)),
        }

    @property
    def map_size(self) -> tuple[int, int]:
        """(height, width) of the anomaly map: every cell of the grid is written as 2 x 2."""
        stride = 2**self.grid_stage
        return self.input_height // stride, self.input_width // stride

    @property
    def facts(self) -> dict[str, str]:
        bank = f"{self.bank_size} of stages {self.bank_stages}" if self.bank_stages else "none"
        return {
            "model": f"RealNet on {self.backbone}, stages {self.stages}, channels {self.channels}",
            "residual selection": f"{self.residual_count} channels at stride {2 ** (self.grid_stage + 1)}",
            "memory bank of good features (ours, beside RealNet)": bank,
        }
