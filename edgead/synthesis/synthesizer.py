"""Anomalous images with exact masks, from good ones: a weighted mix of sources."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgead.errors import UnknownNameError, UsageError
from edgead.synthesis.blending import blend
from edgead.synthesis.cutpaste import CutPasteSource
from edgead.synthesis.diffusion.sets import AnomalySet
from edgead.synthesis.diffusion.source import DiffusionSource
from edgead.synthesis.foreground import ForegroundFinder, find_foreground
from edgead.synthesis.masks import anchor_in, random_walk, stroke_coverage
from edgead.synthesis.seamless import SeamlessSource
from edgead.synthesis.sources import AnomalySource, Material
from edgead.synthesis.subtle import SubtleSource
from edgead.synthesis.texture_bank import TextureBank
from edgead.synthesis.textures import TextureSource

__all__ = ["DEFAULT_MIX", "SET_MIX", "SOURCES", "Synthesizer", "SyntheticSample", "parse_mix"]

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

# Those that need nothing but the good images, and those that need a set of drawn anomalies as well.
SOURCES: dict[str, type[AnomalySource]] = {
    source.name: source for source in (TextureSource, CutPasteSource, SeamlessSource, SubtleSource)
}
SET_SOURCES: dict[str, type[AnomalySource]] = {DiffusionSource.name: DiffusionSource}
DEFAULT_MIX: Mapping[str, float] = {"textures": 0.15, "cutpaste": 0.15, "seamless": 0.2, "subtle": 0.5}
_EARLIER_NAMES = {"near": "subtle"}  # of sources, in mixes of earlier versions
# Where a set of drawn anomalies is there: RealNet's source beside what it does not draw, fine lines say.
_SET_SHARE = 0.3
SET_MIX: Mapping[str, float] = {
    "sdas": _SET_SHARE,
    **{name: round(share * (1 - _SET_SHARE), 3) for name, share in DEFAULT_MIX.items()},
}

_ATTEMPTS = 4
_STRONGER = 0.2  # what each further attempt adds to the strength
_LEAST_SHARE = 1.5e-4  # of the image, 10 pixels at 256 x 256; a network of stride 4 cannot learn from less


@dataclass(frozen=True)
class SyntheticSample:
    """An image with an anomaly, and the truth about it."""

    image: Image  # uint8 H W 3
    mask: Mask  # bool H W, the pixels altered; never empty
    source: str  # a name of SOURCES or SET_SOURCES, or "fallback"
    strength: float  # 0 hardly visible .. 1 obvious


class Synthesizer:
    """Calls one source of a weighted mix for each sample; the same random state gives the same sample.

    Instances hold the good images, can be pickled and may be used from many processes.
    """

    def __init__(
        self,
        images: Sequence[Image],
        *,
        sources: Mapping[str, float] | None = None,
        texture_folder: str | os.PathLike[str] | None = None,
        seed_textures: int = 0,
        strength_range: tuple[float, float] | None = None,
        foreground: bool = True,
        anomaly_set: AnomalySet | None = None,
    ) -> None:
        """`images` are good ones, uint8 H W 3 of one size; `sources` maps names to weights.

        `strength_range` (low, high, within 0..1) replaces the range of every source. Without `foreground`
        anomalies lie anywhere, not on the part alone. `anomaly_set` is what the source "sdas" draws from.
        Raises `UsageError` for images, weights or ranges that cannot be used, or a set that is missing,
        `UnknownNameError` for an unknown source.
        """
        _check_images(images)
        self.mix = _checked_mix(DEFAULT_MIX if sources is None else sources)
        self.strength_range = None if strength_range is None else _checked_range(strength_range)
        self.foreground = find_foreground(images) if foreground else ForegroundFinder("whole")
        material = Material(
            images=images,
            textures=TextureBank(folder=texture_folder, seed=seed_textures),
            is_grey=all(_is_grey(image) for image in images),
            fills_frame=self.foreground.rule == "whole",
            anomaly_set=anomaly_set,
        )
        self._images = images
        self._sources = [{**SOURCES, **SET_SOURCES}[name](material) for name in self.mix]
        self._shares = np.cumsum(list(self.mix.values()))

    def __len__(self) -> int:
        return len(self._images)

    def __call__(self, index_or_image: int | Image, rng: np.random.Generator) -> SyntheticSample:
        """An anomaly on a good image, given as its number or as uint8 H W 3 of the same size."""
        image = self._image(index_or_image)
        source = self._sources[int(np.searchsorted(self._shares, rng.random() * self._shares[-1], "right"))]
        low, high = self.strength_range or source.strength_range
        strength = float(rng.uniform(low, high))
        foreground = self.foreground.mask(image)
        least = max(1, min(4, foreground.size // 4), round(_LEAST_SHARE * foreground.size))
        for _ in range(_ATTEMPTS):
            altered, mask = source.apply(image, rng, strength=strength, foreground=foreground)
            if int(np.count_nonzero(mask)) >= least:
                return SyntheticSample(altered, mask, source.name, strength)
            strength = min(1.0, strength + _STRONGER)
        return _fallback(image, rng, foreground)

    def _image(self, index_or_image: int | Image) -> Image:
        image = (
            index_or_image if isinstance(index_or_image, np.ndarray) else self._images[int(index_or_image)]
        )
        expected = self._images[0].shape
        if image.shape != expected or image.dtype != np.uint8:
            raise UsageError(
                f"The image must be uint8 of shape {expected} like the good images, and is {image.dtype} of "
                f"shape {image.shape}. Resize it with edgead.images.resize_image."
            )
        return image


def parse_mix(text: str) -> dict[str, float]:
    """The mix in a text such as "seamless=0.3,subtle=0.7".

    Raises `UnknownNameError` for an unknown source, `UsageError` for what cannot be read or weighed.
    """
    mix: dict[str, float] = {}
    for part in text.split(","):
        name, separator, weight = (piece.strip() for piece in part.partition("="))
        if not separator or not name:
            raise UsageError(
                f"A mix is written name=weight,name=weight; '{part.strip()}' in '{text}' is not."
            )
        name = _EARLIER_NAMES.get(name, name)
        if name in mix:
            raise UsageError(f"'{name}' occurs twice in the mix '{text}'. Give each source one weight.")
        try:
            mix[name] = float(weight)
        except ValueError:
            raise UsageError(f"The weight of '{name}' must be a number, and is '{weight}'.") from None
    return _checked_mix(mix)


def _checked_mix(mix: Mapping[str, float]) -> dict[str, float]:
    for name, weight in mix.items():
        if name not in SOURCES and name not in SET_SOURCES:
            raise UnknownNameError("source of anomalies", name, [*SOURCES, *SET_SOURCES])
        if not math.isfinite(weight) or weight < 0:
            raise UsageError(f"The weight of '{name}' must be a finite number from 0 up, and is {weight}.")
    used = {name: float(weight) for name, weight in mix.items() if weight > 0}
    if not used:
        raise UsageError(f"At least one source of {', '.join(SOURCES)} needs a weight above 0; none has.")
    if not math.isfinite(sum(used.values())):
        raise UsageError("The weights of the mix are too large to add up. Scale them down.")
    return used


def _checked_range(strength_range: tuple[float, float]) -> tuple[float, float]:
    low, high = (float(bound) for bound in strength_range)
    if not 0.0 <= low <= high <= 1.0:
        raise UsageError(f"A range of strengths must rise within 0..1, and is {low}..{high}.")
    return low, high


def _check_images(images: Sequence[Image]) -> None:
    if len(images) == 0:
        raise UsageError("Anomalies are drawn on good images, and none were given. Give at least one.")
    expected = getattr(images[0], "shape", "?")
    for number, image in enumerate(images):
        fits = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
        if not fits or image.shape[2] != 3 or image.size == 0 or image.shape != expected:
            found = f"{getattr(image, 'dtype', type(image).__name__)} of shape {getattr(image, 'shape', '?')}"
            raise UsageError(
                f"Good images must be uint8 H W 3 of one size ({expected}); number {number} is {found}. "
                "Resize them with edgead.images.resize_image."
            )


def _is_grey(image: Image) -> bool:
    return bool((image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all())


def _fallback(image: Image, rng: np.random.Generator, foreground: Mask) -> SyntheticSample:
    """A short stroke of the opposite brightness, which shows on any image."""
    shape_hw = (image.shape[0], image.shape[1])
    centre_yx = anchor_in(foreground, rng)
    walk = random_walk(centre_yx, rng, length=0.3 * min(shape_hw) + 4, bend=1.0)
    mask = (stroke_coverage(shape_hw, walk, width=2) > 0.5) & foreground
    mask[centre_yx] = True
    opposite = np.where(image < 128, np.uint8(255), np.uint8(0))
    return SyntheticSample(blend(image, opposite, mask, opacity=1.0), mask, "fallback", 1.0)
