"""Models to measure a device with: whole networks at random, exported and quantized as `compile` does it.

Whole, because an engine fuses and converts across the borders of parts, so that a part alone costs something
else. Their weights are random and their ranges come from one image of noise: an engine takes the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from edgead.compiler.export import onnx_from_model
from edgead.compiler.quantize import int8_onnx_from_onnx
from edgead.compiler.recipe import load_recipe
from edgead.cost.design_space import Space
from edgead.errors import UsageError
from edgead.models.backbones import build_backbone
from edgead.models.families import build_network
from edgead.models.features.memory_bank import MemoryBank
from edgead.models.inspection import InspectionModel, fold_for_export
from edgead.models.realnet.config import RealNetConfig
from edgead.models.scoring.rule import ScoreRule
from edgead.models.scoring.scales import Scale, Scales

_SIDES = (0.75, 1.0, 1.0, 1.0, 1.25)  # of the input, so that a table says what its size costs
_STRIDE = 64


@dataclass(frozen=True)
class Probe:
    """A model to measure: its configuration, its precision, and the bytes of its ONNX file."""

    config: RealNetConfig
    precision: str
    model: bytes


def draw_configs(space: Space, count: int, *, seed: int, resized: bool = True) -> list[RealNetConfig]:
    """Configurations at random, the default one first; `resized`: at other input sizes as well."""
    generator = np.random.default_rng(seed)
    found = [space.base]
    while len(found) < count:
        side = float(generator.choice(_SIDES)) if resized else 1.0
        height, width = (_side(side * pixels) for pixels in space.base.input_size)
        base = replace(space.base, input_height=height, input_width=width)
        config = replace(space, base=base).draw(generator)
        if config not in found:
            found.append(config)
    return found[:count]


def make_probes(
    configs: Sequence[RealNetConfig],
    precisions: Sequence[str],
    *,
    weights: str | None = "pretrained",
    on_progress: Callable[[float], None] | None = None,
) -> Iterator[Probe]:
    """Each configuration in each precision; a second or two for a float model, some more for INT8."""
    if unknown := set(precisions) - {"int8", "f32"}:
        raise UsageError(f"Only int8 and f32 models can be made to measure with, not {sorted(unknown)}.")
    for number, config in enumerate(configs):
        exported, image = _exported(config, seed=number, weights=weights)
        for precision in precisions:
            model = exported if precision == "f32" else _quantized(exported, image)
            yield Probe(config, precision, model)
        if on_progress is not None:
            on_progress((number + 1) / len(configs))


def _exported(config: RealNetConfig, *, seed: int, weights: str | None) -> tuple[bytes, np.ndarray[Any, Any]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone(config.backbone, stages=config.stages, weights=weights)
        realnet = build_network(config, backbone).eval()
        for bank in realnet.modules():
            if isinstance(bank, MemoryBank):
                bank.prototypes.normal_()
                bank.projection.normal_(std=0.05)
    scale = Scale(0.1, 1.3)  # not 0 and 1: an engine leaves out what changes nothing, output names with it
    with torch.no_grad():
        components = realnet.score_components(backbone(torch.zeros(1, 3, *config.input_size)))
    scales = Scales.like(components, scale)
    model = fold_for_export(InspectionModel(realnet, ScoreRule(scales=scales)))
    shape = (config.input_height, config.input_width, 3)
    image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return onnx_from_model(model, height=shape[0], width=shape[1]), image


def _quantized(exported: bytes, image: np.ndarray[Any, Any]) -> bytes:
    # How weights are rounded makes other numbers, not other operations.
    spec = replace(load_recipe("default").quantization, weight_rounding="nearest")
    return int8_onnx_from_onnx(exported, [image], spec=spec)


def _side(pixels: float) -> int:
    return max(2 * _STRIDE, _STRIDE * round(pixels / _STRIDE))
