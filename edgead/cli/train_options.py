"""The options of `edgead train` as a record, and the settings of a training made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgead.cli.parsing import input_size_from_text, numbers_from_text
from edgead.errors import UsageError

if TYPE_CHECKING:
    from edgead.training.settings import TrainSettings


@dataclass(frozen=True)
class TrainOptions:
    """What was given, by the names of the options; None: as usual."""

    model: str = "realnet"
    preset: str = "compact"
    backbone: str | None = None
    stages: str | None = None
    channels: str | None = None
    input_size: str | int | None = None
    synthesis: str | None = None
    anomaly_set: str | None = None
    textures: str | None = None
    batch: int | None = None
    learning_rate: float | None = None
    seed: int | None = None
    false_alarm_rate: float | None = None
    group_by: str | None = None
    augment: str | None = None
    folds: int | None = None
    steps: int | None = None
    minutes: float | None = None

    def settings(self) -> TrainSettings:
        """Raises UsageError for what cannot be meant, UnknownNameError for a name that no table has."""
        if self.minutes is not None and self.steps is not None:
            raise UsageError("Give --steps or --minutes, not both: one decides the other.")
        if self.textures is not None and not Path(self.textures).is_dir():
            raise UsageError(f"--textures: expected a folder of images, {self.textures} is none.")
        from edgead.datasets.groups import resolved
        from edgead.models.families import model_family
        from edgead.training.settings import TrainSettings

        model = model_family(self.model).configure(
            self.preset,
            backbone=self.backbone,
            stages=numbers_from_text("--stages", self.stages),
            channels=numbers_from_text("--channels", self.channels),
            input_size=input_size_from_text(None if self.input_size is None else str(self.input_size)),
        )
        names = (
            "steps",
            "batch",
            "learning_rate",
            "seed",
            "false_alarm_rate",
            "group_by",
            "augment",
            "folds",
        )
        given = {name: getattr(self, name) for name in names} | {"texture_folder": self.textures}
        given |= _sources(self.synthesis, self.anomaly_set)
        if self.group_by is not None:
            given["group_by"] = resolved(self.group_by)
        wanted = {name: value for name, value in given.items() if value is not None}
        return replace(TrainSettings.of_preset(self.model, self.preset, model=model), **wanted)


def _sources(mix: str | None, anomaly_set: str | None) -> dict[str, Any]:
    """The mix of sources and the set that `sdas` draws from; a folder in place of a mix is a set."""
    from edgead.synthesis import SET_MIX, parse_mix

    if mix is not None and "=" not in mix and Path(mix).is_dir():
        if anomaly_set is not None:
            raise UsageError(
                f"--synthesis names the folder {mix} and --anomaly-set another; give one of them."
            )
        mix, anomaly_set = None, mix
    if anomaly_set is not None:
        from edgead.synthesis.diffusion.sets import open_set

        anomaly_set = str(open_set(anomaly_set).path.resolve())
    usual = None if anomaly_set is None else dict(SET_MIX)
    return {"synthesis": usual if mix is None else parse_mix(mix), "anomaly_set": anomaly_set}
