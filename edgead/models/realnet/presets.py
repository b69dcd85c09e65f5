"""Configurations of RealNet by name, and their adaptation to other backbones, stages and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgead.errors import UnknownNameError, UsageError
from edgead.models.backbones.base import STAGES
from edgead.models.preset_training import PresetTraining
from edgead.models.realnet.config import RealNetConfig

# As in section 4 of the paper; its logits are taken at half the size of the image.
_PAPER = RealNetConfig(
    backbone="wide_resnet50_2",
    channels=(256, 512, 512, 256),
    reconstruction="paper",
    residual_kind="squared",
    grid_stage=1,
    residual_count=512,
    discriminator="paper",
    residual_map_stages=(),
    bank_stages=(),
)
PRESETS: dict[str, RealNetConfig] = {
    "compact": RealNetConfig(),
    "paper": _PAPER,
    # For one model of many products, as the authors advise: plain reconstruction networks (the compact one
    # has them anyway), textures as anomalies, on the whole image. The last two are settings of the training.
    "multi-class": RealNetConfig(),
    "paper-multi-class": replace(_PAPER, reconstruction="simple"),
}
# Source: the authors' answer on multi-class training, issue 17 of github.com/cnulab/RealNet.
_MULTI_CLASS_TRAINING = PresetTraining(synthesis={"textures": 1.0}, foreground=False)
TRAINING: dict[str, PresetTraining] = {
    "multi-class": _MULTI_CLASS_TRAINING,
    "paper-multi-class": _MULTI_CLASS_TRAINING,
}


def realnet_config(
    preset: str = "compact",
    *,
    backbone: str | None = None,
    stages: Sequence[int] | None = None,
    channels: Sequence[int] | None = None,
    input_size: tuple[int, int] | None = None,
) -> RealNetConfig:
    """A preset with other choices in it; `input_size` is (height, width).

    Fewer stages keep their own channels and widths. The grid moves to the shallowest stage left when its own
    is gone; residuals in the map and the memory bank keep the stages that they can. Raises UnknownNameError
    and UsageError.
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    config = PRESETS[preset]
    kept = config.stages if stages is None else tuple(stages)
    if not kept or list(kept) != sorted(set(kept) & set(STAGES)):
        found = ", ".join(map(str, kept)) or "none"
        raise UsageError(f"Stages are one or more of 1, 2, 3, 4 in rising order, got {found}.")
    positions = [config.stages.index(stage) for stage in kept]
    chosen = (
        tuple(config.channels[position] for position in positions) if channels is None else tuple(channels)
    )
    height, width = input_size or config.input_size
    return replace(
        config,
        backbone=backbone or config.backbone,
        stages=kept,
        channels=chosen,
        reconstruction_widths=tuple(config.reconstruction_widths[position] for position in positions),
        grid_stage=config.grid_stage if config.grid_stage in kept else kept[0],
        residual_map_stages=tuple(stage for stage in config.residual_map_stages if stage in kept),
        bank_stages=tuple(stage for stage in config.bank_stages if stage in kept),
        residual_count=min(config.residual_count, 2 * sum(chosen)),
        input_height=height,
        input_width=width,
    )
