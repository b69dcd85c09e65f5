"""What each component of a trained model's score reaches by itself, and what it adds to the score.

    edgead train pcb/ --out runs/pcb --steps 1300
    python benchmarks/score_rules.py pcb=runs/pcb=pcb/

A rule that is chosen by these figures has seen the test images: choose on development sets alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from common import Row, json_option, report
from torch import Tensor

from edgead.datasets import open_dataset
from edgead.evaluation.evaluator import Measurement
from edgead.images import read_image, resize_image
from edgead.metrics import CAUGHT_AT_2_PERCENT, IMAGE_AUROC, image_metrics
from edgead.models.scoring.components import ScoreComponents
from edgead.models.scoring.rule import ScoreRule, pool_highest, scaled_components
from edgead.training.held_out import components_of_images
from edgead.training.run import Run, read_run

_COMPONENTS = ("discriminator", "residuals", "distances")


def scores_of(components: ScoreComponents, rule: ScoreRule) -> Iterator[tuple[str, Tensor]]:
    """The name of each rule, and the scores that it gives the images, B."""
    _, pooled = scaled_components(components, rule, rule.scales_of(components.context))
    for number, values in pooled.items():
        yield f"{_COMPONENTS[number]} alone", values
    for number, distances in enumerate(components.distances):
        yield f"distances of bank {number} alone", pool_highest(distances, rule.top_share)
    yield "sum, equal weights", torch.stack(list(pooled.values())).sum(dim=0)
    weights = ", ".join(f"{rule.score_weights[number]:.2f}" for number in pooled)
    weighted = {number: rule.score_weights[number] * values for number, values in pooled.items()}
    yield f"sum, weights {weights}", torch.stack(list(weighted.values())).sum(dim=0)
    for left_out in weighted:
        others = [values for number, values in weighted.items() if number != left_out]
        if any(rule.score_weights[number] for number in weighted if number != left_out):
            yield f"the same without {_COMPONENTS[left_out]}", torch.stack(others).sum(dim=0)


def rows_of(name: str, run: Run, data: Path) -> Iterator[Row]:
    test = open_dataset(data).test
    pictures = [read_image(sample.path) for sample in test]
    images = np.stack([resize_image(one, run.height, run.width, rule=run.resize) for one in pictures])
    components = components_of_images(run.model().network, images)
    labels = [sample.is_anomalous for sample in test]
    for rule, scores in scores_of(components, run.rule):
        found = Measurement(image_metrics(scores.tolist(), labels), None)
        for metric in (IMAGE_AUROC, CAUGHT_AT_2_PERCENT):
            yield Row(f"{name}: {rule}, {metric.title}", metric.of(found), "", higher_is_better=True)


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.argument("subjects", nargs=-1, required=True, metavar="NAME=RUN=DATA...")
@json_option
def main(subjects: tuple[str, ...], json_path: str | None) -> None:
    rows: list[Row] = []
    settings: dict[str, Any] = {}
    for subject in subjects:
        parts = subject.split("=")
        if len(parts) != 3:
            raise click.UsageError(f"{subject}: write NAME=RUN=DATA.")
        run = read_run(parts[1])
        settings[parts[0]] = {"steps": run.settings.steps, "seed": run.settings.seed, **run.grouping}
        rows += rows_of(parts[0], run, Path(parts[2]))
    report("score_rules", rows, json_path=json_path, quick=False, settings=settings)


if __name__ == "__main__":
    main()
