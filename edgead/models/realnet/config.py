"""Everything that decides the shape of a RealNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgead.errors import UnknownNameError, UsageError
from edgead.models.backbones import feature_info
from edgead.models.config import ModelConfig
from edgead.models.realnet.parts import DISCRIMINATORS, RECONSTRUCTIONS, RESIDUALS


@dataclass(frozen=True)
class RealNetConfig(ModelConfig):
    """Everything that decides the shape of a RealNet. Saved with a run; the paper's m_k are `channels`."""

    family = "realnet"
    title = "RealNet"

    backbone: str = "efficientnet_lite0"
    stages: tuple[int, ...] = (1, 2, 3, 4)
    channels: tuple[int, ...] = (24, 40, 96, 160)  # channels kept of each stage
    reconstruction: str = "compact"
    reconstruction_widths: tuple[int, ...] = (16, 24, 32, 48)  # read by "compact" alone
    residual_kind: str = (
        "absolute"  # what the discriminator sees of each difference; the paper's is "squared"
    )
    grid_stage: int = 2  # residuals are joined at the resolution of this stage
    residual_count: int = (
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
        for name in ("channels", "reconstruction_widths"):
            if len(getattr(self, name)) != len(self.stages):
                raise UsageError(f"{name} needs one number for each of the stages {self.stages}.")
        for info, budget in zip(infos, self.channels, strict=True):
            if not 1 <= budget <= info.channels:
                raise UsageError(
                    f"Stage {info.stage} of {self.backbone} has {info.channels} channels; keep 1 to "
                    f"{info.channels} of them, not {budget}."
                )
        _check_table("reconstruction", self.reconstruction, RECONSTRUCTIONS)
        _check_table("residual_kind", self.residual_kind, RESIDUALS)
        _check_table("discriminator", self.discriminator, DISCRIMINATORS)
        for name, used in (
            ("grid_stage", (self.grid_stage,)),
            ("residual_map_stages", self.residual_map_stages),
            ("bank_stages", self.bank_stages),
        ):
            if not set(used) <= set(self.stages):
                raise UsageError(f"{name} {used} must be among the stages {self.stages}.")
        if self.residual_count and not 2 <= self.residual_count // 2 <= sum(self.channels):
            raise UsageError(
                f"residual_count must be 0 (no selection) or lie between 4 and twice the channels kept "
                f"({2 * sum(self.channels)}), not {self.residual_count}."
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
            "model": f"RealNet on {self.backbone}, stages {self.stages}, channels {self.channels}",
            "residual selection": f"{self.residual_count} channels at stride {2 ** (self.grid_stage + 1)}",
            "bank of good features (ours, beside RealNet)": bank,
        }


def _check_table(what: str, name: str, table: Mapping[str, Any]) -> None:
    if name not in table:
        raise UnknownNameError(what, name, table)
