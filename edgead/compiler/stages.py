"""What each step of a compile did, and the report of the whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgead.compiler.gate import LayerCost


@dataclass(frozen=True)
class StageReport:
    """One step: what it made, in which time, how large, and how that compares with the step before."""

    name: str
    seconds: float
    file: str
    megabytes: float
    comparison: str

    def __str__(self) -> str:
        return f"{self.name}: {self.seconds:.1f} s, {self.file} ({self.megabytes:.2f} MB), {self.comparison}"


@dataclass
class StageNotes:
    """What a step fills in while it runs."""

    file: str = ""
    content: bytes | None = None
    comparison: str = "nothing before it"


class StageLog:
    """Times the steps of a compile in order and hands each finished one to `on_stage`."""

    def __init__(self, on_stage: Callable[[StageReport], None] | None = None) -> None:
        self.stages: list[StageReport] = []
        self._on_stage = on_stage

    @contextmanager
    def stage(self, name: str, file: str) -> Iterator[StageNotes]:
        """A step under way; nothing is logged when it raises."""
        start, notes = time.perf_counter(), StageNotes(file)
        yield notes
        megabytes = len(notes.content or b"") / 1e6
        report = StageReport(name, time.perf_counter() - start, notes.file, megabytes, notes.comparison)
        self.stages.append(report)
        if self._on_stage is not None:
            self._on_stage(report)


@dataclass(frozen=True)
class CompileReport:
    """A finished compile: the bundle, its figures before and after, and what happened on the way."""

    path: Path
    target: str
    engine: str
    precision: str
    recipe: str
    megabytes: float
    seconds: float
    stages: tuple[StageReport, ...]
    float_figures: dict[str, float | None]
    compiled_figures: dict[str, float | None]
    drops: dict[str, float]
    measured_on: str
    calibration_images: int
    calibration_sha256: str
    reverted: tuple[LayerCost, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return {**asdict(self), "path": str(self.path)}
