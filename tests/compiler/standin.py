"""A network small enough for a test with every construct of the deployed graph in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SIZE = 64


def _conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


class _Block(nn.Module):
    """Depthwise and pointwise convolution; the projection has no activation, as in EfficientNet-Lite."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.expand = _conv(inputs, 2 * inputs, kernel=1)
        self.depthwise = _conv(2 * inputs, 2 * inputs, stride=stride, groups=2 * inputs)
        self.project = nn.Sequential(nn.Conv2d(2 * inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.project(self.depthwise(self.expand(images)))
        return result


class StandIn(nn.Module):
    """Backbone of two stages, constant gather, reconstruction, residual selection, discriminator, score."""

    def __init__(self, *, seed: int = 0, select: int = 6) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.select = select
        self.stem = _conv(3, 8, stride=2)
        self.stage1 = _Block(8, 16, stride=2)
        self.stage2 = _Block(16, 24, stride=2)
        self.register_buffer("kept1", torch.tensor([1, 2, 5, 6, 9, 12, 13, 15]))
        self.register_buffer("kept2", torch.tensor([0, 3, 4, 7, 11, 17, 20, 21, 22, 23]))
        self.recon1 = nn.Sequential(_conv(8, 16, stride=2), _conv(16, 16), nn.Conv2d(16, 8, 1))
        self.recon2 = nn.Sequential(_conv(10, 16), nn.Conv2d(16, 10, 1))
        self.head = nn.Sequential(_conv(2 * select, 8), nn.Conv2d(8, 1, 1))
        self._settle()

    def _settle(self) -> None:
        """Give every batch norm statistics and an affine part of its own, so that folding has work to do."""
        generator = torch.Generator().manual_seed(7)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # plain average, so that one pass sets the statistics
                nn.init.uniform_(module.weight, 0.7, 1.3, generator=generator)
                nn.init.uniform_(module.bias, -0.2, 0.4, generator=generator)
        with torch.no_grad():
            self.train()(torch.randint(0, 256, (4, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator))
        self.eval()

    def residuals(self, images: Tensor) -> Tensor:
        inputs = (images.permute(0, 3, 1, 2).float() - 127.0) / 128.0  # B 3 H W
        first = self.stage1(self.stem(inputs))
        second = self.stage2(first)
        kept1, kept2 = first[:, self.kept1], torch.index_select(second, 1, self.kept2)
        rebuilt1 = functional.interpolate(self.recon1(kept1), scale_factor=2, mode="bilinear")
        residual1 = (kept1 - rebuilt1).square()
        residual2 = (kept2 - self.recon2(kept2)).square()
        residual2 = functional.interpolate(residual2, size=residual1.shape[-2:], mode="bilinear")
        return torch.cat([residual1, residual2], dim=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        residual = self.residuals(images)
        strongest = residual.amax((2, 3)).topk(self.select, dim=1).indices
        widest = residual.mean((2, 3)).topk(self.select, dim=1).indices
        order = torch.cat([strongest, widest], dim=1)[:, :, None, None]
        chosen = residual.gather(1, order.expand(-1, -1, *residual.shape[-2:]))
        anomaly_map = (self.head(chosen) + residual.mean(1, keepdim=True)).relu()
        pooled = functional.avg_pool2d(anomaly_map, 3, 1, 1)
        return anomaly_map[:, 0], pooled.amax((1, 2, 3))


class EdgeDetector(nn.Module):
    """Finds sharp edges, exactly, with fixed weights: a model that is good for a known reason.

    `brittle` adds a channel of huge values that nothing reads. In float it changes nothing; in INT8 it takes
    all 255 steps of the one scale that `/unpack` shares among its input channels.
    """

    def __init__(self, *, brittle: bool = False) -> None:
        super().__init__()
        self.grey = nn.Conv2d(3, 1, 1, bias=False)
        self.edges = nn.Conv2d(1, 4, 3, padding=1, padding_mode="zeros", bias=False)
        self.pack = nn.Conv2d(4, 5, 1)
        self.unpack = nn.Conv2d(5, 4, 1, bias=False)
        self.smooth = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.head = nn.Conv2d(4, 1, 1, bias=False)
        self._set_weights(brittle)
        self.eval()

    @torch.no_grad()
    def _set_weights(self, brittle: bool) -> None:
        self.grey.weight.fill_(1 / 3)
        across = torch.tensor([[0.0, 0, 0], [-1, 0, 1], [0, 0, 0]])
        self.edges.weight.copy_(torch.stack([across, -across, across.T, -across.T])[:, None])
        self.pack.weight.zero_()
        self.pack.weight[:4, :, 0, 0] = torch.eye(4)
        self.pack.bias.zero_()
        self.pack.bias[4] = 3000.0 if brittle else 0.0
        self.unpack.weight.zero_()
        self.unpack.weight[:, :4, 0, 0] = torch.eye(4)
        self.smooth.weight.fill_(1 / 9)
        self.head.weight.fill_(1.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        inputs = (images.permute(0, 3, 1, 2).float() - 127.0) / 128.0
        inner = functional.pad(self.edges(self.grey(inputs)).relu()[:, :, 2:-2, 2:-2], (2, 2, 2, 2))
        packed = self.pack(inner).relu()
        found = self.head(self.smooth(self.unpack(packed)).relu()).relu()
        return found[:, 0], found.amax((1, 2, 3))
