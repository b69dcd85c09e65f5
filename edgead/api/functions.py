"""Train, compile and evaluate from Python: the same work as the commands do, with the same defaults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgead.api.opened_model import OpenedModel, open_model, opened_inspector
from edgead.compiler.from_run import compile_run
from edgead.compiler.recipe import Recipe, load_recipe
from edgead.compiler.stages import CompileReport, StageReport
from edgead.datasets import ImageDataset, open_dataset
from edgead.datasets.products import Paths
from edgead.errors import DataError, TrainingError
from edgead.evaluation.evaluator import Evaluation, evaluate_samples
from edgead.learning.progress import OnProgress
from edgead.profiles.target import Target, read_target
from edgead.runtime.inspector import Inspector
from edgead.training.run import Run
from edgead.training.settings import TrainSettings
from edgead.training.train import train as train_run


def train(
    data: Paths,
    out: str | Path,
    *,
    settings: TrainSettings | None = None,
    minutes: float | None = None,
    on_progress: OnProgress | None = None,
) -> Run:
    """Train on the good images of a folder, or of one folder for each product; write the run folder `out`.

        run = edgead.train("parts/good", "runs/part", minutes=20)

    An unfinished training of the same settings on the same images goes on from its last checkpoint.
    `minutes` decides the number of steps in place of the settings. Raises DataError for unusable images,
    TrainingError when `out` holds something else, UsageError for settings that cannot be.
    """
    run = train_run(data, out, settings=settings, minutes=minutes, on_progress=on_progress)
    if run is None:  # a process of torchrun other than the first
        raise TrainingError("edgead.train is for one process; start several with: torchrun -m edgead train")
    return run


def compile(
    run: str | Path,
    out: str | Path,
    *,
    target: str | Target,
    precision: str | None = None,
    recipe: str | Recipe | None = None,
    with_half: bool = False,
    threads: int | None = None,
    on_stage: Callable[[StageReport], None] | None = None,
) -> CompileReport:
    """Compile the run folder `run` for a device; write the bundle `out`.

        edgead.compile("runs/part", "part.edgead", target="intel-cpu")

    `target` and `recipe` are names (`edgead targets`), paths of files of your own, or records. Raises
    AccuracyGateError when INT8 costs more than the recipe allows; `out` is then as it was.
    """
    return compile_run(
        run,
        target=target if isinstance(target, Target) else read_target(target),
        out=out,
        recipe=load_recipe(recipe) if isinstance(recipe, str) else recipe,
        precision=precision,
        threads=threads,
        with_half=with_half,
        on_stage=on_stage,
    )


def evaluate(
    model: str | Path | Inspector,
    data: str | Path,
    *,
    size: int = 256,
    keep_maps: bool = False,
    engine: str | None = None,
    threads: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a run folder, a bundle or an opened bundle on the labelled test images of a folder.

        found = edgead.evaluate("part.edgead", "parts/")
        print(found.summary())

    Pixel figures are at `size` x `size`; `keep_maps` keeps every map in its record. Raises DataError where
    the folder has no test images, and what opening the model raises.
    """
    dataset = open_labelled(data)

    def measured(opened: OpenedModel) -> Evaluation:
        return evaluate_samples(
            opened.predict, dataset.test, size=(size, size), keep_maps=keep_maps, on_progress=on_progress
        )

    if isinstance(model, Inspector):
        return measured(opened_inspector(model))
    with open_model(model, engine=engine, threads=threads) as opened:
        return measured(opened)


def open_labelled(data: str | Path) -> ImageDataset:
    """The data set at `data`; DataError where it has no test images with labels."""
    dataset = open_dataset(data)
    if not dataset.test:
        raise DataError(
            f"{data}: expected labelled images in test/good and test/<kind of defect>, found none. "
            "Good images alone say nothing of what a model catches; `edgead run` inspects them."
        )
    return dataset
