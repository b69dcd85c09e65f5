"""What a network finds in an image, before it becomes a map and a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ScoreComponents:
    """The evidence of an anomaly, each component at its own resolution, B h w; higher is more anomalous.

    logits: a discriminator's; None without one. residuals: between features and their reconstruction, one
    for each stage that counts or one for all. distances: to the good features, one for each memory bank.
    There must be logits or residuals: the first of them sets the resolution of the map. context, B C: means
    of the deepest channels, by which products are classified; None where that is not needed.
    """

    logits: Tensor | None
    residuals: list[Tensor]
    distances: Sequence[Tensor] = ()
    context: Tensor | None = None

    def __len__(self) -> int:
        """How many images."""
        return len(self.residuals[0] if self.logits is None else self.logits)

    def of(self, images: Tensor) -> ScoreComponents:
        """The components of those images where `images`, bool B, is true."""
        logits, context = (None if part is None else part[images] for part in (self.logits, self.context))
        residuals, distances = ([p[images] for p in parts] for parts in (self.residuals, self.distances))
        return ScoreComponents(logits, residuals, distances, context)

    @classmethod
    def joined(cls, chunks: Sequence[ScoreComponents]) -> ScoreComponents:
        """Those of all images, from those of a few at a time."""
        return cls(
            logits=_joined([chunk.logits for chunk in chunks]),
            residuals=[torch.cat(stage) for stage in zip(*(c.residuals for c in chunks), strict=True)],
            distances=[torch.cat(bank) for bank in zip(*(c.distances for c in chunks), strict=True)],
            context=_joined([chunk.context for chunk in chunks]),
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the map."""
        finest = self.residuals[0] if self.logits is None else self.logits
        return int(finest.shape[-2]), int(finest.shape[-1])


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None
