"""The scales that bring the components of a score to mean 0 and deviation 1 over good images."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from edgead.models.scoring.components import ScoreComponents

_PRIOR_GROUPS = 3  # weight, in groups, of the cells' deviation in that of whole images
_PRIOR_IMAGES = 8  # weight, in images, of the deviation within all products in each product's own


@dataclass(frozen=True)
class Scale:
    """Mean and deviation over good images held out of training."""

    mean: float = 0.0
    deviation: float = 1.0

    def __call__(self, values: Tensor) -> Tensor:
        """values: B, or B h w."""
        return (values - self.mean) * (1.0 / self.deviation)


@dataclass(frozen=True)
class ScaleOfImages(Scale):
    """A scale for each image, that of its product."""

    means: Tensor = field(kw_only=True)  # B
    deviations: Tensor = field(kw_only=True)  # B

    def __call__(self, values: Tensor) -> Tensor:
        shape = (-1, *[1] * (values.ndim - 1))
        return (values - self.means.view(shape)) / self.deviations.view(shape)


@dataclass(frozen=True)
class Scales:
    """The scale of each component: of its single cells, and of its value for a whole image (pooled)."""

    residuals: tuple[Scale, ...] = ()
    logits: Scale = Scale()
    distances: tuple[Scale, ...] = ()  # of each memory bank
    pooled_logits: Scale = Scale()
    pooled_residuals: Scale = Scale()
    pooled_distances: tuple[Scale, ...] = ()  # of each memory bank

    @classmethod
    def like(cls, components: ScoreComponents, scale: Scale) -> Scales:
        """The same scale for each of these components."""
        banks = (scale,) * len(components.distances)
        return cls((scale,) * len(components.residuals), scale, banks, scale, scale, banks)

    @property
    def all(self) -> tuple[Scale, ...]:
        """Every scale, in the order of the fields."""
        return tuple(scale for item in fields(self) for scale in _several(getattr(self, item.name)))

    def filled(self, scales: Iterable[Scale]) -> Scales:
        """Other scales, in the order of `all`, in the places of these."""
        given = list(scales)
        counts = [len(_several(getattr(self, item.name))) for item in fields(self)]
        ends = list(itertools.accumulate(counts))
        groups = [tuple(given[end - count : end]) for end, count in zip(ends, counts, strict=True)]
        residuals, (logits,), distances, (pooled_logits,), (pooled_residuals,), pooled_distances = groups
        return Scales(residuals, logits, distances, pooled_logits, pooled_residuals, pooled_distances)


def good_scale(values: Tensor) -> Scale:
    """Mean and deviation of `values`, the deviation at least 1e-5 of the mean.

    Less is rounding, or one image alone, and would let the rounding of another engine decide.
    """
    flat = values.double().flatten()
    mean = float(flat.mean())
    deviation = float(flat.std(correction=0)) if len(flat) > 1 else 0.0
    return Scale(mean, max(deviation, 1e-5 * abs(mean), 1e-6))


def pooled_scale(pooled: Tensor, cells: Tensor, groups: int) -> Scale:
    """The scale of a component's value for an image, B, whose cells are B h w; the images are of `groups`.

    Images of one part are alike, and a deviation of few parts may be a tenth of that of the next ones: the
    component would then outweigh all others. The deviation of the cells, of which there are thousands even
    so, is of the same order as that over many parts, and counts as much as three of them.
    """
    found = good_scale(pooled)
    variance = groups * found.deviation**2 + _PRIOR_GROUPS * good_scale(cells).deviation ** 2
    return Scale(found.mean, (variance / (groups + _PRIOR_GROUPS)) ** 0.5)


def blended(shares: Tensor, products: Sequence[Scales]) -> Scales:
    """The scales of images by the shares B K that each has of the K products."""
    figures = torch.tensor([_figures(scales) for scales in products])
    columns = (shares @ figures.to(shares)).unbind(dim=1)
    pairs = zip(columns[::2], columns[1::2], strict=True)
    return products[0].filled(ScaleOfImages(means=m, deviations=d) for m, d in pairs)


def with_common_deviation(products: Sequence[Scales], counts: Sequence[int]) -> list[Scales]:
    """Draw each deviation towards that within all products; the fewer images (counts), the further."""
    figures = torch.tensor([_figures(scales) for scales in products], dtype=torch.float64)
    images = torch.tensor(counts, dtype=torch.float64)[:, None]
    variances = figures[:, 1::2].square()
    common = (images * variances).sum(dim=0) / images.sum()
    deviations = ((images * variances + _PRIOR_IMAGES * common) / (images + _PRIOR_IMAGES)).sqrt()
    rows = zip(figures[:, ::2].tolist(), deviations.tolist(), strict=True)
    return [products[0].filled(map(Scale, means, own)) for means, own in rows]


def _several(value: Scale | tuple[Scale, ...]) -> tuple[Scale, ...]:
    return value if isinstance(value, tuple) else (value,)


def _figures(scales: Scales) -> list[float]:
    return [figure for scale in scales.all for figure in (scale.mean, scale.deviation)]
