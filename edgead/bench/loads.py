"""Loads on an opened bundle: a closed loop, frames at a rate, lines at a rate, and the highest rate of lines.

Each takes `progress`: a function from a label to a context manager that yields what takes the share done.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bench.latency import ClosedLoop, LatencyRun, measure_closed_loop, mlperf_rules, summarise_latency
from edgead.bench.latency_samples import Samples
from edgead.bench.line_load import LineLoad, LineRun, lines_per_second, measure_lines
from edgead.bench.open_loop import Arrivals, OpenLoop, measure_open_loop
from edgead.bench.sustained import find_sustained
from edgead.device.telemetry import Telemetry
from edgead.errors import DeadlineError
from edgead.runtime.inspector import Inspector

Images = Sequence[NDArray[np.uint8]]
Progress = Callable[[str], AbstractContextManager[Callable[[float], None]]]

TRIAL_SECONDS, TRIAL_STRIPS = 3.0, 24  # of one trial of --sustained, whichever is longer
MATERIAL_LINES = 512


@dataclass(frozen=True, eq=False)
class LoadResult:
    """A run as plain values, with its samples; `demands` are the demands that it did not meet, in words."""

    samples: dict[str, Samples]
    facts: dict[str, Any]
    demands: tuple[str, ...] = ()


@contextmanager
def _no_progress(label: str) -> Iterator[Callable[[float], None]]:
    yield lambda share: None


def _platform_facts(telemetry: Telemetry) -> dict[str, Any]:
    """What the platform reported during a run."""
    return {"telemetry": telemetry.summary(), "memory": telemetry.memory_growth()}


def deadline_facts(deadline_ms: float | None, missed: int, of: int) -> dict[str, Any] | None:
    """The deadline and how often it was missed; None without one."""
    if deadline_ms is None:
        return None
    return {"ms": deadline_ms, "missed": missed, "of": of, "share": missed / max(of, 1)}


def deadline_demand(facts: dict[str, Any] | None, allowed: float) -> tuple[str, ...]:
    """Words for a deadline that was missed more often than allowed."""
    if facts is None or facts["share"] <= allowed:
        return ()
    return (
        f"{facts['missed']} of {facts['of']} missed the deadline of {facts['ms']:g} ms "
        f"({facts['share']:.2%}; {allowed:.2%} allowed)",
    )


def measure_calls(
    inspector: Inspector, images: Images, *, scenario: ClosedLoop, progress: Progress = _no_progress
) -> LatencyRun:
    """Samples by stage: those of the inspector, `total`, `map_and_regions`, and the `engine` alone."""
    clock, engine = time.perf_counter_ns, inspector.engine
    prepared = [inspector.prepare(image) for image in images]

    def engine_alone(at: int) -> int:
        started = clock()
        engine.infer(prepared[at])
        return clock() - started

    def call(index: int) -> dict[str, int]:
        turn, at = divmod(index, len(images))
        before = engine_alone(at) if turn % 2 else 0  # the second of two calls finds warm caches
        started = clock()
        result = inspector.inspect(images[at])
        inspected = clock()
        alone = before or engine_alone(at)
        gpu = engine.gpu_ns
        mapping = clock()
        _ = result.anomaly_map, result.regions
        stages = {"map_and_regions": clock() - mapping, "engine": alone}
        stages |= {"gpu": gpu} if gpu is not None else {}
        return {"total": inspected - started, **result.timings_ns, **stages}

    with progress("Measuring") as on_progress:
        return measure_closed_loop(call, scenario=scenario, on_progress=on_progress)


def measure_closed(
    inspector: Inspector,
    images: Images,
    *,
    scenario: ClosedLoop,
    deadline_ms: float | None,
    allow_late: float,
    progress: Progress = _no_progress,
) -> LoadResult:
    """Call after call: samples by stage, and the calls that missed a deadline."""
    with Telemetry() as telemetry:
        run = measure_calls(inspector, images, scenario=scenario, progress=progress)
    missed = 0 if deadline_ms is None else int((run.samples["total"] > deadline_ms * 1e6).sum())
    deadline = deadline_facts(deadline_ms, missed, run.count)
    facts = {**closed_facts(run, images), "deadline": deadline, **_platform_facts(telemetry)}
    return LoadResult(dict(run.samples), facts, deadline_demand(deadline, allow_late))


def closed_facts(run: LatencyRun, images: Images) -> dict[str, Any]:
    """The facts of a closed loop as plain values."""
    stages = {stage: summarise_latency(run.samples[stage]) for stage in ("total", "engine")}
    return {
        "scenario": "SingleStream: closed loop, batch 1",
        "settings": dataclasses.asdict(run.scenario),
        "mlperf": mlperf_rules("SingleStream", seconds=run.seconds, count=run.count),
        "image_sizes": sorted({f"{image.shape[0]}x{image.shape[1]}" for image in images}),
        "seconds": run.seconds,
        "warm_up_calls": run.warm_up_calls,
        "doubts": list(run.doubts("total")),
        "images_per_second": 1e9 / stages["total"]["mean"],
        "overhead": stages["total"]["p50"] / stages["engine"]["p50"] - 1,
    }


def measure_frames(
    inspector: Inspector,
    images: Images,
    *,
    scenario: OpenLoop,
    allow_late: float,
    progress: Progress = _no_progress,
) -> LoadResult:
    """Frames at a rate: from the moment at which a frame is due to its score, map and regions."""

    clock = time.perf_counter_ns

    def call(index: int) -> dict[str, int]:
        result = inspector.inspect(images[index % len(images)])
        inspected = clock()
        _ = result.anomaly_map, result.regions
        return {**result.timings_ns, "map_and_regions": clock() - inspected}

    with Telemetry() as telemetry, progress("Measuring") as on_progress:
        run = measure_open_loop(call, scenario=scenario, on_progress=on_progress)
    is_poisson = scenario.arrivals is Arrivals.POISSON
    name = "Server: open loop, Poisson arrivals" if is_poisson else "open loop, a frame every period"
    deadline = deadline_facts(scenario.deadline_ms, run.missed, run.arrived)
    counted = {name: getattr(run, name) for name in ("arrived", "served", "lost", "unserved", "unaccounted")}
    facts = {
        "scenario": f"{name}, {scenario.rate_hz:g} per second, batch 1",
        "settings": _settings(scenario),
        "mlperf": mlperf_rules("Server", seconds=run.seconds, count=run.arrived) if is_poisson else None,
        "image_sizes": sorted({f"{image.shape[0]}x{image.shape[1]}" for image in images}),
        "seconds": run.seconds,
        "warm_up_calls": run.warm_up_calls,
        "doubts": list(run.doubts()),
        "frames": counted,
        "sustained": run.is_sustained,
        "deadline": deadline,
        **_platform_facts(telemetry),
    }
    demands = deadline_demand(deadline, allow_late)
    if not run.is_sustained or run.unaccounted:
        demands += (f"of {run.arrived} frames {run.lost} were lost and {run.unserved} never served",)
    samples = {**run.samples, "total": run.latencies}
    return LoadResult(samples, facts, demands)


def measure_line_rate(
    inspector: Inspector,
    images: Images,
    *,
    scenario: LineLoad,
    allow_late: float,
    progress: Progress = _no_progress,
) -> LoadResult:
    """Lines at a rate: from the moment at which the last line of a strip is due to its verdict."""

    material = web_material(images, scenario)
    with Telemetry() as telemetry, progress("Measuring") as on_progress:
        run = measure_lines(inspector, material, scenario=scenario, on_progress=on_progress)
    return _measured_lines(inspector, run, telemetry, allow_late)


def find_line_rate(
    inspector: Inspector,
    images: Images,
    *,
    scenario: LineLoad,
    allow_late: float,
    progress: Progress = _no_progress,
    on_trial: Callable[[str], None] = lambda line: None,
) -> LoadResult:
    """The highest rate at which no line is lost (and the deadline is met), held for the scenario's time.

    `on_trial` is given a line on each rate tried; the scenario's own rate is not used. Raises DeadlineError
    when no rate holds.
    """

    material = web_material(images, scenario)
    watches: list[Telemetry] = []

    def passes(run: LineRun) -> bool:
        late = deadline_facts(scenario.deadline_ms, run.missed, len(run.samples["total"]))
        return run.is_sustained and not deadline_demand(late, allow_late)

    def trial(rate: float, confirming: bool) -> LineRun:
        seconds, count = TRIAL_SECONDS, TRIAL_STRIPS
        if confirming:
            seconds, count = scenario.min_seconds, scenario.min_count
        load = scenario.at(rate, min_seconds=seconds, min_count=count)
        with Telemetry() as telemetry, progress(f"{rate:.0f} lines/s") as on_progress:
            run = measure_lines(inspector, material, scenario=load, on_progress=on_progress)
        watches[:] = [telemetry]
        on_trial(
            f"{rate:9.0f} lines/s for {run.seconds:.1f} s: {'holds' if passes(run) else 'does not hold'}; "
            f"{run.lost} lines lost, {run.drain_ns / 1e6:.0f} ms behind at the end"
        )
        return run

    flat_out = lines_per_second(inspector, material, scenario)
    found = find_sustained(trial, passed=passes, first_rate_hz=flat_out)
    if found.confirmed is None:
        raise DeadlineError(
            f"No line rate from {flat_out / 100:.0f} to {flat_out:.0f} lines/s held: "
            + ("the deadline was missed or " if scenario.deadline_ms else "")
            + "lines were lost at each. Average more lines and columns to a pixel, take a smaller model, or "
            "leave the camera's side a core of its own."
        )
    measured = _measured_lines(inspector, found.confirmed, watches[0], allow_late)
    trials = [
        {
            "line_rate_hz": tried.rate_hz,
            "passed": tried.passed,
            "confirming": tried.confirming,
            "lost": tried.run.lost,
            "behind_ms": tried.run.drain_ns / 1e6,
            "missed": tried.run.missed,
            "seconds": tried.run.seconds,
        }
        for tried in found.trials
    ]
    answer = {
        "line_rate_hz": found.rate_hz,
        "failed_at_hz": found.failed_above,
        "flat_out_lines_per_second": flat_out,
        "trials": trials,
    }
    return dataclasses.replace(measured, facts={**measured.facts, "highest": answer})


def web_material(images: Images, scenario: LineLoad) -> NDArray[np.uint8]:
    """A web as the bundle knows it: the images side by side and in turn, grey, at the web's scale."""
    import cv2

    rows = []
    for image in images:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 and image.shape[2] == 3 else image
        grey = grey.reshape(grey.shape[:2])
        large = np.repeat(np.repeat(grey, scenario.web.lines_per_pixel, 0), scenario.web.columns_per_pixel, 1)
        rows.append(np.tile(large, (1, -(-scenario.width // large.shape[1])))[:, : scenario.width])
        if sum(map(len, rows)) >= MATERIAL_LINES:
            break
    once = np.concatenate(rows)
    return np.ascontiguousarray(np.tile(once, (math.ceil(MATERIAL_LINES / len(once)), 1)))


def _measured_lines(
    inspector: Inspector, run: LineRun, telemetry: Telemetry, allow_late: float
) -> LoadResult:
    load = run.scenario
    deadline = deadline_facts(load.deadline_ms, run.missed, len(run.samples["total"]))
    lines = {
        "scheduled": run.scheduled,
        "lost": run.lost,
        "unaccounted": run.unaccounted,
        "behind_at_the_end_ms": run.drain_ns / 1e6,
        "producer_lag_ms": run.producer_lag_ns / 1e6,
        "engine_share": run.engine_ns / 1e9 / run.seconds,
        "buffer": run.buffer.to_json(),
        "stream": run.stream.to_json(),
    }
    facts = {
        "scenario": f"open loop, {load.line_rate_hz:.0f} lines of {load.width} pixels per second",
        "settings": _settings(load),
        "mlperf": None,
        "seconds": run.seconds,
        "doubts": list(run.doubts()),
        "lines": lines,
        "sustained": run.is_sustained,
        "deadline": deadline,
        **_platform_facts(telemetry),
    }
    demands = deadline_demand(deadline, allow_late)
    if not run.is_sustained:
        demands += (
            f"of {run.scheduled} lines {run.lost} were lost, {run.unaccounted} are unaccounted for, and the "
            f"inspection was {run.drain_ns / 1e6:.0f} ms behind at the end",
        )
    return LoadResult(dict(run.samples), facts, demands)


def _settings(scenario: Any) -> dict[str, Any]:
    values = dataclasses.asdict(scenario)
    return {name: getattr(value, "value", value) for name, value in values.items()}
