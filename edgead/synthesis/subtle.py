"""Changes close to normal: the part's own surface, locally a little different.

Real defects are often faint: a patch of other light, a change of grain or of its direction, a thin line, an
edge that moved. A network trained on strong anomalies alone learns to see strong anomalies alone. Each
change here runs without a step from nothing (strength 0) to plain to see (strength 1).
"""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from edgead.synthesis.blending import bounding_box
from edgead.synthesis.masks import anchor_in, draw_mask, feather, random_walk, stroke_coverage
from edgead.synthesis.sources import AnomalySource
from edgead.synthesis.subtle_changes import CHANGES, Change, Effect, Scene

__all__ = ["SubtleSource"]

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Weights = npt.NDArray[np.float32]
Generator = np.random.Generator

_CONTEXT = 8  # pixels around the mask that a change may look at
_HARD_EDGE = 0.4  # share of the areas without a soft edge


class SubtleSource(AnomalySource):
    """One change of `CHANGES` in one region; what the strength scales is the change's `Effect`."""

    name: ClassVar[str] = "subtle"
    strength_range: ClassVar[tuple[float, float]] = (0.12, 1.0)

    def alter(self, image: Image, rng: Generator, *, strength: float, foreground: Mask) -> tuple[Image, Mask]:
        """See `AnomalySource.alter`."""
        change = _choose(rng)
        weights = _weights(change, foreground, rng, strength=strength)
        mask = np.asarray(weights > 0)
        if not mask.any():  # a thin line may miss a small foreground
            return image.copy(), mask
        rows, columns = _with_context(bounding_box(mask), image)
        scene = self._scene(image, weights, (rows, columns), rng, strength=strength)
        mixed = _mixed(scene.patch, change.draw(scene), _amount(change, scene))
        altered = image.copy()
        altered[rows, columns] = mixed[..., None] if mixed.ndim == 2 else mixed
        return altered, mask

    def _scene(
        self, image: Image, weights: Weights, box: tuple[slice, slice], rng: Generator, *, strength: float
    ) -> Scene:
        other = self.material.other_image(rng)
        if self.material.is_grey:  # one plane instead of three alike: a third of the work
            image, other = np.ascontiguousarray(image[..., 0]), np.ascontiguousarray(other[..., 0])
        rows, columns = box
        return Scene(
            patch=image[box].astype(np.float32),
            weights=weights[box],
            image=image,
            other=other,
            centre_yx=((rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2),
            rng=rng,
            strength=strength,
        )


def _choose(rng: Generator) -> Change:
    changes = list(CHANGES.values())
    shares = np.cumsum([change.share for change in changes])
    return changes[int(np.searchsorted(shares, rng.random() * shares[-1], "right"))]


def _weights(change: Change, foreground: Mask, rng: Generator, *, strength: float) -> Weights:
    if change.is_thin:
        return _thin_weights(foreground, rng)
    mask = draw_mask(foreground, rng, families=change.families)
    if change.effect is Effect.SIZE:
        return _core(mask, strength)
    return _area_weights(mask, rng)


def _amount(change: Change, scene: Scene) -> Weights:
    """How much of the content shows in each pixel."""
    if change.effect is Effect.OPACITY:
        return np.asarray(scene.weights * np.float32(scene.strength))
    return scene.weights if change.effect is Effect.SIZE else (scene.weights > 0).astype(np.float32)


def _core(mask: Mask, strength: float) -> Weights:
    """The mask shrunk towards its thickest part, to nothing but that part at strength 0."""
    rows, columns = bounding_box(mask)
    inside = cv2.copyMakeBorder(mask[rows, columns].view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 3), np.float32)[1:-1, 1:-1]
    least = (1 - strength) * max(float(distance.max()) - 1.5, 0.0)
    weights = np.zeros(mask.shape, np.float32)
    # the outermost pixels are half covered, like an edge that a camera saw
    weights[rows, columns] = np.clip((distance - np.float32(least)) * np.float32(0.75), 0, 1)
    return weights


def _mixed(patch: Weights, content: Weights, amount: Weights) -> Image:
    shaped = amount[..., None] if patch.ndim == 3 else amount
    return np.asarray(np.clip(np.rint(patch + (content - patch) * shaped), 0, 255), np.uint8)


def _area_weights(mask: Mask, rng: Generator) -> Weights:
    if rng.random() < _HARD_EDGE:
        return mask.astype(np.float32)
    # from one pixel to a quarter of the image: light and wear seldom end at a line
    width = float(np.exp(rng.uniform(0, np.log(0.25 * min(mask.shape) + 1))))
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
