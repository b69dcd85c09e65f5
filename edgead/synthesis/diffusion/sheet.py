"""A picture of what strength does: good parts, images of rising strength, the anomalies they make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgead.datasets import open_dataset
from edgead.errors import DataError
from edgead.images import read_image, resize_image
from edgead.synthesis.blending import blend
from edgead.synthesis.diffusion.drawing import DrawSettings, seed_and_strength
from edgead.synthesis.diffusion.model import DiffusionModel
from edgead.synthesis.foreground import find_foreground
from edgead.synthesis.masks import draw_mask

__all__ = ["STRENGTHS", "draw_sheet"]

STRENGTHS = (0.0, 0.1, 0.2, 0.4, 0.8)
_LABEL_WIDTH, _GAP, _LEAST_CELL = 150, 4, 96
_OUTLINE = (235, 40, 40)
_OPACITY = 0.8  # in the middle of the source's range

Image = npt.NDArray[np.uint8]


def draw_sheet(
    model: DiffusionModel,
    *,
    strengths: Sequence[float] = STRENGTHS,
    columns: int = 6,
    seed: int = 0,
    steps: int = 20,
    product: str | None = None,
    data: str | Path | None = None,
) -> Image:
    """Rows: good parts; per strength, images from the same noise in each column; anomalies on the good parts.

    The anomalies take the images of the strength nearest to 0.15, the middle of the published range; their
    masks are outlined in red. uint8 H W 3. Good parts come from `data`, or from where the model was fitted.
    """
    number = model.product_number(product)
    config = model.facts.network
    good = _good_images(model, number, data, columns)
    seeds = [seed_and_strength(DrawSettings(count=columns, seed=seed), k)[0] for k in range(columns)]
    drawn = {s: model.draw(seeds, [s] * columns, product=number, steps=steps) for s in strengths}
    nearest = min(strengths, key=lambda s: abs(s - 0.15))
    foreground = find_foreground(good)
    anomalies, outlined = [], []
    for k, (image, content) in enumerate(zip(good, drawn[nearest], strict=True)):
        rng = np.random.default_rng([seed, k])
        mask = draw_mask(foreground.mask(image), rng, families={"perlin": 0.5, "blob": 0.5})
        anomalies.append(blend(image, content, mask, opacity=_OPACITY))
        outlined.append(_with_outline(anomalies[-1], mask))
    rows = [("good parts", good)]
    rows += [(f"strength {strength:g}", list(drawn[strength])) for strength in strengths]
    rows += [("local anomalies", anomalies), ("... outlined", outlined)]
    scale = max(1, -(-_LEAST_CELL // config.width))
    return _table(rows, cell_hw=(config.height * scale, config.width * scale))


def _good_images(model: DiffusionModel, number: int, data: str | Path | None, count: int) -> list[Image]:
    root = Path(model.facts.data_roots[number] if data is None else data)
    if data is None and not root.is_dir():
        raise DataError(f"{root}, on which the model was fitted, is gone. Name its good parts with --data.")
    samples = open_dataset(root).train
    chosen = np.random.default_rng(0).permutation(len(samples))[:count]
    if len(chosen) < count:
        raise DataError(
            f"{root} has {len(samples)} good images; the sheet shows {count}. Give fewer --columns."
        )
    height, width = model.facts.network.height, model.facts.network.width
    return [resize_image(read_image(samples[int(k)].path), height, width) for k in chosen]


def _with_outline(image: Image, mask: npt.NDArray[np.bool_]) -> Image:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(image.copy(), contours, -1, _OUTLINE, 1), np.uint8)


def _table(rows: Sequence[tuple[str, Sequence[Image]]], *, cell_hw: tuple[int, int]) -> Image:
    height, width = cell_hw
    columns = max(len(images) for _, images in rows)
    shape = (len(rows) * (height + _GAP), _LABEL_WIDTH + columns * (width + _GAP), 3)
    canvas = np.full(shape, 255, np.uint8)
    for row, (label, images) in enumerate(rows):
        top = row * (height + _GAP)
        place = (8, top + height // 2)
        cv2.putText(canvas, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        for column, image in enumerate(images):
            left = _LABEL_WIDTH + column * (width + _GAP)
            cell = cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)
            canvas[top : top + height, left : left + width] = cell
    return canvas
