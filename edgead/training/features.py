"""Features of good images, computed once: the backbone is frozen and good images are not augmented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgead.learning.process import on_device
from edgead.models.backbones import Backbone

_CHUNK = 16  # images through the backbone at once


class FeatureExtractor:
    """Images uint8 N H W 3 -> the backbone's maps, in bfloat16 where the device computes that faster."""

    def __init__(self, backbone: Backbone, device: torch.device, *, reduced: bool) -> None:
        self.backbone = on_device(backbone, device)
        self.device = device
        self.dtype = torch.bfloat16 if reduced else torch.float32

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        pixels = images.to(self.device).permute(0, 3, 1, 2).float()
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            maps: list[Tensor] = self.backbone(pixels)
        return [feature.to(self.dtype) for feature in maps]


class GoodFeatures:
    """The maps of good images by number, from memory as far as `cache_bytes` reach."""

    def __init__(
        self, images: npt.NDArray[np.uint8], extractor: FeatureExtractor, *, cache_bytes: float
    ) -> None:
        self.images = torch.from_numpy(images)
        self.extractor = extractor
        one = sum(m.numel() * m.element_size() for m in extractor(self.images[:1]))
        self.cached = min(len(images), int(cache_bytes // one))
        kept = self.images[: self.cached]
        chunks = [extractor(kept[start : start + _CHUNK]) for start in range(0, self.cached, _CHUNK)]
        self._maps = [torch.cat(stage) for stage in zip(*chunks, strict=True)]

    def __call__(self, numbers: Tensor) -> list[Tensor]:
        """The maps of the images with these numbers."""
        if int(numbers.max()) < self.cached:
            rows = numbers.to(self.extractor.device)
            return [stage[rows] for stage in self._maps]
        return self.extractor(self.images[numbers])

    def chunks(self, numbers: Sequence[int]) -> Iterator[list[Tensor]]:
        """The maps of these images in float32, a few images at a time."""
        for start in range(0, len(numbers), _CHUNK):
            yield [m.float() for m in self(torch.tensor(numbers[start : start + _CHUNK]))]
