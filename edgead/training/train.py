"""`train`: from a folder of good images to a run folder, in order of work."""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from edgead.bundle import ThresholdSpec
from edgead.datasets import Products
from edgead.datasets.products import Paths
from edgead.errors import UsageError
from edgead.evaluation.evaluator import measure
from edgead.learning.distributed import device_for_rank, process_group, share_batch
from edgead.learning.progress import OnProgress, Progress
from edgead.map_and_score import MapAndScore
from edgead.models.inspection import InspectionModel
from edgead.models.network import InspectionNetwork
from edgead.models.scoring.rule import fit_rule, fit_weights, fuse
from edgead.training.data import load_products, open_training_data
from edgead.training.held_out import HeldOut, components_of_images, held_out_set
from edgead.training.loop import Trainer
from edgead.training.run import Run, check_out, read_run, set_hashes, write_run
from edgead.training.settings import TrainSettings
from edgead.training.threshold import threshold_of_products

__all__ = ["train"]


def train(
    data: Paths,
    out: str | Path,
    *,
    settings: TrainSettings | None = None,
    minutes: float | None = None,
    on_progress: OnProgress | None = None,
) -> Run | None:
    """Train on the good images of `data`, write the run folder `out`; goes on where an earlier one stopped.

    `data` is the folder of one product, or those of several, for which one model is trained. `minutes`
    decides the number of steps by timing the first ones, in place of the settings' number; the run records
    what was decided, and a training that goes on keeps it. Test images are not read. Returns the run, or None
    in processes of torchrun other than the first.
    Raises DataError for unusable images, TrainingError when `out` holds something else.
    """
    settings = settings or TrainSettings()
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise UsageError(f"minutes must be a finite number above 0, not {minutes}.")
    started = time.monotonic()
    folder = Path(out)
    products = open_training_data(data, settings)
    check_out(folder)
    height, width = settings.model.input_size
    images, counts = load_products(products.train, height=height, width=width)
    with process_group() as (rank, world):
        trainer = Trainer(
            replace(settings, batch=share_batch(settings.batch, world)),
            images,
            counts=counts,
            folder=folder,
            device=device_for_rank(rank),
            identity=_identity(settings, products, minutes),
            minutes=minutes,
            on_progress=on_progress if rank == 0 else None,
            rank=rank,
            world=world,
        )
        folder.mkdir(parents=True, exist_ok=True)
        network = trainer.train()
    if rank:
        return None
    if on_progress:
        on_progress(Progress("validation", 0, sum(map(len, products.validation)), {}))
    model, threshold, validation = _conclude(network, settings, held_out_set(settings, products, images))
    write_run(
        folder,
        model,
        settings=replace(settings, steps=trainer.steps),
        products=products,
        threshold=threshold,
        validation=validation,
        seconds=time.monotonic() - started,
    )
    return read_run(folder)


def _identity(settings: TrainSettings, products: Products, minutes: float | None) -> str:
    """Equal for trainings of which one may go on with another's checkpoint."""
    steps = {} if minutes is None else {"steps": f"{minutes:g} minutes"}
    named = {"settings": settings.to_json() | steps, "split": products.digest, **set_hashes(settings)}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def _conclude(
    network: InspectionNetwork, settings: TrainSettings, held_out: HeldOut
) -> tuple[InspectionModel, ThresholdSpec, dict[str, float | None]]:
    """Fit the score's scales and the threshold on held-out good images; measure on anomalies made on them."""
    network.backbone.float().cpu()
    good = components_of_images(network, held_out.good)
    rule = fit_rule(settings.rule, good, held_out.products)
    rule = fit_weights(rule, good, components_of_images(network, held_out.weighing))
    good_maps, good_scores = fuse(good, rule)
    peaks = good_maps.flatten(1).amax(dim=1)
    threshold = threshold_of_products(
        good_scores.tolist(),
        peaks.tolist(),
        held_out.products,
        groups=held_out.groups,
        false_alarm_rate=settings.false_alarm_rate,
    )
    anomalous = np.stack([sample.image for sample in held_out.anomalies])
    maps, scores = fuse(components_of_images(network, anomalous), rule)
    answers = _answers(good_maps, good_scores) + _answers(maps, scores)
    masks = [None] * len(good_scores) + [sample.mask for sample in held_out.anomalies]
    figures = measure(answers, masks).summary()
    return InspectionModel(network, rule), threshold, figures


def _answers(maps: Tensor, scores: Tensor) -> list[MapAndScore]:
    return [MapAndScore(one.numpy(), float(score)) for one, score in zip(maps, scores, strict=True)]
