"""What a network finds in an image, before it becomes a map and a score."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ScoreComponents:
    """What speaks for an anomaly, each at its own resolution, B h w; higher is more anomalous.

    logits: a discriminator's; None without one. residuals: between features and their reconstruction, one
    for each stage that counts or one for all. distances: to the good features; None without a bank. Logits
    or residuals there must be: the first of them sets the resolution of the map. context, B C: means of the
    deepest channels, which tell the product; None where it does not matter.
    """

    logits: Tensor | None
    residuals: list[Tensor]
    distances: Tensor | None = None
    context: Tensor | None = None

    def of(self, images: Tensor) -> ScoreComponents:
        """The views of some images; images: bool B."""

        def some(view: Tensor | None) -> Tensor | None:
            return None if view is None else view[images]

        residuals = [view[images] for view in self.residuals]
        return ScoreComponents(some(self.logits), residuals, some(self.distances), some(self.context))

    @property
    def finest(self) -> Tensor:
        """The view whose resolution the map has."""
        return self.residuals[0] if self.logits is None else self.logits
