"""The deployed model: standardised features, the score rule, and folding that changes nothing."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgead.errors import DataError, UsageError
from edgead.models.features.selection import StageSelection
from edgead.models.features.standardise import SelectedFeatures
from edgead.models.inspection import InspectionModel, fold_for_export
from edgead.models.realnet.parts.compact import CompactDiscriminator, CompactReconstruction
from edgead.models.scoring.components import ScoreComponents
from edgead.models.scoring.rule import ScoreRule, fit_rule, fit_weights, fuse, pool_highest
from edgead.models.scoring.scales import good_scale, pooled_scale
from tests.models.networks import build_realnet
from tests.training.small_training import CONFIG


def components_of(seed: int, *, count: int = 12, banks: int = 2, residuals: int = 2) -> ScoreComponents:
    generator = torch.Generator().manual_seed(seed)
    return ScoreComponents(
        logits=torch.randn(count, 16, 16, generator=generator) * 2 - 5,
        residuals=[torch.randn(count, 8 // 2**k, 8 // 2**k, generator=generator) for k in range(residuals)],
        distances=[torch.rand(count, side, side, generator=generator) * 7 for side in (4, 8)[:banks]],
    )


def trained_like() -> InspectionModel:
    """Random numbers everywhere that training would have set, batch statistics included."""
    torch.manual_seed(0)
    network = build_realnet(CONFIG).train()
    with torch.no_grad():
        for _ in range(3):
            network(network.backbone(torch.rand(4, 3, 64, 64) * 255))
        maps = network.backbone(torch.rand(6, 3, 64, 64) * 255)
        for standardise, feature in zip(network.standardise, maps, strict=True):
            standardise.fit([feature])  # type: ignore[operator]
        assert network.bank is not None
        network.bank.fit([[maps[1]]], torch.Generator().manual_seed(0))
        rule = fit_rule(ScoreRule(), network.eval().score_components(maps))
    return InspectionModel(network, rule)


@pytest.fixture(scope="module")
def model() -> InspectionModel:
    return trained_like()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(
        0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5)
    )


def test_folding_keeps_the_answers(model: InspectionModel, images: Tensor):
    before = model(images)
    after = fold_for_export(copy.deepcopy(model))(images)
    for first, second in zip(before, after, strict=True):
        assert float((first - second).abs().max()) < 1e-4 * max(1.0, float(first.abs().max()))


def test_folding_leaves_no_batch_norm_and_no_gather_of_channels(model: InspectionModel):
    folded = fold_for_export(copy.deepcopy(model))
    norms = [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d) and m.affine]
    assert norms == []
    assert not any(isinstance(m, SelectedFeatures) for m in folded.modules())
    assert any(isinstance(m, SelectedFeatures) for m in model.modules())


def test_one_image_and_many_have_the_same_answers(model: InspectionModel, images: Tensor):
    together = model(images)
    alone = [model(images[number : number + 1]) for number in range(len(images))]
    for position in (0, 1):
        torch.testing.assert_close(
            together[position], torch.cat([a[position] for a in alone]), atol=1e-3, rtol=1e-4
        )


def test_maps_start_at_0_and_nothing_has_a_gradient(model: InspectionModel, images: Tensor):
    anomaly_map, score = model(images)
    assert bool((anomaly_map >= 0).all())
    assert not score.requires_grad
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("bank", "residuals"), [(True, 2), (True, 0), (False, 1), (False, 0)])
def test_a_fitted_rule_gives_good_images_a_mean_of_0(bank: bool, residuals: int):
    components = components_of(1, banks=int(bank), residuals=residuals)
    weightings = [(1, 0, 0), *([(0, 1, 0)] if residuals else []), *([(0, 0, 1)] if bank else [])]
    scores = []
    for weights in weightings:
        anomaly_map, score = fuse(components, fit_rule(ScoreRule(score_weights=weights), components))
        assert anomaly_map.shape == (12, 16, 16)
        assert float(score.mean()) == pytest.approx(0, abs=1e-4)
        assert 0.1 < float(score.std(correction=0)) <= 1.001
        scores.append(score)
    _, together = fuse(components, fit_rule(ScoreRule(), components))
    assert torch.allclose(together, torch.stack(scores).sum(dim=0), atol=1e-5)


def test_a_deviation_of_few_parts_is_drawn_towards_that_of_the_cells():
    """Five images of one part that are alike: their deviation alone would make any other part an alarm."""
    pooled, cells = torch.full((5,), 7.0) + 1e-3 * torch.arange(5), 2 * torch.randn(5, 40, 40)
    few, many = (pooled_scale(pooled, cells, groups).deviation for groups in (1, 300))
    assert few == pytest.approx(2 * (3 / 4) ** 0.5, rel=0.05)
    assert many < 0.25
    wide = 100 * torch.randn(400)
    assert pooled_scale(wide, cells, 400).deviation == pytest.approx(good_scale(wide).deviation, rel=0.01)


def test_each_bank_counts_the_same_whatever_its_units():
    components = components_of(1)
    rule = fit_rule(ScoreRule(score_weights=(0, 0, 1)), components)
    louder = replace(components, distances=[components.distances[0] * 50, components.distances[1]])
    again = fit_rule(ScoreRule(score_weights=(0, 0, 1)), louder)
    _, score = fuse(components, rule)
    assert float(score.mean()) == pytest.approx(0, abs=1e-4)
    torch.testing.assert_close(fuse(louder, again)[1], score, atol=1e-3, rtol=1e-3)


def test_a_score_that_no_view_speaks_for_is_refused():
    components = components_of(1, banks=0)
    with pytest.raises(UsageError, match="No component"):
        fuse(components, fit_rule(ScoreRule(score_weights=(0, 0, 1)), components))


@settings(deadline=None, max_examples=40)
@given(scales=st.tuples(*[st.floats(0.01, 50.0)] * 3), shifts=st.tuples(*[st.floats(-20.0, 20.0)] * 3))
def test_units_of_the_views_do_not_count(
    scales: tuple[float, float, float], shifts: tuple[float, float, float]
):
    """Fitted on the same good images, a component in other units gives the same map and score."""

    def other(components: ScoreComponents) -> ScoreComponents:
        return ScoreComponents(
            components.logits * scales[0] + shifts[0],
            [residual * scales[1] + shifts[1] for residual in components.residuals],
            [distance * scales[2] + shifts[2] for distance in components.distances],
        )

    good, new = components_of(1), components_of(2, count=4)
    one = fuse(new, fit_rule(ScoreRule(), good))
    two = fuse(other(new), fit_rule(ScoreRule(), other(good)))
    for first, second in zip(one, two, strict=True):
        torch.testing.assert_close(first, second, atol=5e-2, rtol=1e-2)


def test_a_view_of_weight_0_does_not_count():
    rule = fit_rule(ScoreRule(map_weights=(1, 1, 0), score_weights=(1, 1, 0)), components_of(1))
    components = components_of(2)
    changed = ScoreComponents(
        components.logits, components.residuals, [d * 100 for d in components.distances]
    )
    for first, second in zip(fuse(components, rule), fuse(changed, rule), strict=True):
        assert torch.equal(first, second)


def test_more_anomalous_views_give_higher_scores():
    rule, components = fit_rule(ScoreRule(), components_of(1)), components_of(2)
    worse = ScoreComponents(
        components.logits + 1,
        *([m + 1 for m in maps] for maps in (components.residuals, components.distances)),
    )
    assert bool((fuse(worse, rule)[1] > fuse(components, rule)[1]).all())


@pytest.mark.parametrize(("share", "wanted"), [(1.0, 1.5), (0.5, 2.5), (0.25, 3.0), (0.001, 3.0)], ids=str)
def test_pooling_takes_the_highest_cells(share: float, wanted: float):
    assert float(pool_highest(torch.tensor([[[0.0, 3.0], [2.0, 1.0]]]), share)) == pytest.approx(wanted)


@pytest.mark.parametrize("values", [torch.ones(1), torch.full((3, 4), 2.0)], ids=["one", "constant"])
def test_a_scale_never_divides_by_0(values: Tensor):
    scale = good_scale(values)
    assert scale.deviation > 0
    assert scale(values).isfinite().all()


def shifted(
    components: ScoreComponents, logits: float, residuals: float, distances: float
) -> ScoreComponents:
    assert components.logits is not None
    return ScoreComponents(
        components.logits + logits,
        [residual + residuals for residual in components.residuals],
        [distance + distances for distance in components.distances],
    )


def test_a_component_that_does_not_help_gets_no_weight():
    good = components_of(1, count=60)
    rule = fit_rule(ScoreRule(), good)
    fitted = fit_weights(rule, good, shifted(components_of(2, count=90), 0.5, 0.0, -0.5), groups=18)
    assert fitted.score_weights[0] > 0.6
    assert fitted.score_weights[2] == 0
    assert sum(fitted.score_weights) == pytest.approx(1, abs=1e-3)
    assert fitted.scales == rule.scales


def test_a_component_that_helps_a_little_keeps_a_share():
    """Synthetic anomalies say little of how far a component helps with real ones: it keeps its share."""
    good = components_of(1, count=60)
    rule = fit_rule(ScoreRule(score_weights=(1, 1, 0)), good)
    fitted = fit_weights(rule, good, shifted(components_of(2, count=90), 9.0, 0.3, 0.0), groups=18)
    assert 0.25 < fitted.score_weights[1] < 0.5 < fitted.score_weights[0]


def test_few_held_out_groups_leave_the_weights_nearly_equal():
    """One part that was held out says little of the next: no component is left out on its word."""
    good = components_of(1, count=60)
    rule, one_helps = fit_rule(ScoreRule(), good), shifted(components_of(2, count=90), 0.5, 0.0, -0.5)
    few, more, many = (fit_weights(rule, good, one_helps, groups=n).score_weights for n in (1, 6, 18))
    assert few == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=0.06)
    assert few[0] < more[0] < many[0]
    assert few[2] > more[2] > many[2] == 0


def test_components_that_help_alike_weigh_alike():
    good = components_of(1, count=60)
    weights = [
        fit_weights(
            fit_rule(ScoreRule(), good), good, shifted(components_of(2, count=count), 2, 2, 2), groups=18
        )
        for count in (30, 300)
    ]
    for rule in weights:
        assert min(rule.score_weights) > 0.1
    assert weights[0].score_weights == pytest.approx(weights[1].score_weights, abs=0.1)


def test_where_nothing_helps_all_weigh_the_same():
    good = components_of(1, count=60)
    rule, worse = fit_rule(ScoreRule(), good), shifted(components_of(2, count=60), -9, -9, -9)
    fitted = fit_weights(rule, good, worse, groups=18)
    assert fitted.score_weights == pytest.approx((1 / 3, 1 / 3, 1 / 3), abs=1e-3)


def test_a_fine_bank_is_heard_beside_a_coarse_one():
    """A single cell of the fine bank raises the score as far as all cells together would raise its mean."""
    good, new = components_of(1, count=60), components_of(2)
    rule = fit_rule(ScoreRule(score_weights=(0, 0, 1)), good)
    spotted = [d.clone() for d in new.distances]
    spotted[1][:, 3, 3] += 70
    _, before = fuse(new, rule)
    anomaly_map, after = fuse(ScoreComponents(new.logits, new.residuals, spotted), rule)
    assert float((after - before).min()) > 5
    assert {divmod(int(one.argmax()), 16) for one in anomaly_map} <= {(y, x) for y in (6, 7) for x in (6, 7)}


def test_a_component_left_out_stays_out():
    good = components_of(1, count=40)
    rule = fit_rule(ScoreRule(score_weights=(1, 1, 0)), good)
    assert fit_weights(rule, good, shifted(components_of(2), 1, 1, 9), groups=18).score_weights[2] == 0
    alone = fit_rule(ScoreRule(score_weights=(0, 0, 1)), good)
    assert fit_weights(alone, good, components_of(2), groups=18).score_weights == (0, 0, 1)


def test_earlier_runs_keep_the_highest_component():
    good, new = components_of(1), components_of(2)
    rule = fit_rule(ScoreRule(fusion="highest"), good)
    pairs = zip(rule.scales.pooled_distances, new.distances, strict=True)
    own = torch.stack([scale(distance.mean(dim=(1, 2))) for scale, distance in pairs]).mean(dim=0)
    assert bool((fuse(new, rule)[1] >= own).all())
    assert rule.text.startswith("highest of")
    with pytest.raises(ValueError, match="fusion"):
        ScoreRule(fusion="lowest")


def test_a_rule_survives_json():
    rule = fit_rule(ScoreRule(top_share=0.1, score_weights=(1, 0.5, 0)), components_of(1))
    assert ScoreRule.from_json(rule.to_json()) == rule
    assert "residuals" in rule.text
    assert "distance" not in rule.text


@pytest.mark.parametrize("content", [None, {}, [], {"top_share": 0.1}, "rule"])
def test_what_is_no_rule_is_refused(content: object):
    with pytest.raises(DataError, match=r"^score rule: "):
        ScoreRule.from_json(content)


def of_two_products(seed: int, *, count: int = 200, loud: float = 20.0) -> tuple[ScoreComponents, list[str]]:
    """Products whose good components differ by far more than they vary, two in opposite directions."""
    components, names = components_of(seed, count=count, residuals=1), ["nut", "screw"] * (count // 2)
    is_screw = torch.tensor([name == "screw" for name in names])
    sign = torch.where(is_screw, 1.0, -1.0).view(-1, 1, 1)
    context = torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)) * 0.1
    context[:, 2] += is_screw.float()
    moved = ScoreComponents(
        None,
        [components.residuals[0] + loud * sign],
        [d - loud * sign for d in components.distances],
        context,
    )
    return moved, names


def test_each_product_is_judged_in_its_own_scales():
    good, names = of_two_products(1)
    rule = fit_rule(ScoreRule(), good, names)
    new, new_names = of_two_products(2)
    _, scores = fuse(new, rule)
    for name in ("nut", "screw"):
        own = torch.tensor([found == name for found in new_names])
        assert float(scores[own].mean()) == pytest.approx(0, abs=0.6)  # the sum of two of mean 0
    # The quiet component of a product speaks although the other is always louder.
    worse = ScoreComponents(None, [new.residuals[0] + 3], new.distances, new.context)
    nuts = torch.tensor([found == "nut" for found in new_names])
    _, moved = fuse(worse, rule)
    assert bool((moved[nuts] > scores[nuts] + 0.5).all())
    joint = fit_rule(ScoreRule(), good)
    assert float((fuse(worse, joint)[1] - fuse(new, joint)[1])[nuts].max()) < 0.3


def test_a_product_of_few_images_borrows_its_deviations():
    good, names = of_two_products(1)
    names = ["nut"] * len(names)
    names[5] = "screw"  # one image: its own deviation is 0
    rule = fit_rule(ScoreRule(), good, names)
    scale = rule.products[1].pooled_residuals
    assert scale.deviation > 0.5 * rule.products[0].pooled_residuals.deviation


def test_one_product_has_the_scales_of_one():
    good, names = of_two_products(1)
    assert fit_rule(ScoreRule(), good, ["nut"] * len(names)) == fit_rule(ScoreRule(), good)


def test_a_rule_of_products_survives_json_and_says_so():
    good, names = of_two_products(1)
    rule = fit_rule(ScoreRule(), good, names)
    again = ScoreRule.from_json(json.loads(json.dumps(rule.to_json())))
    assert again == rule
    assert "product that the image shows" in rule.text
    broken = rule.to_json()
    broken["product_classifier"]["biases"] = (0.0,)
    with pytest.raises(DataError, match="do not fit together"):
        ScoreRule.from_json(broken)
    fewer = {**rule.to_json(), "products": rule.to_json()["products"][:1]}
    with pytest.raises(DataError, match="classifies 2 products and has scales of 1"):
        ScoreRule.from_json(fewer)


def test_views_without_a_context_are_refused_for_several_products():
    good, names = of_two_products(1)
    rule = fit_rule(ScoreRule(), good, names)
    components = replace(good, context=None)
    with pytest.raises(UsageError, match="context"):
        fuse(components, rule)
    with pytest.raises(UsageError, match="context"):
        fit_rule(ScoreRule(), components, names)


def test_the_exported_graph_tells_products_as_the_model_does():
    import onnxruntime

    from edgead.compiler.export import onnx_from_model

    model = trained_like()
    pixels = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8)
    pixels[4:] //= 8  # dark ones
    maps = model.backbone(pixels.permute(0, 3, 1, 2).float())
    components = model.network.components_with_context(maps)
    rule = fit_rule(ScoreRule(), components, ["bright"] * 4 + ["dark"] * 4)
    several = fold_for_export(InspectionModel(model.network, rule))
    assert several.kept_in_float == (*model.network.kept_in_float, "/products/*")
    content = onnx_from_model(several, height=64, width=64)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = {node.name for node in onnx.load_model_from_string(content).graph.node}
    assert any(name.startswith("/products/") for name in names)
    for image in (pixels[0], pixels[5]):
        found = session.run(None, {session.get_inputs()[0].name: image[None].numpy()})
        for got, wanted in zip(found, several(image[None]), strict=True):
            np.testing.assert_allclose(got, wanted.numpy(), atol=2e-3, rtol=1e-3)


def selected(count: int = 6) -> SelectedFeatures:
    part = SelectedFeatures(StageSelection(2, (0, 3, 4), (0.0,) * count))
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([1.0, 1.0, 1.0, 50.0, 0.02, 1.0])[:, None, None]
    part.fit([torch.randn(4, count, 5, 5, generator=generator) * spread + 3 for _ in range(2)])
    return part


def test_selected_features_are_one_convolution():
    part, features = selected(), torch.randn(2, 6, 7, 7)
    torch.testing.assert_close(part.as_convolution()(features), part(features), atol=1e-3, rtol=1e-4)


def test_selected_features_are_standardised_on_what_they_were_fitted_to():
    part = SelectedFeatures(StageSelection(2, (1, 2), (0.0,) * 3))
    features = torch.randn(8, 3, 6, 6) * torch.tensor([1.0, 30.0, 0.1])[:, None, None] - 4
    part.fit([features[:3], features[3:]])
    out = part(features)
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(out.std(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-3, rtol=0)


def test_a_constant_channel_is_not_blown_up():
    part = SelectedFeatures(StageSelection(2, (0,), (0.0,)))
    part.fit([torch.full((2, 1, 4, 4), 5.0)])
    assert float(part(torch.full((1, 1, 4, 4), 5.001)).abs().max()) <= 1.1


@pytest.mark.parametrize("side", [4, 10])
def test_compact_networks_keep_their_promised_shapes(side: int):
    x = torch.randn(2, 12, side, side)
    assert CompactReconstruction(12, 4)(x).shape == x.shape
    assert CompactDiscriminator(12, 4)(x).shape == (2, 2 * side, 2 * side)
