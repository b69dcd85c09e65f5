"""What the simplest detectors reach on the same images and the same backbone: what edgead has to beat.

    python benchmarks/rivals.py                        # the data sets beside the repository
    python benchmarks/rivals.py --data part=parts/

Each is without training and reads test images for its figures alone: a memory bank of random good features
with the distance pooled in three ways; the same with the local density of the nearest bank feature taken off
(LDKNN); PaDiM, a Gaussian for each cell (Defard et al., ICPR 2021); and the control, the nearest training
thumbnail without any network. Features are the backbone's at strides 8, 16 and 32, averaged over 3 x 3 cells,
standardised, joined on the grid of stride 8.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from common import ROOT, Row, json_option, quick_option, report
from torch import Tensor

from edgead.datasets import ImageDataset, Sample, open_dataset
from edgead.datasets.thumbnails import ThumbnailControl, thumbnail_control
from edgead.evaluation.evaluator import Evaluation, evaluate_samples
from edgead.images import read_image, resize_image
from edgead.map_and_score import MapAndScore
from edgead.metrics import AU_PRO, CAUGHT_AT_01, CAUGHT_AT_2, IMAGE_AUROC, PIXEL_AP, Metric
from edgead.models.backbones import build_backbone

SETS = ("mtd", "pcb", "kolektorsdd", "bsdata", "aitex_fabric03", "piped_brg01_rl")
DATA = {name: ROOT.parent / "shared" / "data" / name for name in SETS}
FIGURES: tuple[Metric, ...] = (IMAGE_AUROC, CAUGHT_AT_2, CAUGHT_AT_01, AU_PRO, PIXEL_AP)
_SIDE = 256
_BACKBONE, _STAGES = "efficientnet_lite0", (2, 3, 4)
_BANK = 8000
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
        self.backbone = build_backbone(_BACKBONE, stages=_STAGES).eval()
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

    def __init__(self, good: Tensor, *, size: int = _BANK) -> None:
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
            reached.append(Reached(f"{kind}, {name}", _figures(found)))
    return reached, thumbnail_control(dataset)


def _smoothed(cells: np.ndarray) -> np.ndarray:
    return cv2.blur(cells, (3, 3), borderType=cv2.BORDER_REPLICATE)


def _top(cells: np.ndarray) -> int:
    return max(1, round(0.02 * cells.size))


def _figures(found: Evaluation) -> dict[str, float | None]:
    return {metric.key: metric.of(found) for metric in FIGURES}


def _chunks(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    return [samples[start : start + _AT_ONCE] for start in range(0, len(samples), _AT_ONCE)]


def _pixels(samples: Sequence[Sample]) -> Tensor:
    return torch.cat([_tensor(read_image(sample.path)) for sample in samples])


def _tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(resize_image(image, _SIDE, _SIDE)).movedim(-1, 0)[None].float()


def best_rival(reached: Mapping[str, Sequence[Reached]]) -> tuple[str, float]:
    """The one rule with the best mean image AUROC over all data sets, and that mean."""
    names = [one.rival for one in next(iter(reached.values()))]
    means = {
        name: float(np.mean([_of(name, found).figures[IMAGE_AUROC.key] or 0.0 for found in reached.values()]))
        for name in names
    }
    name = max(means, key=lambda rival: means[rival])
    return name, means[name]


def _of(name: str, found: Sequence[Reached]) -> Reached:
    return next(one for one in found if one.rival == name)


def rival_rows(reached: Mapping[str, Sequence[Reached]]) -> list[Row]:
    """One row for each rival, data set and figure."""
    return [
        Row(f"{name}: {one.rival}, {metric.title}", one.figures[metric.key], "", higher_is_better=True)
        for name, found in reached.items()
        for one in found
        for metric in FIGURES
    ]


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option("--data", "pairs", multiple=True, metavar="NAME=PATH", help="Data sets.  [default: all six]")
@quick_option
@json_option
def main(pairs: tuple[str, ...], quick: bool, json_path: str | None) -> None:
    given = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(given) != len(pairs):
        raise click.UsageError("--data is written NAME=PATH.")
    present = {name: path for name, path in DATA.items() if path.is_dir()}
    data = {name: Path(path) for name, path in given.items()} or present
    if not data:
        raise click.UsageError(f"No data at {DATA['mtd'].parent}. Give your own: --data NAME=PATH.")
    reached: dict[str, list[Reached]] = {}
    controls: dict[str, float | None] = {}
    for name, path in list(data.items())[: 1 if quick else None]:
        started = time.monotonic()
        dataset = open_dataset(path)
        if quick:
            dataset = _few(dataset)
        reached[name], control = rivals_on(dataset)
        controls[name] = None if control is None else control.auroc
        click.echo(f"{name}: {time.monotonic() - started:.0f} s", err=True)
    best, mean = best_rival(reached)
    rows = [
        *(Row(f"{name}: control, thumbnails, image AUROC", value, "") for name, value in controls.items()),
        *rival_rows(reached),
        Row(f"best rule on the mean of {len(reached)} sets: {best}, image AUROC", mean, ""),
    ]
    report("rivals", rows, json_path=json_path, quick=quick, settings={"backbone": _BACKBONE, "bank": _BANK})


def _few(dataset: ImageDataset) -> ImageDataset:
    every = max(1, len(dataset.test) // 16)
    return replace(dataset, train=dataset.train[:8], test=dataset.test[::every])


if __name__ == "__main__":
    main()
