"""How much information a backbone's channels hold on anomalies, and how much of it a given network keeps.

AFS ranks channels by their loss, one by one. The information in a set of them is less than the sum: channels
of a stage say much the same. So the pass that measures the losses also keeps, of the same differences, how
the channels vary together. From that follow, without a constant chosen by hand:

information(m)  of the best m channels of a stage, by their losses, on the mask of the anomaly, in
            bits per cell: -1/2 log2(1 - R^2), R^2 the share of the mask's variance that a linear combination
            of their squared differences explains on pairs that it was not fitted on; the mutual information
            were all Gaussian. The difference is to what is predicted of the good part from its surroundings,
            which is all that a reconstruction has. Against the good part itself, shallow stages had five
            times as many bits: their grain, which nothing predicts, did not count as noise.
explained(m, w)  the share of the good features' variance that w of their principal components hold: a
            reconstruction of width w cannot, cell by cell, tell more than that of a good part from a bad one.
coverage(N) the share of the variance of good features of other images that the nearest of N bank features
            explains.

What a network keeps is the sum over its stages of information x explained, and for its bank the information
of all channels that it reads, against the good part itself, x coverage. It ranks networks; it is no accuracy.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgead.allocation.context_prediction import ContextPrediction
from edgead.errors import TrainingError
from edgead.models.backbones import FeatureInfo
from edgead.models.features.memory_bank import MemoryBank
from edgead.models.features.selection import ChannelScorer, StageSelection, masks_at, scaled_difference

Floats = NDArray[np.float64]

_RIDGE = 1e-6  # of a channel's variance: rounding must not make copies of a channel look like new information
_LEAST_UNEXPLAINED = 1e-6
_MOST_ROWS = 8192  # of the bank's features, and a quarter of them to try it on
_DRAWN_PER_CENTRE = 2  # features drawn at random that cover as much as one cluster centre of the bank


@dataclass(frozen=True, eq=False)
class StageInformation:
    """The information of one stage; channels in the order of their AFS loss, the best first."""

    selection: StageSelection
    information: Floats  # C, bits per cell, of the best 1, 2, ... C channels; never falls
    information_if_known: float  # of all channels, were the good part under the anomaly known
    correlation: Floats  # C C, of good features

    @functools.lru_cache(maxsize=1024)  # noqa: B019 - lives as long as one choice is made
    def _variances(self, channels: int) -> Floats:
        values = np.linalg.eigvalsh(self.correlation[:channels, :channels])[::-1]
        return np.asarray(np.cumsum(np.clip(values, 0.0, None)))

    def explained(self, channels: int, width: int) -> float:
        """Share of the variance of the best `channels` channels that `width` components hold."""
        variances = self._variances(channels)
        return float(variances[min(width, channels) - 1] / max(variances[-1], 1e-12))

    def value(self, channels: int, width: int) -> float:
        return float(self.information[channels - 1]) * self.explained(channels, width)


@dataclass(frozen=True, eq=False)
class ChannelInformation:
    """The information of the stages of a backbone on one set of good images, at one input size."""

    stages: Mapping[int, StageInformation]
    coverage: Mapping[tuple[int, ...], Mapping[int, float]]  # stages of a bank -> features drawn -> share
    features: Mapping[tuple[int, ...], int]  # good features that there are for such a bank
    useless: Mapping[int, str]  # stages without information, and why
    pairs: int

    def bank_value(self, stages: Sequence[int], size: int) -> float:
        """That of a bank of `size` features of these stages; what exceeds the good features adds nothing."""
        key = tuple(stage for stage in stages if stage in self.stages)
        if not size or not key:
            return 0.0
        drawn, shares = (np.array(column, float) for column in zip(*self.coverage[key].items(), strict=True))
        wanted = np.log(min(_DRAWN_PER_CENTRE * size, self.features[key]))
        known = np.log(drawn)
        share = float(np.interp(wanted, known, shares))
        if wanted > known[-1] and len(known) > 1:  # as it has grown with every doubling so far
            share += float((wanted - known[-1]) * (shares[-1] - shares[-2]) / (known[-1] - known[-2]))
        return min(max(share, 0.0), 1.0) * sum(self.stages[stage].information_if_known for stage in key)

    def whole(self, bank_stages: Sequence[int], largest_bank: int) -> float:
        """That of all channels of all stages, rebuilt without a bottleneck, and of the largest bank."""
        stages = sum(float(stage.information[-1]) for stage in self.stages.values())
        return stages + self.bank_value(bank_stages, largest_bank)


class InformationMeter:
    """Adds up, batch by batch, what `ChannelInformation` is made of.

    `good` are the maps of good images, some at a time, that context is predicted from and a bank is tried
    on.
    """

    def __init__(self, infos: Sequence[FeatureInfo], good: Sequence[Sequence[Tensor]]) -> None:
        self.infos = tuple(infos)
        self._good_maps = [[one.float().cpu() for one in maps] for maps in good]  # what tries banks is there
        self._contexts = [
            ContextPrediction([maps[position] for maps in self._good_maps], info.stride)
            for position, info in enumerate(self.infos)
        ]
        self._scorers = [ChannelScorer([info]) for info in self.infos]
        # In two halves, of which each judges what the other fits; the mask is the last variable.
        self._halves = [[_Moments(info.channels + 1) for _ in range(2)] for info in self.infos]
        self._known = [[_Moments(info.channels + 1) for _ in range(2)] for info in self.infos]
        self._batches = 0
        self._good = [_Moments(info.channels) for info in self.infos]

    @torch.no_grad()
    def add(
        self, features_normal: Sequence[Tensor], features_anomalous: Sequence[Tensor], masks: Tensor
    ) -> None:
        """Add a batch of pairs, as `ChannelScorer.add`: the maps of every stage, and masks B H W."""
        kept = masks.flatten(1).ne(0).any(dim=1)
        if not bool(kept.any()):
            return
        for position, (normal, anomalous) in enumerate(zip(features_normal, features_anomalous, strict=True)):
            normal, anomalous = normal[kept.to(normal.device)], anomalous[kept.to(anomalous.device)]
            self._scorers[position].add([normal], [anomalous], masks[kept])
            expected = self._contexts[position](normal).to(normal.device)
            for halves, reference in ((self._halves, expected), (self._known, normal)):
                scaled = scaled_difference(reference, anomalous).nan_to_num(0.0, 0.0, 0.0)
                target = masks_at(masks[kept], scaled.shape[-2:]).to(scaled.device)
                halves[position][self._batches % 2].add(torch.cat((scaled, target), dim=1))
            self._good[position].add(normal.float().nan_to_num(0.0, 0.0, 0.0))
        self._batches += 1

    def information(self, *, bank_components: int, good_images: int | None = None) -> ChannelInformation:
        """What was found.

        `good_images` is how many there are to fill a bank; by default those of `good`. A stage whose channels
        are all constant has no information and is left out; TrainingError when all are.
        """
        good = self._good_maps
        stages: dict[int, StageInformation] = {}
        useless: dict[int, str] = {}
        for position, info in enumerate(self.infos):
            try:
                (selection,) = self._scorers[position].select([info.channels]).stages
            except TrainingError as error:
                useless[info.stage] = str(error)
                continue
            stages[info.stage] = self._stage(position, selection)
        if not stages:
            raise TrainingError(next(iter(useless.values())))
        deep = [info.stage for info in self.infos if info.stage in (3, 4) and info.stage in stages]
        banks = [tuple(deep), *((stage,) for stage in deep)] if deep else []
        covered = {key: self._coverage(key, good, bank_components) for key in dict.fromkeys(banks)}
        images = good_images or sum(len(maps[0]) for maps in good)
        return ChannelInformation(
            stages=stages,
            coverage={key: shares for key, (shares, _) in covered.items()},
            features={key: cells * images for key, (_, cells) in covered.items()},
            useless=useless,
            pairs=self._scorers[0].pairs,
        )

    def _stage(self, position: int, selection: StageSelection) -> StageInformation:
        order = np.argsort(np.array(selection.scores), kind="stable")
        halves, known = (
            [half.covariance() for half in kept[position] if half.count]
            for kept in (self._halves, self._known)
        )
        good = self._good[position].covariance()
        deviations = np.sqrt(np.clip(np.diag(good), 1e-12, None))
        correlation = (good / deviations / deviations[:, None])[np.ix_(order, order)]
        bits, information_if_known = (_bits(pair[0], pair[-1], order) for pair in (halves, known))
        return StageInformation(selection, bits, float(information_if_known[-1]), correlation)

    def _coverage(
        self, stages: Sequence[int], good: Sequence[Sequence[Tensor]], components: int
    ) -> tuple[dict[int, float], int]:
        """Share of other images' good features that a draw of features explains, by the number drawn; and
        how many features an image has."""
        positions = [position for position, info in enumerate(self.infos) if info.stage in stages]
        maps = [[chunk[position] for position in positions] for chunk in good]
        channels = [self.infos[position].channels for position in positions]
        bank = MemoryBank(channels, components=components, size=1)
        generator = torch.Generator().manual_seed(0)
        try:
            bank.fit(maps, generator)
        except TrainingError:  # features that do not vary: one of them is as good as all
            return {1: 1.0}, 1
        rows = [
            torch.nn.functional.conv2d(bank.join(m), bank.projection[:, :, None, None], bank.offset)
            for m in maps
        ]
        images = torch.cat([r.flatten(2).movedim(1, 2) for r in rows])  # N cells components
        known, other = images[::2].flatten(0, 1), images[1::2].flatten(0, 1)
        if not len(other):
            other = known
        known = known[torch.randperm(len(known), generator=generator)[:_MOST_ROWS]]
        other = other[torch.randperm(len(other), generator=generator)[: _MOST_ROWS // 4]]
        alone = float((other - known.mean(dim=0)).square().sum(dim=1).mean())
        counts = [min(2**power, len(known)) for power in range(6, 14)]
        shares = {}
        for count in dict.fromkeys(counts):
            nearest = torch.cdist(other, known[:count]).amin(dim=1).square().mean()
            shares[count] = 1.0 - float(nearest) / max(alone, 1e-12)
        return shares, images.shape[1]


class _Moments:
    """Means and covariance of channels over all cells of all batches, in float64."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self._sum = torch.zeros(channels, dtype=torch.float64)
        self._products = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, maps: Tensor) -> None:
        """maps: B C h w, finite."""
        cells = maps.movedim(1, 0).flatten(1)
        # In float32 within a batch, which is quicker, in float64 across them.
        self._products += (cells @ cells.T).double().cpu()
        self._sum += cells.double().sum(dim=1).cpu()
        self.count += cells.shape[1]

    def covariance(self) -> Floats:
        mean = self._sum / max(self.count, 1)
        covariance = self._products / max(self.count, 1) - mean[:, None] * mean
        found: Floats = covariance.numpy()
        return found


def _bits(first: Floats, second: Floats, order: NDArray[np.int64]) -> Floats:
    """Bits of the first 1, 2, ... C channels of `order` on the last variable of two covariances.

    Each half of the pairs judges the combinations that the other fits: cells of one image are alike, so that
    hundreds of channels would explain the few masks that they are fitted on whatever they see.
    """
    shares = (_explained(first, second, order) + _explained(second, first, order)) / 2
    share = np.clip(np.maximum.accumulate(shares), 0.0, 1.0 - _LEAST_UNEXPLAINED)
    return np.asarray(-0.5 * np.log2(1.0 - share))


def _explained(fitted: Floats, judged: Floats, order: NDArray[np.int64]) -> Floats:
    """Share of the judged mask's variance that combinations of the first 1, 2, ... channels explain.

    The Cholesky factor of all channels has those of the first m in its corner, and so has the solution with
    it: each number of channels costs one triangular solution.
    """
    from scipy.linalg import solve_triangular

    channels, with_mask = fitted[np.ix_(order, order)].copy(), fitted[order, -1].copy()
    variances = np.diag(channels).copy()
    constant = variances < 1e-12 * max(float(variances.max(initial=0.0)), 1e-300)
    channels[constant, :] = channels[:, constant] = with_mask[constant] = 0.0
    channels[np.diag_indices_from(channels)] = np.where(constant, 1.0, variances * (1.0 + _RIDGE))
    factor = _cholesky(channels)
    solved = solve_triangular(factor, with_mask, lower=True)
    others, other_mask = judged[np.ix_(order, order)], judged[order, -1]
    shares = np.empty(len(order))
    for count in range(1, len(order) + 1):
        weights = solve_triangular(factor[:count, :count], solved[:count], lower=True, trans="T")
        matched = 2 * weights @ other_mask[:count] - weights @ others[:count, :count] @ weights
        shares[count - 1] = matched / max(float(judged[-1, -1]), 1e-300)
    return shares


def _cholesky(matrix: Floats) -> Floats:
    ridge = np.diag(np.diag(matrix))
    for strength in (0.0, 1e-6, 1e-4, 1e-2):
        try:
            return np.asarray(np.linalg.cholesky(matrix + strength * ridge))
        except np.linalg.LinAlgError:
            continue
    raise TrainingError(
        "The channels' differences have no covariance that can be solved; check for images that are not "
        "finite, and that the backbone's weights are the published ones."
    )
