"""What was measured on a device, kept in its profile, and the latencies, sizes and memory predicted from it.

A table holds whole networks drawn at random, each with what it took. A latency is predicted as a sum over the
operations of a network: each part of it has a cost per multiply-accumulate, per byte that it moves and per
operation, none below zero, such that the table is met with the least relative error. Between the points of
the table that interpolates; and it says what each part costs, which no measurement of a whole does.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.cost.compact_layers import network_layers
from edgead.cost.design_space import configuration
from edgead.cost.layers import Layer
from edgead.cost.measure import MeasuredOn
from edgead.cost.prediction import MEASURED_TABLE, LatencyPrediction
from edgead.errors import EdgeadError, UsageError
from edgead.models.realnet.config import RealNetConfig

Floats = NDArray[np.float64]

_RIDGE = 3e-3  # of the largest sum of each cost: parts that the table cannot tell apart share what they cost
_FOLDS = 10
_LEAST_POINTS = 12  # of one precision
_WHOLE = "score"  # the part that the cost of a call itself is counted to
_POINT_KEYS = (
    "precision",
    "backbone",
    "stages",
    "budgets",
    "widths",
    "residuals",
    "discriminator",
    "bank_size",
    "detail_size",
    "detail_stride",
    "height",
    "width",
    "ms",
    "file_mb",
    "memory_mb",
)


@dataclass(frozen=True)
class Point:
    """A network of the table and what was measured of it."""

    config: RealNetConfig
    precision: str
    ms: float
    file_mb: float
    memory_mb: float | None


@dataclass(frozen=True)
class MeasuredTable:
    """The `[table]` of a profile."""

    measured_on: MeasuredOn
    points: tuple[Point, ...]

    def changes(self, now: MeasuredOn) -> list[str]:
        """What is no longer as it was, in words; empty where the figures still hold."""
        before, after = dataclasses.asdict(self.measured_on), dataclasses.asdict(now)
        return [
            f"{name.replace('_', ' ')}: {before[name]}, now {after[name]}"
            for name in before
            if name not in ("date", "clock") and before[name] != after[name]
        ]

    @property
    def precisions(self) -> tuple[str, ...]:
        return tuple(sorted({point.precision for point in self.points}))

    def model(self, precision: str) -> TableModel:
        """What the table tells of networks in a precision; UsageError where it has too few points."""
        return _fitted(self, precision)

    def covers(self, config: RealNetConfig) -> list[str]:
        """In which respects a network lies outside of what was measured; empty where it lies within."""
        backbones = {point.config.backbone for point in self.points}
        areas = [point.config.input_height * point.config.input_width for point in self.points]
        outside = []
        if config.backbone not in backbones:
            outside.append(f"backbone {config.backbone}: measured were {', '.join(sorted(backbones))}")
        if not min(areas) <= config.input_height * config.input_width <= max(areas):
            outside.append(
                f"input {config.input_height} x {config.input_width}: measured were areas of {min(areas)} "
                f"to {max(areas)} pixels"
            )
        return outside


@dataclass(frozen=True, eq=False)
class TableModel:
    """Costs per unit of every part, fitted to a table in one precision; all add up over operations."""

    time: LinearModel
    file: LinearModel
    memory: LinearModel | None

    def parts_ms(self, layers: Iterable[Layer]) -> dict[str, float]:
        """Milliseconds by part, without the cost of a call itself (`call_ms`)."""
        parts: dict[str, float] = {}
        for (part, _), cost in self.time.costs(_work(layers)).items():
            parts[part] = parts.get(part, 0.0) + cost
        return parts

    @property
    def call_ms(self) -> float:
        return self.time.constant

    def ms(self, layers: Iterable[Layer]) -> float:
        """Milliseconds of these operations, without the cost of a call itself."""
        return sum(self.time.costs(_work(layers)).values())

    def file_mb(self, layers: Iterable[Layer]) -> float:
        return sum(self.file.costs(_weights(layers)).values())

    def memory_mb(self, layers: Iterable[Layer]) -> float:
        return sum(self.memory.costs(_memory(layers)).values()) if self.memory else 0.0

    def predict(self, layers: Sequence[Layer]) -> LatencyPrediction:
        parts = self.parts_ms(layers)
        parts[_WHOLE] = parts.get(_WHOLE, 0.0) + self.call_ms
        memory = self.memory_mb(layers) + self.memory.constant if self.memory else float("nan")
        return LatencyPrediction(parts, sum(parts.values()), memory, MEASURED_TABLE, self.time.relative_error)


Work = dict[tuple[str, str], float]


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A cost that adds up: `constant`, and a cost per unit of every kind of work, none below zero."""

    constant: float
    per_unit: Mapping[tuple[str, str], float]
    relative_error: float  # median, on points left out of the fit
    margin: float  # by which nine of ten of these exceeded their prediction, at most; not below 0

    def costs(self, work: Work) -> dict[tuple[str, str], float]:
        """The cost of each kind of work; what no point of the table did costs nothing."""
        return {kind: self.per_unit.get(kind, 0.0) * amount for kind, amount in work.items()}


@functools.lru_cache(maxsize=16)
def _fitted(table: MeasuredTable, precision: str) -> TableModel:
    points = [point for point in table.points if point.precision == precision]
    if len(points) < _LEAST_POINTS:
        raise UsageError(
            f"The table of this target has {len(points)} points in {precision}, of {_LEAST_POINTS} at least. "
            "Measure the device again: edgead targets measure --out my-device.toml"
        )
    layers = [network_layers(point.config) for point in points]
    remembered = [point.memory_mb for point in points if point.memory_mb is not None]
    return TableModel(
        time=_fit([_work(found) for found in layers], [point.ms for point in points]),
        file=_fit([_weights(found) for found in layers], [point.file_mb for point in points]),
        memory=_fit([_memory(found) for found in layers], remembered)
        if len(remembered) == len(points)
        else None,
    )


def _fit(work: Sequence[Work], measured: Sequence[float]) -> LinearModel:
    """Costs of least relative error, and that error on points that a fit on the others did not see."""
    kinds = sorted({kind for one in work for kind in one})
    rows = np.array([[1.0, *(one.get(kind, 0.0) for kind in kinds)] for one in work])
    values = np.array(measured)
    exceeded = np.empty(len(values))
    for fold in range(_FOLDS):
        left_out = np.arange(len(values)) % _FOLDS == fold
        costs = _solve(rows[~left_out], values[~left_out])
        exceeded[left_out] = values[left_out] / (rows[left_out] @ costs) - 1
    costs = _solve(rows, values)
    return LinearModel(
        float(costs[0]),
        dict(zip(kinds, costs[1:].tolist(), strict=True)),
        relative_error=float(np.median(np.abs(exceeded))),
        margin=max(0.0, float(np.quantile(exceeded, 0.9))),
    )


def _solve(rows: Floats, values: Floats) -> Floats:
    from scipy.optimize import nnls

    largest = np.maximum(rows.max(axis=0), 1e-300)
    relative = rows / largest / values[:, None]
    ridge = _RIDGE * np.eye(rows.shape[1])
    solution, _ = nnls(
        np.vstack((relative, ridge)), np.concatenate((np.ones(len(values)), np.zeros(len(ridge))))
    )
    costs: Floats = solution / largest
    return costs


def _work(layers: Iterable[Layer]) -> Work:
    """Multiply-accumulates, bytes moved and operations, by the parts that have costs of their own."""
    work: Work = {}
    for layer in layers:
        names = [("macs", layer.macs)] if layer.macs else [("bytes", layer.input_bytes + layer.output_bytes)]
        names.append(("convolutions" if layer.macs else "operations", 1))
        for name, amount in names:
            key = (layer.part, _segment(layer, name))
            work[key] = work.get(key, 0.0) + amount
    return work


def _segment(layer: Layer, name: str) -> str:
    """A backbone's stages differ in resolution and so in speed: each has costs of its own."""
    if layer.part != "backbone":
        return name
    module = layer.name.split(".")[1] if "." in layer.name else ""
    return f"{module if module.startswith('layer') else 'stem'} {name}"


def _weights(layers: Iterable[Layer]) -> Work:
    work: Work = {}
    for layer in layers:
        key = (layer.part if layer.part in ("backbone", "bank") else "head", "parameters")
        work[key] = work.get(key, 0.0) + layer.parameters
    return work


def _memory(layers: Iterable[Layer]) -> Work:
    work: Work = {("", "parameters"): 0.0, ("", "activations"): 0.0}
    for layer in layers:
        work["", "parameters"] += layer.parameters
        work["", "activations"] += layer.output_bytes
    return work


def read_table(content: Mapping[str, Any], *, origin: str) -> MeasuredTable:
    """Validate the `[table]` of a profile; UsageError names the entry at fault."""
    names = [field.name for field in dataclasses.fields(MeasuredOn)]
    _check_keys(content, (*names, "points"), origin)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(MeasuredOn):
        wanted = int if field.type == "int" else str
        values[field.name] = _typed(content[field.name], wanted, f"{origin}: {field.name}")
    points = content["points"]
    if not isinstance(points, list) or not points:
        raise UsageError(f"{origin}: points: expected a list of measured networks, found {points!r:.60}.")
    found = tuple(_point(point, f"{origin}: point {number}") for number, point in enumerate(points, 1))
    return MeasuredTable(MeasuredOn(**values), found)


def _point(content: Any, origin: str) -> Point:
    if not isinstance(content, dict):
        raise UsageError(f"{origin}: expected a table, found {content!r:.60}.")
    content = {**_unwritten(content), **content}
    _check_keys(content, _POINT_KEYS, origin)
    lists = {
        name: tuple(_typed(item, int, f"{origin}: {name}") for item in _typed(content[name], list, origin))
        for name in ("stages", "budgets", "widths")
    }
    ms, size = (_positive(content[name], f"{origin}: {name}") for name in ("ms", "file_mb"))
    memory = content["memory_mb"]
    try:
        base = RealNetConfig()
        details = _typed(content["detail_size"], int, origin)
        base = dataclasses.replace(
            base,
            detail_stages=base.detail_stages if details else (),
            detail_size=details or base.detail_size,
            detail_stride=_typed(content["detail_stride"], int, origin),
            backbone=_typed(content["backbone"], str, origin),
            input_height=_typed(content["height"], int, origin),
            input_width=_typed(content["width"], int, origin),
        )
        config = configuration(
            base,
            lists["stages"],
            lists["budgets"],
            lists["widths"],
            residuals=_typed(content["residuals"], int, origin),
            bank_size=_typed(content["bank_size"], int, origin),
        )
        width = _typed(content["discriminator"], int, origin)
        config = dataclasses.replace(config, discriminator_width=width)
    except EdgeadError as error:
        raise UsageError(f"{origin}: not a network that can be built: {error}") from error
    return Point(
        config,
        _typed(content["precision"], str, origin),
        ms,
        size,
        None if memory == -1 else _positive(memory, f"{origin}: memory_mb"),
    )


def _unwritten(content: Mapping[str, Any]) -> dict[str, int]:
    """What tables of earlier versions do not say of a network: it was the same, or by one rule, for all."""
    residuals = content.get("residuals")
    read = residuals if isinstance(residuals, int) else 0
    return {
        "detail_size": 0,
        "detail_stride": 1,
        "discriminator": min(64, max(16, 16 * round(read / 24))),
    }


def _check_keys(content: Mapping[str, Any], known: Sequence[str], origin: str) -> None:
    if wrong := sorted(set(content) ^ set(known)):
        word = "unknown" if wrong[0] in content else "missing"
        raise UsageError(
            f"{origin}: {word} '{wrong[0]}'. A table is written by `edgead targets measure`: measure again."
        )


def _typed(value: Any, wanted: type, origin: str) -> Any:
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise UsageError(f"{origin}: expected {wanted.__name__}, found {value!r:.60}. Measure again.")
    return value


def _positive(value: Any, origin: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise UsageError(f"{origin}: expected a number from 0 up, found {value!r:.60}. Measure again.")
    return float(value)
