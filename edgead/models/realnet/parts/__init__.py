"""The networks that a RealNet is built from, by the names that configurations give them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgead.models.realnet.parts.compact import CompactDiscriminator, CompactReconstruction
from edgead.models.realnet.parts.paper_reconstruction import PaperReconstruction
from edgead.models.realnet.parts.residual_selection import PaperDiscriminator
from edgead.models.realnet.parts.simple_reconstruction import SimpleReconstruction


class _PaperLogits(nn.Module):
    """The paper's discriminator with one logit (anomalous against normal) per cell of twice the grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.network = PaperDiscriminator(channels)

    def forward(self, residuals: Tensor) -> Tensor:
        height, width = residuals.shape[-2:]
        logits = self.network(residuals, (2 * height, 2 * width))
        return logits[:, 1] - logits[:, 0]


# Absolute ones fit into 8 bits: where an anomaly gives 50 squared, a good part's 0.2 is less than a step.
RESIDUALS: dict[str, Callable[[Tensor], Tensor]] = {"absolute": torch.abs, "squared": torch.square}
RECONSTRUCTIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "compact": CompactReconstruction,
    "paper": lambda channels, _width: PaperReconstruction(channels),
    "simple": lambda channels, _width: SimpleReconstruction(channels),
}
DISCRIMINATORS: dict[str, Callable[[int, int], nn.Module]] = {
    "compact": CompactDiscriminator,
    "paper": lambda channels, _width: _PaperLogits(channels),
}
