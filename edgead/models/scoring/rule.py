"""How the components of a network's output become a map and a score.

Up to three components count: a discriminator's logits (RealNet's own), the residuals of the reconstruction,
and the distances to the good features. Each is brought to mean 0 and deviation 1 over the good images held
out of training. The distances of several memory banks stand for the image each by themselves, and then by
their mean: what is small shows in the finest alone, and would drown in a sum of maps.

The map is the sum of the components. The score is their weighted sum, with weights that a logistic
regression finds between held-out good images and synthetic anomalies on them (stacking, Wolpert 1992), drawn
towards equal ones: half way where 18 groups of good images are held out, further where they are fewer. No
image with a real defect is needed.

A model of several products has scales for each. The components of good images differ more between products
than an anomaly changes them: in the scales of all products together the highest component is the one that is
high for the product, whatever the image shows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgead.errors import UsageError
from edgead.models.features.resize import resize_bilinear
from edgead.models.scoring.components import ScoreComponents
from edgead.models.scoring.product_classifier import ProductClassifier
from edgead.models.scoring.scales import (
    Scale,
    Scales,
    blended,
    good_scale,
    pooled_scale,
    with_common_deviation,
)
from edgead.records import record_from

HIGHEST = "highest"
FUSIONS = ("sum", HIGHEST)
_INVERSE_REGULARISATION = 0.1  # of the regression: strong, for the anomalies are not the line's defects
_HALF_WAY = 18  # groups of held-out good images, with which the regression counts as much as equal weights
_FURTHEST = 10.0  # deviations that count in the regression: an anomaly that is plain to see decides nothing
_OFFSET = 8.0  # deviations; shifts the map so that hardly any cell is clipped at 0
_NO_CONTEXT = "Scales of several products need components that have a context."


@dataclass(frozen=True)
class ScoreRule:
    """How the components become a map and a score.

    `top_share` is the share of the cells of each component, the highest, whose mean stands for the image. The
    score is their sum in deviations of good images, times `score_weights`; a weight of 0 leaves a component
    out. `fusion` "highest" is the rule of runs before schema 2: the highest of the three in place of the sum,
    and the distances stand for the image by the mean of all cells. On parts that training did not see, one
    weak component then decides.
    """

    top_share: float = 0.02
    map_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of logits, each residual, distances
    score_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of the pooled components, in that order
    scales: Scales = field(default_factory=Scales)
    products: tuple[Scales, ...] = ()  # the scales of each product; empty for one product
    product_classifier: ProductClassifier | None = None  # which of them an image shows
    fusion: str = "sum"  # of FUSIONS

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}, not '{self.fusion}'")
        classes = 0 if self.product_classifier is None else len(self.product_classifier.biases)
        if classes != len(self.products):
            raise ValueError(f"it classifies {classes} products and has scales of {len(self.products)}")

    @property
    def text(self) -> str:
        """The rule in words, for the bundle's manifest."""
        parts = []
        if self.score_weights[0]:
            parts.append(f"{self.score_weights[0]:.3g} x mean of the highest {self.top_share:.0%} logits")
        if self.score_weights[1]:
            parts.append(f"{self.score_weights[1]:.3g} x mean of the highest {self.top_share:.0%} residuals")
        if self.score_weights[2]:
            distances = "mean" if self.fusion == HIGHEST else f"mean of the highest {self.top_share:.0%}"
            parts.append(f"{self.score_weights[2]:.3g} x {distances} distances to the good features")
        of_product = " of the product that the image shows" if self.products else ""
        return f"{self.fusion} of: {'; '.join(parts)}; each in deviations of held-out good images{of_product}"

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
    maps, pooled = scaled_components(components, rule, scales)
    weights = rule.score_weights
    scores = [_times(weights[number], value) for number, value in pooled.items() if weights[number]]
    if not scores:
        raise UsageError(f"No component of this model has a weight in its score: {weights}.")
    anomaly_map = sum(maps[1:], maps[0] + _OFFSET)
    together = torch.maximum if rule.fusion == HIGHEST else torch.add
    return F.relu(anomaly_map), functools.reduce(together, scores)


def scaled_components(
    components: ScoreComponents, rule: ScoreRule, scales: Scales
) -> tuple[list[Tensor], dict[int, Tensor]]:
    """Maps B h w, each times its weight, and by number of its score weight each component pooled, B.

    Both are in deviations of held-out good images.
    """
    maps, pooled = [], {}
    if components.logits is not None:
        maps.append(rule.map_weights[0] * scales.logits(components.logits))
        pooled[0] = scales.pooled_logits(pool_highest(components.logits, rule.top_share))
    if components.residuals:
        residual = _sum_residuals(components, scales)
        maps.append(rule.map_weights[1] * residual)
        pooled[1] = scales.pooled_residuals(pool_highest(residual, rule.top_share))
    if components.distances:
        far = _mean(_enlarged(s(d), components.size) for s, d in _pairs(scales.distances, components))
        maps.append(rule.map_weights[2] * far)
        pooled[2] = _mean(
            s(_pooled_distances(d, rule)) for s, d in _pairs(scales.pooled_distances, components)
        )
    return maps, pooled


def _pairs(scales: Sequence[Scale], components: ScoreComponents) -> Iterator[tuple[Scale, Tensor]]:
    return zip(scales, components.distances, strict=True)


def _mean(parts: Iterable[Tensor]) -> Tensor:
    first, *others = parts
    return sum(others, first) / (1 + len(others)) if others else first


def _pooled_distances(distances: Tensor, rule: ScoreRule) -> Tensor:
    if rule.fusion == HIGHEST:
        return distances.mean(dim=(1, 2))
    return pool_highest(distances, rule.top_share)


@torch.no_grad()
def fit_rule(
    rule: ScoreRule,
    components: ScoreComponents,
    products: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> ScoreRule:
    """Fit the scales on good images held out of training; `products` names the product of each.

    `groups` names the group of each, as far as images are of one part; without it each is of its own.
    """
    labels = list(groups) or [str(number) for number in range(len(components))]
    fitted = replace(rule, scales=_fitted_scales(rule, components, len(set(labels))))
    names = list(dict.fromkeys(products))
    if len(names) < 2:
        return fitted
    if components.context is None:
        raise UsageError(_NO_CONTEXT)
    owners = torch.tensor([names.index(product) for product in products])
    counts_of_groups = [
        len({label for label, owner in zip(labels, products, strict=True) if owner == name}) for name in names
    ]
    own = [
        _fitted_scales(rule, components.of(owners == number), count)
        for number, count in enumerate(counts_of_groups)
    ]
    counts = [int((owners == number).sum()) for number in range(len(names))]
    return replace(
        fitted,
        products=tuple(with_common_deviation(own, counts)),
        product_classifier=ProductClassifier.fitted(components.context, owners),
    )


@torch.no_grad()
def fit_weights(
    rule: ScoreRule, good: ScoreComponents, anomalous: ScoreComponents, *, groups: int
) -> ScoreRule:
    """Weigh the components by how they tell held-out good images from synthetic anomalies; the sum is 1.

    `rule` has its scales; the good images are of so many `groups`. A logistic regression of both sorts, which
    count alike however many there are of each; a negative weight is none. With equal weights it is mixed in
    the ratio of `groups` to 18: what one part and anomalies that are not the line's defects say of the
    components is uncertain. A component that does not help gets no weight where groups are enough to say so,
    18 and more. Components of weight 0 stay out.
    """
    from sklearn.linear_model import LogisticRegression

    rows = [
        scaled_components(images, rule, rule.scales_of(images.context))[1] for images in (good, anomalous)
    ]
    numbers = [number for number in rows[0] if rule.score_weights[number]]
    if not numbers:
        raise UsageError(f"No component of this model has a weight in its score: {rule.score_weights}.")
    values = torch.cat([torch.stack([pooled[n] for n in numbers], dim=1) for pooled in rows]).double()
    labels = torch.cat([torch.full_like(pooled[numbers[0]], sort) for sort, pooled in enumerate(rows)])
    regression = LogisticRegression(C=_INVERSE_REGULARISATION, class_weight="balanced")
    regression.fit(values.clamp(-_FURTHEST, _FURTHEST).cpu().numpy(), labels.cpu().numpy())
    found = [max(0.0, float(weight)) for weight in regression.coef_[0]]
    total = sum(found)
    trust = groups / (groups + _HALF_WAY) if total else 0.0
    counted = [weight > 0 or trust < 0.5 for weight in found]
    shares = [
        (trust * weight / (total or 1) + (1 - trust) / sum(counted)) if counts else 0.0
        for weight, counts in zip(found, counted, strict=True)
    ]
    weights = [0.0, 0.0, 0.0]
    for number, share in zip(numbers, shares, strict=True):
        weights[number] = round(share, 4)
    return replace(rule, score_weights=(weights[0], weights[1], weights[2]))


def _fitted_scales(rule: ScoreRule, components: ScoreComponents, groups: int) -> Scales:
    scales = Scales(residuals=tuple(good_scale(residual) for residual in components.residuals))
    if components.logits is not None:
        pooled = pool_highest(components.logits, rule.top_share)
        own = pooled_scale(pooled, components.logits, groups)
        scales = replace(scales, logits=good_scale(components.logits), pooled_logits=own)
    if components.residuals:
        residual = _sum_residuals(components, scales)
        own = pooled_scale(pool_highest(residual, rule.top_share), residual, groups)
        scales = replace(scales, pooled_residuals=own)
    of_banks = tuple(pooled_scale(_pooled_distances(d, rule), d, groups) for d in components.distances)
    return replace(scales, distances=tuple(map(good_scale, components.distances)), pooled_distances=of_banks)


def _sum_residuals(components: ScoreComponents, scales: Scales) -> Tensor:
    pairs = zip(scales.residuals, components.residuals, strict=True)
    first, *others = [scale(residual) for scale, residual in pairs]
    return sum((_enlarged(cells, components.size) for cells in others), _enlarged(first, components.size))


def _enlarged(cells: Tensor, size: tuple[int, int]) -> Tensor:
    return resize_bilinear(cells[:, None], size, align_corners=False)[:, 0]


def _times(weight: float, value: Tensor) -> Tensor:
    """The product; a factor of 1 as a graph's last operation makes OpenVINO forget its output's name."""
    return value if weight == 1 else weight * value
