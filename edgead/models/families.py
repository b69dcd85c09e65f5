"""The table of model families: where a new kind of model is entered, here or by another package's plugin.

A family is a configuration (edgead/models/config.py) and a network built from it (edgead/models/network.py),
which says how it is trained, what it makes of an image and how it is folded for export. Training, compiling,
evaluating and reporting use these and never ask which family they have. Another package enters a family as an
entry point of the group "edgead.model_families" that names a `ModelFamily` (edgead/plugins.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgead.errors import UnknownNameError, UsageError
from edgead.models.backbones import Backbone
from edgead.models.config import ModelConfig
from edgead.models.features.selection import FeatureSelection, all_channels, first_channels
from edgead.models.invad.config import InvADConfig
from edgead.models.invad.network import InvAD
from edgead.models.invad.presets import PRESETS as INVAD_PRESETS
from edgead.models.invad.presets import TRAINING as INVAD_TRAINING
from edgead.models.network import InspectionNetwork
from edgead.models.preset_training import PresetTraining
from edgead.models.realnet.config import RealNetConfig
from edgead.models.realnet.network import RealNet
from edgead.models.realnet.presets import PRESETS as REALNET_PRESETS
from edgead.models.realnet.presets import TRAINING as REALNET_TRAINING
from edgead.plugins import entries, load

GROUP = "edgead.model_families"

__all__ = [
    "GROUP",
    "ModelFamily",
    "PresetTraining",
    "build_network",
    "model_families",
    "model_family",
    "unmeasured_selection",
]


@dataclass(frozen=True)
class ModelFamily:
    """One kind of model; `training` maps presets to the settings of a training that go with them."""

    config: type[ModelConfig]
    network: Callable[[Any, Backbone, FeatureSelection], InspectionNetwork]
    presets: Mapping[str, ModelConfig]
    training: Mapping[str, PresetTraining] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.config.family

    def configure(
        self,
        preset: str = "compact",
        *,
        backbone: str | None = None,
        stages: Sequence[int] | None = None,
        channels: Sequence[int] | None = None,
        input_size: tuple[int, int] | None = None,
    ) -> ModelConfig:
        """A preset `with_choices`; UnknownNameError lists near matches of its name."""
        if preset not in self.presets:
            raise UnknownNameError("preset", preset, self.presets)
        return self.presets[preset].with_choices(
            backbone=backbone, stages=stages, channels=channels, input_size=input_size
        )


BUILT_IN = {
    family.name: family
    for family in (
        ModelFamily(RealNetConfig, RealNet, REALNET_PRESETS, REALNET_TRAINING),
        ModelFamily(InvADConfig, InvAD, INVAD_PRESETS, INVAD_TRAINING),
    )
}


def model_families() -> dict[str, ModelFamily]:
    """All families by name, those of plugins included; UsageError for a plugin that cannot be used."""
    return {**BUILT_IN, **{name: model_family(name) for name in entries(GROUP, built_in=BUILT_IN)}}


def model_family(name: str) -> ModelFamily:
    """Look a family up by name; UnknownNameError lists near matches."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    plugins = entries(GROUP, built_in=BUILT_IN)
    if name not in plugins:
        raise UnknownNameError("model", name, [*BUILT_IN, *plugins])
    family = load(plugins[name], ModelFamily)
    if family.name != name:
        raise UsageError(
            f"The model family '{family.name}' has the entry point '{name}'; expected the same name, which "
            "runs keep. Correct the entry point of its package, or uninstall it."
        )
    return family


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
