"""Configurations of InvAD by name, and how they are trained."""

from __future__ import annotations

from dataclasses import replace

from edgead.models.invad.config import InvADConfig
from edgead.models.preset_training import PresetTraining

_PUBLISHED = InvADConfig(
    backbone="wide_resnet50_2",
    stages=(1, 2, 3),
    decoder="published",
    standardised=False,
    bank_stages=(),
    detail_stages=(),
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
