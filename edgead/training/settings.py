"""The settings of one training, validated once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgead.datasets.groups import BY_CONTENT
from edgead.errors import UnknownNameError, UsageError
from edgead.models.config import ModelConfig
from edgead.models.families import PresetTraining, model_family
from edgead.models.realnet.config import RealNetConfig
from edgead.models.scoring.rule import ScoreRule
from edgead.records import record_from
from edgead.synthesis import DEFAULT_MIX
from edgead.synthesis.subtle import SubtleSource
from edgead.training.augmentation import AUTO, NONE, Augmentation

# How channels are chosen: by AFS (RealNet's), the first ones, or a random draw; the last two to compare with.
SELECTIONS = ("anomaly-aware", "first", "random")


@dataclass(frozen=True)
class TrainSettings:
    """One training run. Equal settings on equal images and machines give equal weights."""

    model: ModelConfig = field(default_factory=RealNetConfig)
    steps: int = 1500
    batch: int = 16  # images a step; half of them good, half with a synthetic anomaly
    learning_rate: float = 1e-3
    seed: int = 0
    synthesis: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_MIX))
    texture_folder: str | None = None
    validation_fraction: float = 0.15
    folds: int = 1  # trainings that hold out the groups in turn; their scores set the threshold together
    group_by: str = BY_CONTENT  # which images are of one part: see edgead.datasets.groups.find_groups
    augment: str = NONE  # how good images are augmented: see edgead.training.augmentation
    selection: str = "anomaly-aware"  # of the backbone's channels: a name of SELECTIONS
    selection_batches: int = 32  # of `batch` pairs, that score the backbone's channels
    false_alarm_rate: float = 0.02
    top_share: float = 0.02
    checkpoint_steps: int = 100
    cache_gigabytes: float = 4.0  # of good features kept in memory; beyond it they are computed again
    foreground: bool = True  # anomalies lie on the part, where it stands out from its background
    balanced: bool = True  # each of several products is drawn as often as any other
    anomaly_set: str | None = None  # folder of synthetic anomalies, for the source sdas

    def __post_init__(self) -> None:
        for name in ("steps", "selection_batches", "checkpoint_steps", "folds"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.augment != AUTO:
            Augmentation.from_text(self.augment)
        if self.selection not in SELECTIONS:
            raise UnknownNameError("selection of channels", self.selection, SELECTIONS)
        if self.batch < 2 or self.batch % 2:
            raise UsageError(f"batch must be an even number from 2 up, not {self.batch}.")
        if not (math.isfinite(self.learning_rate) and 0 < self.learning_rate <= 1):
            raise UsageError(f"learning_rate must lie between 0 and 1, not {self.learning_rate}.")
        for name in ("false_alarm_rate", "validation_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"{name} must lie between 0 and 1, not {getattr(self, name)}.")
        if (self.synthesis.get("sdas", 0) > 0) != (self.anomaly_set is not None):
            raise UsageError(
                "The source sdas and a set of anomalies go together: give a weight to sdas and name a set, "
                f"or neither (edgead train --synthesis sdas=0.3,{SubtleSource.name}=0.7 --anomaly-set SET)."
            )
        if not 0 < self.top_share <= 1:
            raise UsageError(f"top_share must lie above 0 and up to 1, not {self.top_share}.")

    @classmethod
    def of_preset(
        cls, family: str = "realnet", preset: str = "compact", *, model: ModelConfig | None = None
    ) -> TrainSettings:
        """The settings that go with a preset; `model`: its configuration with other choices in it."""
        found = model_family(family)
        special = asdict(found.training.get(preset, PresetTraining()))
        chosen = {name: value for name, value in special.items() if value is not None}
        return cls(model=model or found.configure(preset), **chosen)

    @property
    def rule(self) -> ScoreRule:
        """The score rule before its scales are fitted."""
        return ScoreRule(top_share=self.top_share)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "model": self.model.to_json(), "synthesis": dict(self.synthesis)}

    @classmethod
    def from_json(cls, content: Any, *, family: str = "realnet") -> TrainSettings:
        """Read what `to_json` wrote of a model of this family; DataError for unknown or missing fields."""
        if isinstance(content, Mapping) and "model" in content:
            config = model_family(family).config
            content = {**content, "model": config.from_json(content["model"])}
        return record_from(cls, content, origin="settings of the training", complete=True)
