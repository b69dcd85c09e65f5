"""The bank of good features in INT8: distances of rounded points, in every engine that can run here."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edgead.compiler import tensorrt_rules
from edgead.compiler.answers import answers_of_onnx
from edgead.compiler.distances import distance_operations, quantize_distances
from edgead.compiler.export import onnx_from_model
from edgead.models.features.memory_bank import MemoryBank

SIZE = 16


class Far(nn.Module):
    """The distance of each cell of 2 x 2 pixels to the bank, and the largest."""

    def __init__(self, *, size: int, density: bool = False) -> None:
        super().__init__()
        self.bank = MemoryBank((3,), components=3, size=size, density=density)
        self.bank.fit([[self.maps(random_images(4, seed=1))]], torch.Generator().manual_seed(0))

    def maps(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images.permute(0, 3, 1, 2).float(), 2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        distances = self.bank([self.maps(images)])
        return distances, distances.flatten(1).amax(dim=1)


def random_images(count: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module", params=[20, 1100], ids=["one block", "more than a block"])
def far(request: pytest.FixtureRequest) -> Far:
    return Far(size=request.param).eval()


def rounded(far: Far) -> onnx.ModelProto:
    model = onnx.load_model_from_string(onnx_from_model(far, height=SIZE, width=SIZE))
    assert quantize_distances(model) == -(-far.bank.size // 1024)
    onnx.checker.check_model(model, full_check=True)
    return model


def test_it_is_the_distance_of_the_rounded_points(far: Far):
    model, images = rounded(far), random_images(3, seed=2)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    (step,) = {float(constants[n.input[1]]) for n in model.graph.node if n.op_type == "QuantizeLinear"}
    rows = far.maps(images).movedim(1, -1) @ far.bank.projection.T + far.bank.offset
    features = np.clip(np.rint(rows.double().numpy() / step), -128, 127) * step
    points = np.rint(far.bank.prototypes.double().numpy() / step) * step
    expected = np.linalg.norm(features[..., None, :] - points, axis=-1).min(axis=-1)
    found = answers_of_onnx(model.SerializeToString(), list(images.numpy()))
    np.testing.assert_allclose([m for m, _ in found], expected, atol=1e-3)


def test_distances_move_by_no_more_than_the_rounding(far: Far):
    images = random_images(3, seed=3)
    found = answers_of_onnx(rounded(far).SerializeToString(), list(images.numpy()))
    step = 1.25 * float(far.bank.prototypes.abs().max()) / 127
    most = 2 * np.sqrt(3) * step / 2  # both points, by half a step in each of three components
    np.testing.assert_allclose([m for m, _ in found], far(images)[0].numpy(), atol=most + 1e-3)


@pytest.mark.parametrize("size", [20, 1100])
def test_the_density_is_taken_off_the_rounded_distances(size: int):
    dense, images = Far(size=size, density=True).eval(), random_images(3, seed=3)
    model = rounded(dense)
    found = np.stack([m for m, _ in answers_of_onnx(model.SerializeToString(), list(images.numpy()))])
    step = 1.25 * float(dense.bank.prototypes.abs().max()) / 127
    wanted = dense(images)[0].numpy()
    rows = dense.maps(images).movedim(1, -1) @ dense.bank.projection.T + dense.bank.offset
    furthest = float(torch.cdist(rows.flatten(0, 2), dense.bank.prototypes).max())
    most = np.sqrt(3) * step  # of the distance, both points moved
    assert np.abs(found - wanted).max() <= 2 * furthest * most + most**2 + 1e-3
    assert dense.bank.density is not None
    assert float(dense.bank.density.max()) > 0
    assert (found < 0).any()  # which a distance alone never is


def test_products_and_squares_read_the_same_rounded_features(far: Far):
    model = rounded(far)
    parts = distance_operations(onnx.load_model_from_string(onnx_from_model(far, height=SIZE, width=SIZE)))
    maker = {node.output[0]: node for node in model.graph.node}
    read = {maker[node.input[0]].op_type for node in model.graph.node if node.name in parts}
    assert read == {"DequantizeLinear"}
    assert {n.op_type for n in model.graph.node if n.name in parts} == {"MatMul", "Mul"}
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    steps = {float(constants[n.input[1]]) for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert len(steps) == 1
    weights = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and "points" in n.name]
    assert all(constants[node.input[0]].dtype == np.int8 for node in weights)


def test_without_a_least_behind_it_the_convolution_stays():
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))

    class Brackets(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            cells = nn.functional.avg_pool2d(images.permute(0, 3, 1, 2).float(), 2)
            found = nn.functional.conv2d(cells, -2 * points[:, :, None, None], points.square().sum(dim=1))
            return found[:, 0], found.flatten(1).amax(dim=1)

    model = onnx.load_model_from_string(onnx_from_model(Brackets().eval(), height=SIZE, width=SIZE))
    assert quantize_distances(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert "MatMul" not in {node.op_type for node in model.graph.node}


def test_a_recipe_keeps_them_in_float(far: Far):
    content = onnx_from_model(far, height=SIZE, width=SIZE)
    model = onnx.load_model_from_string(content)
    assert quantize_distances(model, kept=["/bank/*"]) == 0
    assert model.SerializeToString() == onnx.load_model_from_string(content).SerializeToString()


def test_other_convolutions_are_left_alone():
    plain = nn.Conv2d(3, 2, 1)

    class Other(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            answer = plain(images.permute(0, 3, 1, 2).float())
            return answer[:, 0], answer.flatten(1).amax(dim=1)

    other = Other()
    other.add_module("plain", plain)
    model = onnx.load_model_from_string(onnx_from_model(other.eval(), height=SIZE, width=SIZE))
    assert quantize_distances(model) == 0
    assert distance_operations(model) == set()


def test_tensorrt_takes_them(far: Far):
    wanted = tensorrt_rules.versions().values()
    findings = tensorrt_rules.check_model(rounded(far).SerializeToString(), wanted)
    assert {f.rule for f in findings if "bank" in f.name and f.level == "refuse"} == set()
