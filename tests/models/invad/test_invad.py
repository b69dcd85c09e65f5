"""InvAD: its published size, what it rebuilds, what it says of an image, and folding that changes nothing."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.network_cost import Cost, count_cost
from edgead.errors import UnknownNameError, UsageError
from edgead.models.backbones import build_backbone
from edgead.models.families import build_network, model_family
from edgead.models.inspection import InspectionModel, fold_for_export
from edgead.models.invad.config import InvADConfig
from edgead.models.invad.network import InvAD, cosine_distance, smoothed
from edgead.models.invad.parts.style_modulation import EqualConv, StyledConv, normalise_map
from edgead.models.invad.presets import PRESETS
from edgead.models.network import FeatureBatch
from edgead.models.scoring.rule import ScoreRule, fit_rule
from tests.training.small_training import INVAD_CONFIG

PUBLISHED = replace(
    INVAD_CONFIG,
    decoder="published",
    standardised=False,
    stages=(1, 2),
    inverted_stages=(1, 2),
    widths=(8, 8),
    bank_stages=(),
    detail_stages=(),
    backbone="resnet18",
)


def cost_of(config: InvADConfig) -> Cost:
    with torch.device("meta"):
        backbone = build_backbone(config.backbone, stages=config.stages, weights=None)
        network = build_network(config, backbone).eval().requires_grad_(False)
        images = torch.zeros(1, 3, *config.input_size)
        maps = backbone(images)
        return count_cost(backbone, images) + count_cost(network, maps)


@pytest.mark.parametrize(
    ("preset", "parameters_m", "gmacs"), [("paper", 95.631, 45.394), ("lite", 17.147, 9.283)]
)
def test_the_published_sizes_have_the_published_counts(preset: str, parameters_m: float, gmacs: float):
    cost = cost_of(PRESETS[preset])
    assert cost.parameters / 1e6 == pytest.approx(parameters_m, abs=0.0005)
    assert cost.macs / 1e9 == pytest.approx(gmacs, rel=0.001)


def test_the_compact_size_is_an_eighth_of_lite():
    compact, lite = cost_of(PRESETS["compact"]), cost_of(PRESETS["lite"])
    assert compact.macs < lite.macs / 8
    assert compact.parameters < lite.parameters / 4


def network_of(config: InvADConfig) -> InvAD:
    torch.manual_seed(0)
    backbone = build_backbone(config.backbone, stages=config.stages, weights=None)
    network = build_network(config, backbone)
    assert isinstance(network, InvAD)
    return network


def trained_like(config: InvADConfig) -> InspectionModel:
    """Random numbers everywhere that training would have set, batch statistics included."""
    network = network_of(config).train()
    with torch.no_grad():
        maps = network.backbone(torch.rand(6, 3, 64, 64) * 255)
        network.fit_good([maps], torch.Generator().manual_seed(0))
        for _ in range(3):
            network(maps)
        rule = fit_rule(ScoreRule(), network.eval().score_components(maps))
    return InspectionModel(network, rule)


@pytest.fixture(scope="module", params=["compact", "published"])
def model(request: pytest.FixtureRequest) -> InspectionModel:
    return trained_like(INVAD_CONFIG if request.param == "compact" else PUBLISHED)


@pytest.fixture(scope="module")
def images() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=generator)


def test_folding_keeps_the_answers(model: InspectionModel, images: Tensor):
    before = model(images)
    after = fold_for_export(copy.deepcopy(model))(images)
    for first, second in zip(before, after, strict=True):
        assert float((first - second).abs().max()) < 1e-4 * max(1.0, float(first.abs().max()))


def test_one_image_and_many_have_the_same_answers(model: InspectionModel, images: Tensor):
    together = model(images)
    alone = [model(images[number : number + 1]) for number in range(len(images))]
    for position in (0, 1):
        joined = torch.cat([answer[position] for answer in alone])
        torch.testing.assert_close(together[position], joined, atol=1e-3, rtol=1e-4)


def test_folding_leaves_no_batch_norm(model: InspectionModel):
    folded = fold_for_export(copy.deepcopy(model))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


def test_what_is_rebuilt_has_the_shapes_of_the_features(model: InspectionModel):
    network = model.network
    maps = network.backbone(torch.rand(2, 3, 64, 64) * 255)
    wanted = [feature.shape for feature in network.selected(maps)]  # type: ignore[operator]
    assert [rebuilt.shape for rebuilt in network(maps)] == wanted


@pytest.mark.parametrize("config", [INVAD_CONFIG, PUBLISHED], ids=["compact", "published"])
def test_steps_on_a_few_features_bring_the_loss_down(config: InvADConfig):
    network = network_of(config).train()
    torch.manual_seed(1)
    maps = network.backbone(torch.rand(4, 3, 64, 64) * 255)
    network.fit_good([maps], torch.Generator().manual_seed(0))
    batch = FeatureBatch(maps, maps, None, top_share=0.02)
    optimizer = network.optimisation.optimizer(network.parameters(), 4e-3)
    losses = []
    for _ in range(25):
        total = network.optimisation.total(network.losses(network(maps), batch))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.grad is not None for p in network.parameters())  # nothing that is saved is never trained


def test_the_image_reaches_the_decoder_through_the_style_alone():
    network = network_of(PUBLISHED).eval()
    maps = network.backbone(torch.rand(2, 3, 64, 64) * 255)
    styles = network.fuser(network.selected(maps))
    swapped = network.decoder([style.flip(0) for style in styles])
    for first, second in zip(network(maps), swapped, strict=True):
        torch.testing.assert_close(first.flip(0), second)


@given(scale=st.floats(0.01, 100), seed=st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_the_cosine_distance_knows_directions_alone(scale: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(1, 6, 8, 8, generator=generator), torch.randn(1, 4, 4, 4, generator=generator)]
    assert float(cosine_distance(maps, [scale * x for x in maps]).abs().max()) < 1e-4
    opposite = cosine_distance(maps, [-scale * x for x in maps])
    torch.testing.assert_close(opposite, torch.full_like(opposite, 2.0), atol=1e-4, rtol=0)


def test_the_cosine_distance_by_hand():
    features = [torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)]
    rebuilt = [torch.tensor([4.0, 3.0]).view(1, 2, 1, 1)]
    assert float(cosine_distance(features, rebuilt)) == pytest.approx(1 - 24 / 25, abs=1e-5)


def test_features_of_nothing_have_a_finite_distance():
    nothing = [torch.zeros(1, 4, 4, 4)]
    assert bool(cosine_distance(nothing, nothing).isfinite().all())


def test_smoothing_keeps_a_constant_map_and_spreads_a_peak():
    torch.testing.assert_close(smoothed(torch.full((1, 6, 6), 3.0)), torch.full((1, 6, 6), 3.0))
    peak = torch.zeros(1, 9, 9)
    peak[0, 4, 4] = 81.0
    assert smoothed(peak)[0, 4, 2:7].tolist() == pytest.approx([3.0, 6.0, 9.0, 6.0, 3.0])


@pytest.mark.parametrize("kernel", [1, 3])
def test_an_enlarging_convolution_doubles_the_size_and_keeps_a_constant(kernel: int):
    conv = EqualConv(1, 1, kernel, bias=None, enlarge=True)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        wide = conv(torch.ones(1, 1, 8, 8))
    assert wide.shape == (1, 1, 16, 16)
    middle = wide[0, 0, 4:12, 4:12]
    torch.testing.assert_close(
        middle, torch.full_like(middle, float(kernel))
    )  # sum of weights / sqrt(fan-in)


def test_equalised_weights_give_the_convolution_of_the_scaled_ones():
    torch.manual_seed(0)
    conv = EqualConv(3, 5, rate=0.01)
    x = torch.randn(2, 3, 6, 6)
    assert float(conv.weight.detach().std()) == pytest.approx(100, rel=0.2)
    plain = F.conv2d(x, conv.weight * 0.01 / 27**0.5, padding=1)
    torch.testing.assert_close(conv(x), plain)


def test_the_norm_is_torchs_layer_norm():
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 7 + 3
    torch.testing.assert_close(normalise_map(x), torch.nn.functional.layer_norm(x, x.shape[1:]))
    assert normalise_map(torch.full((1, 2, 3, 3), 5.0)).eq(0).all()


def test_a_styled_convolution_without_style_is_only_normalised():
    torch.manual_seed(0)
    conv = StyledConv(3, 4, None)
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(conv(5 * x + 2, x), conv(x, x), atol=1e-3, rtol=1e-3)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("a gap", {"inverted_stages": (1, 3)}, "neighbours"),
    ("nothing to invert", {"inverted_stages": ()}, "neighbours"),
    ("a stage that does not run", {"inverted_stages": (1, 2), "stages": (2, 3)}, "among the stages"),
    ("a bank of what does not run", {"bank_stages": (4,), "stages": (1, 2, 3)}, "among the stages"),
    ("widths too few", {"widths": (8,)}, "widths"),
    ("channels too few", {"channels": (8,)}, "channels"),
    ("more channels than there are", {"channels": (8, 8, 8, 999)}, "999"),
    ("a size that does not divide", {"input_width": 250}, "multiples of 32"),
    ("a size too small", {"input_height": 32}, "at least 64"),
]


@pytest.mark.parametrize(("changed", "message"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_configurations_that_cannot_be(changed: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        replace(InvADConfig(), **changed)


def test_names_that_are_none():
    with pytest.raises(UnknownNameError, match="compact"):
        replace(InvADConfig(), decoder="compakt")
    with pytest.raises(UnknownNameError, match="lite"):
        model_family("invad").configure("light")


def test_fewer_stages_leave_less_to_invert():
    config = InvADConfig().with_choices(stages=(2, 3))
    assert (config.inverted_stages, config.widths, config.bank_stages) == ((2, 3), (64, 96), (3,))
    assert config.map_size == (32, 32)
