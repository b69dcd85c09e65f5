"""The settings of a training that go with a model's preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PresetTraining:
    """Where a preset trains otherwise than usual: fields of TrainSettings; None: as usual."""

    batch: int | None = None
    learning_rate: float | None = None
    top_share: float | None = None
    synthesis: Mapping[str, float] | None = None
    foreground: bool | None = None
