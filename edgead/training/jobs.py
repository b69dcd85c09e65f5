"""One training among many: its task, its progress and its result, as a process on any machine runs it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgead.errors import EdgeadError, TrainingError
from edgead.files import write_json

_EVERY_S = 0.5  # between two notes on the progress


@dataclass(frozen=True)
class Job:
    """A product (or several for one model) and a seed; `settings` is `TrainSettings.to_json` of `family`."""

    name: str
    seed: int
    data: tuple[str, ...]
    out: str  # the run folder
    progress: str  # a file that says how far it is, for the process that started it
    family: str
    settings: Mapping[str, Any]
    minutes: float | None = None


@dataclass(frozen=True)
class JobResult:
    """How a job ended: held-out figures, or the error that no other attempt would avoid."""

    figures: Mapping[str, float | None] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    was_there: bool = False  # a finished run with these settings was found
    error: str = ""


def run_job(job: Job) -> JobResult:
    """Train, going on from the checkpoint of an earlier attempt; keep a finished run with these settings."""
    note = _Note(Path(job.progress))
    note("starting", 0, 0)
    try:
        return _trained(job, note)
    except EdgeadError as error:
        return JobResult(error=str(error))


def _trained(job: Job, note: _Note) -> JobResult:
    from edgead.training.augmentation import AUTO
    from edgead.training.run import RUN_FILE, Run, read_run
    from edgead.training.settings import TrainSettings
    from edgead.training.train import train

    settings = TrainSettings.from_json(job.settings, family=job.family)
    run: Run | None
    was_there = (Path(job.out) / RUN_FILE).is_file()
    if was_there:
        run = read_run(job.out)
        there, wanted = run.settings.to_json(), settings.to_json()
        decided = {"steps": job.minutes is not None, "augment": settings.augment == AUTO}  # by the training
        differing = [n for n in wanted if there[n] != wanted[n] and not decided.get(n)]
        if differing:
            raise TrainingError(
                f"{job.out} holds a run with other settings ({', '.join(differing)}). Remove it, or give the "
                "plan another out."
            )
    else:
        run = train(
            job.data,
            job.out,
            settings=settings,
            minutes=job.minutes,
            on_progress=lambda progress: note(progress.stage, progress.step, progress.steps),
        )
        if run is None:
            raise TrainingError("A training among many runs in one process; start it without torchrun.")
    return JobResult(dict(run.validation), run.settings.steps, run.seconds, was_there)


class _Note:
    """Writes how far a job is, seldom enough for a shared disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stage = ""
        self._written = 0.0

    def __call__(self, stage: str, step: int, steps: int) -> None:
        now = time.monotonic()
        if stage == self._stage and now - self._written < _EVERY_S:
            return
        self._stage, self._written = stage, now
        here = {"host": platform.node(), "pid": os.getpid()}
        write_json(self._path, {"stage": stage, "step": step, "steps": steps, **here})
