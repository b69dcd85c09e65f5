"""What the configurations of all model families have in common."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, TypeVar

from edgead.errors import DataError

# Names that fields had in earlier runs and bundles.
_OLD_NAMES = {"budgets": "channels", "residual": "residual_kind", "residuals": "residual_count"}
C = TypeVar("C", bound="ModelConfig")


class ModelConfig(abc.ABC):
    """Everything that decides the shape of a network. Subclasses are frozen dataclasses with these fields."""

    family: ClassVar[str]  # the name that runs and bundles keep
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

    def to_json(self) -> dict[str, Any]:
        content: dict[str, Any] = asdict(self)  # type: ignore[call-overload]  # subclasses are dataclasses
        return {name: list(v) if isinstance(v, tuple) else v for name, v in content.items()}

    @classmethod
    def from_json(cls: type[C], content: Mapping[str, Any]) -> C:
        """Read what `to_json` wrote, in earlier versions too; DataError for unknown or missing fields."""
        content = {_OLD_NAMES.get(name, name): value for name, value in content.items()}
        names = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        if set(content) != names:
            raise DataError(
                f"The configuration of a model of {cls.title} has other fields than this version knows: "
                f"{sorted(set(content) ^ names)}. Train again, or use the version that wrote it."
            )
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in content.items()}
        return cls(**values)
