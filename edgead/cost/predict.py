"""One cost model for a target: its measured table where it has one, otherwise published points."""

from __future__ import annotations

import abc
import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgead.cost import compact_layers as parts
from edgead.cost.analytic import PUBLISHED, AnalyticModel, memory_mb
from edgead.cost.layers import Layer
from edgead.cost.measure import MeasuredOn
from edgead.cost.prediction import PUBLISHED_POINTS, LatencyPrediction
from edgead.cost.table import MeasuredTable, TableModel, read_table
from edgead.errors import UnknownNameError, UsageError
from edgead.models.realnet.config import RealNetConfig
from edgead.profiles.target import Target
from edgead.version import __version__

_VALUE_BYTES = {"int8": 1, "f16": 2, "bf16": 2, "f32": 4}
_FILE_BYTES = {"int8": 1.06, "f32": 4.0, "f16": 2.0, "bf16": 2.0}  # a parameter; INT8 with scales and biases


@dataclass(frozen=True)
class Costs:
    """What operations cost, in sum: milliseconds, MB of the model's file, MB of memory when it runs."""

    ms: float
    file_mb: float
    memory_mb: float

    def __add__(self, other: Costs) -> Costs:
        return Costs(self.ms + other.ms, self.file_mb + other.file_mb, self.memory_mb + other.memory_mb)


class CostModel(abc.ABC):
    """Costs on one target in one precision; they add up over operations."""

    basis: str
    relative_error: float | None
    margin: float  # share of a prediction that nine of ten networks do not exceed it by
    notes: tuple[str, ...] = ()

    @property
    @abc.abstractmethod
    def fixed(self) -> Costs:
        """What a call of any network costs by itself."""

    @abc.abstractmethod
    def of(self, layers: Sequence[Layer]) -> Costs:
        """What operations cost, without the call."""

    @abc.abstractmethod
    def predict(self, config: RealNetConfig) -> LatencyPrediction:
        """Latency by part and memory of a whole network."""

    def costs(self, config: RealNetConfig) -> Costs:
        """Of a whole network."""
        return self.of(parts.network_layers(config)) + self.fixed


class TableCosts(CostModel):
    """From what was measured on the device."""

    def __init__(self, table: MeasuredTable, precision: str) -> None:
        self.table = table
        self.model: TableModel = table.model(precision)
        self.basis = "measured table"
        self.relative_error = self.model.time.relative_error
        self.margin = self.model.time.margin
        self.notes = tuple(table_notes(table))

    @property
    def fixed(self) -> Costs:
        model = self.model
        memory = model.memory.constant if model.memory else math.nan
        return Costs(model.call_ms, model.file.constant, memory)

    def of(self, layers: Sequence[Layer]) -> Costs:
        return Costs(self.model.ms(layers), self.model.file_mb(layers), self.model.memory_mb(layers))

    def predict(self, config: RealNetConfig) -> LatencyPrediction:
        return self.model.predict(parts.network_layers(config))


class PublishedCosts(CostModel):
    """From published latencies and the device's figures."""

    def __init__(self, target: Target, precision: str, *, mode: str | None, model: AnalyticModel) -> None:
        self.target, self.precision, self.mode, self.model = target, precision, mode, model
        self.basis, self.relative_error = PUBLISHED_POINTS, model.relative_error
        # No more is known of their spread than the median: a prediction may be twice as far off.
        self.margin = model.relative_error or 0.0
        target.mode(mode)  # an unknown one is refused here
        self.notes = (
            "not yet run on the device: latencies are derived from published ones of other networks "
            f"(median error {self.margin:.0%})",
        )

    @property
    def fixed(self) -> Costs:
        return Costs(0.0, 0.0, 0.0)

    def of(self, layers: Sequence[Layer]) -> Costs:
        if not layers:
            return self.fixed
        prediction = self.model.predict(layers, self.target, mode=self.mode, precision=self.precision)
        parameters = sum(layer.parameters for layer in layers)
        return Costs(
            prediction.total_ms, parameters * _FILE_BYTES[self.precision] / 1e6, self._memory_mb(layers)
        )

    def _memory_mb(self, layers: Sequence[Layer]) -> float:
        """As `memory_mb`, in a form that adds up: the largest maps are those of the backbone."""
        if layers[0].part == "backbone":
            return memory_mb(layers, self.precision)
        elements = layers[0].input_bytes + sum(layer.parameters for layer in layers)
        return elements * _VALUE_BYTES[self.precision] / 1e6

    def predict(self, config: RealNetConfig) -> LatencyPrediction:
        layers = parts.network_layers(config)
        return self.model.predict(layers, self.target, mode=self.mode, precision=self.precision)


def cost_model(
    target: Target, *, precision: str | None = None, mode: str | None = None, origin: str | None = None
) -> CostModel:
    """The cost model of a target; the precision is its first unless given.

    Raises UnknownNameError for a mode or a precision that it does not have, and UsageError where neither a
    table nor published points tell anything of it.
    """
    chosen = precision or target.precisions[0]
    if chosen not in target.precisions:
        raise UnknownNameError(f"precision of target {target.name}", chosen, target.precisions)
    table = target_table(target, origin=origin)
    if table is not None and mode is None and chosen in table.precisions:
        return TableCosts(table, chosen)
    return PublishedCosts(target, chosen, mode=mode, model=PUBLISHED)


def target_table(target: Target, *, origin: str | None = None) -> MeasuredTable | None:
    """The table of a target, validated; None where it has none."""
    if target.table is None:
        return None
    return _read(target.table, origin or f"target '{target.name}': table")


def _read(content: object, origin: str) -> MeasuredTable:
    if not isinstance(content, dict):
        raise UsageError(f"{origin}: expected a table, found {content!r:.60}. Measure again.")
    return read_table(content, origin=origin)


def table_notes(table: MeasuredTable) -> list[str]:
    """What has changed since the table was measured, as far as a machine that is not the device can tell."""
    before = table.measured_on
    now = replace(before, edgead=__version__, engine_version=_installed(before))
    changes = table.changes(now)
    cpu, threads = table.measured_on.cpu, table.measured_on.threads
    notes = [f"measured on {cpu} with {threads} thread{'s' if threads > 1 else ''}"]
    return notes + ([f"the table is of another version ({'; '.join(changes)})"] if changes else [])


def _installed(before: MeasuredOn) -> str:
    try:
        return importlib.metadata.version(before.engine)
    except importlib.metadata.PackageNotFoundError:  # not needed where a model is trained
        return before.engine_version


__all__ = ["CostModel", "Costs", "PublishedCosts", "TableCosts", "cost_model", "target_table"]
