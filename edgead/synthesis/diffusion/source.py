"""SDAS as a source of anomalies: a drawn image of a set, blended in under a mask (RealNet, section 3.1)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgead.errors import UsageError
from edgead.synthesis.blending import blend
from edgead.synthesis.masks import draw_mask
from edgead.synthesis.sources import AnomalySource, Material

__all__ = ["DiffusionSource"]

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


class DiffusionSource(AnomalySource):
    """Part of a set's image at the place where it was drawn; the strength is its opacity."""

    name: ClassVar[str] = "sdas"
    strength_range: ClassVar[tuple[float, float]] = (0.5, 1.0)  # RealNet's range for SDAS
    families: ClassVar[dict[str, float]] = {"perlin": 0.7, "blob": 0.15, "stroke": 0.05, "edge-break": 0.1}

    def __init__(self, material: Material) -> None:
        super().__init__(material)
        if material.anomaly_set is None:
            raise UsageError(
                "The source 'sdas' takes its images from a set: name one (edgead train --anomaly-set "
                "SET), made with edgead synthesize sample."
            )
        self._set = material.anomaly_set

    def alter(
        self, image: Image, rng: np.random.Generator, *, strength: float, foreground: Mask
    ) -> tuple[Image, Mask]:
        """See `AnomalySource.alter`."""
        mask = draw_mask(foreground, rng, families=self.families)
        height, width = image.shape[:2]
        drawn = self._set.image(int(rng.integers(len(self._set))), height=height, width=width)
        if self.material.is_grey:
            drawn = np.repeat(drawn.mean(axis=2, keepdims=True).round().astype(np.uint8), 3, axis=2)
        return blend(image, drawn, mask, opacity=strength), mask
