"""Augmentation: good parts as the line may show them, beyond the few that were photographed.

A discriminator that has few parts to learn from learns them by heart, and calls others anomalous. Copies
that are shifted, turned, flipped or lit otherwise keep it from that. A change that the line never shows would
teach it to overlook a defect (a part that lies the wrong way round): where it is left to `find_augmentation`,
only changes are used after which held-out good images look as good as before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgead.errors import UnknownNameError, UsageError
from edgead.models.backbones import Backbone

AUTO, NONE = "auto", "none"
_USUAL = {"shift": 0.04, "rotate": 3.0, "flip_x": 1.0, "flip_y": 1.0, "light": 0.15}
_FLIPS = ("flip_x", "flip_y")
_LARGEST = {"shift": 0.5, "rotate": 180.0, "light": 1.0}
_IMAGES = 600  # of all products together, copies counted, where there are fewer; of more, each has one copy

# How a change is found harmless: see `find_augmentation`.
_FARTHER = 1.05
_MOST_GOOD, _MOST_HELD_OUT = 150, 40  # images
_MOST_CELLS = 8192  # good features that are compared with
_STRIDE = 16  # of the features: fine enough for a part's print, coarse enough to be few

Image = npt.NDArray[np.uint8]
Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation:
    """The largest of each change; a copy gets a random one up to it, in either direction."""

    shift: float = 0.0  # as a share of height and of width
    rotate: float = 0.0  # degrees, about the centre
    flip_x: float = 0.0  # 1: left and right change sides in every second copy
    flip_y: float = 0.0  # 1: top and bottom do
    light: float = 0.0  # relative change of brightness; contrast curve and offset change by as much

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            if not 0 <= getattr(self, name) <= largest:
                raise UsageError(
                    f"The augmentation {name} must lie between 0 and {largest:g}, not {getattr(self, name)}."
                )

    def __bool__(self) -> bool:
        return self != Augmentation()

    @classmethod
    def from_text(cls, text: str) -> Augmentation:
        """Read "none", or names with or without an amount, as in "shift=0.02,rotate,flip".

        "flip" is both flips. Raises UsageError for an amount that cannot be, UnknownNameError for a name.
        """
        amounts: dict[str, float] = {}
        for part in [] if text == NONE else text.split(","):
            written, separator, amount = (piece.strip() for piece in part.partition("="))
            name = written.replace("-", "_")
            if name not in (*_USUAL, "flip"):
                raise UnknownNameError("augmentation", written, [*map(_written, _USUAL), "flip", AUTO, NONE])
            if separator and name not in _LARGEST:
                raise UsageError(f"'{written}' has no amount; write {written} alone, not '{part.strip()}'.")
            for each in _FLIPS if name == "flip" else (name,):
                amounts[each] = _amount(name, amount) if separator else _USUAL[each]
        return cls(**amounts)

    @property
    def text(self) -> str:
        """What `from_text` reads as this."""
        named = [(field.name, getattr(self, field.name)) for field in fields(self)]
        parts = [
            _written(name) if name in _FLIPS else f"{name}={value:.12g}" for name, value in named if value
        ]
        return ",".join(parts) or NONE

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """A changed copy of an image uint8 H W 3; what lies beyond its border is its mirror image."""
        height, width = image.shape[:2]
        if self.shift or self.rotate:
            turn = cv2.getRotationMatrix2D(
                ((width - 1) / 2, (height - 1) / 2), rng.uniform(-self.rotate, self.rotate), 1.0
            )
            turn[:, 2] += rng.uniform(-self.shift, self.shift, 2) * np.array((width, height))
            moved = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
            image = np.asarray(moved, np.uint8)
        if self.flip_x and rng.random() < 0.5:
            image = image[:, ::-1]
        if self.flip_y and rng.random() < 0.5:
            image = image[::-1]
        if self.light:
            image = self._lit(image, rng)
        return np.ascontiguousarray(image)

    def _lit(self, image: Image, rng: np.random.Generator) -> Image:
        gain, exponent = np.exp(rng.uniform(-self.light, self.light, 2) * (1.0, 2 / 3))
        offset = rng.uniform(-self.light, self.light) / 3
        levels = (np.arange(256) / 255) ** exponent * gain + offset
        table: Image = np.rint(levels.clip(0, 1) * 255).astype(np.uint8)
        return np.asarray(table[image])


def augmented(
    images: Images, counts: Sequence[int], augmentation: Augmentation, *, seed: int
) -> tuple[Images, tuple[int, ...]]:
    """The images and, after those of each product, changed copies: as many as make about 600 of all.

    Each image has one copy at least. Images uint8 N H W 3 lie product after product, `counts` of each; so do
    those returned, and their counts.
    """
    if not augmentation:
        return images, tuple(counts)
    copies = [max(1, _IMAGES // len(counts) // count - 1) for count in counts]
    parts: list[Images] = []
    ends = np.cumsum(counts)
    for product, (end, count, more) in enumerate(zip(ends, counts, copies, strict=True)):
        own = images[end - count : end]
        rng = np.random.default_rng([seed, product])
        parts += [own, *(np.stack([augmentation(image, rng) for image in own]) for _ in range(more))]
    return np.concatenate(parts), tuple(c * (1 + more) for c, more in zip(counts, copies, strict=True))


def find_augmentation(good: Images, held_out: Images, backbone: Backbone, *, seed: int) -> Augmentation:
    """The changes, each of its usual amount, that leave held-out good images as near to good ones as before.

    Near: by the mean distance of an image's features to the nearest of the good images, uint8 N H W 3, at the
    backbone's stage of stride 16. A change is used where the median image gets no more than 5 % farther.
    """
    rng = np.random.default_rng(seed)
    good = good[rng.permutation(len(good))[:_MOST_GOOD]]
    held_out = held_out[rng.permutation(len(held_out))[:_MOST_HELD_OUT]]
    near = _Nearness(good, backbone, seed=seed)
    before = near(held_out)
    harmless = {}
    for name, amount in _USUAL.items():
        change = Augmentation(**{name: amount})
        changed = np.stack([_surely(change, image, rng) for image in held_out])
        if float(((near(changed) + 1e-6) / (before + 1e-6)).median()) <= _FARTHER:
            harmless[name] = amount
    return Augmentation(**harmless)


def _surely(change: Augmentation, image: Image, rng: np.random.Generator) -> Image:
    """The change in every image: a flip that is not left to chance."""
    if change.flip_x:
        return np.ascontiguousarray(image[:, ::-1])
    return np.ascontiguousarray(image[::-1]) if change.flip_y else change(image, rng)


class _Nearness:
    """Images -> the mean distance of their standardised features to the nearest good ones, N."""

    def __init__(self, good: Images, backbone: Backbone, *, seed: int) -> None:
        self.backbone = backbone
        strides = [info.stride for info in backbone.feature_info]
        self.position = min(range(len(strides)), key=lambda k: abs(math.log2(strides[k] / _STRIDE)))
        rows = torch.cat([self._rows(image) for image in good])
        self.deviation, self.mean = torch.std_mean(rows, dim=0, correction=0)
        drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:_MOST_CELLS]
        self.cells = self._standardised(rows[drawn])

    def __call__(self, images: Images) -> Tensor:
        found = [torch.cdist(self._standardised(self._rows(image)), self.cells) for image in images]
        return torch.stack([distances.amin(dim=1).mean() for distances in found])

    @torch.no_grad()
    def _rows(self, image: Image) -> Tensor:
        maps: list[Tensor] = self.backbone(torch.from_numpy(image)[None].permute(0, 3, 1, 2).float())
        return maps[self.position][0].flatten(1).T

    def _standardised(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.deviation.clamp(min=1e-3)


def _written(name: str) -> str:
    return name.replace("_", "-")


def _amount(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"The amount of the augmentation {name} must be a number, not '{text}'.") from None
