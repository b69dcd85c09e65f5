"""EfficientNet-Lite: the published weights, their numbers and the frozen contract."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import nn

from edgead.errors import UnknownNameError, UsageError
from edgead.models.backbones import BACKBONES, Backbone, build_backbone, feature_info
from edgead.models.backbones.weights import find_weights, read_state_dict


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return build_backbone("efficientnet_lite0")


LITES = ["efficientnet_lite0", "efficientnet_lite2"]


@pytest.mark.parametrize("name", LITES)
def test_weights_are_the_pinned_file(name: str) -> None:
    source = BACKBONES[name].source
    assert build_backbone(name).weights_sha256 == source.sha256
    assert len(source.sha256) == 64


@pytest.mark.parametrize(
    ("name", "picture", "expected"),
    [(LITES[0], "china.jpg", 698), (LITES[0], "flower.jpg", 985), (LITES[1], "china.jpg", 698)],
)
def test_published_classifier_recognises_photographs(name: str, picture: str, expected: int) -> None:
    """ImageNet classes 698 (palace) and 985 (daisy): wrong padding, epsilon or scaling would break this."""
    published = read_state_dict(find_weights(BACKBONES[name].source))
    pixels = torch.from_numpy(load_sample_image(picture)[:, 106:533].copy()).permute(2, 0, 1)[None].float()
    pixels = nn.functional.interpolate(pixels, (224, 224), mode="area")
    deepest = BACKBONES[name].channels[-1]
    head = nn.Sequential(nn.Conv2d(deepest, 1280, 1, bias=False), nn.BatchNorm2d(1280, eps=1e-3), nn.ReLU6())
    names = {"_conv_head": "0", "_bn1": "1"}
    parts = [(n.partition("."), t) for n, t in published.items()]
    head.load_state_dict({f"{names[n[0]]}.{n[2]}": t for n, t in parts if n[0] in names})
    pooled = head.eval()(build_backbone(name)(pixels)[-1]).mean(dim=(2, 3))
    logits = pooled @ published["_fc.weight"].T + published["_fc.bias"]
    assert int(logits.argmax()) == expected


@pytest.mark.parametrize("name", LITES)
def test_maps_have_the_shapes_of_the_table(name: str) -> None:
    backbone = build_backbone(name)
    maps = backbone(torch.zeros(2, 3, 64, 96))
    expected = [(2, i.channels, 64 // i.stride, 96 // i.stride) for i in feature_info(name)]
    assert [tuple(m.shape) for m in maps] == expected
    assert [i.stride for i in backbone.feature_info] == [4, 8, 16, 32]


@pytest.mark.parametrize("stages", [(1,), (2, 3), (1, 3), (4,)], ids=str)
def test_cut_behind_the_deepest_stage(lite0: Backbone, stages: tuple[int, ...]) -> None:
    cut = build_backbone("efficientnet_lite0", stages=stages)
    images = torch.rand(1, 3, 64, 64) * 255
    for mine, whole in zip(cut(images), [lite0(images)[s - 1] for s in stages], strict=True):
        torch.testing.assert_close(mine, whole, rtol=0, atol=0)
    assert [n for n, _ in cut.named_children() if n.startswith("layer")][-1] == f"layer{stages[-1]}"


def test_stays_frozen_under_train(lite0: Backbone) -> None:
    owner = nn.Sequential(lite0).train()
    images = torch.rand(2, 3, 64, 64) * 255
    before = {n: t.clone() for n, t in lite0.state_dict().items()}
    maps = owner(images)
    assert not any(m.training for m in lite0.modules())
    assert not any(p.requires_grad for p in lite0.parameters())
    assert not any(m.requires_grad for m in maps)
    assert all(torch.equal(before[n], t) for n, t in lite0.state_dict().items())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "float"),
        (torch.zeros(1, 64, 64, 3), "permute"),
        (torch.zeros(3, 64, 64), "B x 3"),
        (torch.zeros(1, 3, 64, 72), "multiples of 32"),
        (torch.zeros(1, 3, 0, 64), "multiples of 32"),
    ],
    ids=["bytes", "channels last", "no batch", "size", "empty"],
)
def test_wrong_input_is_refused(lite0: Backbone, images: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lite0(images)


@pytest.mark.parametrize("stages", [(), (0,), (5,), (2, 1), (1, 1)], ids=str)
def test_wrong_stages_are_refused(stages: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="1, 2, 3, 4"):
        build_backbone("efficientnet_lite0", stages=stages, weights=None)


def test_unknown_name_offers_near_matches() -> None:
    with pytest.raises(UnknownNameError, match="resnet18"):
        build_backbone("resnet81", weights=None)
