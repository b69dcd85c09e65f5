"""How the views of a network become a map and a score.

Up to three views speak for an anomaly: a discriminator's logits (RealNet's own), the plain residuals of the
reconstruction, and the distance to the good features. Each is brought to mean 0 and deviation 1 over the
good images held out of training, so that nothing has to be weighed by hand, or on images with defects. The
map is their sum; the score is the highest of them.

A model of several products has scales for each. The components of good images differ more between products
than an anomaly changes them: in the scales of all products together the highest view is that which is
high for the product, whatever the image shows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgead.errors import DataError, UsageError
from edgead.models.features.resize import resize_bilinear
from edgead.models.scoring.components import ScoreComponents
from edgead.models.scoring.product_classifier import ProductClassifier

_OFFSET = 8.0  # deviations; shifts the map so that hardly any cell is clipped at 0
_BORROWED = 8  # images' worth of the deviation within all products, in each product's own


@dataclass(frozen=True)
class Scale:
    """Mean and deviation over good images held out of training; of each image's product, they are B."""

    mean: float | Tensor = 0.0
    deviation: float | Tensor = 1.0

    def __call__(self, values: Tensor) -> Tensor:
        """values: B, or B h w."""
        if isinstance(self.mean, Tensor) or isinstance(self.deviation, Tensor):
            shape = (-1, *[1] * (values.ndim - 1))
            mean, deviation = (torch.as_tensor(part).view(shape) for part in (self.mean, self.deviation))
            return (values - mean) / deviation
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
    products: tuple[ScoreRule, ...] = ()  # the same rule in the scales of each product; none: of one product
    teller: ProductClassifier | None = None  # which of them an image shows

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
        of_product = " of the product that the image shows" if self.products else ""
        return f"highest of: {'; '.join(parts)}; each in deviations of held-out good images{of_product}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> ScoreRule:
        """Read what `to_json` wrote; DataError for anything else."""
        try:
            content = {"products": (), "teller": None, **content}  # runs of one product once had neither
            values = {name: content[name] for name in (field.name for field in fields(cls))}
            for name in _SCALES:
                values[name] = Scale(**values[name])
            values["residuals"] = tuple(Scale(**scale) for scale in values["residuals"])
            values["map_weights"] = tuple(map(float, values["map_weights"]))
            values["score_weights"] = tuple(map(float, values["score_weights"]))
            values["products"] = tuple(map(cls.from_json, values["products"]))
            if values["teller"] is not None:
                values["teller"] = ProductClassifier.from_json(values["teller"])
            told = 0 if values["teller"] is None else len(values["teller"].biases)
            if told != len(values["products"]):
                raise ValueError(f"it tells {told} products and has scales of {len(values['products'])}")
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"This is not a score rule: {type(error).__name__} {error}.") from error

    def of_images(self, context: Tensor | None) -> ScoreRule:
        """The rule in the scales of what each image shows, by its context; itself for one product."""
        if self.teller is None:
            return self
        if context is None:
            raise UsageError("Scales of several products need views that have a context.")
        flat = torch.tensor([_flat(rule) for rule in self.products])
        blended = (self.teller(context) @ flat.to(context)).unbind(dim=1)
        return replace(_rescaled(self, blended[::2], blended[1::2]), products=(), teller=None)


def pool_highest(cells: Tensor, share: float) -> Tensor:
    """Mean of the highest `share` of the cells of each map, B h w -> B."""
    flat = cells.flatten(1)
    count = max(1, round(share * int(flat.shape[1])))
    return flat.topk(count, dim=1, sorted=True).values.mean(dim=1)


def _flat(rule: ScoreRule) -> list[float]:
    """Mean and deviation of every scale: the residuals' first, then those of `_SCALES`."""
    scales = [*rule.residuals, *(getattr(rule, name) for name in _SCALES)]
    return [float(part) for scale in scales for part in (scale.mean, scale.deviation)]


def _rescaled(
    rule: ScoreRule, means: Sequence[float | Tensor], deviations: Sequence[float | Tensor]
) -> ScoreRule:
    """The rule with other scales, in the order of `_flat`."""
    scales = list(map(Scale, means, deviations))
    count = len(rule.residuals)
    logits, distances, pooled_logits, pooled_residuals, pooled_distances = scales[count:]
    return replace(
        rule,
        residuals=tuple(scales[:count]),
        logits=logits,
        distances=distances,
        pooled_logits=pooled_logits,
        pooled_residuals=pooled_residuals,
        pooled_distances=pooled_distances,
    )


def fuse(views: ScoreComponents, rule: ScoreRule) -> tuple[Tensor, Tensor]:
    """The anomaly map, B h w at the resolution of the finest view and from 0 up, and the score B."""
    rule = rule.of_images(views.context)
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


def _size(views: ScoreComponents) -> tuple[int, int]:
    return int(views.finest.shape[-2]), int(views.finest.shape[-1])


def _sum_residuals(views: ScoreComponents, rule: ScoreRule) -> Tensor:
    size = _size(views)
    scaled = [scale(view) for scale, view in zip(rule.residuals, views.residuals, strict=True)]
    return sum((_enlarged(view, size) for view in scaled[1:]), _enlarged(scaled[0], size))


def _enlarged(view: Tensor, size: tuple[int, int]) -> Tensor:
    return resize_bilinear(view[:, None], size, align_corners=False)[:, 0]


def good_scale(values: Tensor) -> Scale:
    """Mean and deviation of `values`, the deviation at least 1e-5 of the mean.

    Less is rounding, or one image alone, and would blow the rounding of another engine up to a verdict.
    """
    flat = values.double().flatten()
    mean = float(flat.mean())
    deviation = float(flat.std(correction=0)) if len(flat) > 1 else 0.0
    return Scale(mean, max(deviation, 1e-5 * abs(mean), 1e-6))


@torch.no_grad()
def fit_rule(rule: ScoreRule, views: ScoreComponents, products: Sequence[str] = ()) -> ScoreRule:
    """Fit the scales on the views of good images held out of training; `products` names that of each."""
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
    names = list(dict.fromkeys(products))
    if len(names) < 2:
        return fitted
    if views.context is None:
        raise UsageError("Scales of several products need views that have a context.")
    owners = torch.tensor([names.index(product) for product in products])
    rules = [fit_rule(rule, views.of(owners == number)) for number in range(len(names))]
    counts = [int((owners == number).sum()) for number in range(len(names))]
    teller = ProductClassifier.fitted(views.context, owners)
    return replace(fitted, products=tuple(_with_common_deviation(rules, counts)), teller=teller)


def _with_common_deviation(rules: Sequence[ScoreRule], counts: Sequence[int]) -> list[ScoreRule]:
    """The rules with each deviation drawn towards that within all products, the more the fewer its images."""
    flat = torch.tensor([_flat(rule) for rule in rules], dtype=torch.float64)
    images = torch.tensor(counts, dtype=torch.float64)[:, None]
    variances = flat[:, 1::2].square()
    common = (images * variances).sum(dim=0) / images.sum()
    deviations = ((images * variances + _BORROWED * common) / (images + _BORROWED)).sqrt()
    parts = zip(rules, flat[:, ::2].tolist(), deviations.tolist(), strict=True)
    return [_rescaled(rule, means, own) for rule, means, own in parts]
