"""An allocation: the network chosen, its predicted cost, and what more time would buy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgead.cost.prediction import LatencyPrediction
from edgead.errors import DataError, UsageError
from edgead.models.realnet.config import RealNetConfig


@dataclass(frozen=True)
class Limits:
    """What a network may cost; infinity where nothing is asked."""

    latency_ms: float = math.inf
    file_mb: float = math.inf
    memory_mb: float = math.inf

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if math.isnan(value) or value <= 0:
                option = {"latency_ms": "--latency-ms", "file_mb": "--model-mb", "memory_mb": "--memory-mb"}
                raise UsageError(f"{option[name]}: expected a number above 0, found {value}.")


@dataclass(frozen=True)
class FrontierPoint:
    """The best network of at most this latency, and the share of the channel information that it keeps."""

    ms: float
    kept: float


@dataclass(frozen=True)
class Allocation:
    """What was chosen, for what, and how sure it is. Written beside a run as allocation.json.

    `kept` is the share of all channels' information (edgead/allocation/channel_information.py) that the
    network keeps; it ranks networks and is no accuracy. `promised_ms` is the prediction with the margin that
    nine of ten networks keep to; it is what was held against the budget.
    """

    target: str
    mode: str | None
    precision: str
    threads: int | None
    limits: Limits
    config: RealNetConfig
    prediction: LatencyPrediction
    promised_ms: float
    file_mb: float
    kept: float
    stage_information: Mapping[int, tuple[float, float]]  # stage -> bits of its kept channels, of all
    next_ms: str  # what the next millisecond would buy, in words
    frontier: Sequence[FrontierPoint]
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        content = asdict(self)
        content["config"] = self.config.to_json()
        content["limits"] = {
            name: None if math.isinf(value) else value for name, value in asdict(self.limits).items()
        }
        content["stage_information"] = {
            str(stage): list(bits) for stage, bits in self.stage_information.items()
        }
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Allocation:
        """Read what `to_json` wrote; DataError for anything else."""
        try:
            values = dict(content)
            limits = {n: math.inf if v is None else float(v) for n, v in values["limits"].items()}
            values["limits"] = Limits(**limits)
            values["config"] = RealNetConfig.from_json(values["config"])
            values["prediction"] = LatencyPrediction(**values["prediction"])
            values["stage_information"] = {
                int(k): (float(a), float(b)) for k, (a, b) in values["stage_information"].items()
            }
            values["frontier"] = tuple(FrontierPoint(**point) for point in values["frontier"])
            values["notes"] = tuple(map(str, values["notes"]))
            return cls(**values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"This is not an allocation: {type(error).__name__} {error}.") from error

    @property
    def text(self) -> str:
        """The allocation for a terminal."""
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        config, parts = self.config, dict(self.prediction.parts_ms)
        size = f"{config.input_height} x {config.input_width}"
        where = f"{self.target}{f', mode {self.mode}' if self.mode else ''}, {self.precision}"
        lines = [f"Allocation for {where}: {_asked(self.limits)}", f"{config.backbone}, input {size}"]
        lines.append(f"{'':<18}{'channels':>12}{'width':>8}{'bits kept':>20}{'predicted ms':>15}")
        lines.append(f"{'backbone':<18}{'':>40}{parts.pop('backbone', 0.0):>15.3f}")
        for stage, channels, width in zip(
            config.stages, config.channels, config.reconstruction_widths, strict=True
        ):
            kept, whole = self.stage_information[stage]
            ms = parts.pop(f"reconstruction {stage}", 0.0)
            bits = f"{kept:.3f} of {whole:.3f}"
            lines.append(f"{f'stage {stage}':<18}{channels:>12}{width:>8}{bits:>20}{ms:>15.3f}")
        passed = {
            "selection": f"{config.residual_count} residuals",
            "discriminator": f"width {config.discriminator_width}",
            "bank": f"{config.bank_size} features" if config.bank_stages else "none",
        }
        for part, ms in parts.items():
            lines.append(f"{part:<18}{passed.get(part, ''):>40}{ms:>15.3f}")
        error = self.prediction.relative_error
        sure = "" if error is None else f", median error {error:.1%}"
        lines.append(
            f"predicted {self.prediction.total_ms:.2f} ms ({self.prediction.basis}{sure}); "
            f"held against the budget: {self.promised_ms:.2f} ms"
        )
        lines.append(
            f"model file {self.file_mb:.1f} MB, memory {_mb(self.prediction.peak_memory_mb)}; "
            f"keeps {self.kept:.1%} of the channel information"
        )
        lines.append(f"The next millisecond would buy {self.next_ms}")
        return [*lines, *(f"Note: {note}" for note in self.notes)]


def _asked(limits: Limits) -> str:
    named = (("ms", limits.latency_ms), ("MB of file", limits.file_mb), ("MB of memory", limits.memory_mb))
    return "at most " + ", ".join(f"{value:g} {unit}" for unit, value in named if not math.isinf(value))


def _mb(value: float) -> str:
    return "not known" if math.isnan(value) else f"{value:.0f} MB"
