"""The networks that an allocation chooses among: RealNets of compact parts on one backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgead.errors import UsageError
from edgead.models.backbones import feature_info
from edgead.models.backbones.base import STAGES
from edgead.models.realnet.config import RealNetConfig

_WIDTHS = (8, 16, 24, 32, 48, 64, 96)
_RESIDUALS = (16, 32, 48, 64, 96, 128, 192, 256)
_BANK_SIZES = (0, 1024, 2048, 4096, 8192, 12288, 16384)
_WIDTH_OVER_RESIDUALS = 1 / 2  # of the discriminator: the default's 48 for 96
_WIDEST_DISCRIMINATOR = 48


def configuration(
    base: RealNetConfig,
    stages: Sequence[int],
    channels: Sequence[int],
    widths: Sequence[int],
    *,
    residuals: int,
    bank_size: int,
) -> RealNetConfig:
    """A network of these choices. The rest follows from `base`: grid and map by what its stages leave.

    The discriminator is as wide, for what it reads, as the default one. A bank of size 0 is none.
    """
    config = RealNetConfig().with_choices(
        stages=stages, channels=channels, backbone=base.backbone, input_size=base.input_size
    )
    bank_stages = config.bank_stages if bank_size else ()
    return replace(
        config,
        reconstruction_widths=tuple(widths),
        residual_count=residuals,
        discriminator_width=discriminator_width(residuals),
        bank_stages=bank_stages,
        bank_components=base.bank_components,
        bank_density=base.bank_density,
        bank_size=bank_size if bank_stages else base.bank_size,
        detail_stages=tuple(stage for stage in base.detail_stages if stage in config.stages),
        detail_size=base.detail_size,
        detail_stride=base.detail_stride,
    )


def discriminator_width(residuals: int) -> int:
    """Width of the discriminator that reads so many residuals, in multiples of 16."""
    return min(_WIDEST_DISCRIMINATOR, max(16, 16 * round(_WIDTH_OVER_RESIDUALS * residuals / 16)))


def check_base(config: Any) -> RealNetConfig:
    """The configuration if its parts can be allocated; UsageError for others."""
    if not isinstance(config, RealNetConfig) or (config.reconstruction, config.discriminator) != (
        "compact",
        "compact",
    ):
        raise UsageError(
            "Channels are allocated to RealNets of compact parts alone (--preset compact). Leave the budget "
            "out, or take that preset."
        )
    return config


@dataclass(frozen=True)
class Space:
    """The choices on top of `base`, which gives backbone and input size.

    multiple: the multiple of channels that the device's matrix units want; a whole stage may be kept too.
    """

    base: RealNetConfig
    multiple: int = 8

    def channel_counts(self, stage: int) -> tuple[int, ...]:
        """Channels that may be kept of a stage, in rising order."""
        (info,) = feature_info(self.base.backbone, (stage,))
        # Beyond 16 multiples the steps are as many multiples wide: a finer choice would decide nothing.
        step = self.multiple * max(1, info.channels // (16 * self.multiple))
        return tuple(sorted({*range(step, info.channels, step), info.channels}))

    def widths(self, channels: int) -> tuple[int, ...]:
        """Widths of a stage's reconstruction: none as wide as what it rebuilds, but the narrowest."""
        wide = tuple(width for width in _WIDTHS if width % self.multiple == 0 or width == _WIDTHS[0])
        return tuple(width for width in wide if width < channels) or wide[:1]

    def residuals(self, channels: int) -> tuple[int, ...]:
        """Residuals that may be passed on of so many channels: each may be in both rankings."""
        return tuple(count for count in _RESIDUALS if count <= 2 * channels) or (2 * channels,)

    def bank_sizes(self, stages: Sequence[int]) -> tuple[int, ...]:
        """Sizes of the bank; none without a stage that it could read."""
        return _BANK_SIZES if {3, 4} & set(stages) else (0,)

    def draw(self, generator: np.random.Generator) -> RealNetConfig:
        """A network at random, each choice uniform; at least stage 2 or a deeper one is used."""
        stages: tuple[int, ...] = ()
        while not stages or stages[-1] == STAGES[0]:
            stages = tuple(stage for stage in STAGES if generator.random() < 0.7)
        channels = [_pick(generator, self.channel_counts(stage)) for stage in stages]
        return configuration(
            self.base,
            stages,
            channels,
            [_pick(generator, self.widths(count)) for count in channels],
            residuals=_pick(generator, self.residuals(sum(channels))),
            bank_size=_pick(generator, self.bank_sizes(stages)),
        )


def _pick(generator: np.random.Generator, choices: Sequence[int]) -> int:
    return int(choices[int(generator.integers(len(choices)))])
