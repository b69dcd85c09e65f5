"""The allocation for a training: an AFS pass over every channel, then the choice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from edgead.allocation.allocation import Allocation, Limits
from edgead.allocation.channel_information import ChannelInformation, InformationMeter
from edgead.allocation.choose import choose
from edgead.cost.design_space import Space, check_base
from edgead.cost.predict import cost_model
from edgead.datasets import open_dataset, split_good
from edgead.errors import DataError
from edgead.learning.distributed import device_for_rank
from edgead.learning.process import bfloat16_pays, one_core_for_workers
from edgead.models.backbones import build_backbone
from edgead.models.backbones.base import STAGES
from edgead.models.folding import fold_backbone
from edgead.models.realnet.config import RealNetConfig
from edgead.profiles.target import Target
from edgead.records import read_json
from edgead.training.batches import BatchStream, make_synthesizer
from edgead.training.data import load_images
from edgead.training.features import FeatureExtractor, GoodFeatures
from edgead.training.loop import SELECTING
from edgead.training.run import ALLOCATION_FILE
from edgead.training.settings import TrainSettings

_TRIED_IMAGES = 256  # that surroundings are learnt from and banks are tried on

OnShare = Callable[[float], None]


@dataclass(frozen=True)
class AllocationRequest:
    """What an allocation is made for."""

    target: Target
    limits: Limits
    precision: str | None = None
    mode: str | None = None
    input_sizes: Sequence[tuple[int, int]] = ()  # (height, width) to choose among; none: the settings' own


def allocate_channels(
    data: str | Path,
    settings: TrainSettings,
    request: AllocationRequest,
    *,
    on_progress: OnShare | None = None,
) -> Allocation:
    """Measure the information of channels on the good images of `data`; choose the best network in limits.

    Deterministic: the same images, settings and target give the same allocation. Test images are not read.
    Raises UsageError where nothing is within the limits, before any image is read where the target is at
    fault.
    """
    base = check_base(settings.model)
    precision = request.precision or request.target.precisions[0]
    costs = cost_model(request.target, precision=precision, mode=request.mode)
    sizes = tuple(request.input_sizes) or (base.input_size,)
    for height, width in sizes:
        replace(base, input_height=height, input_width=width)  # one that cannot be is refused here
    report = on_progress or (lambda _share: None)
    information = {}
    for number, size in enumerate(sizes):

        def on_part(share: float, done: int = number) -> None:
            report((done + share) / len(sizes))

        information[size] = measure_information(data, settings, size, on_progress=on_part)
    space = Space(base, max(8, request.target.multiple_of_channels(precision)))
    table = request.target.table
    return choose(
        information,
        costs,
        space,
        limits=request.limits,
        target=request.target,
        precision=precision,
        mode=request.mode,
        threads=int(table["threads"]) if table is not None and costs.basis == "measured table" else None,
    )


def measure_information(
    data: str | Path,
    settings: TrainSettings,
    size: tuple[int, int],
    *,
    on_progress: OnShare | None = None,
) -> ChannelInformation:
    """The AFS pass of a training over all channels of all stages, at an input size, on its own images."""
    report = on_progress or (lambda _share: None)
    split = split_good(
        open_dataset(data).train,
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
        group_by=settings.group_by,
    )
    images = load_images(split.train, height=size[0], width=size[1])
    device = device_for_rank(0)
    backbone = fold_backbone(build_backbone(settings.model.backbone, stages=STAGES))
    extractor = FeatureExtractor(backbone, device, reduced=bfloat16_pays(device))
    synthesizer = make_synthesizer(settings, images, [len(images)])
    good = GoodFeatures(images, extractor, cache_bytes=0)
    stream = BatchStream(synthesizer, half=settings.batch // 2, seed=settings.seed, purpose=SELECTING)
    total = settings.selection_batches
    with one_core_for_workers(), torch.no_grad():
        generator = torch.Generator().manual_seed(settings.seed)
        numbers = torch.randperm(len(images), generator=generator)[:_TRIED_IMAGES].tolist()
        meter = InformationMeter(backbone.feature_info, list(good.chunks(numbers)))
        report(1 / (total + 2))
        for number, batch in enumerate(stream.batches(0, total)):
            meter.add(good(batch.origins), extractor(batch.anomalous), batch.masks)
            report((number + 2) / (total + 2))
        components = check_base(settings.model).bank_components
        found = meter.information(bank_components=components, good_images=len(images))
    report(1.0)
    return found


def kept_allocation(run: Path, request: AllocationRequest, settings: TrainSettings) -> Allocation | None:
    """The allocation that a training in `run` was begun with, if it was for the same request."""
    path = run / ALLOCATION_FILE
    if not path.exists():
        return None
    try:
        content = read_json(path, what="allocation", advice="Remove it.")
        if content["request"] == request_json(request, settings):
            return Allocation.from_json(content["allocation"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error}). Remove it; it is then made again."
        ) from error
    return None


def allocation_file(
    allocation: Allocation, request: AllocationRequest, settings: TrainSettings
) -> dict[str, Any]:
    """The contents of allocation.json."""
    return {"request": request_json(request, settings), "allocation": allocation.to_json()}


def request_json(request: AllocationRequest, settings: TrainSettings) -> dict[str, Any]:
    """What decides an allocation besides the images, as plain values that JSON keeps as they are."""
    table = request.target.table or {}
    content = {
        "target": request.target.name,
        "table": [table.get("date"), len(table.get("points", ()))],
        "precision": request.precision,
        "mode": request.mode,
        "limits": {name: str(value) for name, value in vars(request.limits).items()},
        "input_sizes": [list(size) for size in request.input_sizes],
        "settings": {**settings.to_json(), "steps": None},
    }
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain


def with_allocation(settings: TrainSettings, allocation: Allocation) -> TrainSettings:
    """The settings of a training with the network of an allocation."""
    config: RealNetConfig = allocation.config
    return replace(settings, model=config)
