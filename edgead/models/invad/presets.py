"""Configurations of InvAD by name, and their adaptation to other backbones, stages and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgead.errors import UnknownNameError
from edgead.models.invad.config import InvADConfig
from edgead.models.preset_training import PresetTraining

_PUBLISHED = InvADConfig(
    backbone="wide_resnet50_2",
    stages=(1, 2, 3),
    decoder="published",
    standardised=False,
    bank_stages=(),
)
PRESETS: dict[str, InvADConfig] = {
    "compact": InvADConfig(),
    "lite": replace(_PUBLISHED, backbone="resnet34", blocks=4, loss_weight=5.0),
    "paper": _PUBLISHED,
}
# As published: one image's score is that of its highest cell.
_PUBLISHED_TRAINING = PresetTraining(batch=32, learning_rate=4e-3, top_share=1e-6)
TRAINING: dict[str, PresetTraining] = {
    "compact": PresetTraining(learning_rate=2e-3),
    "lite": _PUBLISHED_TRAINING,
    "paper": _PUBLISHED_TRAINING,
}


def invad_config(
    preset: str = "compact",
    *,
    backbone: str | None = None,
    stages: Sequence[int] | None = None,
    channels: Sequence[int] | None = None,
    input_size: tuple[int, int] | None = None,
) -> InvADConfig:
    """A preset with other choices in it; `input_size` is (height, width).

    Fewer stages leave less to invert and less in the memory bank. Raises UnknownNameError and UsageError.
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    config = PRESETS[preset]
    kept = config.stages if stages is None else tuple(stages)
    inverted = tuple(stage for stage in config.inverted_stages if stage in kept)
    widths = dict(zip(config.inverted_stages, config.widths, strict=True))
    height, width = input_size or config.input_size
    return replace(
        config,
        backbone=backbone or config.backbone,
        stages=kept,
        channels=config.channels if channels is None else tuple(channels),
        inverted_stages=inverted,
        widths=tuple(widths[stage] for stage in inverted),
        bank_stages=tuple(stage for stage in config.bank_stages if stage in kept),
        input_height=height,
        input_width=width,
    )
