"""The one interface of every source of anomalies, and what they all draw from.

To add a source (one that reads generated images, say): derive from `AnomalySource`, write `name`,
`strength_range` and `alter`, and enter the class in `edgead.synthesis.synthesizer.SOURCES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgead.errors import UsageError
from edgead.synthesis.blending import altered_pixels
from edgead.synthesis.diffusion.sets import AnomalySet
from edgead.synthesis.texture_bank import TextureBank

__all__ = ["AnomalySource", "Material"]

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Generator = np.random.Generator

_LEAST_VISIBLE = 0.08  # share of what was drawn; a few crumbs of a region teach nothing but where to guess


@dataclass(frozen=True)
class Material:
    """What sources draw from: the good training images (uint8 H W 3, one size) and a bank of textures."""

    images: Sequence[Image]
    textures: TextureBank
    is_grey: bool  # all colours alike: added colour would give every anomaly away
    fills_frame: bool  # no background around the part
    anomaly_set: AnomalySet | None = None  # drawn by a diffusion model; the source sdas needs it

    def other_image(self, rng: Generator) -> Image:
        """A good image drawn at random."""
        return self.images[int(rng.integers(len(self.images)))]


class AnomalySource(ABC):
    """Makes one kind of anomaly; subclasses hold no state besides their material."""

    name: ClassVar[str]
    strength_range: ClassVar[tuple[float, float]]  # drawn from uniformly unless the caller says otherwise

    def __init__(self, material: Material) -> None:
        self.material = material

    def apply(self, image: Image, rng: Generator, *, strength: float, foreground: Mask) -> tuple[Image, Mask]:
        """An anomalous copy of `image` (uint8 H W 3) and the pixels that changed (bool H W, maybe none).

        `strength` runs from 0, hardly to be seen, to 1, obvious. Raises `UsageError` outside 0..1.
        """
        if not 0.0 <= strength <= 1.0:
            raise UsageError(f"The strength of an anomaly must be in 0..1, and is {strength}.")
        altered, drawn = self.alter(image, rng, strength=strength, foreground=foreground)
        result, mask = altered_pixels(image, altered, drawn)
        if np.count_nonzero(mask) < _LEAST_VISIBLE * np.count_nonzero(drawn):
            return image.copy(), np.zeros_like(mask)
        return result, mask

    @abstractmethod
    def alter(self, image: Image, rng: Generator, *, strength: float, foreground: Mask) -> tuple[Image, Mask]:
        """A changed copy and the region in which it may differ from `image`; never changes `image`."""
