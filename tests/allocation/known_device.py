"""A device whose costs are known, and what an AFS pass would find on it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import edgead
from edgead.allocation.channel_information import ChannelInformation, StageInformation
from edgead.cost.compact_layers import network_layers
from edgead.cost.design_space import Space
from edgead.cost.measure import MeasuredNetwork, MeasuredOn
from edgead.cost.probes import draw_configs
from edgead.cost.profile_file import table_text
from edgead.models.features.selection import StageSelection
from edgead.models.realnet.config import RealNetConfig

BASE = RealNetConfig(input_height=128, input_width=128)
CHANNELS = {1: 24, 2: 40, 3: 112, 4: 320}
CALL_MS = 0.25
DEVICE = MeasuredOn(edgead.__version__, "none-such", "1.0", "a processor", 2, 1, "wall", "2026-01-01")


def known_ms(config: RealNetConfig) -> float:
    """Milliseconds on a device where every operation costs something by its work."""
    layers = network_layers(config)
    busy = sum(2e-8 * x.macs + 1e-8 * (x.input_bytes + x.output_bytes) * (not x.macs) for x in layers)
    return CALL_MS + busy + 0.004 * len(layers)


@functools.cache
def measured(count: int = 60, seed: int = 0) -> tuple[MeasuredNetwork, ...]:
    found = []
    for config in draw_configs(Space(BASE, 8), count, seed=seed, resized=False):
        parameters = sum(layer.parameters for layer in network_layers(config))
        found.append(
            MeasuredNetwork(
                config.to_json(), "int8", known_ms(config), 0.1 + parameters / 1e6, 20 + 2e-6 * parameters
            )
        )
    return tuple(found)


def table_content() -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    content: dict[str, Any] = tomllib.loads(table_text(DEVICE, measured()))["table"]
    return content


@functools.cache
def known_power() -> ChannelInformation:
    generator = np.random.default_rng(0)
    stages = {}
    for stage, channels in CHANNELS.items():
        bits = (0.5 / stage) * (1 - np.exp(-np.arange(1, channels + 1) / (channels / 4)))
        mixed = generator.normal(size=(channels, channels)) * np.exp(-np.arange(channels) / 20)
        covariance = mixed @ mixed.T + 0.1 * np.eye(channels)
        deviations = np.sqrt(np.diag(covariance))
        selection = StageSelection(stage, tuple(range(channels)), (0.0,) * channels)
        correlation = covariance / deviations / deviations[:, None]
        stages[stage] = StageInformation(selection, bits, 2 * float(bits[-1]), correlation)
    shares = {64: 0.1, 1024: 0.3, 8192: 0.5}
    banks = ((3, 4), (3,), (4,))
    return ChannelInformation(stages, dict.fromkeys(banks, shares), dict.fromkeys(banks, 20_000), {}, 100)
