"""What the configurations of all model families have in common."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, TypeVar, cast

from edgead.errors import UsageError
from edgead.models.backbones.base import STAGES, FeatureInfo
from edgead.records import record_from

# Names that fields had in earlier runs, bundles, plans and measurements.
_RENAMED_FIELDS = {"budgets": "channels", "residual": "residual_kind", "residuals": "residual_count"}
# The memory banks of networks before the fields that say otherwise: one of joined stages, plain distances.
BANKS_BEFORE: Mapping[str, object] = {
    "bank_density": False,
    "detail_stages": [],
    "detail_size": 2048,
    "detail_stride": 1,
}
C = TypeVar("C", bound="ModelConfig")


class ModelConfig(abc.ABC):
    """Everything that decides the shape of a network. Subclasses are frozen dataclasses with these fields."""

    family: ClassVar[str]  # the name that runs and bundles keep
    added_fields: ClassVar[Mapping[str, object]] = {}  # of later versions: what networks before them have
    title: ClassVar[str]  # the name in texts

    backbone: str
    stages: tuple[int, ...]
    channels: tuple[int, ...]  # channels kept of each stage, chosen by AFS; empty: all of them, unchosen
    input_height: int
    input_width: int

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.input_height, self.input_width

    @property
    @abc.abstractmethod
    def map_size(self) -> tuple[int, int]:
        """(height, width) of the anomaly map."""

    @property
    @abc.abstractmethod
    def facts(self) -> dict[str, str]:
        """The network in words, for a report."""

    @abc.abstractmethod
    def fields_for(self, stages: tuple[int, ...], channels: tuple[int, ...] | None) -> dict[str, Any]:
        """The fields that follow from a choice of stages and of channels kept of each; None: its own ones."""

    def with_choices(
        self: C,
        *,
        backbone: str | None = None,
        stages: Sequence[int] | None = None,
        channels: Sequence[int] | None = None,
        input_size: tuple[int, int] | None = None,
    ) -> C:
        """The configuration with other choices in it; None: as it is. `input_size` is (height, width).

        Raises UnknownNameError and UsageError for what does not fit together.
        """
        kept = self.stages if stages is None else tuple(stages)
        if not kept or list(kept) != sorted(set(kept) & set(STAGES)):
            found = ", ".join(map(str, kept)) or "none"
            raise UsageError(f"Stages are one or more of 1, 2, 3, 4 in rising order, got {found}.")
        height, width = input_size or self.input_size
        changed: C = replace(
            cast(Any, self),
            backbone=backbone or self.backbone,
            stages=kept,
            input_height=height,
            input_width=width,
            **self.fields_for(kept, None if channels is None else tuple(channels)),
        )
        return changed

    def to_json(self) -> dict[str, Any]:
        content = asdict(cast(Any, self))  # subclasses are dataclasses
        return {name: list(v) if isinstance(v, tuple) else v for name, v in content.items()}

    @classmethod
    def from_json(cls: type[C], content: Any) -> C:
        """Read what `to_json` wrote, in earlier versions too; DataError for unknown or missing fields."""
        if isinstance(content, Mapping):
            content = cls.current_fields(content)
        return record_from(cls, content, origin=f"configuration of a model of {cls.title}", complete=True)

    @classmethod
    def current_fields(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a configuration of any version, by the names of today and with those added since."""
        return {**cls.added_fields, **{_RENAMED_FIELDS.get(name, name): v for name, v in content.items()}}

    def _check_stages_of(self, *names: str) -> None:
        """Refuse fields with stages that the network does not have."""
        for name in names:
            if not set(getattr(self, name)) <= set(self.stages):
                raise UsageError(f"{name} {getattr(self, name)} must be among the stages {self.stages}.")

    def _check_counts(self, *names: str) -> None:
        """Refuse fields below 1."""
        for name in names:
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")

    def _check_channels(self, infos: Sequence[FeatureInfo]) -> None:
        if len(self.channels) != len(infos):
            raise UsageError(f"channels needs one number for each of the stages {self.stages}.")
        for info, count in zip(infos, self.channels, strict=True):
            if not 1 <= count <= info.channels:
                raise UsageError(
                    f"Stage {info.stage} of {self.backbone} has {info.channels} channels; keep 1 to "
                    f"{info.channels} of them, not {count}."
                )

    def _check_input(self, multiple: int, least: int, reason: str) -> None:
        height, width = self.input_size
        if height % multiple or width % multiple or min(height, width) < least:
            raise UsageError(
                f"The input must be at least {least} pixels high and wide, in multiples of {multiple} "
                f"({reason}), not {height} x {width}."
            )
