"""Which channels of a frozen backbone see anomalies: anomaly-aware feature selection (AFS).

A channel is good when the squared difference between the features of an image and of the same image with a
synthetic anomaly, scaled to 0..1, looks like the anomaly's mask. Its loss is the mean squared error between
the two; the channels with the lowest losses are kept. Source: RealNet (Zhang et al., CVPR 2024), section 3.2,
as its published code computes it: minimum and maximum over the batch, the mask brought to the resolution of
the features by nearest neighbour, losses summed over 64 batches of 16 pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from edgead.errors import DataError, TrainingError, UsageError
from edgead.models.backbones.base import FeatureInfo
from edgead.records import record_from

_EPSILON = 1e-4  # added to the range, as published


def score_channels(features_normal: Tensor, features_anomalous: Tensor, masks: Tensor) -> Tensor:
    """Return the loss of each channel over one batch, float64, C; lower is better.

    features: B C h w. masks: B H W or B 1 H W, anomalous where non-zero. A channel that holds a NaN gets
    NaN; one whose difference is constant, the loss of a map of zeros.
    """
    _check_pair(features_normal, features_anomalous, masks)
    scaled = scaled_difference(features_normal, features_anomalous)
    target = masks_at(masks, scaled.shape[-2:]).to(scaled.device)
    return (scaled - target).square().double().mean(dim=(0, 2, 3))


def scaled_difference(features_normal: Tensor, features_anomalous: Tensor) -> Tensor:
    """Squared difference of each channel, brought to 0..1 over the batch: B C h w, float32."""
    difference = (features_anomalous.float() - features_normal.float()).square()
    low, high = difference.amin(dim=(0, 2, 3), keepdim=True), difference.amax(dim=(0, 2, 3), keepdim=True)
    return (difference - low) / (high - low + _EPSILON)


def select_channels(scores: Sequence[float] | Tensor, count: int) -> tuple[int, ...]:
    """The `count` channels with the lowest scores, in rising order; equal scores: lower index first.

    Raises UsageError when the count is not between 1 and the number of channels.
    """
    losses = [float(score) for score in scores]
    if not 1 <= count <= len(losses):
        raise UsageError(f"Keep 1 to {len(losses)} channels of this stage, not {count}.")
    kept = sorted(range(len(losses)), key=losses.__getitem__)[:count]
    return tuple(sorted(kept))


@dataclass(frozen=True)
class StageSelection:
    """The channels kept of one stage, and the loss of every one of its channels by number."""

    stage: int
    indices: tuple[int, ...]
    scores: tuple[float, ...]
    constant: tuple[int, ...] = ()  # channels that never reacted; they carry the largest valid loss

    @property
    def channels(self) -> int:
        return len(self.scores)

    def keeping(self, count: int) -> StageSelection:
        return replace(self, indices=select_channels(self.scores, count))


@dataclass(frozen=True)
class FeatureSelection:
    """The channels kept of every stage. Part of the model: they must be saved with its weights."""

    stages: tuple[StageSelection, ...]
    pairs: int = 0  # pairs of images behind the scores

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(len(stage.indices) for stage in self.stages)

    def with_channels(self, channels: Sequence[int]) -> FeatureSelection:
        """The same scores with other channels: nothing has to be measured again."""
        _check_channels(channels, len(self.stages))
        return FeatureSelection(
            tuple(s.keeping(count) for s, count in zip(self.stages, channels, strict=True)), self.pairs
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> FeatureSelection:
        """Read what `to_json` wrote; DataError for anything else."""
        selection = record_from(cls, content, origin="selection of features", complete=True)
        selection.check()
        return selection

    def check(self) -> None:
        """Raise DataError for stages that keep no channel, or channels that they do not have."""
        for stage in self.stages:
            if not stage.indices or list(stage.indices) != sorted(
                set(stage.indices) & {*range(stage.channels)}
            ):
                raise DataError(
                    f"The selection of stage {stage.stage} must be rising channel numbers below "
                    f"{stage.channels}, got {list(stage.indices)[:8]}."
                )
            if not all(math.isfinite(score) for score in stage.scores):
                raise DataError(f"The selection of stage {stage.stage} has scores that are not finite.")


def first_channels(infos: Sequence[FeatureInfo], channels: Sequence[int]) -> FeatureSelection:
    """A selection without measurement, for building a model of a given size: the first channels."""
    _check_channels(channels, len(infos))
    stages = tuple(StageSelection(info.stage, (), (0.0,) * info.channels) for info in infos)
    return FeatureSelection(stages).with_channels(channels)


def all_channels(infos: Sequence[FeatureInfo]) -> FeatureSelection:
    """A selection that leaves nothing out."""
    return first_channels(infos, [info.channels for info in infos])


def random_channels(infos: Sequence[FeatureInfo], channels: Sequence[int], *, seed: int) -> FeatureSelection:
    """A random selection for each stage, to compare with."""
    _check_channels(channels, len(infos))
    generator = torch.Generator().manual_seed(seed)
    scores = [torch.rand(info.channels, generator=generator, dtype=torch.float64) for info in infos]
    stages = tuple(
        StageSelection(info.stage, (), tuple(score.tolist()))
        for info, score in zip(infos, scores, strict=True)
    )
    return FeatureSelection(stages).with_channels(channels)


class ChannelScorer:
    """Adds up channel losses batch by batch, one tensor of C numbers per stage."""

    def __init__(self, infos: Sequence[FeatureInfo]) -> None:
        self.infos = tuple(infos)
        self.pairs = 0
        self._sums = [torch.zeros(info.channels, dtype=torch.float64) for info in self.infos]
        self._batches = [torch.zeros(info.channels, dtype=torch.int64) for info in self.infos]
        self._reacted = [torch.zeros(info.channels, dtype=torch.bool) for info in self.infos]

    @torch.no_grad()
    def add(
        self, features_normal: Sequence[Tensor], features_anomalous: Sequence[Tensor], masks: Tensor
    ) -> None:
        """Add one batch of pairs; pairs with an empty mask say nothing about anomalies and are left out."""
        if not len(features_normal) == len(features_anomalous) == len(self.infos):
            raise UsageError(
                f"Expected {len(self.infos)} feature maps of each image, got {len(features_normal)} and "
                f"{len(features_anomalous)}."
            )
        kept = masks.flatten(1).ne(0).any(dim=1).nonzero().flatten()
        if not len(kept):
            return
        for position, (normal, anomalous) in enumerate(zip(features_normal, features_anomalous, strict=True)):
            _check_pair(normal, anomalous, masks)
            rows = kept.to(normal.device)
            self._add_stage(position, normal[rows], anomalous[rows], masks[kept])
        self.pairs += len(kept)

    def _add_stage(self, position: int, normal: Tensor, anomalous: Tensor, masks: Tensor) -> None:
        losses = score_channels(normal, anomalous, masks).cpu()
        valid = losses.isfinite()
        self._sums[position][valid] += losses[valid]
        self._batches[position] += valid
        self._reacted[position] |= (anomalous != normal).any(dim=3).any(dim=2).any(dim=0).cpu() & valid

    def select(self, channels: Sequence[int]) -> FeatureSelection:
        """Keep the best `channels[k]` channels of stage k.

        Channels that are NaN or never react to an anomaly get the largest valid loss. Raises TrainingError
        when no pair was added, or when no channel of a stage reacts; UsageError for impossible channels.
        """
        _check_channels(channels, len(self.infos))
        if not self.pairs:
            raise TrainingError(
                "Channels cannot be selected without anomalies: every mask was empty. Check the synthesis of "
                "anomalies, and that the foreground of the images is found."
            )
        stages = [self._stage(position).keeping(count) for position, count in enumerate(channels)]
        return FeatureSelection(tuple(stages), self.pairs)

    def _stage(self, position: int) -> StageSelection:
        info, useful = self.infos[position], self._reacted[position]
        if not bool(useful.any()):
            raise TrainingError(
                f"All {info.channels} channels of stage {info.stage} are constant or NaN over {self.pairs} "
                f"pairs of images: the synthetic anomalies change nothing there. Check that the images are "
                f"not empty and that the backbone's weights are the published ones."
            )
        losses = self._sums[position] / self._batches[position].clamp(min=1)
        losses = torch.where(useful, losses, losses[useful].max())
        constant = tuple((~useful).nonzero().flatten().tolist())
        return StageSelection(info.stage, (), tuple(losses.tolist()), constant)


def masks_at(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Masks at the resolution of features, 0 or 1, B 1 h w."""
    planes = masks.ne(0).float()
    planes = planes if planes.ndim == 4 else planes[:, None]
    return nn.functional.interpolate(planes, tuple(size), mode="nearest")


def _check_pair(normal: Tensor, anomalous: Tensor, masks: Tensor) -> None:
    if normal.ndim != 4 or normal.shape != anomalous.shape:
        raise UsageError(
            f"The features of a pair have one shape, B x C x h x w, got {tuple(normal.shape)} and "
            f"{tuple(anomalous.shape)}."
        )
    if masks.ndim not in (3, 4) or len(masks) != len(normal) or (masks.ndim == 4 and masks.shape[1] != 1):
        raise UsageError(
            f"Masks are B x H x W with B = {len(normal)} as the features, got {tuple(masks.shape)}."
        )


def _check_channels(channels: Sequence[int], stages: int) -> None:
    if len(channels) != stages:
        raise UsageError(
            f"Expected a number of channels for each of the {stages} stages, got {len(channels)}."
        )
