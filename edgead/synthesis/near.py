"""Changes close to normal: the part's own surface, locally a little different.

Real defects are often faint: a patch of other light, a change of grain or of its direction, a thin line, an
edge that moved. A network trained on strong anomalies alone learns to see strong anomalies alone. Each
change here runs without a step from nothing (strength 0) to plain to see (strength 1).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgead.synthesis.blending import bounding_box
from edgead.synthesis.masks import anchor_in, draw_mask, feather, random_walk, stroke_coverage
from edgead.synthesis.near_changes import CHANGES, Scene
from edgead.synthesis.sources import AnomalySource

__all__ = ["NearSource"]

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float32]
Generator = np.random.Generator

_CONTEXT = 8  # pixels around the mask that a change may look at
_HARD_EDGE = 0.4  # share of the areas without a soft edge


class NearSource(AnomalySource):
    """One change of `CHANGES` in one region; the strength is its amount, or for movements its distance."""

    name: ClassVar[str] = "near"
    strength_range: ClassVar[tuple[float, float]] = (0.1, 1.0)

    def alter(self, image: Image, rng: Generator, *, strength: float, foreground: Mask) -> tuple[Image, Mask]:
        """See `AnomalySource.alter`."""
        names = list(CHANGES)
        shares = np.cumsum([CHANGES[name].share for name in names])
        change = CHANGES[names[int(np.searchsorted(shares, rng.random() * shares[-1], "right"))]]
        if change.is_thin:
            weights = _thin_weights(foreground, rng)
        else:
            weights = _area_weights(draw_mask(foreground, rng, families=change.families), rng)
        mask = np.asarray(weights > 0)
        if not mask.any():
            return image.copy(), mask
        rows, columns = _with_context(bounding_box(mask), image)
        other = self.material.other_image(rng)
        planes = image[..., 0] if self.material.is_grey else image
        scene = Scene(
            patch=planes[rows, columns].astype(np.float32),
            weights=weights[rows, columns],
            image=np.ascontiguousarray(planes),
            other=np.ascontiguousarray(other[..., 0]) if self.material.is_grey else other,
            centre_yx=((rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2),
            rng=rng,
            strength=strength,
        )
        amount = scene.weights if change.is_movement else scene.weights * np.float32(strength)
        mixed = _mixed(scene.patch, change.draw(scene), amount)
        altered = image.copy()
        altered[rows, columns] = mixed[..., None] if mixed.ndim == 2 else mixed
        return altered, mask


def _mixed(patch: Weights, content: Weights, amount: Weights) -> Image:
    shaped = amount[..., None] if patch.ndim == 3 else amount
    return np.asarray(np.clip(np.rint(patch + (content - patch) * shaped), 0, 255), np.uint8)


def _area_weights(mask: Mask, rng: Generator) -> Weights:
    if rng.random() < _HARD_EDGE:
        return mask.astype(np.float32)
    width = float(rng.uniform(1, 0.08 * min(mask.shape) + 1))
    weights = np.zeros(mask.shape, np.float32)
    rows, columns = bounding_box(mask)
    weights[rows, columns] = feather(np.ascontiguousarray(mask[rows, columns]), width)
    return weights / max(float(weights.max()), 1e-6)


def _thin_weights(foreground: Mask, rng: Generator) -> Weights:
    """An anti-aliased line of one to four pixels at 256, straight or bent, short or across the picture."""
    side = min(foreground.shape)
    length = float(np.exp(rng.uniform(np.log(0.04), np.log(1.2)))) * side
    walk = random_walk(
        anchor_in(foreground, rng), rng, length=length, bend=float(rng.choice([0.1, 0.6, 2.0]))
    )
    width = max(1, round(float(rng.uniform(0.6, 3.6)) * side / 256))
    coverage = stroke_coverage((foreground.shape[0], foreground.shape[1]), walk, width=width)
    return np.where(foreground, coverage, np.float32(0))


def _with_context(box: tuple[slice, slice], image: Image) -> tuple[slice, slice]:
    rows, columns = box
    return (
        slice(max(rows.start - _CONTEXT, 0), min(rows.stop + _CONTEXT, image.shape[0])),
        slice(max(columns.start - _CONTEXT, 0), min(columns.stop + _CONTEXT, image.shape[1])),
    )
