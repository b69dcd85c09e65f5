"""Configurations and presets: what is refused, what adapts, and that the paper's size builds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.network_cost import count_cost
from edgead.errors import DataError, UnknownNameError, UsageError
from edgead.models.families import model_family
from edgead.models.realnet.config import RealNetConfig
from edgead.models.realnet.presets import PRESETS
from tests.models.networks import build_realnet

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("a number of channels too few", {"channels": (24, 40, 64)}, "channels needs one number for each"),
    ("a width too few", {"reconstruction_widths": (8,)}, "reconstruction_widths needs one number"),
    ("no channel", {"channels": (0, 40, 64, 128)}, "keep 1 to 24"),
    ("more channels than there are", {"channels": (25, 40, 64, 128)}, "keep 1 to 24"),
    ("stages that fall", {"stages": (4, 3, 2, 1)}, "rising order"),
    ("no stages", {"stages": ()}, "rising order"),
    ("a grid of no stage", {"grid_stage": 5}, "grid_stage"),
    ("a bank of no stage", {"bank_stages": (5,)}, "bank_stages"),
    ("a residual map of no stage", {"residual_map_stages": (0,)}, "residual_map_stages"),
    ("too many residuals", {"residual_count": 10_000}, "twice the channels kept"),
    ("too few residuals", {"residual_count": 3}, "between 4"),
    ("a negative weight", {"image_weight": -1.0}, "image_weight must be a finite number"),
    ("an odd height", {"input_height": 250}, "multiples of 64"),
    ("too small", {"input_width": 64}, "at least 128"),
    ("no size", {"input_height": 0}, "at least 128"),
    ("a negative size", {"input_height": -256}, "at least 128"),
]


@pytest.mark.parametrize(("changed", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_cannot_be_is_refused(changed: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        replace(RealNetConfig(), **changed)


@pytest.mark.parametrize(
    ("field", "name", "near"),
    [
        ("backbone", "efficientnet_lite00", "efficientnet_lite0"),
        ("reconstruction", "compcat", "compact"),
        ("discriminator", "papers", "paper"),
        ("residual_kind", "square", "squared"),
    ],
)
def test_unknown_names_have_near_matches(field: str, name: str, near: str):
    with pytest.raises(UnknownNameError, match=f"Did you mean {near}"):
        replace(RealNetConfig(), **{field: name})


@pytest.mark.parametrize("preset", PRESETS)
def test_json_round_trip(preset: str):
    assert RealNetConfig.from_json(PRESETS[preset].to_json()) == PRESETS[preset]


@pytest.mark.parametrize("edit", [lambda c: c.pop("stages"), lambda c: c.update(more=1)])
def test_json_of_other_fields_is_refused(edit: Any):
    content = RealNetConfig().to_json()
    edit(content)
    with pytest.raises(DataError, match=r"configuration of a model of RealNet: .*(stages|more)"):
        RealNetConfig.from_json(content)


@pytest.mark.parametrize(("size", "grid", "wanted"), [((256, 256), 2, (64, 64)), ((128, 256), 1, (64, 128))])
def test_the_map_has_the_size_that_the_configuration_says(
    size: tuple[int, int], grid: int, wanted: tuple[int, int]
):
    config = replace(RealNetConfig(), input_height=size[0], input_width=size[1], grid_stage=grid)
    assert config.map_size == wanted
    with torch.device("meta"):
        network = build_realnet(config, weights=None).eval()
        maps = network.backbone(torch.zeros(1, 3, *size))
        assert tuple(network(maps).logits.shape) == (1, *wanted)


def test_the_papers_configuration_builds_at_its_published_size():
    config = PRESETS["paper"]
    with torch.device("meta"):
        network = build_realnet(config, weights=None).eval()
        maps = network.backbone(torch.zeros(1, 3, 256, 256))
        cost = count_cost(network, maps)
        components = network.score_components(maps)
    assert tuple(components.logits.shape) == (1, 128, 128)
    assert (components.residuals, list(components.distances)) == ([], [])
    assert cost.parameters / 1e6 == pytest.approx(518.2 + 5.9, abs=0.2)
    assert cost.macs / 1e9 == pytest.approx(75.7 + 24.1, abs=1.0)


@pytest.mark.parametrize(("kind", "power"), [("absolute", 1), ("squared", 2)])
def test_the_discriminator_sees_the_residuals_that_the_configuration_names(kind: str, power: int):
    torch.manual_seed(0)
    config = replace(
        RealNetConfig().with_choices(input_size=(128, 128)),
        residual_kind=kind,
        residual_count=0,
        bank_stages=(),
    )
    network = build_realnet(config, weights=None).eval()
    seen: list[torch.Tensor] = []
    network.discriminator.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    with torch.no_grad():
        output = network(network.backbone(torch.rand(1, 3, 128, 128) * 255))
    first, grid = config.channels[0], config.stages.index(config.grid_stage)
    own = seen[0][:, first : first + config.channels[grid]]  # of the stage whose grid it is: not resized
    torch.testing.assert_close(own, output.differences[grid].abs() ** power)


def test_the_papers_presets_square_their_residuals():
    squared = {name for name, preset in PRESETS.items() if preset.residual_kind == "squared"}
    assert squared == {"paper", "paper-multi-class"}


def test_fewer_stages_keep_their_own_numbers():
    config = RealNetConfig().with_choices(stages=(3, 4))
    whole = RealNetConfig()
    assert config.channels == whole.channels[2:]
    assert config.reconstruction_widths == whole.reconstruction_widths[2:]
    assert config.grid_stage == 3
    assert config.residual_map_stages == (3,)


def test_other_choices_take_the_place_of_the_presets():
    config = RealNetConfig().with_choices(backbone="resnet18", channels=(8, 8, 8, 8), input_size=(128, 256))
    assert (config.backbone, config.channels) == ("resnet18", (8, 8, 8, 8))
    assert (config.input_size, config.residual_count) == ((128, 256), 64)


@pytest.mark.parametrize("stages", [(), (0,), (2, 1), (1, 1), (5,)])
def test_stages_that_cannot_be(stages: tuple[int, ...]):
    with pytest.raises(UsageError, match="rising order"):
        RealNetConfig().with_choices(stages=stages)


def test_an_unknown_preset():
    with pytest.raises(UnknownNameError, match="Did you mean compact"):
        model_family("realnet").configure("compakt")
