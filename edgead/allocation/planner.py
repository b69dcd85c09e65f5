"""The plan for a training: an AFS pass over every channel, then the choice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from edgead.allocation.channel_information import ChannelInformation, InformationMeter
from edgead.allocation.choose import choose
from edgead.allocation.plan import Limits, Plan
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
from edgead.synthesis import Synthesizer
from edgead.training.batches import BatchStream
from edgead.training.data import load_images
from edgead.training.features import FeatureExtractor, GoodFeatures
from edgead.training.loop import SELECTING
from edgead.training.run import PLAN_FILE
from edgead.training.settings import TrainSettings

_TRIED_IMAGES = 256  # that surroundings are learnt from and banks are tried on

OnShare = Callable[[float], None]


@dataclass(frozen=True)
class Asked:
    """What a plan is made for."""

    target: Target
    limits: Limits
    precision: str | None = None
    mode: str | None = None
    input_sizes: Sequence[tuple[int, int]] = ()  # (height, width) to choose among; none: the settings' own


def plan_training(
    data: str | Path,
    settings: TrainSettings,
    asked: Asked,
    *,
    on_progress: OnShare | None = None,
) -> Plan:
    """Measure what the channels tell on the good images of `data`, and choose the best network within limits.

    Deterministic: the same images, settings and target give the same plan. Test images are not read. Raises
    UsageError where nothing is within the limits, before any image is read where the target is at fault.
    """
    base = check_base(settings.model)
    precision = asked.precision or asked.target.precisions[0]
    costs = cost_model(asked.target, precision=precision, mode=asked.mode)
    sizes = tuple(asked.input_sizes) or (base.input_size,)
    for height, width in sizes:
        replace(base, input_height=height, input_width=width)  # one that cannot be is refused here
    tell = on_progress or (lambda _share: None)
    power = {}
    for number, size in enumerate(sizes):
        power[size] = measure_information(
            data,
            settings,
            size,
            on_progress=lambda share, done=number: tell((done + share) / len(sizes)),  # type: ignore[misc]
        )
    space = Space(base, max(8, asked.target.multiple_of_channels(precision)))
    table = asked.target.table
    return choose(
        power,
        costs,
        space,
        limits=asked.limits,
        target=asked.target,
        precision=precision,
        mode=asked.mode,
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
    tell = on_progress or (lambda _share: None)
    split = split_good(
        open_dataset(data).train, validation_fraction=settings.validation_fraction, seed=settings.seed
    )
    images = load_images(split.train, height=size[0], width=size[1])
    device = device_for_rank(0)
    backbone = fold_backbone(build_backbone(settings.model.backbone, stages=STAGES))
    extractor = FeatureExtractor(backbone, device, reduced=bfloat16_pays(device))
    synthesizer = Synthesizer(
        list(images), sources=settings.synthesis, texture_folder=settings.texture_folder,
        seed_textures=settings.seed,
    )  # fmt: skip
    good = GoodFeatures(images, extractor, cache_bytes=0)
    stream = BatchStream(synthesizer, half=settings.batch // 2, seed=settings.seed, purpose=SELECTING)
    total = settings.selection_batches
    with one_core_for_workers(), torch.no_grad():
        generator = torch.Generator().manual_seed(settings.seed)
        numbers = torch.randperm(len(images), generator=generator)[:_TRIED_IMAGES].tolist()
        meter = InformationMeter(backbone.feature_info, list(good.chunks(numbers)))
        tell(1 / (total + 2))
        for number, batch in enumerate(stream.batches(0, total)):
            meter.add(good(batch.origins), extractor(batch.anomalous), batch.masks)
            tell((number + 2) / (total + 2))
        components = check_base(settings.model).bank_components
        found = meter.power(bank_components=components, good_images=len(images))
    tell(1.0)
    return found


def kept_plan(run: Path, asked: Asked, settings: TrainSettings) -> Plan | None:
    """The plan that an unfinished or finished training in `run` was begun with, if it was for the same."""
    path = run / PLAN_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["asked"] == request(asked, settings):
            return Plan.from_json(content["plan"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error}). Remove it; the plan is then made again."
        ) from error
    return None


def plan_file(plan: Plan, asked: Asked, settings: TrainSettings) -> dict[str, Any]:
    """The contents of plan.json."""
    return {"asked": request(asked, settings), "plan": plan.to_json()}


def request(asked: Asked, settings: TrainSettings) -> dict[str, Any]:
    """What decides a plan besides the images, as plain values that JSON keeps as they are."""
    table = asked.target.table or {}
    content = {
        "target": asked.target.name,
        "table": [table.get("date"), len(table.get("points", ()))],
        "precision": asked.precision,
        "mode": asked.mode,
        "limits": {name: str(value) for name, value in vars(asked.limits).items()},
        "input_sizes": [list(size) for size in asked.input_sizes],
        "settings": {**settings.to_json(), "steps": None},
    }
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain


def planned(settings: TrainSettings, plan: Plan) -> TrainSettings:
    """The settings of a training with the network of a plan."""
    config: RealNetConfig = plan.config
    return replace(settings, model=config)
