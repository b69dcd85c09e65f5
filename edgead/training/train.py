"""`train`: from a folder of good images to a run folder, in order of work."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from edgead.datasets import Products
from edgead.datasets.products import Paths
from edgead.errors import UsageError
from edgead.evaluation.evaluator import measure
from edgead.learning.distributed import (
    device_for_rank,
    is_first_process,
    process_group,
    share_batch,
)
from edgead.learning.progress import OnProgress, Progress
from edgead.map_and_score import MapAndScore
from edgead.models.backbones import build_backbone
from edgead.models.folding import fold_backbone
from edgead.models.inspection import InspectionModel
from edgead.models.network import InspectionNetwork
from edgead.models.scoring.rule import ScoreRule, fit_rule, fit_weights, fuse
from edgead.training.augmentation import AUTO, Augmentation, find_augmentation
from edgead.training.data import Images, load_products, open_training_data
from edgead.training.held_out import HeldOut, components_of_images, held_out_set
from edgead.training.loop import Trainer
from edgead.training.run import (
    FoldScores,
    Run,
    check_out,
    fold_folder,
    held_folder,
    read_run,
    set_hashes,
    write_run,
)
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
    what was decided, and a training that goes on keeps it. With several `settings.folds` as many networks are
    trained, one after the other, which hold out the groups in turn; the first is the run's, all set its
    threshold. Test images are not read. Returns the run, or None in processes of torchrun other than the
    first.
    Raises DataError for unusable images, TrainingError when `out` holds something else.
    """
    settings = settings or TrainSettings()
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise UsageError(f"minutes must be a finite number above 0, not {minutes}.")
    folder = Path(out)
    products = [open_training_data(data, settings, fold=fold) for fold in range(settings.folds)]
    check_out(folder)
    with contextlib.ExitStack() as held:
        if is_first_process():
            held.enter_context(held_folder(folder))
            check_out(folder)  # now that nobody else writes there
        return _train(products, folder, settings, minutes=minutes, on_progress=on_progress)


def _train(
    products: Sequence[Products],
    folder: Path,
    settings: TrainSettings,
    *,
    minutes: float | None,
    on_progress: OnProgress | None,
) -> Run | None:
    """See `train`; `products` are split once for each fold."""
    started = time.monotonic()
    networks: list[InspectionNetwork] = []
    images = np.empty(0, np.uint8)  # that trained the run's own network
    with process_group() as (rank, world):
        for fold, split in enumerate(products):
            trainer = _trainer(
                settings,
                split,
                folder=fold_folder(folder, fold) if fold else folder,
                minutes=None if fold else minutes,
                on_progress=on_progress if rank == 0 else None,
                rank=rank,
                world=world,
            )
            images = images if fold else trainer.originals
            networks.append(trainer.train())
            if settings.folds > 1:
                trainer.keep()
            settings = replace(settings, steps=trainer.steps, augment=trainer.augmentation.text)
    if rank:
        return None
    if on_progress:
        on_progress(Progress("validation", 0, sum(map(len, products[0].validation)), {}))
    model, validation, own = _conclude(networks[0], settings, held_out_set(settings, products[0], images))
    others = [
        _fold_scores(network, model.rule, split)
        for network, split in zip(networks[1:], products[1:], strict=True)
    ]
    found = sum(others, own)
    write_run(
        folder,
        model,
        settings=settings,
        products=products[0],
        threshold=threshold_of_products(
            found.scores,
            found.peaks,
            found.products,
            groups=found.groups,
            false_alarm_rate=settings.false_alarm_rate,
            folds=settings.folds,
        ),
        validation=validation,
        seconds=time.monotonic() - started,
        fold_scores=sum(others, FoldScores()) if others else None,
    )
    return read_run(folder)


def _trainer(
    settings: TrainSettings,
    products: Products,
    *,
    folder: Path,
    minutes: float | None,
    on_progress: OnProgress | None,
    rank: int,
    world: int,
) -> Trainer:
    height, width = settings.model.input_size
    images, counts = load_products(products.train, height=height, width=width)
    augmentation = _augmentation(settings, images, products)
    settings = replace(settings, augment=augmentation.text)
    trainer = Trainer(
        replace(settings, batch=share_batch(settings.batch, world)),
        images,
        counts=counts,
        augmentation=augmentation,
        folder=folder,
        device=device_for_rank(rank),
        identity=_identity(settings, products, minutes),
        minutes=minutes,
        on_progress=on_progress,
        rank=rank,
        world=world,
    )
    folder.mkdir(parents=True, exist_ok=True)
    return trainer


def _augmentation(settings: TrainSettings, images: Images, products: Products) -> Augmentation:
    """That of the settings; where they leave it open, what held-out good images show to be harmless."""
    if settings.augment != AUTO:
        return Augmentation.from_text(settings.augment)
    height, width = settings.model.input_size
    held_out, _ = load_products(products.validation, height=height, width=width)
    backbone = fold_backbone(build_backbone(settings.model.backbone, stages=settings.model.stages))
    return find_augmentation(images, held_out, backbone, seed=settings.seed)


def _identity(settings: TrainSettings, products: Products, minutes: float | None) -> str:
    """Equal for trainings of which one may go on with another's checkpoint."""
    steps = {} if minutes is None else {"steps": f"{minutes:g} minutes"}
    named = {"settings": settings.to_json() | steps, "split": products.digest, **set_hashes(settings)}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def _conclude(
    network: InspectionNetwork, settings: TrainSettings, held_out: HeldOut
) -> tuple[InspectionModel, dict[str, float | None], FoldScores]:
    """Fit the score's scales and weights on held-out good images; measure on anomalies made on them."""
    network.backbone.float().cpu()
    good = components_of_images(network, held_out.good)
    rule = fit_rule(settings.rule, good, held_out.products, held_out.groups)
    weighing = components_of_images(network, held_out.weighing)
    rule = fit_weights(rule, good, weighing, groups=len(set(held_out.groups)))
    good_maps, good_scores = fuse(good, rule)
    anomalous = np.stack([sample.image for sample in held_out.anomalies])
    maps, scores = fuse(components_of_images(network, anomalous), rule)
    answers = _answers(good_maps, good_scores) + _answers(maps, scores)
    masks = [None] * len(good_scores) + [sample.mask for sample in held_out.anomalies]
    figures = measure(answers, masks).summary()
    own = _scores(held_out.products, held_out.groups, good_maps, good_scores)
    return InspectionModel(network, rule), figures, own


def _fold_scores(network: InspectionNetwork, rule: ScoreRule, products: Products) -> FoldScores:
    """The scores of what another fold held out, by the run's weights and in the fold's own deviations."""
    height, width = network.config.input_size
    images, counts = load_products(products.validation, height=height, width=width)
    names = tuple(p.name for p, count in zip(products.products, counts, strict=True) for _ in range(count))
    network.backbone.float().cpu()
    good = components_of_images(network, images)
    groups = products.validation_groups
    plain = replace(rule, products=(), product_classifier=None)
    maps, scores = fuse(good, fit_rule(plain, good, names, groups))
    return _scores(names, groups, maps, scores)


def _scores(products: Sequence[str], groups: Sequence[str], maps: Tensor, scores: Tensor) -> FoldScores:
    peaks = maps.flatten(1).amax(dim=1)
    return FoldScores(tuple(products), tuple(groups), tuple(scores.tolist()), tuple(peaks.tolist()))


def _answers(maps: Tensor, scores: Tensor) -> list[MapAndScore]:
    return [MapAndScore(one.numpy(), float(score)) for one, score in zip(maps, scores, strict=True)]
