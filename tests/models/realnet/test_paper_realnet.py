"""The published network: its counts, part by part, and small versions of it that train and export."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.network_cost import Cost, count_cost, count_parts
from benchmarks.paper_realnet import (
    PAPER_CHANNELS,
    PaperRealNet,
    SelectChannels,
    paper_loss,
    paper_map_and_score,
    paper_realnet,
    squared_residual,
    stack_residuals,
)
from edgead.errors import UsageError
from edgead.models.backbones import build_backbone, feature_info
from edgead.models.features.selection import first_channels
from edgead.models.realnet.parts.paper_reconstruction import PaperReconstruction
from edgead.models.realnet.parts.simple_reconstruction import SimpleReconstruction

PARTS = {
    "backbone": "backbone",
    **{f"reconstruction {stage}": f"reconstructions.{stage - 1}" for stage in (1, 2, 3, 4)},
    "discriminator": "discriminator",
}
# Published counts at 256 x 256 in millions of parameters and in GMACs (fvcore, on a re-implementation).
PUBLISHED = {
    "backbone": (66.834, 14.922),
    "reconstruction 1": (51.846, 34.989),
    "reconstruction 2": (207.272, 32.259),
    "reconstruction 3": (207.272, 7.992),
    "reconstruction 4": (51.846, 0.499),
    "discriminator": (5.873, 24.09),
}


@pytest.fixture(scope="module")
def counted() -> dict[str, Cost]:
    with torch.device("meta"):
        network, image = paper_realnet().eval(), torch.zeros(1, 3, 256, 256)
        return count_parts(network, PARTS, image) | {"whole": count_cost(network, image)}


@pytest.mark.parametrize("part", PUBLISHED)
def test_published_counts(counted: dict[str, Cost], part: str) -> None:
    parameters_m, gmacs = PUBLISHED[part]
    assert counted[part].parameters / 1e6 == pytest.approx(parameters_m, rel=1e-4)
    assert counted[part].macs / 1e9 == pytest.approx(gmacs, rel=0.005)


def test_published_totals(counted: dict[str, Cost]) -> None:
    assert counted["whole"].parameters / 1e6 == pytest.approx(591, rel=0.001)
    assert counted["whole"].macs / 1e9 == pytest.approx(115, rel=0.005)
    assert counted["whole"].parameters == sum(counted[part].parameters for part in PARTS)
    reconstruction = [counted[f"reconstruction {stage}"] for stage in (1, 2, 3, 4)]
    assert sum(c.parameters for c in reconstruction) / 1e6 == pytest.approx(518, rel=0.001)
    assert sum(c.macs for c in reconstruction) / 1e9 == pytest.approx(75.739, rel=0.005)


@pytest.mark.parametrize(
    ("channels", "size", "parameters_m", "gmacs"),
    [(64, 64, 3.25, 2.76), (128, 32, 13.0, 2.09), (192, 16, 29.2, 1.13), (384, 8, 116.6, 1.12)],
)
def test_counts_of_other_widths(channels: int, size: int, parameters_m: float, gmacs: float) -> None:
    with torch.device("meta"):
        cost = count_cost(PaperReconstruction(channels), torch.zeros(1, channels, size, size))
    assert cost.parameters / 1e6 == pytest.approx(parameters_m, rel=0.01)
    assert cost.macs / 1e9 == pytest.approx(gmacs, rel=0.01)


@pytest.mark.parametrize("channels", [0, 32, 96, 100])
def test_widths_that_cannot_be_built(channels: int) -> None:
    with pytest.raises(UsageError, match="multiple of 64"):
        PaperReconstruction(channels)


@pytest.mark.parametrize("size", [(4, 4), (16, 16), (8, 12)], ids=str)
def test_reconstruction_starts_as_zeros(size: tuple[int, int]) -> None:
    network = PaperReconstruction(64)
    x = torch.randn(2, 64, *size)
    assert torch.equal(network(x), torch.zeros_like(x))


@pytest.mark.parametrize("size", [(2, 2), (8, 10), (0, 4)], ids=str)
def test_sizes_that_cannot_be_halved_twice(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="halves its input twice"):
        PaperReconstruction(64)(torch.zeros(1, 64, *size))


def test_reconstruction_learns() -> None:
    """A few steps towards a constant image lower the loss: every path carries a gradient."""
    torch.manual_seed(0)
    network = PaperReconstruction(64)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    x = torch.randn(2, 64, 8, 8)
    losses = []
    for _ in range(6):
        loss = nn.functional.mse_loss(network(x), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


@pytest.fixture(scope="module")
def small() -> PaperRealNet:
    torch.manual_seed(0)
    return paper_realnet(backbone="resnet18", stages=(1, 2), channels=(64, 64), residuals=32)


def test_forward_and_backward(small: PaperRealNet) -> None:
    rng = torch.Generator().manual_seed(0)
    normal = torch.rand(2, 3, 64, 64, generator=rng) * 255
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[:, 8:24, 8:24] = True
    anomalous = torch.where(masks[:, None], 255 - normal, normal)
    output = small.train()(anomalous)
    assert output.logits.shape == (2, 2, 64, 64)
    paper_loss(output, small.features(normal), masks).backward()
    missing = [n for n, p in small.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    assert not any(n.startswith("backbone.") for n, p in small.named_parameters() if p.requires_grad)
    small.zero_grad()


def test_first_loss_is_that_of_zero_reconstructions(small: PaperRealNet) -> None:
    images = torch.rand(1, 3, 64, 64) * 255
    output = small.eval()(images)
    targets = small.features(images)
    expected = nn.functional.cross_entropy(output.logits, torch.zeros(1, 64, 64, dtype=torch.long))
    expected = expected + sum(t.square().mean() for t in targets)
    torch.testing.assert_close(paper_loss(output, targets, torch.zeros(1, 64, 64)), expected)


def test_map_and_score() -> None:
    logits = torch.zeros(1, 2, 32, 32)
    logits[:, 1, 4:20, 8:24] = 100.0
    anomaly_map, score = paper_map_and_score(logits)
    assert anomaly_map.shape == (1, 32, 32)
    assert float(score) == pytest.approx(1.0)
    assert float(anomaly_map[0, 0, 0]) == pytest.approx(0.5)


def test_score_of_an_image_smaller_than_the_window() -> None:
    assert float(paper_map_and_score(torch.zeros(1, 2, 8, 8))[1]) == pytest.approx(0.5)


def test_selection_of_other_stages_is_refused() -> None:
    with torch.device("meta"):
        backbone = build_backbone("resnet18", stages=(1, 2), weights=None)
        other = build_backbone("resnet18", stages=(2, 3), weights=None)
        with pytest.raises(UsageError, match="must agree"):
            PaperRealNet(backbone, first_channels(other.feature_info, (64, 64)), residuals=32)


class Deployed(nn.Module):
    def __init__(self, network: PaperRealNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return paper_map_and_score(self.network(images).logits)


@pytest.mark.filterwarnings("ignore")
def test_exported_network_gives_the_same_map(small: PaperRealNet, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    image = torch.rand(1, 3, 64, 64) * 255

    deployed = Deployed(copy.deepcopy(small)).eval()
    for name, parameter in deployed.named_parameters():
        if "reconstructions" in name and not parameter.any():  # zeros hide what is before
            nn.init.normal_(parameter, std=0.01)
    path = tmp_path / "paper.onnx"
    torch.onnx.export(deployed, (image,), path, opset_version=17, dynamo=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    for mine, reference in zip(found, deployed(image), strict=True):
        np.testing.assert_allclose(mine, reference.detach().numpy(), atol=1e-4)


def test_the_simple_reconstruction_has_the_counts_of_the_authors_multi_class_choice() -> None:
    parameters = macs = 0
    for stage, budget in enumerate(PAPER_CHANNELS):
        with torch.device("meta"):
            side = 64 // 2**stage
            cost = count_cost(SimpleReconstruction(budget), torch.zeros(1, budget, side, side))
        assert cost.parameters / budget**2 == pytest.approx(615, rel=0.001)
        parameters, macs = parameters + cost.parameters, macs + cost.macs
    assert parameters / 1e6 == pytest.approx(403, rel=0.002)
    assert macs / 1e9 == pytest.approx(58.4, rel=0.005)


def test_the_simple_reconstruction_learns() -> None:
    torch.manual_seed(0)
    network, x = SimpleReconstruction(4), torch.randn(2, 4, 8, 8)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.mse_loss(network(x), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_stack_residuals() -> None:
    large, small = torch.rand(2, 3, 8, 8), torch.rand(2, 5, 4, 4)
    stacked = stack_residuals([small, large])
    assert stacked.shape == (2, 8, 8, 8)
    assert torch.equal(stacked[:, 5:], large)
    torch.testing.assert_close(stacked[:, :5, ::7, ::7], small[:, :, ::3, ::3])  # corners are aligned


def test_stack_of_nothing() -> None:
    with pytest.raises(UsageError, match="at least one"):
        stack_residuals([])


def test_residual_survives_half_precision() -> None:
    tiny = torch.full((1, 1, 1, 1), 1e-4, dtype=torch.float16)
    assert float(squared_residual(tiny, torch.zeros_like(tiny))) > 0


def test_select_channels_module() -> None:
    infos = feature_info("efficientnet_lite0", (1, 2))
    module = SelectChannels(first_channels(infos, (24, 8)))
    maps = [torch.randn(1, 24, 4, 4), torch.randn(1, 40, 2, 2)]
    whole, part = module(maps)
    assert whole is maps[0]
    assert torch.equal(part, maps[1][:, :8])
    assert module.state_dict() == {}
