"""Constants folded into convolutions: same numbers, fewer operations.

A frozen backbone can be folded before training already; everything can before export.
"""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

import torch
from torch import nn

from edgead.errors import UsageError
from edgead.models.backbones.base import Backbone, Normalise, Subtract

Module = TypeVar("Module", bound=nn.Module)


def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return one convolution equal to `norm(conv(x))` in evaluation mode, computed in float64.

    Raises UsageError for a batch norm without running statistics or of another width.
    """
    if norm.running_mean is None or norm.running_var is None or norm.num_features != conv.out_channels:
        raise UsageError(
            f"Only a batch norm with running statistics and {conv.out_channels} channels folds into {conv}, "
            f"got {norm}."
        )
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double() + norm.bias.double()
    if conv.bias is not None:
        shift = shift + conv.bias.double() * scale
    return _with_weights(conv, conv.weight.double() * scale.view(-1, 1, 1, 1), shift)


def fold_batch_norms(module: Module) -> Module:
    """Fold in place every batch norm that follows a convolution; the norms become identities.

    Follows nn.Sequential by position, and any other module by the pairs of names in its `norm_pairs()`.
    """
    for parent in list(module.modules()):
        for conv_name, norm_name in _pairs(parent):
            conv, norm = getattr(parent, conv_name), getattr(parent, norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fold_batch_norm(conv, norm))
                setattr(parent, norm_name, nn.Identity().train(norm.training))
    return module


def fold_normalisation(backbone: Backbone) -> Backbone:
    """Fold the scale of (image - mean) / std, and the mean where that is exact, into the first convolution.

    The convolution pads with zeros *after* the normalisation, which is padding with the mean before it.
    Folding the mean into the bias and still padding raw pixels with zeros would be wrong along the border.
    Where the three means are equal (EfficientNet-Lite: 127) the image is padded with that value and nothing
    is left to compute; where they differ (ImageNet's), no one value pads all channels, and the subtraction
    stays as an operation of its own, as it does where the backbone cannot be padded so. In place.
    """
    normalise = backbone.normalise
    if not isinstance(normalise, Normalise):
        return backbone
    conv = backbone.first_convolution()
    weight = conv.weight.double() * normalise.scale.double()
    mean = normalise.mean.flatten().double()
    if bool((mean == mean[0]).all()) and backbone.pad_first_convolution(float(mean[0])):
        shift = -(weight.sum(dim=(2, 3)) * mean).sum(dim=1)
        folded = _with_weights(conv, weight, shift + (conv.bias.double() if conv.bias is not None else 0.0))
        _replace(backbone, conv, folded)
        backbone.normalise = nn.Identity()
    else:
        bias = conv.bias.double() if conv.bias is not None else None
        _replace(backbone, conv, _with_weights(conv, weight, bias))
        backbone.normalise = Subtract(normalise.mean)
    return backbone


def fold_backbone(backbone: Backbone) -> Backbone:
    """Fold batch norms and normalisation of a backbone in place."""
    return fold_normalisation(fold_batch_norms(backbone))


def _pairs(parent: nn.Module) -> list[tuple[str, str]]:
    if isinstance(parent, nn.Sequential):
        names = [name for name, _ in parent.named_children()]
        return list(itertools.pairwise(names))
    declared = getattr(parent, "norm_pairs", None)
    return declared() if declared is not None else []


def _with_weights(conv: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Conv2d:
    folded, learns = copy.deepcopy(conv), conv.weight.requires_grad
    folded.weight = nn.Parameter(weight.to(conv.weight), requires_grad=learns)
    folded.bias = None if bias is None else nn.Parameter(bias.to(conv.weight), requires_grad=learns)
    return folded


def _replace(root: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in root.modules():
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)
