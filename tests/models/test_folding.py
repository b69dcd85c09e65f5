"""Folding changes no number beyond rounding, borders included."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from edgead.errors import UsageError
from edgead.models.backbones import build_backbone
from edgead.models.backbones.base import Normalise, Subtract
from edgead.models.folding import fold_backbone, fold_batch_norm, fold_batch_norms, fold_normalisation


def _norm(channels: int, *, affine: bool = True) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, affine=affine)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 3)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm.eval()


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_fold_batch_norm(groups: int, bias: bool, affine: bool) -> None:
    conv = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups, bias=bias)
    norm = _norm(8, affine=affine)
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(fold_batch_norm(conv, norm)(x), norm(conv(x)), rtol=1e-5, atol=1e-5)


def test_fold_batch_norms_follows_sequential() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), _norm(8), nn.ReLU(), nn.Sequential(nn.Conv2d(8, 4, 1), _norm(4))
    ).eval()
    x = torch.randn(1, 3, 8, 8)
    expected = net(x)
    torch.testing.assert_close(fold_batch_norms(net)(x), expected, rtol=1e-5, atol=1e-5)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())


def test_norm_of_another_width_is_refused() -> None:
    with pytest.raises(UsageError, match="8 channels"):
        fold_batch_norm(nn.Conv2d(4, 8, 1), _norm(4))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "resnet50"])
def test_folded_backbone_gives_the_same_maps(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, stages=(1, 2), weights="pretrained" if "lite" in name else None)
    images = torch.randint(0, 256, (1, 3, 64, 64)).float()
    expected = backbone(images)
    folded = fold_backbone(copy.deepcopy(backbone))
    for mine, reference in zip(folded(images), expected, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-4 * float(reference.abs().max()))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert not any(p.requires_grad for p in folded.parameters())


def test_normalisation_of_equal_means_leaves_no_operation() -> None:
    backbone = fold_normalisation(build_backbone("efficientnet_lite0", stages=(1,)))
    assert isinstance(backbone.normalise, nn.Identity)
    assert fold_normalisation(backbone) is backbone


def test_equal_means_stay_an_operation_where_the_backbone_pads_with_zeros() -> None:
    backbone = build_backbone("resnet18", stages=(1,), weights=None).eval()
    backbone.normalise = Normalise((120.0,) * 3, (60.0,) * 3)
    images = torch.rand((1, 3, 32, 32)) * 255
    folded = fold_normalisation(copy.deepcopy(backbone))
    assert isinstance(folded.normalise, Subtract)
    before, after = backbone.stem(backbone.normalise(images)), folded.stem(folded.normalise(images))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


def test_normalisation_is_exact_at_the_border() -> None:
    """A white image: padding raw pixels with zero instead of the mean would show along the edges."""
    backbone = build_backbone("efficientnet_lite0", stages=(1,))
    images = torch.full((1, 3, 32, 32), 255.0)
    folded = fold_normalisation(copy.deepcopy(backbone))
    before, after = backbone.stem(backbone.normalise(images)), folded.stem(folded.normalise(images))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)
