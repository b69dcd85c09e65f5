"""The distance of an image's features to the nearest ones that good images have: ours, beside RealNet.

RealNet's discriminator learns from synthetic anomalies, which are local. What makes a whole part look unlike
the good ones (another texture, another finish) shows better in the distance to the good parts' own features
(the idea of PatchCore, Roth et al., CVPR 2022). Kept small enough for an edge device: deep stages alone,
their principal components, one cell per stride of the deepest stage, cluster centres instead of all features,
and written as two 1 x 1 convolutions and a minimum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgead.errors import TrainingError
from edgead.models.backbones.base import FeatureInfo

PROTOTYPES_AT_ONCE = 1024  # that a feature is compared with in one operation
_MOST_CLUSTERED = 65536  # features; beyond it the centres are those of a random draw
_PASSES = 5  # over the features; more bring the distances hardly nearer to those of a bank of all features
_LEAST_VARIANCE = 1e-3  # of a component, in units of a standardised channel
_NEIGHBOURS = 9  # prototypes whose mean squared distance is a prototype's density


class MemoryBank(nn.Module):
    """Feature maps of the deep stages -> distance of every cell to the nearest of `size` good features.

    Maps B C_k h_k w_k -> B h w, h x w the grid of the deepest stage. Shallower maps are averaged down to it.
    Channels are standardised and projected on `components` principal components; each component is divided
    by the fourth root of its variance, half way between distances that the first components rule and full
    whitening, which noise rules.

    With `density` the value is the least of |f - p|^2 - r_p^2 over the prototypes p, r_p^2 the mean squared
    distance of p to its 9 nearest others: where good features lie far apart, a feature far from them is no
    surprise (the local density of LDKNN, as a power distance, which costs one subtraction). Without, it is
    the least |f - p|, as in runs before schema 2.
    """

    projection: Tensor
    offset: Tensor
    prototypes: Tensor
    density: Tensor | None

    def __init__(self, channels: Sequence[int], *, components: int, size: int, density: bool = False) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.register_buffer("projection", torch.zeros(components, sum(channels)))
        self.register_buffer("offset", torch.zeros(components))
        self.register_buffer("prototypes", torch.zeros(size, components))
        self.register_buffer("density", torch.zeros(size) if density else None)

    @property
    def size(self) -> int:
        return len(self.prototypes)

    def join(self, maps: Sequence[Tensor]) -> Tensor:
        """Bring maps to the grid of the deepest and join them along channels, B sum(C_k) h w."""
        width = int(maps[-1].shape[-1])
        ratios = [int(m.shape[-1]) // width for m in maps]
        fitting = [m if r == 1 else F.avg_pool2d(m, r) for m, r in zip(maps, ratios, strict=True)]
        return torch.cat(fitting, dim=1)

    @torch.no_grad()
    def fit(self, batches: Sequence[Sequence[Tensor]], generator: torch.Generator) -> None:
        """Set projection and prototypes from the maps of good images.

        The prototypes are the centres of a k-means clustering of the good images' features; where there are
        no more than `size`, these themselves, the last repeated. Half as many centres give distances as near
        to those of all features as a random draw does. Raises TrainingError when the features do not vary.
        """
        rows = torch.cat([_rows(self.join([m.float() for m in maps])) for maps in batches])
        mean, deviation = rows.mean(dim=0), rows.std(dim=0, correction=0).clamp(min=1e-3)
        variances, components = _principal_components((rows - mean) / deviation, len(self.projection))
        if not bool(variances.max() > 0):
            raise TrainingError(
                "The good images' deep features do not vary at all. Check that the images are not empty or "
                "all the same, and that the backbone's weights are the published ones."
            )
        weights = components * variances.clamp(min=_LEAST_VARIANCE).pow(-0.25)[:, None]
        self.projection.copy_(weights / deviation)
        self.offset.copy_(-(self.projection @ mean))
        drawn = torch.randperm(len(rows), generator=generator)[:_MOST_CLUSTERED]
        features = rows[drawn] @ self.projection.T + self.offset
        chosen = features if len(features) <= self.size else _cluster_centres(features, self.size)
        self.prototypes.copy_(_filled(chosen, self.size))
        if self.density is not None:
            self.density.copy_(_filled(_density(chosen), self.size))

    def without_repeated(self) -> MemoryBank:
        """The bank without the copies of the last prototype that fill it up: the same distances, sooner.

        A bank that was never fitted, made to measure what a model costs, stays as large as it is.
        """
        if self.prototypes.is_meta or not bool(self.prototypes.any()):
            return self
        repeated = (self.prototypes == self.prototypes[-1]).all(dim=1)
        distinct = self.size - int(repeated.sum()) + 1
        trimmed = MemoryBank(
            self.channels,
            components=len(self.projection),
            size=distinct,
            density=self.density is not None,
        )
        state = {**self.state_dict(), "prototypes": self.prototypes[:distinct]}
        if self.density is not None:
            state["density"] = self.density[:distinct]
        trimmed.load_state_dict(state)
        return trimmed

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        projected = F.conv2d(self.join(maps), self.projection[:, :, None, None], self.offset)
        # |f - p|^2 = |f|^2 + (|p|^2 - 2 f p): the bracket is a 1 x 1 convolution, the prototypes its kernels.
        # In blocks, so that each block's minimum is taken while its products are still in the cache.
        least = [
            self._brackets(projected, start).amin(dim=1, keepdim=True)
            for start in range(0, self.size, PROTOTYPES_AT_ONCE)
        ]
        squared = projected.square().sum(dim=1) + torch.cat(least, dim=1).amin(dim=1)
        return squared.clamp(min=0.0).sqrt() if self.density is None else squared

    def _brackets(self, projected: Tensor, start: int) -> Tensor:
        """|p|^2 - 2 f p of a block of prototypes, less their density: B C h w -> B block h w."""
        block = self.prototypes[start : start + PROTOTYPES_AT_ONCE]
        found = F.conv2d(projected, -2.0 * block[:, :, None, None], block.square().sum(dim=1))
        if self.density is None:
            return found
        # Apart from the bias: INT8 rounds the points, and with them the bias, but not the density.
        return found - self.density[start : start + PROTOTYPES_AT_ONCE, None, None]


def memory_bank_of(
    infos: Sequence[FeatureInfo], stages: Sequence[int], *, components: int, size: int, density: bool
) -> MemoryBank | None:
    """A bank, not fitted, for the feature maps of these stages; None for no stages."""
    if not stages:
        return None
    channels = {info.stage: info.channels for info in infos}
    return MemoryBank([channels[k] for k in stages], components=components, size=size, density=density)


def _filled(rows: Tensor, count: int) -> Tensor:
    """`count` rows: the given ones, and the last as often as is missing."""
    return torch.cat((rows, rows[-1:].expand(count - len(rows), *rows.shape[1:])))


def _density(prototypes: Tensor) -> Tensor:
    """Mean squared distance of each prototype, N C, to its nearest others; 0 for a single one."""
    count = min(_NEIGHBOURS, len(prototypes) - 1)
    if count < 1:
        return prototypes.new_zeros(len(prototypes))
    means = []
    for block in torch.split(prototypes, PROTOTYPES_AT_ONCE):
        nearest = torch.cdist(block, prototypes).topk(count + 1, dim=1, largest=False).values
        means.append(nearest[:, 1:].square().mean(dim=1))  # the first is the prototype itself
    return torch.cat(means)


def _rows(joined: Tensor) -> Tensor:
    return joined.movedim(1, -1).reshape(-1, joined.shape[1])


def _cluster_centres(features: Tensor, count: int) -> Tensor:
    """`count` centres of features N C, N > count; the features come in random order."""
    from sklearn.cluster import MiniBatchKMeans

    clusters = MiniBatchKMeans(
        count,
        init=features[:count].cpu().numpy(),
        n_init=1,
        batch_size=count,
        max_iter=_PASSES,
        reassignment_ratio=0.0,
        random_state=0,
    )
    centres = clusters.fit(features.cpu().numpy()).cluster_centers_
    return torch.from_numpy(centres).to(features)


def _principal_components(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Variances and directions of the first `count` components; rows are N C, standardised."""
    covariance = rows.double().T @ rows.double() / len(rows)
    variances, vectors = torch.linalg.eigh(covariance)
    order = torch.arange(len(variances) - 1, max(len(variances) - 1 - count, -1), -1)
    variances, vectors = variances[order].clamp(min=0), vectors[:, order].T
    missing = count - len(variances)
    return (
        F.pad(variances, (0, missing)).to(rows.dtype),
        F.pad(vectors, (0, 0, 0, missing)).to(rows.dtype),
    )
