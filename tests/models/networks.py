"""Networks for tests."""

from __future__ import annotations

from typing import cast

from edgead.models.backbones import build_backbone
from edgead.models.families import build_network
from edgead.models.realnet.config import RealNetConfig
from edgead.models.realnet.network import RealNet


def build_realnet(config: RealNetConfig, *, weights: str | None = "pretrained") -> RealNet:
    """RealNet with the first channels of each stage."""
    backbone = build_backbone(config.backbone, stages=config.stages, weights=weights)
    return cast(RealNet, build_network(config, backbone))
