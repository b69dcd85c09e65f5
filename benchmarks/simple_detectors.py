"""The simplest detectors on a backbone's features, without training: a memory bank, LDKNN, PaDiM.

The memory bank holds random good features; its distances are pooled in three ways. LDKNN takes the local
density of the nearest one off. PaDiM is a Gaussian for each cell (Defard et al., ICPR 2021). Features are the
backbone's at strides 8, 16 and 32, averaged over 3 x 3 cells, joined on the grid of stride 8, standardised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgead.datasets import ImageDataset, Sample
from edgead.datasets.thumbnails import ThumbnailControl, thumbnail_control
from edgead.evaluation.evaluator import Evaluation, evaluate_samples
from edgead.images import read_image, resize_image
from edgead.map_and_score import MapAndScore
from edgead.metrics import AU_PRO, CAUGHT_AT_0_1_PERCENT, CAUGHT_AT_2_PERCENT, IMAGE_AUROC, PIXEL_AP, Metric
from edgead.models.backbones import build_backbone

FIGURES: tuple[Metric, ...] = (IMAGE_AUROC, CAUGHT_AT_2_PERCENT, CAUGHT_AT_0_1_PERCENT, AU_PRO, PIXEL_AP)
BACKBONE, BANK = "efficientnet_lite0", 8000
_SIDE = 256
_STAGES = (2, 3, 4)
_NEIGHBOURS = 9  # of other images, whose mean distance is a bank feature's local density
_AT_ONCE = 16
_PADIM_CHANNELS = 100
_PADIM_RIDGE = 0.01

Score = Callable[[np.ndarray], float]
POOLED: Mapping[str, Score] = {
    "maximum of 3 x 3 mean": lambda cells: float(_smoothed(cells).max()),
    "top 2 %": lambda cells: float(np.sort(_smoothed(cells), axis=None)[-_top(cells) :].mean()),
    "mean": lambda cells: float(cells.mean()),
}


@dataclass(frozen=True)
class Reached:
    """The figures of one rival on one data set, by the metrics' keys."""

    rival: str
    figures: dict[str, float | None]


class Features:
    """The backbone's features of good images' channels at mean 0 and deviation 1, B C h w."""

    def __init__(self, training: Sequence[Sample]) -> None:
        self.backbone = build_backbone(BACKBONE, stages=_STAGES).eval()
        self._mean, self._deviation = torch.zeros(()), torch.ones(())
        raw = torch.cat([self(_pixels(samples)) for samples in _chunks(training)])
        self._mean = raw.mean(dim=(0, 2, 3))[None, :, None, None]
        self._deviation = raw.std(dim=(0, 2, 3))[None, :, None, None].clamp(min=1e-3)
        self.good = (raw - self._mean) / self._deviation

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        maps = self.backbone(pixels)
        size = maps[0].shape[-2:]
        averaged = [F.avg_pool2d(m, 3, 1, 1, count_include_pad=False) for m in maps]
        joined = [F.interpolate(m, size, mode="bilinear", align_corners=False) for m in averaged]
        return (torch.cat(joined, dim=1) - self._mean) / self._deviation


class Bank:
    """Random good features, and the local density of each."""

    def __init__(self, good: Tensor, *, size: int = BANK) -> None:
        count, channels = good.shape[:2]
        rows = good.movedim(1, -1).reshape(-1, channels)
        drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:size]
        self.rows = rows[drawn]
        owner = torch.arange(count).repeat_interleave(len(rows) // count)[drawn]
        self.density = torch.cat(
            [
                self._density(self.rows[k : k + 512], owner[k : k + 512], owner)
                for k in range(0, len(drawn), 512)
            ]
        )

    def _density(self, rows: Tensor, owner: Tensor, owners: Tensor) -> Tensor:
        distances = torch.cdist(rows, self.rows)
        distances[owner[:, None] == owners] = torch.inf
        nearest = distances.topk(min(_NEIGHBOURS, len(self.rows)), dim=1, largest=False).values
        return nearest.where(nearest.isfinite(), nearest.new_zeros(())).mean(dim=1)

    def distances(self, features: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """1 C h w -> the distance of each cell to the nearest row, plain and less its density, h w."""
        shape = features.shape[-2:]
        nearest, row = torch.cdist(features[0].flatten(1).T, self.rows).min(dim=1)
        return nearest.view(shape).numpy(), (nearest - self.density[row]).view(shape).numpy()


class Padim:
    """A Gaussian for each cell of the grid on random channels; the distance is Mahalanobis'."""

    def __init__(self, good: Tensor) -> None:
        drawn = torch.randperm(good.shape[1], generator=torch.Generator().manual_seed(0))
        self.channels = drawn[:_PADIM_CHANNELS]
        cells = good[:, self.channels].flatten(2).permute(2, 0, 1)  # cells N C
        self.mean = cells.mean(dim=1, keepdim=True)
        centred = cells - self.mean
        covariance = centred.mT @ centred / max(1, len(good) - 1)
        ridge = _PADIM_RIDGE * torch.eye(len(self.channels))
        self.factor = torch.linalg.cholesky(covariance + ridge)

    def distances(self, features: Tensor) -> np.ndarray:
        """1 C h w -> h w."""
        cells = features[0, self.channels].flatten(1).T[:, None] - self.mean
        whitened = torch.linalg.solve_triangular(self.factor, cells.mT, upper=False)
        return whitened.square().sum(dim=(1, 2)).sqrt().view(features.shape[-2:]).numpy()


def rivals_on(dataset: ImageDataset) -> tuple[list[Reached], ThumbnailControl | None]:
    """Every rival on the test images of a data set, and its control."""
    features = Features(dataset.train)
    bank, padim = Bank(features.good), Padim(features.good)
    seen: dict[bytes, dict[str, np.ndarray]] = {}  # maps of an image, which several rivals pool

    def maps_of(image: np.ndarray) -> dict[str, np.ndarray]:
        key = hashlib.sha256(image.tobytes()).digest()
        if key not in seen:
            found = features(_tensor(image))
            plain, sparse = bank.distances(found)
            seen[key] = {"memory bank": plain, "LDKNN": sparse, "PaDiM": padim.distances(found)}
        return seen[key]

    reached = []
    rules = {"memory bank": list(POOLED), "LDKNN": list(POOLED), "PaDiM": list(POOLED)[:1]}
    for kind, names in rules.items():
        for name in names:
            score = POOLED[name]

            def predict(image: np.ndarray, kind: str = kind, score: Score = score) -> MapAndScore:
                cells = maps_of(image)[kind]
                return MapAndScore(cells, score(cells))

            found = evaluate_samples(predict, dataset.test)
            reached.append(Reached(f"{kind}, {name}", figures_of(found)))
    return reached, thumbnail_control(dataset)


def _smoothed(cells: np.ndarray) -> np.ndarray:
    return cv2.blur(cells, (3, 3), borderType=cv2.BORDER_REPLICATE)


def _top(cells: np.ndarray) -> int:
    return max(1, round(0.02 * cells.size))


def detectors(training: Sequence[Sample]) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Each kind of rival as a call from an image, uint8 H W 3, to its map: what an inspection costs."""
    features = Features(training)
    bank, padim = Bank(features.good), Padim(features.good)
    return {
        "memory bank": lambda image: bank.distances(features(_tensor(image)))[1],
        "PaDiM": lambda image: padim.distances(features(_tensor(image))),
    }


def figures_of(found: Evaluation) -> dict[str, float | None]:
    return {metric.key: metric.of(found) for metric in FIGURES}


def _chunks(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    return [samples[start : start + _AT_ONCE] for start in range(0, len(samples), _AT_ONCE)]


def _pixels(samples: Sequence[Sample]) -> Tensor:
    return torch.cat([_tensor(read_image(sample.path)) for sample in samples])


def _tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(resize_image(image, _SIDE, _SIDE)).movedim(-1, 0)[None].float()


def best_rival(reached: Mapping[str, Sequence[Reached]], *, key: str = IMAGE_AUROC.key) -> tuple[str, float]:
    """The one rule with the best mean of this metric over all data sets, and that mean."""
    names = [one.rival for one in next(iter(reached.values()))]
    means = {
        name: float(np.mean([_of(name, found).figures[key] or 0.0 for found in reached.values()]))
        for name in names
    }
    name = max(means, key=lambda rival: means[rival])
    return name, means[name]


def _of(name: str, found: Sequence[Reached]) -> Reached:
    return next(one for one in found if one.rival == name)
