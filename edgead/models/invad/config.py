"""Everything that decides the shape of an InvAD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgead.errors import UnknownNameError, UsageError
from edgead.models.backbones import feature_info
from edgead.models.config import BANKS_BEFORE, ModelConfig

DECODERS = ("compact", "published")


@dataclass(frozen=True)
class InvADConfig(ModelConfig):
    """Everything that decides the shape of an InvAD. Saved with a run."""

    family = "invad"
    added_fields = BANKS_BEFORE
    title = "InvAD"

    backbone: str = "efficientnet_lite0"
    stages: tuple[int, ...] = (1, 2, 3, 4)
    channels: tuple[int, ...] = ()  # channels kept of each stage; empty: all
    inverted_stages: tuple[int, ...] = (1, 2, 3)
    decoder: str = "compact"  # a name of DECODERS
    style_width: int = 64
    widths: tuple[int, ...] = (32, 64, 96)  # of the decoder at each inverted stage; read by "compact" alone
    latent_width: int = 16  # read by "published" alone
    blocks: int = 2  # for each inverted stage
    standardised: bool = True  # every channel to mean 0 and deviation 1 over the good images
    loss_weight: float = 1.0
    bank_stages: tuple[int, ...] = (3, 4)  # of the memory bank; none: without one
    bank_components: int = 64
    bank_size: int = 12288
    bank_density: bool = True  # distances less the local density of good features
    detail_stages: tuple[int, ...] = (2, 3)  # of which each has a bank of its own, on its own grid
    detail_size: int = 2048  # features of each of these banks
    detail_stride: int = 2  # every which place of the grid is compared with them
    input_height: int = 256
    input_width: int = 256

    def __post_init__(self) -> None:
        infos = feature_info(self.backbone, self.stages)
        if self.decoder not in DECODERS:
            raise UnknownNameError("decoder", self.decoder, DECODERS)
        self._check_stages_of("inverted_stages", "bank_stages", "detail_stages")
        self._check_counts("bank_components", "bank_size", "detail_size", "detail_stride")
        first, count = (*self.inverted_stages, 0)[0], len(self.inverted_stages)
        if self.inverted_stages != tuple(range(first, first + count)) or not count:
            raise UsageError(
                f"inverted_stages must be neighbours in rising order, as in 1, 2, 3, not "
                f"{self.inverted_stages}."
            )
        if self.decoder == "compact" and len(self.widths) != count:
            raise UsageError(f"widths needs one number for each of the stages {self.inverted_stages}.")
        if self.channels:
            self._check_channels(infos)
        deepest = infos[-1].stride
        self._check_input(multiple=deepest, least=2 * deepest, reason="the deepest stride")

    def fields_for(self, stages: tuple[int, ...], channels: tuple[int, ...] | None) -> dict[str, Any]:
        """Fewer stages leave less to invert and less in the memory bank."""
        widths = dict(zip(self.inverted_stages, self.widths, strict=True))
        inverted = tuple(stage for stage in self.inverted_stages if stage in stages)
        return {
            "channels": self.channels if channels is None else channels,
            "inverted_stages": inverted,
            "widths": tuple(widths[stage] for stage in inverted),
            "bank_stages": tuple(stage for stage in self.bank_stages if stage in stages),
            "detail_stages": tuple(stage for stage in self.detail_stages if stage in stages),
        }

    def grid(self, stage: int) -> tuple[int, int]:
        """(height, width) of a stage's feature maps."""
        stride = 2 ** (stage + 1)
        return self.input_height // stride, self.input_width // stride

    @property
    def map_size(self) -> tuple[int, int]:
        return self.grid(self.inverted_stages[0])

    @property
    def facts(self) -> dict[str, str]:
        bank = f"{self.bank_size} of stages {self.bank_stages}" if self.bank_stages else "none"
        kept = f"channels {self.channels}" if self.channels else "all channels"
        return {
            "model": f"InvAD on {self.backbone}, stages {self.stages}, {kept}",
            "inversion": f"{self.decoder} decoder of stages {self.inverted_stages}, style of "
            f"{self.style_width} channels at {' x '.join(map(str, self.grid(self.inverted_stages[-1])))}",
            "memory bank of good features (ours, beside InvAD)": bank,
        }
