"""The network as it is deployed: pixels in, one anomaly map and one score out.

Up to three views speak for an anomaly: a discriminator's logits (RealNet's own), the plain residuals of the
reconstruction, and the distance to the good features. Each is brought to mean 0 and deviation 1 over the
good images held out of training, so that nothing has to be weighed by hand, or on images with defects. The
map is their sum; the score is the highest of them.
"""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgead.errors import DataError, UsageError
from edgead.models.folding import fold_backbone, fold_batch_norms
from edgead.models.network import InspectionNetwork, Views
from edgead.models.residual_selection import resize_bilinear

_OFFSET = 8.0  # deviations; shifts the map so that hardly any cell is clipped at 0


@dataclass(frozen=True)
class Scale:
    """Mean and deviation over good images held out of training."""

    mean: float = 0.0
    deviation: float = 1.0

    def __call__(self, values: Tensor) -> Tensor:
        return (values - self.mean) * (1.0 / self.deviation)


_SCALES = ("logits", "distances", "pooled_logits", "pooled_residuals", "pooled_distances")


@dataclass(frozen=True)
class ScoreRule:
    """How the views become a map and a score. The scales are fitted on good images held out of training.

    `top_share` is the share of the map's cells, the highest, whose mean stands for the image in the logits
    and in the residuals, which show defects where they are. The distances, which tell whether the part as a
    whole is like the good ones, stand for it by their mean. The score is the highest of the three: a part is
    as anomalous as the view says that finds it furthest from the good ones. A weight of 0 leaves a view out.
    """

    top_share: float = 0.02
    map_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of logits, each residual, distances
    score_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of the pooled views, in the same order
    logits: Scale = Scale()  # of single cells
    residuals: tuple[Scale, ...] = ()
    distances: Scale = Scale()
    pooled_logits: Scale = Scale()  # of images
    pooled_residuals: Scale = Scale()
    pooled_distances: Scale = Scale()

    @property
    def text(self) -> str:
        """The rule in words, for the bundle's manifest."""
        parts = []
        if self.score_weights[0]:
            parts.append(f"{self.score_weights[0]:g} x mean of the highest {self.top_share:.0%} logits")
        if self.score_weights[1]:
            parts.append(f"{self.score_weights[1]:g} x mean of the highest {self.top_share:.0%} residuals")
        if self.score_weights[2]:
            parts.append(f"{self.score_weights[2]:g} x mean distance to the good features")
        return f"highest of: {'; '.join(parts)}; each in deviations of held-out good images"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> ScoreRule:
        """Read what `to_json` wrote; DataError for anything else."""
        try:
            values = {name: content[name] for name in (field.name for field in fields(cls))}
            for name in _SCALES:
                values[name] = Scale(**values[name])
            values["residuals"] = tuple(Scale(**scale) for scale in values["residuals"])
            values["map_weights"] = tuple(map(float, values["map_weights"]))
            values["score_weights"] = tuple(map(float, values["score_weights"]))
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"This is not a score rule: {type(error).__name__} {error}.") from error


def pool_highest(cells: Tensor, share: float) -> Tensor:
    """Mean of the highest `share` of the cells of each map, B h w -> B."""
    flat = cells.flatten(1)
    count = max(1, round(share * int(flat.shape[1])))
    return flat.topk(count, dim=1, sorted=True).values.mean(dim=1)


def fuse(views: Views, rule: ScoreRule) -> tuple[Tensor, Tensor]:
    """The anomaly map, B h w at the resolution of the finest view and from 0 up, and the score B."""
    maps, pooled = [], []
    if views.logits is not None:
        maps.append(rule.map_weights[0] * rule.logits(views.logits))
        pooled.append((0, rule.pooled_logits(pool_highest(views.logits, rule.top_share))))
    if views.residuals:
        residual = _sum_residuals(views, rule)
        maps.append(rule.map_weights[1] * residual)
        pooled.append((1, rule.pooled_residuals(pool_highest(residual, rule.top_share))))
    if views.distances is not None:
        far = _enlarged(rule.distances(views.distances), _size(views))
        maps.append(rule.map_weights[2] * far)
        pooled.append((2, rule.pooled_distances(views.distances.mean(dim=(1, 2)))))
    heard = [_times(rule.score_weights[view], value) for view, value in pooled if rule.score_weights[view]]
    if not heard:
        raise UsageError(f"No view of this model has a weight in its score: {rule.score_weights}.")
    anomaly_map = sum(maps[1:], maps[0] + _OFFSET)
    return F.relu(anomaly_map), functools.reduce(torch.maximum, heard)


def _times(weight: float, value: Tensor) -> Tensor:
    """The product; a factor of 1 as a graph's last operation makes OpenVINO forget its output's name."""
    return value if weight == 1 else weight * value


def _size(views: Views) -> tuple[int, int]:
    return int(views.finest.shape[-2]), int(views.finest.shape[-1])


def _sum_residuals(views: Views, rule: ScoreRule) -> Tensor:
    size = _size(views)
    scaled = [scale(view) for scale, view in zip(rule.residuals, views.residuals, strict=True)]
    return sum((_enlarged(view, size) for view in scaled[1:]), _enlarged(scaled[0], size))


def _enlarged(view: Tensor, size: tuple[int, int]) -> Tensor:
    return resize_bilinear(view[:, None], size, align_corners=False)[:, 0]


class InspectionModel(nn.Module):
    """images uint8 B H W 3, RGB, at the input size -> anomaly_map float32 B h w, score float32 B.

    The network is a submodule with the name of its family, as in "realnet.discriminator".
    """

    def __init__(self, network: InspectionNetwork, rule: ScoreRule) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.family: str = network.config.family
        self.add_module(self.family, network)
        self.rule = rule
        self.eval().requires_grad_(False)

    @property
    def network(self) -> InspectionNetwork:
        return cast(InspectionNetwork, self.get_submodule(self.family))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.backbone(images.permute(0, 3, 1, 2).float())
        return fuse(self.network.views(maps), self.rule)


def fold_for_export(model: InspectionModel) -> InspectionModel:
    """Fold, in place, batch norms and normalisation, and what the network folds of its own."""
    fold_backbone(model.backbone)
    fold_batch_norms(model.network)
    model.network.fold()
    return model.eval().requires_grad_(False)


def good_scale(values: Tensor) -> Scale:
    """Mean and deviation of `values`, the deviation at least 1e-5 of the mean.

    Less is rounding, or one image alone, and would blow the rounding of another engine up to a verdict.
    """
    flat = values.double().flatten()
    mean = float(flat.mean())
    deviation = float(flat.std(correction=0)) if len(flat) > 1 else 0.0
    return Scale(mean, max(deviation, 1e-5 * abs(mean), 1e-6))


@torch.no_grad()
def fit_rule(rule: ScoreRule, views: Views) -> ScoreRule:
    """Fit the scales on the views of good images held out of training."""
    fitted = replace(rule, residuals=tuple(good_scale(residual) for residual in views.residuals))
    if views.logits is not None:
        pooled = pool_highest(views.logits, rule.top_share)
        fitted = replace(fitted, logits=good_scale(views.logits), pooled_logits=good_scale(pooled))
    if views.residuals:
        pooled = pool_highest(_sum_residuals(views, fitted), rule.top_share)
        fitted = replace(fitted, pooled_residuals=good_scale(pooled))
    if views.distances is not None:
        mean = good_scale(views.distances.mean(dim=(1, 2)))
        fitted = replace(fitted, distances=good_scale(views.distances), pooled_distances=mean)
    return fitted
