"""A run folder or a bundle, opened to be evaluated: one way to ask either."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgead.bundle import Manifest, ThresholdSpec
from edgead.errors import UsageError
from edgead.evaluation.evaluator import Predict, predictor_from_inspector, predictor_from_module
from edgead.runtime.inspector import Inspector
from edgead.runtime.inspector import open as open_bundle
from edgead.version import __version__


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """A model that answers images: its predictor, its threshold, and what a report says of it.

    `is_timed`: the time of a prediction is that of the deployed engine, not of torch.
    """

    path: Path
    predict: Predict
    threshold: ThresholdSpec
    description: str
    report_fields: dict[str, Any] = field(default_factory=dict)
    is_timed: bool = False


@contextlib.contextmanager
def open_model(
    path: str | Path, *, engine: str | None = None, threads: int | None = None
) -> Iterator[OpenedModel]:
    """Open the model at `path`: a folder is a run, which torch runs; a file is a bundle.

    Raises UsageError for an engine or threads with a run, and what reading either raises.
    """
    path = Path(path)
    if not path.is_dir():
        with open_bundle(path, engine=engine, threads=threads) as inspector:
            yield opened_inspector(inspector)
    elif engine or threads:
        raise UsageError(f"{path} is a run, which runs in torch: --engine and --threads are for bundles.")
    else:
        yield _opened_run(path)


def opened_inspector(inspector: Inspector) -> OpenedModel:
    """A bundle that is open already."""
    stated = inspector.manifest
    return OpenedModel(
        path=inspector.path,
        predict=predictor_from_inspector(inspector),
        threshold=replace(stated.threshold, score=inspector.threshold, pixel=inspector.pixel_threshold),
        description=f"{stated.name}: {stated.family}, {stated.precision} on {inspector.engine.name}",
        report_fields=_bundle_fields(stated),
        is_timed=True,
    )


def _bundle_fields(stated: Manifest) -> dict[str, Any]:
    """What the manifest tells the report: the figures of its compile, and where the bundle comes from."""
    metrics = stated.metrics
    return {
        "stages": {"float": metrics.float, stated.precision: metrics.compiled} if metrics.compiled else {},
        "stages_measured_on": metrics.measured_on,
        "trained": _nonempty(
            {
                "model": stated.family,
                "configuration": ", ".join(f"{name} = {value}" for name, value in stated.config.items()),
                "data split": stated.hashes.split,
                "weights": stated.hashes.weights,
                "compiled": f"{stated.created} for {stated.target}, {stated.precision}",
            }
        ),
        "chosen_by": _nonempty(
            {
                "threshold": f"{stated.threshold.good_images} good images ({stated.threshold.method})",
                "calibration list": stated.hashes.calibration,
                "these test images": "chose nothing",
            }
        ),
        "versions": stated.versions,
    }


def _opened_run(path: Path) -> OpenedModel:
    from edgead.training.run import read_run  # loads torch

    run = read_run(path)
    return OpenedModel(
        path=path,
        predict=predictor_from_module(run.model(), height=run.height, width=run.width, rule=run.resize),
        threshold=run.threshold,
        description=f"{run.name}, float in torch",
        report_fields={
            "trained": run.trained_facts(),
            "chosen_by": {**run.chosen_by_facts(), "these test images": "chose nothing"},
            "versions": {"edgead": __version__},
            "allocation": run.allocation,
        },
    )


def _nonempty(facts: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in facts.items() if value}
