"""Draw docs/heatmap.png: test images of the drawn demo set, their true defects, and the maps of a bundle.

    python docs/make_heatmap.py part.edgead parts/ --out docs/heatmap.png

One column for each kind of defect and one for a good part: the first image of each, not the best one. On top
the picture, in the middle the picture with the true defect outlined, below the anomaly map over it.
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

import edgead
from edgead.datasets import Sample, open_dataset
from edgead.datasets.masks import read_mask
from edgead.images import read_image, resize_image, write_image
from edgead.runtime.inspector import Inspector
from edgead.runtime.overlay import draw_regions, heatmap_overlay, overlay_range

_SIDE, _GAP = 128, 4
_OUTLINE = (255, 40, 40)

Image = NDArray[np.uint8]


@click.command(help=__doc__.split("\n", maxsplit=1)[0])
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/heatmap.png"), show_default=True)
def main(bundle: Path, data: Path, out: Path) -> None:
    first = {sample.kind: sample for sample in reversed(open_dataset(data).test)}
    kinds = sorted(first, key=lambda kind: (kind == "good", kind))
    with edgead.open(bundle) as inspector:
        columns = [_column(inspector, first[kind]) for kind in kinds]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_image(out, _beside(columns, axis=1))
    click.echo(f"{out}: {', '.join(kinds)}, from left to right")


def _column(inspector: Inspector, sample: Sample) -> Image:
    image = read_image(sample.path)
    result = inspector.inspect(image)
    low, high = overlay_range(result.pixel_threshold)
    drawn = heatmap_overlay(image, result.anomaly_map, low=low, high=high)
    drawn = draw_regions(drawn, result.regions if result.is_anomalous else ())
    rows = [image, _outlined(image, sample), drawn]
    return _beside([resize_image(row, _SIDE, _SIDE) for row in rows], axis=0)


def _outlined(image: Image, sample: Sample) -> Image:
    copy = image.copy()
    if sample.mask_path is not None:
        mask = read_mask(sample.mask_path, (image.shape[0], image.shape[1])).astype(np.uint8)
        lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(copy, lines, -1, _OUTLINE, thickness=max(1, image.shape[0] // 200))
    return copy


def _beside(pictures: list[Image], *, axis: int) -> Image:
    """The pictures in a row (axis 1) or a column (axis 0), white between them."""
    shape = list(pictures[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, axis=axis)


if __name__ == "__main__":
    main()
