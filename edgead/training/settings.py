"""What a training run is asked to do, validated once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from edgead.errors import DataError, UnknownNameError, UsageError
from edgead.models.config import ModelConfig
from edgead.models.families import model_family
from edgead.models.realnet.config import RealNetConfig
from edgead.models.scoring.rule import ScoreRule
from edgead.synthesis import DEFAULT_MIX

# How channels are chosen: by AFS (RealNet's), the first ones, or a random draw; the last two to compare with.
SELECTIONS = ("anomaly-aware", "first", "random")
# Settings that came later. At their default they are not written: settings of earlier runs read as they were
# meant, and keep the digests that runs are found and checkpoints are checked by.
_LATER = frozenset({"balanced", "foreground", "anomaly_set"})


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
    selection: str = "anomaly-aware"  # of the backbone's channels: a name of SELECTIONS
    selection_batches: int = 32  # of `batch` pairs, that score the backbone's channels
    false_alarm_rate: float = 0.02
    top_share: float = 0.02
    checkpoint_steps: int = 100
    cache_gigabytes: float = 4.0  # of good features kept in memory; beyond it they are computed again
    foreground: bool = True  # anomalies lie on the part, where it stands out from its background
    balanced: bool = True  # each of several products is drawn as often as any other
    anomaly_set: str | None = None  # folder of drawn anomalies, for the source sdas

    def __post_init__(self) -> None:
        for name in ("steps", "selection_batches", "checkpoint_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")
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
                "The source sdas and a set of anomalies go together: give a weight to sdas and name a "
                "set, or neither (edgead train --synthesis sdas=0.3,near=0.7 --anomaly-set SET)."
            )
        if not 0 < self.top_share <= 1:
            raise UsageError(f"top_share must lie above 0 and up to 1, not {self.top_share}.")

    @property
    def rule(self) -> ScoreRule:
        """The score rule before its scales are fitted."""
        return ScoreRule(top_share=self.top_share)

    def to_json(self) -> dict[str, Any]:
        content = {**asdict(self), "model": self.model.to_json(), "synthesis": dict(self.synthesis)}
        usual = {item.name: item.default for item in fields(self) if item.name in _LATER}
        return {name: v for name, v in content.items() if name not in usual or v != usual[name]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], *, family: str = "realnet") -> TrainSettings:
        """Read what `to_json` wrote of a model of this family; DataError for unknown or missing fields."""
        names = {item.name for item in fields(cls)}
        strange = (set(content) ^ names) - (_LATER - set(content))
        if strange:
            raise DataError(
                f"The settings of the run have other fields than this version knows: "
                f"{sorted(strange)}. Train again, or use the version that wrote it."
            )
        return cls(**{**content, "model": model_family(family).config.from_json(content["model"])})
