"""The table of model families: the one place that a new kind of model is entered in.

A family is a configuration (edgead/models/config.py) and a network built from it (edgead/models/network.py),
which says how it is trained, what it makes of an image and how it is folded for export. Training, compiling,
evaluating and reporting ask these and never which family they have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgead.errors import UnknownNameError
from edgead.models.backbones import Backbone
from edgead.models.config import ModelConfig
from edgead.models.features.selection import FeatureSelection, all_channels, first_channels
from edgead.models.invad.config import InvADConfig
from edgead.models.invad.network import InvAD
from edgead.models.invad.presets import PRESETS as INVAD_PRESETS
from edgead.models.invad.presets import invad_config
from edgead.models.network import InspectionNetwork
from edgead.models.realnet.config import RealNetConfig
from edgead.models.realnet.network import RealNet
from edgead.models.realnet.presets import PRESETS, realnet_config
from edgead.models.realnet.presets import TRAINING as REALNET_TRAINING


@dataclass(frozen=True)
class Family:
    """One kind of model.

    `configure(preset, backbone=, stages=, channels=, input_size=)` makes a configuration from a preset's.
    `training` maps presets to the settings of a training (fields of TrainSettings) that go with them, where
    they differ from the usual ones.
    """

    config: type[ModelConfig]
    network: Callable[[Any, Backbone, FeatureSelection], InspectionNetwork]
    presets: Mapping[str, ModelConfig]
    configure: Callable[..., ModelConfig]
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.config.family


# As published: one image's score is that of its highest cell.
_INVAD_TRAINING = {"batch": 32, "learning_rate": 4e-3, "top_share": 1e-6}

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(RealNetConfig, RealNet, PRESETS, realnet_config, training=REALNET_TRAINING),
        Family(
            InvADConfig,
            InvAD,
            INVAD_PRESETS,
            invad_config,
            training={
                "compact": {"learning_rate": 2e-3},
                "lite": _INVAD_TRAINING,
                "paper": _INVAD_TRAINING,
            },
        ),
    )
}


def model_family(name: str) -> Family:
    """Look a family up by name; UnknownNameError lists near matches."""
    if name not in FAMILIES:
        raise UnknownNameError("model", name, FAMILIES)
    return FAMILIES[name]


def build_network(
    config: ModelConfig, backbone: Backbone, selection: FeatureSelection | None = None
) -> InspectionNetwork:
    """Build the network of a configuration; without a selection, right for costs and timing alone."""
    chosen = selection or unmeasured_selection(config, backbone)
    return model_family(config.family).network(config, backbone, chosen)


def unmeasured_selection(config: ModelConfig, backbone: Backbone) -> FeatureSelection:
    """All channels where the configuration has no channels, otherwise the first ones."""
    if not config.channels:
        return all_channels(backbone.feature_info)
    return first_channels(backbone.feature_info, config.channels)


def training_settings(family: str, preset: str) -> Mapping[str, Any]:
    """The settings of a training that go with a preset, by name; the rest is as usual."""
    return model_family(family).training.get(preset, {})


__all__: Sequence[str] = [
    "FAMILIES",
    "Family",
    "build_network",
    "model_family",
    "training_settings",
    "unmeasured_selection",
]
