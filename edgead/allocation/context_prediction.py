"""What the good cells around an anomaly predict of the features that it hides.

A network that rebuilds good features does not know the good part under an anomaly; it infers it from what is
around. How well that can be done differs from stage to stage: grain that a shallow stage sees is no one's to
predict, the layout that a deep stage sees mostly is. A linear prediction from a ring of cells shows how much.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_REACH = 16  # pixels from a hidden cell to the nearest that is seen: half an anomaly of 32
_COMPONENTS = 24  # principal components of the channels that are seen of each cell
_CELLS = 65536  # that the prediction is fitted on, about
_RIDGE = 1e-3  # of the mean variance of what is seen


class ContextPrediction:
    """The linear prediction of a cell's channels from the eight cells around it, at `_REACH` pixels."""

    def __init__(self, maps: Sequence[Tensor], stride: int) -> None:
        """Fit to good maps of a stage, each B C h w, as many as make `_CELLS` cells."""
        height, width = maps[0].shape[-2:]
        self.distance = max(1, round(_REACH / stride))
        wanted = max(1, -(-_CELLS // (height * width)))
        seen = torch.cat([_finite(part[:wanted]) for part in maps])[:wanted]
        self.mean = seen.mean(dim=(0, 2, 3))
        cells = _cells(seen - self.mean[:, None, None])
        _, directions = torch.linalg.eigh((cells @ cells.T / cells.shape[1]).double())
        self.directions = directions[:, -_COMPONENTS:].float()
        ring = _cells(self._ring(seen))
        square = (ring @ ring.T).double()
        ridge = _RIDGE * square.diagonal().mean().clamp(min=1e-12) * torch.eye(len(square))
        self.weights = torch.linalg.solve(square + ridge, (ring @ cells.T).double()).float()

    def __call__(self, maps: Tensor) -> Tensor:
        """The maps B C h w as their surroundings let one expect them, on the processor."""
        ring = self._ring(_finite(maps))
        return torch.einsum("rc,brhw->bchw", self.weights, ring) + self.mean[:, None, None]

    def _ring(self, maps: Tensor) -> Tensor:
        """K components of each of the eight cells around, B 8K h w; beyond the border, the border's."""
        centred = maps - self.mean[:, None, None]
        components = torch.einsum("ck,bchw->bkhw", self.directions, centred)
        distance, (height, width) = self.distance, maps.shape[-2:]
        padded = F.pad(components, (distance,) * 4, mode="replicate")
        offsets = (0, distance, 2 * distance)
        around = [
            padded[..., y : y + height, x : x + width]
            for y in offsets
            for x in offsets
            if (y, x) != (distance, distance)
        ]
        return torch.cat(around, dim=1)


def _finite(maps: Tensor) -> Tensor:
    return maps.float().cpu().nan_to_num(0.0, 0.0, 0.0)


def _cells(maps: Tensor) -> Tensor:
    """B C h w -> C cells."""
    return maps.movedim(1, 0).flatten(1)
