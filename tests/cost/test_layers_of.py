"""The list of a network's operations: complete, in the right parts, and of deployed size."""

from __future__ import annotations

import pytest
import torch

from benchmarks.network_cost import count_parts
from edgead.cost.layers import Layer, layers_of
from edgead.models.backbones import build_backbone
from edgead.models.families import build_network
from edgead.models.invad.config import InvADConfig
from edgead.models.invad.presets import PRESETS as INVAD_PRESETS
from edgead.models.realnet.config import RealNetConfig
from edgead.models.realnet.presets import PRESETS
from tests.models.networks import build_realnet

CONFIGS = {
    "compact": RealNetConfig(),
    "two stages, wide": RealNetConfig().with_choices(stages=(2, 3), input_size=(128, 256)),
    "without selection and bank": RealNetConfig(residual_count=0, bank_stages=(), residual_map_stages=()),
    "paper": PRESETS["paper"].with_choices(
        backbone="resnet18", channels=(64, 128, 64, 64), input_size=(128, 128)
    ),
}


def total(layers: tuple[Layer, ...], part: str, field: str) -> int:
    return sum(getattr(layer, field) for layer in layers if layer.part == part)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_macs_are_those_that_torch_counts(config: RealNetConfig):
    parts = {"backbone": "backbone", "realnet.discriminator": "discriminator"}
    for position, stage in enumerate(config.stages):
        parts[f"realnet.reconstructions.{position}"] = f"reconstruction {stage}"
    with torch.device("meta"), torch.no_grad():
        realnet = build_realnet(config, weights=None).eval()
        maps = realnet.backbone(torch.empty(1, 3, *config.input_size))
        counted = count_parts(
            realnet,
            {part: name.removeprefix("realnet.") for name, part in parts.items() if part != "backbone"},
            maps,
        )
        backbone = count_parts(
            torch.nn.Sequential(realnet.backbone), {"backbone": "0"}, torch.empty(1, 3, *config.input_size)
        )
    layers = layers_of(config)
    for part, cost in {**counted, **backbone}.items():
        own = sum(layer.macs for layer in layers if layer.part == part and "standardise" not in layer.name)
        assert own == cost.macs, part


def test_every_part_is_there_in_the_order_in_which_it_runs():
    seen = list(dict.fromkeys(layer.part for layer in layers_of(RealNetConfig())))
    assert seen[:2] == ["backbone", "reconstruction 1"]
    stages = {f"reconstruction {stage}" for stage in (1, 2, 3, 4)}
    assert set(seen) == {"backbone", "selection", "discriminator", "bank", "score"} | stages


def test_a_selection_is_written_as_a_convolution():
    (layer,) = (found for found in layers_of(RealNetConfig()) if found.name == "realnet.standardise.2")
    assert (layer.kind, layer.macs) == ("conv", 112 * 96 * 16 * 16)


def test_what_weights_alone_decide_costs_nothing():
    # Squares of the prototypes are constants of the exported graph; their products with features are not.
    bank = [
        layer for layer in layers_of(RealNetConfig(bank_size=2048, detail_stages=())) if layer.part == "bank"
    ]
    assert sum(layer.macs for layer in bank) == 64 * (432 * 64 + 64 * 2048)
    assert all(layer.input_bytes <= 64 * 2048 for layer in bank)


def test_a_depthwise_convolution_is_told_apart():
    kinds = {layer.kind for layer in layers_of(RealNetConfig()) if layer.part == "backbone"}
    assert {"conv", "depthwise"} <= kinds


@pytest.mark.parametrize("config", [InvADConfig(), INVAD_PRESETS["lite"]], ids=["compact", "published"])
def test_another_family_is_told_by_its_own_parts(config: InvADConfig):
    layers = layers_of(config)
    parts = {"backbone", "style", "decoder", "score"} | ({"bank"} if config.bank_stages else set())
    assert {layer.part for layer in layers} == parts
    with torch.device("meta"), torch.no_grad():
        backbone = build_backbone(config.backbone, stages=config.stages, weights=None)
        network = build_network(config, backbone).eval().requires_grad_(False)
        maps = backbone(torch.empty(1, 3, *config.input_size))
        counted = count_parts(network, {"style": "fuser", "decoder": "decoder"}, maps)
    assert sum(layer.macs for layer in layers if "fuser" in layer.name) == counted["style"].macs
    # What is computed from the learned constant alone is a constant of the deployed network: its first
    # convolution, and in the published decoder the 1 x 1 beside the first block.
    cells = config.grid(3)[0] * config.grid(3)[1]
    constant = cells * (9 * config.widths[-1] ** 2 if config.decoder == "compact" else 10 * 256**2)
    assert total(layers, "decoder", "macs") == counted["decoder"].macs - constant
