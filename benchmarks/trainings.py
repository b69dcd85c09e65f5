"""Trainings that the accuracy benchmark needs: each is run once, kept in a folder, and found again there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch

import edgead
from edgead.compiler.from_run import compile_run
from edgead.compiler.recipe import Recipe
from edgead.datasets import open_dataset
from edgead.datasets.products import Paths
from edgead.errors import AccuracyGateError
from edgead.evaluation.evaluator import (
    Evaluation,
    evaluate_samples,
    predictor_from_inspector,
    predictor_from_module,
)
from edgead.models.inspection import InspectionModel
from edgead.models.scoring.components import ScoreComponents
from edgead.models.scoring.rule import fuse
from edgead.profiles.target import read_target
from edgead.training.run import RUN_FILE, Run, read_run
from edgead.training.settings import TrainSettings
from edgead.training.train import train

_TARGET = "intel-cpu"
Weights = tuple[float, float, float]  # of logits, residuals and distances
WITHOUT_BANK: Weights = (1.0, 1.0, 0.0)


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
        self._seen: tuple[Path | None, dict[bytes, ScoreComponents]] = (None, {})
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, data: Paths, settings: TrainSettings, *, label: str, minutes: float | None = None) -> Run:
        """The run of these settings on these data, trained unless it is there; a killed one goes on.

        `minutes` decides the steps, as in `edgead train --minutes`.
        """
        out = self.folder / f"{label}-{_digest(data, settings, minutes)}"
        if (out / RUN_FILE).exists():
            return read_run(out)
        found = train(data, out, settings=settings, minutes=minutes, on_progress=_Teller(label))
        if found is None:
            raise click.ClickException("This benchmark is not run under torchrun.")
        return found

    def trained(
        self, data: Path, settings: TrainSettings, *, label: str, minutes: float | None = None
    ) -> Trained:
        run = self.run(data, settings, label=label, minutes=minutes)
        return self.evaluated(run, data, run.model())

    def evaluated(self, run: Run, data: Path, model: InspectionModel) -> Trained:
        if self._seen[0] != run.path:  # other weights see otherwise
            self._seen = (run.path, {})
        remembering = _Remembering(model, self._seen[1])
        predict = predictor_from_module(remembering, height=run.height, width=run.width, rule=run.resize)
        found = evaluate_samples(predict, open_dataset(data).test)
        return Trained(run, found.summary(), _by_kind(found))

    def reweighted(self, trained: Trained, data: Path, *, score: Weights, map_: Weights) -> Trained:
        """The same training with other weights of its views, in the score and in the map."""
        model = trained.run.model()
        rule = replace(model.rule, score_weights=score, map_weights=map_)
        return self.evaluated(trained.run, data, InspectionModel(model.network, rule))

    def without_bank(self, trained: Trained, data: Path) -> Trained:
        """What was learnt alone: the bank is the same in every training of a data set, and hides much."""
        return self.reweighted(trained, data, score=WITHOUT_BANK, map_=WITHOUT_BANK)

    def bundle(self, run: Run) -> tuple[Path, str]:
        """The INT8 bundle of a run by this recipe, and what its gate said; refused ones without a limit."""
        recipe = hashlib.sha256(repr(self.recipe).encode()).hexdigest()[:6]
        out = run.path.with_name(f"{run.path.name}-{recipe}.edgead")
        note = out.with_suffix(".gate.txt")
        if not _is_of(out, run):
            note.write_text(_compile(run, out, self.recipe), encoding="utf-8")
        return out, note.read_text(encoding="utf-8")

    def compiled(self, run: Run, data: Path) -> Compiled:
        """Compile; where the accuracy gate refuses, without a limit, to show what is lost."""
        out, said = self.bundle(run)
        with edgead.open(out) as inspector:
            found = evaluate_samples(predictor_from_inspector(inspector), open_dataset(data).test)
        return Compiled(out, said, found.summary(), _by_kind(found))


class _Remembering(torch.nn.Module):
    """A model whose network sees each image once, however often its components are weighted anew."""

    def __init__(self, model: InspectionModel, seen: dict[bytes, ScoreComponents]) -> None:
        super().__init__()
        self.model, self.seen = model, seen

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        key = hashlib.sha256(images.numpy().tobytes()).digest()
        if key not in self.seen:
            maps = self.model.backbone(images.permute(0, 3, 1, 2).float())
            self.seen[key] = self.model.network.components_with_context(maps)
        return fuse(self.seen[key], self.model.rule)


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


def _digest(data: Paths, settings: TrainSettings, minutes: float | None) -> str:
    """Short name of a training: equal for equal settings on the same training files."""
    folders = [data] if isinstance(data, (str, os.PathLike)) else data
    names = sorted(sample.path.name for folder in folders for sample in open_dataset(folder).train)
    asked = settings.to_json() | ({} if minutes is None else {"steps": f"{minutes:g} minutes"})
    text = json.dumps([names, asked], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


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


def _tell_stage(stage: object) -> None:
    click.echo(f"  {stage}", err=True)
