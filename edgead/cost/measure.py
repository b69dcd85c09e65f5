"""Latency and memory of models on the device at hand, by the engine that will run them.

Needs numpy and the engine alone: a device without torch measures models that were made elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgead.bundle import InputSpec, Manifest, OutputSpec, draft_manifest
from edgead.bundle.model_check import check_onnx
from edgead.device.machine import cpu_model, usable_cores
from edgead.errors import DataError, UsageError
from edgead.files import read_file
from edgead.records import parse_json
from edgead.runtime.engines import create_engine
from edgead.runtime.engines.base import Engine
from edgead.version import __version__

# What a call is timed with. A machine that others use interrupts calls: with one thread, the processor time
# is what a call takes when nobody does. It is no measure of an engine that works on another device.
CLOCKS: Mapping[str, Callable[[], int]] = {
    "wall": time.perf_counter_ns,
    "processor": time.process_time_ns,
}
MODELS_INDEX = "models.json"  # of a folder of models
_GROUP = 6  # models in memory at a time, measured in turns
_UNSETTLED = 1  # calls of a block, which find the other models' data in the caches
_BLOCK = 6
_QUANTILE = 0.25  # of the calls: others on the machine only ever add time


@dataclass(frozen=True)
class TimedModel:
    """A model to measure: a configuration as plain values, its precision and its ONNX file."""

    config: Mapping[str, Any]
    precision: str
    load: Callable[[], bytes]


def read_models(folder: Path) -> list[TimedModel]:
    """The models of a folder that `edgead targets measure --make-models` wrote; DataError for another."""
    path = folder / MODELS_INDEX
    try:
        content = parse_json(read_file(path), origin=str(path))
        return [
            TimedModel(
                dict(entry["config"]), str(entry["precision"]), (folder / str(entry["file"])).read_bytes
            )
            for entry in content
        ]
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}). Make the models: "
            f"edgead targets measure --make-models {folder}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error}). Make the models again."
        ) from error


@dataclass(frozen=True)
class MeasuredNetwork:
    """What was measured of a model: ms of a call, MB (10^6 bytes) that loading and running it added."""

    config: Mapping[str, Any]
    precision: str
    ms: float
    file_mb: float
    memory_mb: float | None  # None where the system does not tell


@dataclass(frozen=True)
class MeasuredOn:
    """What the figures hold for; a change of any of these may change them."""

    edgead: str
    engine: str
    engine_version: str
    cpu: str
    usable_cores: int
    threads: int
    clock: str
    date: str = field(compare=False)


def measured_on(engine: str, *, threads: int, clock: str) -> MeasuredOn:
    """The circumstances here and now; raises EngineError when the engine is not installed."""
    found = create_engine(engine, threads=threads)
    version = _version(engine)
    found.close()
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return MeasuredOn(__version__, engine, version, cpu_model(), usable_cores(), threads, clock, today)


def measure_models(
    models: Sequence[TimedModel],
    *,
    engine: str,
    threads: int,
    clock: str = "wall",
    rounds: int = 8,
    on_progress: Callable[[float], None] | None = None,
) -> list[MeasuredNetwork]:
    """Measure in groups, the models of a group in turns: what else the machine does touches all alike.

    A figure is the first quartile of the calls: what others on the machine take only ever adds.
    Raises UsageError for an unknown clock or one that cannot time these threads, EngineError for a model.
    """
    if clock not in CLOCKS or (clock == "processor" and threads != 1):
        raise UsageError(
            f"clock: expected wall, or processor with one thread; found {clock} with {threads} threads."
        )
    found: list[MeasuredNetwork] = []
    for start in range(0, len(models), _GROUP):
        group = models[start : start + _GROUP]
        found += _measure_group(group, engine, threads, CLOCKS[clock], rounds)
        if on_progress is not None:
            on_progress(len(found) / len(models))
    return found


def _measure_group(
    models: Sequence[TimedModel], engine: str, threads: int, clock: Callable[[], int], rounds: int
) -> list[MeasuredNetwork]:
    with contextlib.ExitStack() as stack:
        loaded = []
        for model in models:
            content = model.load()
            opened, memory = _load(engine, threads, model, content)
            stack.callback(opened.close)
            image = _noise(model)
            loaded.append((opened, image, len(content) / 1e6, memory))
        samples: list[list[int]] = [[] for _ in models]
        for number in range(rounds):
            order = range(len(models)) if number % 2 == 0 else range(len(models) - 1, -1, -1)
            for position in order:
                opened, image, _, _ = loaded[position]
                for call in range(_BLOCK + _UNSETTLED):
                    started = clock()
                    opened.infer(image)
                    taken = clock() - started
                    if call >= _UNSETTLED:
                        samples[position].append(taken)
    figures = [float(np.quantile(taken, _QUANTILE)) / 1e6 for taken in samples]
    return [
        MeasuredNetwork(model.config, model.precision, ms, size, memory)
        for model, ms, (_, _, size, memory) in zip(models, figures, loaded, strict=True)
    ]


def _load(engine: str, threads: int, model: TimedModel, content: bytes) -> tuple[Engine, float | None]:
    """The model in a new engine, and the MB by which the process was larger at the highest point."""
    check_onnx(content, origin="model.onnx")
    _give_back_memory()
    _forget_peak()
    before = _status_mb("VmRSS")
    opened = create_engine(engine, threads=threads)
    opened.load({"model.onnx": content}, _manifest(model, engine))
    opened.infer(_noise(model))
    after = _status_mb("VmHWM")
    return opened, None if before is None or after is None else max(0.0, after - before)


def _noise(model: TimedModel) -> np.ndarray[Any, np.dtype[np.uint8]]:
    shape = (int(model.config["input_height"]), int(model.config["input_width"]), 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _manifest(model: TimedModel, engine: str) -> Manifest:
    """The least that an engine asks for."""
    height, width = (int(model.config[name]) for name in ("input_height", "input_width"))
    stride = 2 ** int(model.config["grid_stage"])
    return draft_manifest(
        name="probe",
        target="probe",
        engine=engine,
        precision=model.precision,
        input=InputSpec(height, width),
        output=OutputSpec(height // stride, width // stride, "none"),
        family="realnet",
        config=model.config,
    )


def _version(engine: str) -> str:
    import importlib.metadata

    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(engine)
    return "unknown"


def _give_back_memory() -> None:
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def _forget_peak() -> None:
    """Let the system note the highest memory of this process anew, from what it has now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status_mb(name: str) -> float | None:
    """A line of /proc/self/status in MB; None where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    value = next((line.split()[1] for line in lines if line.startswith(f"{name}:")), None)
    return None if value is None else int(value) * 1024 / 1e6
