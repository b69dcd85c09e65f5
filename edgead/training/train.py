"""`train`: from a folder of good images to a run folder."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import edgead
from edgead.bundle import ThresholdSpec
from edgead.datasets import Products, Sample, open_products
from edgead.datasets.products import Paths
from edgead.errors import TrainingError, UsageError
from edgead.files import write_json
from edgead.learning.checkpoint import save_tensors
from edgead.learning.distributed import device_for_rank, process_group, share_batch
from edgead.learning.progress import OnProgress, Progress
from edgead.metrics import PixelAccumulator, image_metrics
from edgead.models.backbones import backbone_spec
from edgead.models.inspection import InspectionModel, look
from edgead.models.network import InspectionNetwork
from edgead.models.scoring.components import ScoreComponents
from edgead.models.scoring.rule import ScoreRule, fit_rule, fuse
from edgead.synthesis import SyntheticSample
from edgead.synthesis.diffusion.sets import open_set
from edgead.training.batches import Images, load_images, product_synthesizers
from edgead.training.loop import Trainer
from edgead.training.run import (
    CHECKPOINT_FILE,
    HISTORY_FILE,
    PLAN_FILE,
    RUN_FILE,
    SCHEMA_VERSION,
    SPLIT_FILE,
    WEIGHTS_FILE,
    Run,
    read_run,
)
from edgead.training.settings import TrainSettings
from edgead.training.threshold import threshold_of_products

VALIDATING = 2  # purpose of random draws, beside those of the loop
_CHUNK = 16  # images through the network at once


@dataclass(frozen=True)
class HeldOut:
    """Held-out good images and, on each, a synthetic anomaly that no training step has seen."""

    good: Images  # uint8 N H W 3
    anomalies: tuple[SyntheticSample, ...]  # N of them
    products: tuple[str, ...]  # the name of the product of each


def train(
    data: Paths,
    out: str | Path,
    *,
    settings: TrainSettings | None = None,
    minutes: float | None = None,
    on_progress: OnProgress | None = None,
) -> Run | None:
    """Train on the good images of `data` and write the run folder `out`; goes on where a killed run stopped.

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
    products = _open(data, settings)
    identity = _identity(settings, products, minutes)
    check_out(folder)
    images, counts = _load(products.train, settings)
    with process_group() as (rank, world):
        trainer = Trainer(
            _shared(settings, world), images, counts=counts, folder=folder, device=device_for_rank(rank),
            identity=identity, minutes=minutes, on_progress=on_progress if rank == 0 else None,
            rank=rank, world=world,
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        network = trainer.train()
    if rank:
        return None
    if on_progress:
        on_progress(Progress("validation", 0, sum(map(len, products.validation)), {}))
    held_out = held_out_set(settings, products, images)
    model, threshold, validation = _conclude(network, settings, held_out)
    settings = replace(settings, steps=trainer.steps)
    _write_run(folder, settings, products, model, threshold, validation, time.monotonic() - started)
    return read_run(folder)


def _open(data: Paths, settings: TrainSettings) -> Products:
    return open_products(data, validation_fraction=settings.validation_fraction, seed=settings.seed)


def _load(products: Sequence[Sequence[Sample]], settings: TrainSettings) -> tuple[Images, tuple[int, ...]]:
    """The images of all products one after the other, uint8 N H W 3, and how many each has."""
    height, width = settings.model.input_size
    loaded = [load_images(samples, height=height, width=width) for samples in products]
    return np.concatenate(loaded), tuple(len(images) for images in loaded)


def held_out_set(settings: TrainSettings, products: Products, train_images: Images) -> HeldOut:
    """The held-out good images, with an anomaly on each; a function of settings and split alone.

    The anomalies are made by the sources that made those of training, fed with the training images, so a
    figure on them says how well the network has learnt its task, not how well it will find real defects.
    """
    good, counts = _load(products.validation, settings)
    parts = product_synthesizers(settings, train_images, [len(samples) for samples in products.train])
    owners = np.repeat(np.arange(len(counts)), counts)
    anomalies = tuple(
        parts[owner](image, np.random.default_rng([settings.seed, VALIDATING, number]))
        for number, (image, owner) in enumerate(zip(good, owners, strict=True))
    )
    return HeldOut(good, anomalies, tuple(products.products[owner].name for owner in owners))


def load_held_out(run: Run) -> tuple[HeldOut, Images]:
    """The held-out set of a run, read again from its data, and the images that trained it.

    Raises TrainingError when the data are no longer those of the run.
    """
    products = products_of_run(run)
    images, _ = _load(products.train, run.settings)
    return held_out_set(run.settings, products, images), images


def products_of_run(run: Run) -> Products:
    """The products of a run, split as they were; TrainingError when their images are others by now."""
    products = _open(run.data_roots, run.settings)
    if products.digest != run.hashes["split"]:
        raise TrainingError(
            f"The good images in {', '.join(run.data_roots)} are no longer those that {run.path} was trained "
            "on: which were held out of training cannot be told. Put them back, or train again."
        )
    return products


@torch.no_grad()
def all_score_components(network: InspectionNetwork, images: Images) -> ScoreComponents:
    """The views of images uint8 N H W 3, in float32 as deployed."""
    parts = []
    for start in range(0, len(images), _CHUNK):
        pixels = torch.from_numpy(images[start : start + _CHUNK]).permute(0, 3, 1, 2).float()
        parts.append(look(network, network.backbone(pixels)))
    return ScoreComponents(
        logits=_joined([part.logits for part in parts]),
        residuals=[torch.cat(stage) for stage in zip(*(part.residuals for part in parts), strict=True)],
        distances=_joined([part.distances for part in parts]),
        context=_joined([part.context for part in parts]),
    )


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def _conclude(
    network: InspectionNetwork, settings: TrainSettings, held_out: HeldOut
) -> tuple[InspectionModel, ThresholdSpec, dict[str, float | None]]:
    """Fit the score's scales and the threshold on held-out good images; measure on anomalies made on them."""
    network.backbone.float().cpu()
    views = all_score_components(network, held_out.good)
    rule = fit_rule(settings.rule, views, held_out.products)
    good_maps, good_scores = fuse(views, rule)
    peaks = good_maps.flatten(1).amax(dim=1)
    threshold = threshold_of_products(
        good_scores.tolist(), peaks.tolist(), held_out.products, false_alarm_rate=settings.false_alarm_rate
    )
    anomalous = np.stack([sample.image for sample in held_out.anomalies])
    maps, scores = fuse(all_score_components(network, anomalous), rule)
    masks = [sample.mask for sample in held_out.anomalies]
    figures = _validation_figures(good_maps, good_scores, maps, scores, masks)
    return InspectionModel(network, rule), threshold, figures


def _validation_figures(
    good_maps: Tensor, good_scores: Tensor, maps: Tensor, scores: Tensor, masks: Sequence[np.ndarray]
) -> dict[str, float | None]:
    labels = [False] * len(good_scores) + [True] * len(scores)
    image = image_metrics(torch.cat((good_scores, scores)).numpy(), labels)
    shape = masks[0].shape
    with PixelAccumulator() as pixels:
        for anomaly_map in _enlarged(good_maps, shape):
            pixels.add(anomaly_map, None)
        for anomaly_map, mask in zip(_enlarged(maps, shape), masks, strict=True):
            pixels.add(anomaly_map, mask)
        pixel = pixels.compute()
    return {"image_auroc": image.auroc, "pixel_auroc": pixel.auroc, "au_pro": pixel.au_pro}


def _enlarged(maps: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    enlarged = torch.nn.functional.interpolate(
        maps[:, None], (shape[0], shape[1]), mode="bilinear", align_corners=False
    )
    array: np.ndarray = enlarged[:, 0].numpy()
    return array


def _write_run(
    folder: Path,
    settings: TrainSettings,
    products: Products,
    model: InspectionModel,
    threshold: ThresholdSpec,
    validation: Mapping[str, float | None],
    seconds: float,
) -> None:
    """Write the run's files, run.json last: a folder that has it is complete."""
    weights = folder / WEIGHTS_FILE
    save_tensors(weights, model.network.state_dict(), {"family": model.family})
    write_json(
        folder / SPLIT_FILE,
        {
            "digest": products.digest,
            "hashes": products.hashes,
            "train": _names(products, products.train),
            "validation": _names(products, products.validation),
        },
    )
    spec = backbone_spec(settings.model.backbone)
    content = {
        "schema_version": SCHEMA_VERSION,
        "name": products.name,
        "family": model.family,
        "settings": settings.to_json(),
        "selection": model.network.feature_selection.to_json(),
        "rule": model.rule.to_json(),
        "threshold": asdict(threshold),
        "validation": dict(validation),
        "hashes": {
            "split": products.digest,
            "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "backbone": model.backbone.weights_sha256 or "",
            **_set_hashes(settings),
        },
        "versions": {
            "edgead": edgead.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "licences": {"edgead": "Apache-2.0", f"backbone {settings.model.backbone}": spec.source.licence},
        "data_root": products.roots[0] if len(products.roots) == 1 else list(products.roots),
        "seconds": round(seconds, 1),
    }
    write_json(folder / RUN_FILE, content)
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    for left_over in folder.glob(".*"):
        if _is_ours(left_over):
            left_over.unlink(missing_ok=True)


def _names(products: Products, samples: Sequence[Sequence[Sample]]) -> list[str]:
    return sorted(products.file_name(k, sample) for k, own in enumerate(samples) for sample in own)


def _identity(settings: TrainSettings, products: Products, minutes: float | None) -> str:
    """Equal for trainings of which one may go on with another's checkpoint."""
    asked = settings.to_json() | ({} if minutes is None else {"steps": f"{minutes:g} minutes"})
    named = {"settings": asked, "split": products.digest, **_set_hashes(settings)}
    text = json.dumps(named, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _set_hashes(settings: TrainSettings) -> dict[str, str]:
    return {} if settings.anomaly_set is None else {"anomaly_set": open_set(settings.anomaly_set).digest}


def _shared(settings: TrainSettings, world: int) -> TrainSettings:
    if world == 1:
        return settings
    changed: dict[str, Any] = {**settings.__dict__, "batch": share_batch(settings.batch, world)}
    return TrainSettings(**changed)


def check_out(folder: Path) -> None:
    """Raise TrainingError unless a training may write to `folder`, or go on in it."""
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder} is a file; --out names a folder. Give another one.")
    if (folder / RUN_FILE).exists():
        raise TrainingError(
            f"{folder} already holds a finished run. Give another --out, or remove that folder first."
        )
    strange = [path.name for path in folder.iterdir() if not _is_ours(path)] if folder.is_dir() else []
    if strange:
        raise TrainingError(
            f"{folder} holds other things ({', '.join(sorted(strange)[:3])}). Give an empty or new --out."
        )


def _is_ours(path: Path) -> bool:
    """A file of a run, or the unfinished temporary one that a kill left of it."""
    known = (RUN_FILE, SPLIT_FILE, WEIGHTS_FILE, CHECKPOINT_FILE, HISTORY_FILE, PLAN_FILE)
    return path.name in known or path.name.startswith(tuple(f".{name}." for name in known))


__all__ = [
    "HeldOut",
    "ScoreRule",
    "all_score_components",
    "held_out_set",
    "load_held_out",
    "products_of_run",
    "train",
]
