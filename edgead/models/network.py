"""What the networks of all model families have in common: how they train, score and fold."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edgead.models.backbones import Backbone
from edgead.models.config import ModelConfig
from edgead.models.features.selection import FeatureSelection
from edgead.models.scoring.components import ScoreComponents

_WARM_UP_STEPS = 50
_LAST_RATE = 0.02  # of the learning rate, where the cosine ends


@dataclass(frozen=True)
class FeatureBatch:
    """The backbone's maps of one step of training, for each stage B C_k h_k w_k.

    inputs: of the images that the network sees. targets: of the same images without their anomalies.
    masks: bool B H W, None where no image has an anomaly. top_share: of the cells of a map, the highest,
    whose mean stands for the image in the score.
    """

    inputs: list[Tensor]
    targets: list[Tensor]
    masks: Tensor | None
    top_share: float


@dataclass(frozen=True)
class Optimisation:
    """How a network's weights are found: AdamW, and the course of its learning rate.

    schedule: "cosine", which warms up and falls to a fiftieth; "step", a tenth in the last fifth.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    clip: float | None = None  # of the gradients' norm
    schedule: str = "cosine"
    loss_weights: Mapping[str, float] = field(default_factory=dict)  # of the losses by name; others count 1

    def optimizer(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, learning_rate, betas=self.betas, weight_decay=self.weight_decay)

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum that is minimised."""
        weighted = [self.loss_weights.get(name, 1.0) * loss for name, loss in losses.items()]
        return sum(weighted[1:], weighted[0])

    def rate(self, step: int, steps: int) -> float:
        """The share of the learning rate at this step."""
        if self.schedule == "step":
            return 1.0 if step < 0.8 * steps else 0.1
        warm = min(1.0, (step + 1) / min(_WARM_UP_STEPS, steps))
        return warm * (_LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps)))


class InspectionNetwork(nn.Module, abc.ABC):
    """Feature maps of a frozen backbone -> the components of an anomaly score.

    The backbone is held for export and kept out of the state dict: its weights are published ones, known
    by their hash. Every family's network is built from its configuration, a backbone and a selection of the
    backbone's channels.
    """

    learns_from_anomalies: ClassVar[bool]  # whether training shows it synthetic ones
    last_part: ClassVar[str]  # of `parts`: what runs behind it scores
    kept_in_float: ClassVar[tuple[str, ...]] = ()  # patterns of operations that the quantizer leaves alone

    def __init__(self, config: ModelConfig, backbone: Backbone, selection: FeatureSelection) -> None:
        super().__init__()
        self.config: Any = config
        self.feature_selection = selection
        self._backbone = (backbone,)  # a tuple hides it from parameters() and state_dict()

    @property
    def backbone(self) -> Backbone:
        return self._backbone[0]

    @property
    def parts(self) -> dict[str, str]:
        """Name of a submodule -> the part of the network that costs count it under."""
        return {}

    @property
    def optimisation(self) -> Optimisation:
        return Optimisation()

    def fit_good(self, chunks: Sequence[list[Tensor]], generator: torch.Generator) -> None:
        """Set what comes from good images without gradients, before the first step.

        chunks: the backbone's maps of good images in float32, a few images at a time.
        """

    @abc.abstractmethod
    def losses(self, output: Any, batch: FeatureBatch) -> dict[str, Tensor]:
        """The losses by name of `output = self(batch.inputs)`, each a scalar of float32."""

    @abc.abstractmethod
    def score_components(self, maps: Sequence[Tensor]) -> ScoreComponents:
        """What the network makes of the backbone's maps when it inspects."""

    def components_with_context(self, maps: Sequence[Tensor]) -> ScoreComponents:
        """The same with the context by which products are classified."""
        return replace(self.score_components(list(maps)), context=maps[-1].mean(dim=(2, 3)))

    def fold(self) -> None:
        """Rewrite in place, for export, what engines run faster in another form; batch norms are folded."""

    def maps_of(self, stages: Sequence[int], maps: Sequence[Tensor]) -> list[Tensor]:
        """Those of the maps, one for each of the network's stages, that are of these stages."""
        return [maps[self.config.stages.index(stage)] for stage in stages]
