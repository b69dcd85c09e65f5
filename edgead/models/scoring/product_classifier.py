"""Which product an image shows, by the means of the deepest channels: a linear discriminant.

The mean over the image hardly changes with a defect on the part, and differs from product to product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_RIDGE = 0.1  # of the channels' mean variance within products, added to each: quiet channels are not certain
_NOISE = 0.01  # of the means' size: differences that rounding to INT8 removes
_SHARPEST = 30.0  # mean gap of a logit to the next at most: channels that vary together exaggerate it


@dataclass(frozen=True)
class ProductClassifier:
    """Weights of K products for C channels, and K biases."""

    weights: tuple[tuple[float, ...], ...]
    biases: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.biases) or len({len(row) for row in self.weights}) != 1:
            raise ValueError("weights and biases of the products do not fit together")

    def __call__(self, context: Tensor) -> Tensor:
        """How much each image is of each product: B C -> B K, rows that sum to 1."""
        weights = torch.tensor(self.weights).to(context)
        return (context @ weights.T + torch.tensor(self.biases).to(context)).softmax(dim=1)

    @classmethod
    def fitted(cls, context: Tensor, owners: Tensor) -> ProductClassifier:
        """From good images of every product: context N C, owners int64 N, each of 0..K-1 at least once.

        Gaussians of one diagonal covariance (a linear discriminant); there are fewer images than channels.
        """
        context = context.double()
        count = int(owners.max()) + 1
        means = torch.stack([context[owners == number].mean(dim=0) for number in range(count)])
        within = (context - means[owners]).square().mean(dim=0)
        within = within + _RIDGE * within.mean() + _NOISE**2 * means.square().mean() + 1e-12
        scaled = means / within
        biases = -0.5 * (means * scaled).sum(dim=1)
        logits = context @ scaled.T + biases
        own = logits.gather(1, owners[:, None])
        others = logits.masked_fill(torch.nn.functional.one_hot(owners, count).bool(), -torch.inf).amax(dim=1)
        gap = float((own[:, 0] - others).mean())
        soften = min(1.0, _SHARPEST / max(gap, 1e-12))
        weights = (soften * scaled).float().tolist()
        return cls(tuple(map(tuple, weights)), tuple((soften * biases).tolist()))
