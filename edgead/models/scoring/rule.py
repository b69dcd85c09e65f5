"""How the components of a network's output become a map and a score.

Up to three components count: a discriminator's logits (RealNet's own), the residuals of the reconstruction,
and the distance to the good features. Each is brought to mean 0 and deviation 1 over the good images held out
of training, so that no weights have to be found by hand, or on images with defects. The map is their sum; the
score is the highest of them.

A model of several products has scales for each. The components of good images differ more between products
than an anomaly changes them: in the scales of all products together the highest component is the one that is
high for the product, whatever the image shows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgead.errors import UsageError
from edgead.models.features.resize import resize_bilinear
from edgead.models.scoring.components import ScoreComponents
from edgead.models.scoring.product_classifier import ProductClassifier
from edgead.models.scoring.scales import Scales, blended, good_scale, with_common_deviation
from edgead.records import record_from

_OFFSET = 8.0  # deviations; shifts the map so that hardly any cell is clipped at 0
_NO_CONTEXT = "Scales of several products need components that have a context."


@dataclass(frozen=True)
class ScoreRule:
    """How the components become a map and a score.

    `top_share` is the share of the map's cells, the highest, whose mean stands for the image in the logits
    and in the residuals, which show defects where they are. The distances, which show whether the part as a
    whole is like the good ones, stand for it by their mean. The score is the highest of the three: a part is
    as anomalous as the component says that finds it furthest from the good ones. A weight of 0 leaves a
    component out.
    """

    top_share: float = 0.02
    map_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of logits, each residual, distances
    score_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of the pooled components, in that order
    scales: Scales = field(default_factory=Scales)
    products: tuple[Scales, ...] = ()  # the scales of each product; empty for one product
    product_classifier: ProductClassifier | None = None  # which of them an image shows

    def __post_init__(self) -> None:
        classes = 0 if self.product_classifier is None else len(self.product_classifier.biases)
        if classes != len(self.products):
            raise ValueError(f"it classifies {classes} products and has scales of {len(self.products)}")

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
        return record_from(cls, content, origin="score rule", complete=True)

    def scales_of(self, context: Tensor | None) -> Scales:
        """The scales of the product that each image shows, by its context; those of all for one product."""
        if self.product_classifier is None:
            return self.scales
        if context is None:
            raise UsageError(_NO_CONTEXT)
        return blended(self.product_classifier(context), self.products)


def pool_highest(cells: Tensor, share: float) -> Tensor:
    """Mean of the highest `share` of the cells of each map, B h w -> B."""
    flat = cells.flatten(1)
    count = max(1, round(share * int(flat.shape[1])))
    return flat.topk(count, dim=1, sorted=True).values.mean(dim=1)


def fuse(components: ScoreComponents, rule: ScoreRule, scales: Scales | None = None) -> tuple[Tensor, Tensor]:
    """The anomaly map, B h w at the resolution of the finest component and from 0 up, and the score B.

    `scales` are those of the images' products where they were found already.
    """
    scales = rule.scales_of(components.context) if scales is None else scales
    maps, pooled = [], []
    if components.logits is not None:
        maps.append(rule.map_weights[0] * scales.logits(components.logits))
        pooled.append((0, scales.pooled_logits(pool_highest(components.logits, rule.top_share))))
    if components.residuals:
        residual = _sum_residuals(components, scales)
        maps.append(rule.map_weights[1] * residual)
        pooled.append((1, scales.pooled_residuals(pool_highest(residual, rule.top_share))))
    if components.distances is not None:
        maps.append(rule.map_weights[2] * _enlarged(scales.distances(components.distances), components.size))
        pooled.append((2, scales.pooled_distances(components.distances.mean(dim=(1, 2)))))
    weights = rule.score_weights
    scores = [_times(weights[number], value) for number, value in pooled if weights[number]]
    if not scores:
        raise UsageError(f"No component of this model has a weight in its score: {weights}.")
    anomaly_map = sum(maps[1:], maps[0] + _OFFSET)
    return F.relu(anomaly_map), functools.reduce(torch.maximum, scores)


@torch.no_grad()
def fit_rule(rule: ScoreRule, components: ScoreComponents, products: Sequence[str] = ()) -> ScoreRule:
    """Fit the scales on good images held out of training; `products` names the product of each."""
    fitted = replace(rule, scales=_fitted_scales(rule, components))
    names = list(dict.fromkeys(products))
    if len(names) < 2:
        return fitted
    if components.context is None:
        raise UsageError(_NO_CONTEXT)
    owners = torch.tensor([names.index(product) for product in products])
    own = [_fitted_scales(rule, components.of(owners == number)) for number in range(len(names))]
    counts = [int((owners == number).sum()) for number in range(len(names))]
    return replace(
        fitted,
        products=tuple(with_common_deviation(own, counts)),
        product_classifier=ProductClassifier.fitted(components.context, owners),
    )


def _fitted_scales(rule: ScoreRule, components: ScoreComponents) -> Scales:
    scales = Scales(residuals=tuple(good_scale(residual) for residual in components.residuals))
    if components.logits is not None:
        pooled = pool_highest(components.logits, rule.top_share)
        scales = replace(scales, logits=good_scale(components.logits), pooled_logits=good_scale(pooled))
    if components.residuals:
        pooled = pool_highest(_sum_residuals(components, scales), rule.top_share)
        scales = replace(scales, pooled_residuals=good_scale(pooled))
    if components.distances is not None:
        mean = good_scale(components.distances.mean(dim=(1, 2)))
        scales = replace(scales, distances=good_scale(components.distances), pooled_distances=mean)
    return scales


def _sum_residuals(components: ScoreComponents, scales: Scales) -> Tensor:
    pairs = zip(scales.residuals, components.residuals, strict=True)
    first, *others = [scale(residual) for scale, residual in pairs]
    return sum((_enlarged(cells, components.size) for cells in others), _enlarged(first, components.size))


def _enlarged(cells: Tensor, size: tuple[int, int]) -> Tensor:
    return resize_bilinear(cells[:, None], size, align_corners=False)[:, 0]


def _times(weight: float, value: Tensor) -> Tensor:
    """The product; a factor of 1 as a graph's last operation makes OpenVINO forget its output's name."""
    return value if weight == 1 else weight * value
