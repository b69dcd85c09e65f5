"""A device target: which engine runs a bundle there, in which precisions, and what the device can do.

A profile is data. Every figure says whether it was measured, published or derived, and names its source.
What depends on the power mode (clocks, peaks, bandwidth) stands in that mode's table: the same module differs
up to twelvefold between modes. Peaks are dense ones, without sparsity and without other accelerators.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgead.engines import engines
from edgead.errors import UnknownNameError, UsageError
from edgead.profiles import list_data, read_data
from edgead.profiles.figures import Figure, as_table, as_text, check_keys, known_name, read_figures

PRECISIONS = ("bf16", "f16", "f32", "int8")
OPTIONS = {"calibration": "the recipe that `edgead compile` uses unless another is named"}
DEVICE_FIGURES = {
    "memory_mb": "memory that the network can use, MB of 10^6 bytes",
    "compute_capability": "of an NVIDIA GPU",
}
MODE_FIGURES = {
    "watts": "limit of the power, W",
    "clock_mhz": "highest clock of the units that compute, MHz",
    "units": "streaming multiprocessors, execution units or cores that are on",
    "int8_tops": "dense peak in INT8, 10^12 operations per second",
    "f16_tflops": "dense peak in half precision, 10^12 operations per second",
    "tf32_tflops": "dense peak of matrix units in TF32, 10^12 operations per second",
    "f32_tflops": "peak in single precision without matrix units, 10^12 operations per second",
    "bandwidth_gb_per_s": "of the memory, GB (10^9 bytes) per second",
}
# What a mode must state: an analytic cost model has no use for it otherwise.
_MODE_NEEDS = ("clock_mhz", "f32_tflops", "bandwidth_gb_per_s")
# The figures that say how fast a precision is, the first that is there; TensorRT computes float in TF32.
_PEAKS = {
    "int8": ("int8_tops", "f16_tflops", "f32_tflops"),  # without INT8 units: as half precision
    "f16": ("f16_tflops", "f32_tflops"),
    "bf16": ("f16_tflops", "f32_tflops"),
    "f32": ("tf32_tflops", "f32_tflops"),
}
_REQUIRED = ("description", "engine", "precisions")
_OPTIONAL = (
    "options",
    "run_on_device",
    "default_mode",
    "sources",
    "device",
    "modes",
    "channel_multiple",
    "table",
)


@dataclass(frozen=True)
class Mode:
    """A power mode of a device, or one board of a family; `figures` are those of MODE_FIGURES."""

    name: str
    description: str
    figures: Mapping[str, Figure]

    def value(self, name: str) -> float:
        """A figure that every mode has: clock_mhz, f32_tflops or bandwidth_gb_per_s."""
        return self.figures[name].value

    def peak_tops(self, precision: str, *, matrix_units: bool = True) -> float:
        """Dense peak, 10^12 operations per second; without matrix units that of plain arithmetic."""
        names = _PEAKS[precision] if matrix_units else ("f32_tflops",)
        return next(self.figures[name].value for name in names if name in self.figures)


@dataclass(frozen=True)
class Target:
    """One file of targets/; the first of `precisions` is the default.

    run_on_device: whether edgead has run there; otherwise nothing of the profile is proven.
    channel_multiple: by precision, the multiple of channels that the device's matrix units want.
    table: measured latencies, as `edgead targets measure` writes them; read by the cost model alone.
    """

    name: str
    description: str
    engine: str
    precisions: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)
    run_on_device: bool = False
    default_mode: str | None = None
    modes: Mapping[str, Mode] = field(default_factory=dict)
    device: Mapping[str, Figure] = field(default_factory=dict)
    channel_multiple: Mapping[str, Figure] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    table: Mapping[str, Any] | None = None

    def mode(self, name: str | None = None) -> Mode:
        """A mode by name; the default one for None. Raises UnknownNameError, UsageError without modes."""
        if not self.modes or self.default_mode is None:
            raise UsageError(
                f"Target {self.name} states no power modes and no figures of the device. Measure it: "
                "edgead targets measure --out my-device.toml"
            )
        if name is None:
            return self.modes[self.default_mode]
        if name not in self.modes:
            raise UnknownNameError(f"mode of target {self.name}", name, self.modes)
        return self.modes[name]

    def multiple_of_channels(self, precision: str) -> int:
        """Channels in this multiple fill the device's matrix units; 1 where the profile says nothing."""
        figure = self.channel_multiple.get(precision)
        return int(figure.value) if figure else 1


def list_targets() -> tuple[Target, ...]:
    """Every packaged target, by name."""
    return tuple(read_target(name) for name in list_data("targets"))


def read_target(name_or_path: str | os.PathLike[str]) -> Target:
    """A packaged target by name, or a user's own by path.

    Raises UnknownNameError with near matches, and UsageError for a field missing, unknown or of another type.
    """
    name, table = read_data("targets", name_or_path)
    origin = f"target '{os.fspath(name_or_path)}'"
    check_keys(table, required=_REQUIRED, optional=_OPTIONAL, origin=origin)
    precisions = _precisions(table["precisions"], origin)
    sources = _texts(table.get("sources", {}), f"{origin}: sources")
    modes = _modes(table.get("modes", {}), sources, f"{origin}: modes")
    return Target(
        name=name,
        description=as_text(table["description"], f"{origin}: description"),
        engine=known_name("engine", as_text(table["engine"], f"{origin}: engine"), engines(), origin),
        precisions=precisions,
        options=_options(table.get("options", {}), f"{origin}: options"),
        run_on_device=_boolean(table.get("run_on_device", False), f"{origin}: run_on_device"),
        default_mode=_default_mode(table.get("default_mode"), modes, f"{origin}: default_mode"),
        modes=modes,
        device=read_figures(
            table.get("device", {}), known=DEVICE_FIGURES, sources=sources, origin=f"{origin}: device"
        ),
        channel_multiple=_multiples(
            table.get("channel_multiple", {}), precisions, sources, f"{origin}: channel_multiple"
        ),
        sources=sources,
        table=as_table(table["table"], f"{origin}: table") if "table" in table else None,
    )


def _modes(content: object, sources: Mapping[str, str], origin: str) -> dict[str, Mode]:
    return {
        name: _mode(name, as_table(mode, f"{origin}: {name}"), sources, f"{origin}: {name}")
        for name, mode in as_table(content, origin).items()
    }


def _mode(name: str, content: dict[str, Any], sources: Mapping[str, str], origin: str) -> Mode:
    check_keys(content, required=("description", *_MODE_NEEDS), optional=MODE_FIGURES, origin=origin)
    description = as_text(content["description"], f"{origin}: description")
    rest = {key: value for key, value in content.items() if key != "description"}
    return Mode(name, description, read_figures(rest, known=MODE_FIGURES, sources=sources, origin=origin))


def _default_mode(value: object, modes: Mapping[str, Mode], origin: str) -> str | None:
    if value is None and not modes:
        return None
    if value is None:
        raise UsageError(f"{origin}: expected one of the modes {', '.join(modes)}, found nothing.")
    return known_name("mode", as_text(value, origin), modes, origin)


def _multiples(
    content: object, precisions: tuple[str, ...], sources: Mapping[str, str], origin: str
) -> dict[str, Figure]:
    known = dict.fromkeys(precisions, "")
    figures = read_figures(content, known=known, sources=sources, origin=origin)
    for precision, figure in figures.items():
        if not figure.value.is_integer():
            raise UsageError(f"{origin}: {precision}: expected a whole number, found {figure.value!r}.")
    return figures


def _options(content: object, origin: str) -> dict[str, str]:
    check_keys(as_table(content, origin), required=(), optional=OPTIONS, origin=origin)
    return _texts(content, origin)


def _texts(content: object, origin: str) -> dict[str, str]:
    return {key: as_text(value, f"{origin}: {key}") for key, value in as_table(content, origin).items()}


def _boolean(value: object, origin: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{origin}: expected true or false, found {value!r}.")
    return value


def _precisions(value: object, origin: str) -> tuple[str, ...]:
    is_list = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    if not isinstance(value, list) or not is_list or len(set(value)) != len(value):
        raise UsageError(
            f'{origin}: precisions: expected distinct names such as ["int8", "f32"], found {value!r}.'
        )
    return tuple(known_name("precision", item, PRECISIONS, origin) for item in value)
