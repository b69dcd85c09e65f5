"""Trainings that the accuracy benchmark needs: each is run once, kept in a folder, and found again there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

import edgead
from edgead.compile.from_run import compile_run
from edgead.compile.recipe import Recipe
from edgead.data.target import read_target
from edgead.datasets import open_dataset
from edgead.errors import AccuracyGateError
from edgead.evaluation import Evaluation, evaluate, predictor_from_inspector, predictor_from_module
from edgead.models.inspection import InspectionModel
from edgead.training.run import RUN_FILE, Run, read_run
from edgead.training.settings import TrainSettings
from edgead.training.train import train

_PROBE_STEPS = 40  # whose later half tells the speed
_TARGET = "intel-cpu"


@dataclass(frozen=True)
class Trained:
    """A finished training and what it reaches on the test images, which chose nothing of it."""

    run: Run
    figures: dict[str, float | None]
    by_kind: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        settings = self.run.settings
        return {
            "run": self.run.path.name,
            "steps": settings.steps,
            "seed": settings.seed,
            "minutes": round(self.run.seconds / 60, 1),
            "metrics": self.figures,
            "by_kind": self.by_kind,
        }


@dataclass(frozen=True)
class Compiled:
    """The INT8 bundle of a training, what it reaches, and what its gate said ("passed" or the refusal)."""

    path: Path
    gate: str
    figures: dict[str, float | None]
    by_kind: dict[str, Any]


class Workshop:
    """Trains, compiles and evaluates in `folder`; what is there from earlier is used again."""

    def __init__(self, folder: Path, *, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, data: Path, settings: TrainSettings, *, label: str) -> Run:
        """The run of these settings on these data, trained unless it is there; a killed one goes on."""
        out = self.folder / f"{label}-{_digest(data, settings)}"
        if (out / RUN_FILE).exists():
            return read_run(out)
        tell = _Teller(label)
        found = train(data, out, settings=settings, on_progress=tell)
        tell.end()
        if found is None:
            raise click.ClickException("This benchmark is not run under torchrun.")
        return found

    def trained(self, data: Path, settings: TrainSettings, *, label: str) -> Trained:
        run = self.run(data, settings, label=label)
        return self.evaluated(run, data, run.model())

    def evaluated(self, run: Run, data: Path, model: InspectionModel) -> Trained:
        predict = predictor_from_module(model, height=run.height, width=run.width, rule=run.resize)
        found = evaluate(predict, open_dataset(data).test)
        return Trained(run, found.summary(), _by_kind(found))

    def compiled(self, run: Run, data: Path) -> Compiled:
        """Compile; where the accuracy gate refuses, without a limit, to show what is lost."""
        out, note = run.path.with_suffix(".edgead"), run.path.with_suffix(".gate.txt")
        if not _is_of(out, run):
            note.write_text(_compile(run, out, self.recipe), encoding="utf-8")
        with edgead.open(out) as inspector:
            found = evaluate(predictor_from_inspector(inspector), open_dataset(data).test)
        return Compiled(out, note.read_text(encoding="utf-8"), found.summary(), _by_kind(found))

    def steps_for(self, minutes: float, data: Path, settings: TrainSettings) -> int:
        """How many steps fit in `minutes` here, by a short training that is thrown away; asked once."""
        path = self.folder / "speed.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        key = _digest(data, replace(settings, steps=1, seed=0))
        if key not in known:
            known[key] = _measure_speed(data, settings)
            path.write_text(json.dumps(known, indent=1), encoding="utf-8")
        speed = known[key]
        return max(1, math.floor((60 * minutes - speed["before_seconds"]) / speed["step_seconds"]))


def subset(root: Path, data: Path, *, train_names: set[str], test_every: int = 1) -> Path:
    """A folder of links to `data` with these training images alone, made again where it is not as wanted."""
    dataset = open_dataset(data)
    shutil.rmtree(root, ignore_errors=True)
    (root / "train" / "good").mkdir(parents=True)
    for sample in dataset.train:
        if sample.path.name in train_names:
            (root / "train" / "good" / sample.path.name).symlink_to(sample.path.resolve())
    if test_every == 1:
        for part in ("test", "ground_truth"):
            (root / part).symlink_to((data / part).resolve(), target_is_directory=True)
        return root
    for sample in dataset.test[::test_every]:
        _link(sample.path, root, data)
        if sample.mask_path is not None:
            _link(sample.mask_path, root, data)
    return root


def _link(path: Path, root: Path, data: Path) -> None:
    place = root / path.resolve().relative_to(data.resolve())
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(path.resolve())


def _compile(run: Run, out: Path, recipe: Recipe) -> str:
    target = read_target(_TARGET)
    try:
        compile_run(run.path, target=target, out=out, recipe=recipe, on_stage=_tell_stage)
    except AccuracyGateError as refusal:
        click.echo(f"  the gate refused: {refusal}", err=True)
        compile_run(run.path, target=target, out=out, recipe=recipe.with_max_drop(1.0))
        return f"refused: {refusal}"
    return "passed"


def _is_of(bundle: Path, run: Run) -> bool:
    from edgead.bundle import read_bundle

    if not bundle.exists() or not bundle.with_suffix(".gate.txt").exists():
        return False
    return read_bundle(bundle).manifest.hashes.weights == run.hashes["weights"]


def _by_kind(found: Evaluation) -> dict[str, Any]:
    kinds: dict[str, Any] = found.to_json(records=False)["by_kind"]
    return kinds


def _digest(data: Path, settings: TrainSettings) -> str:
    """Short name of a training: equal for equal settings on the same training files."""
    names = sorted(sample.path.name for sample in open_dataset(data).train)
    text = json.dumps([names, settings.to_json()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


class _Enough(Exception):  # noqa: N818 - ends a probe, no error
    pass


def _measure_speed(data: Path, settings: TrainSettings) -> Mapping[str, float]:
    started, times = time.monotonic(), []

    def watch(progress: Any) -> None:
        if progress.stage == "training":
            times.append(time.monotonic())
        if len(times) == _PROBE_STEPS:
            raise _Enough

    click.echo(f"Measuring the speed of training on {data.name} ...", err=True)
    with tempfile.TemporaryDirectory(prefix="edgead-probe-") as folder, contextlib.suppress(_Enough):
        train(data, folder, settings=replace(settings, steps=_PROBE_STEPS + 1), on_progress=watch)
    half = _PROBE_STEPS // 2
    return {
        "before_seconds": times[0] - started,
        "step_seconds": (times[-1] - times[half]) / (_PROBE_STEPS - 1 - half),
    }


class _Teller:
    """One line of progress on a terminal; one line per tenth of the training elsewhere."""

    def __init__(self, label: str) -> None:
        self._label, self._started, self._last = label, time.monotonic(), ""

    def __call__(self, progress: Any) -> None:
        share = progress.step / max(progress.steps, 1)
        tenth = f"{progress.stage} {int(10 * share) * 10} %"
        if tenth == self._last:
            return
        self._last = tenth
        minutes = (time.monotonic() - self._started) / 60
        losses = ", ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        click.echo(f"  {self._label}: {tenth}, {minutes:.1f} min {losses}", err=True)
        sys.stderr.flush()

    def end(self) -> None:
        click.echo(f"  {self._label}: trained", err=True)


def _tell_stage(stage: object) -> None:
    click.echo(f"  {stage}", err=True)
