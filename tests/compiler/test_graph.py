from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from standin import SIZE
from torch import Tensor, nn

from edgead.compiler.answers import answers_of_onnx
from edgead.compiler.export import compare_answers, onnx_from_model, torch_answers


class _Gathering(nn.Module):
    """A gather after a convolution with one or two readers, plain or through an activation."""

    def __init__(self, *, readers: int, activated: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.readers = readers
        self.convolution = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8))
        self.activation = nn.ReLU6() if activated else nn.Identity()
        self.register_buffer("kept", torch.tensor([6, 1, 3]))
        self.last = nn.Conv2d(3, 1, 1)
        self.other = nn.Conv2d(8, 1, 1)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.tensor([120.0, 110.0, 100.0]).view(1, 3, 1, 1)
        deviation = torch.tensor([58.0, 57.0, 56.0]).view(1, 3, 1, 1)
        inputs = (images.permute(0, 3, 1, 2).float() - mean) / deviation
        features = self.activation(self.convolution(inputs))
        found = self.last(features[:, self.kept])
        if self.readers == 2:
            found = found + self.other(features)
        return found[:, 0], found.amax((1, 2, 3))


@pytest.mark.parametrize("activated", [False, True])
@pytest.mark.parametrize(("readers", "gathers", "outputs"), [(1, 0, 3), (2, 1, 8)])
def test_a_gather_is_folded_where_nothing_else_reads(
    readers: int, gathers: int, outputs: int, activated: bool
) -> None:
    torch_model = _Gathering(readers=readers, activated=activated)
    content = onnx_from_model(torch_model, height=SIZE, width=SIZE)
    graph = onnx.load_model_from_string(content).graph
    counts = Counter(node.op_type for node in graph.node)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "Conv")
    # One gather more picks the only channel of the map.
    assert counts["Gather"] == gathers + 1
    assert constants[first.input[1]].dims[0] == outputs
    assert counts["Div"] == counts["Mul"] == 0
    probes = [*np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)]
    parity = compare_answers(torch_answers(torch_model, probes), answers_of_onnx(content, probes))
    assert parity.map_difference < 1e-5


def test_nothing_unread_is_left(original: bytes) -> None:
    graph = onnx.load_model_from_string(original).graph
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    assert all(tensor.name in read for tensor in graph.initializer)
    assert all(set(node.output) & read for node in graph.node)


class _Padding(nn.Module):
    """A convolution behind a padding of one side, by a number, and the square of what it finds."""

    def __init__(self, value: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pad = nn.ConstantPad2d((0, 1, 0, 1), value)
        self.convolution = nn.Conv2d(3, 4, 3, 2)
        self.last = nn.Conv2d(4, 1, 1)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.convolution(self.pad(images.permute(0, 3, 1, 2).float()))
        found = self.last(features.square())
        return found[:, 0], found.amax((1, 2, 3))


@pytest.mark.parametrize(("value", "subtractions"), [(0.0, 0), (127.0, 1)])
def test_padding_moves_into_the_convolution(value: float, subtractions: int) -> None:
    torch_model = _Padding(value)
    content = onnx_from_model(torch_model, height=SIZE, width=SIZE)
    counts = Counter(node.op_type for node in onnx.load_model_from_string(content).graph.node)
    assert (counts["Pad"], counts["Sub"], counts["Shape"]) == (0, subtractions, 0)
    probes = [*np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)]
    parity = compare_answers(torch_answers(torch_model, probes), answers_of_onnx(content, probes))
    assert parity.map_difference < 1e-5
