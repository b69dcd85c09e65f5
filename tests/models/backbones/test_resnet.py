"""ResNets: torchvision's names and sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgead.errors import TrainingError
from edgead.models.backbones import BACKBONES, build_backbone

# Parameters of torchvision's networks, as its documentation states them, less those of `fc`.
PARAMETERS = {
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
    "wide_resnet50_2": 68_883_240 - 2_049_000,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_shapes(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, weights=None)
        maps = backbone(torch.zeros(1, 3, 64, 96))
    assert sum(p.numel() for p in backbone.parameters()) == PARAMETERS[name]
    strides = (4, 8, 16, 32)
    shapes = [(1, c, 64 // s, 96 // s) for c, s in zip(BACKBONES[name].channels, strides, strict=True)]
    assert [tuple(m.shape) for m in maps] == shapes


def test_names_are_torchvisions() -> None:
    with torch.device("meta"):
        names = set(build_backbone("resnet50", weights=None).state_dict())
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.conv3.weight",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.bias",
        "layer4.2.bn3.num_batches_tracked",
    } <= names
    assert len(names) == 318  # of torchvision's 320, less fc.weight and fc.bias


def test_bottleneck_halves_in_its_middle_convolution() -> None:
    with torch.device("meta"):
        backbone = build_backbone("resnet50", weights=None)
    block = backbone.get_submodule("layer2.0")
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


@pytest.fixture
def weights18() -> dict[str, torch.Tensor]:
    """A state dict with torchvision's names, classifier included."""
    tensors = dict(build_backbone("resnet18", weights=None).state_dict())
    return tensors | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_local_file(weights18: dict[str, torch.Tensor], tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    path = tmp_path / f"mine{suffix}"
    save_file(weights18, path) if suffix == ".safetensors" else torch.save(weights18, path)
    backbone = build_backbone("resnet18", stages=(1, 2), weights=path)
    assert torch.equal(backbone.state_dict()["layer2.1.conv2.weight"], weights18["layer2.1.conv2.weight"])
    assert backbone.weights_sha256 is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("layer1.0.conv1.weight"), "layer1.0.conv1.weight"),
        (lambda t: t.update({"layer9.weight": torch.zeros(1)}), "layer9.weight"),
        (lambda t: t.update({"conv1.weight": torch.zeros(1, 1, 1, 1)}), "size mismatch"),
        (lambda t: t["bn1.weight"].fill_(float("nan")), "NaN.*bn1.weight"),
        (lambda t: t["conv1.weight"].view(-1)[:1].fill_(float("inf")), "NaN or infinite"),
        (lambda t: t.update({"epoch": 3}), "epoch"),
        (lambda t: t.clear(), "empty"),
    ],
    ids=["missing", "unknown", "shape", "nan", "infinite", "not a tensor", "empty"],
)
def test_bad_files_are_refused(weights18, tmp_path: Path, change, message: str) -> None:
    change(weights18)
    path = tmp_path / "bad.pth"
    torch.save(weights18, path)
    with pytest.raises(TrainingError, match=message) as raised:
        build_backbone("resnet18", weights=path)
    assert str(path) in str(raised.value)


class _Pickled:
    """An object whose unpickling would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    torch.save({"a": _Pickled(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(TrainingError, match="cannot be read"):
        build_backbone("resnet18", weights=tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [b"", b"not a zip", b"PK\x03\x04" + bytes(99)], ids=["empty", "text", "cut"]
)
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "damaged.pth").write_bytes(content)
    with pytest.raises(TrainingError, match=r"damaged\.pth"):
        build_backbone("resnet18", weights=tmp_path / "damaged.pth")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no file of weights"):
        build_backbone("resnet18", weights=tmp_path / "none.pth")
