"""Configurations of RealNet by name, and how they are trained."""

from __future__ import annotations

from dataclasses import replace

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
    image_weight=0.0,
    residual_map_stages=(),
    bank_stages=(),
    detail_stages=(),
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
