"""Quantization recipes: `calibration/*.toml` or a user's own file, read into frozen dataclasses."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgead.errors import UsageError
from edgead.profiles import list_data, read_data
from edgead.records import record_from

_ADVICE = "calibration/default.toml explains each field."
_ACTIVATIONS = ("per-tensor", "per-channel", "signed-per-tensor")


@dataclass(frozen=True)
class QuantizationSpec:
    """What becomes INT8 and how; calibration/default.toml explains each field."""

    preset: str = "performance"
    device: str = "cpu"
    activations: str = "per-tensor"
    ranges: str = "maximum"
    weight_range: str = "auto"
    weight_rounding: str = "calibrated"
    bias_correction: str = "none"
    smooth_convolutions: float = -1.0
    keep_first_layers: int = 3
    keep_head_layers: int = 1
    keep_layers: tuple[str, ...] = ()
    keep_kinds: tuple[str, ...] = ("Add",)

    def __post_init__(self) -> None:
        _check_choice("quantization.preset", self.preset, ("performance", "mixed"))
        _check_choice("quantization.device", self.device, ("any", "cpu", "gpu", "npu"))
        _check_choice("quantization.activations", self.activations, _ACTIVATIONS)
        _check_choice("quantization.ranges", self.ranges, ("maximum", "mean"))
        _check_choice("quantization.weight_range", self.weight_range, ("auto", "full", "half"))
        _check_choice("quantization.weight_rounding", self.weight_rounding, ("calibrated", "nearest"))
        _check_choice("quantization.bias_correction", self.bias_correction, ("fast", "accurate", "none"))
        _check_range("quantization.smooth_convolutions", self.smooth_convolutions, -1, 1)
        _check_range("quantization.keep_first_layers", self.keep_first_layers, 0, 100)
        _check_range("quantization.keep_head_layers", self.keep_head_layers, 0, 100)
        if self.preset == "mixed" and self.activations == "signed-per-tensor":
            raise UsageError(
                'quantization.preset = "mixed" makes zero points, which activations = "signed-per-tensor" '
                'forbids. Use preset = "performance".'
            )
        if self.weight_rounding == "calibrated" and self.bias_correction != "none":
            raise UsageError(
                f'quantization.bias_correction = "{self.bias_correction}" makes up for weights that are '
                'rounded to the nearest step: set weight_rounding = "nearest" as well, or leave it out.'
            )


@dataclass(frozen=True)
class CalibrationSpec:
    """Which images set the ranges."""

    images: int = 128
    anomalous_share: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        _check_range("calibration.images", self.images, 1, 100_000)
        _check_range("calibration.anomalous_share", self.anomalous_share, 0, 1)
        _check_range("calibration.seed", self.seed, 0, 2**31)


@dataclass(frozen=True)
class GateSpec:
    """The largest loss that is accepted, and what it is measured on."""

    max_drop_image_auroc: float = 0.003
    max_drop_au_pro: float = 0.003
    anomalies: int = 192
    images: int = 96
    tries: int = 6
    seed: int = 1

    def __post_init__(self) -> None:
        _check_range("gate.max_drop_image_auroc", self.max_drop_image_auroc, 0, 1)
        _check_range("gate.max_drop_au_pro", self.max_drop_au_pro, 0, 1)
        _check_range("gate.anomalies", self.anomalies, 1, 100_000)
        _check_range("gate.images", self.images, 1, 100_000)
        _check_range("gate.tries", self.tries, 0, 100)
        _check_range("gate.seed", self.seed, 0, 2**31)


@dataclass(frozen=True)
class Recipe:
    """One quantization recipe; `name` is that of its file."""

    name: str = "default"
    quantization: QuantizationSpec = field(default_factory=QuantizationSpec)
    calibration: CalibrationSpec = field(default_factory=CalibrationSpec)
    gate: GateSpec = field(default_factory=GateSpec)

    def with_max_drop(self, drop: float) -> Recipe:
        """The same recipe with another limit for both metrics."""
        gate = dataclasses.replace(self.gate, max_drop_image_auroc=drop, max_drop_au_pro=drop)
        return dataclasses.replace(self, gate=gate)


def list_recipes() -> tuple[str, ...]:
    """The names of the recipes that ship with edgead."""
    return list_data("calibration")


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a shipped recipe by name, or a file by path (anything with a folder or ending in .toml).

    Raises UnknownNameError for a name that does not ship, DataError for an unreadable file, UsageError naming
    file, table and key for contents that are not a recipe.
    """
    name, tables = read_data("calibration", name_or_path)
    return recipe_from_tables(tables, name=name)


def recipe_from_tables(tables: dict[str, Any], *, name: str) -> Recipe:
    """Build a recipe from parsed TOML; raises UsageError naming the table and the key at fault."""
    origin = f"recipe {name}"
    if "name" in tables:
        raise UsageError(f"{origin}: unknown field 'name': a recipe is called as its file is.")
    try:
        content = {**tables, "name": name}
        return record_from(Recipe, content, origin=origin, error=UsageError, advice=_ADVICE)
    except UsageError as error:
        message = str(error)
        raise UsageError(message if message.startswith(origin) else f"{origin}: {message}") from error


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name}: expected a value from {low} to {high}, found {value}.")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name}: expected one of {', '.join(choices)}, found '{value}'.")
