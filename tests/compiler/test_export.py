from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from standin import SIZE, StandIn
from torch import Tensor, nn

from edgead.compiler.answers import answers_of_onnx
from edgead.compiler.export import OPSET, check_parity, compare_answers, onnx_from_model, torch_answers
from edgead.compiler.pipeline import ImageSets
from edgead.errors import CompileError


def test_the_graph_is_static_opset_17_and_takes_bytes(original: bytes) -> None:
    model = onnx.load_model_from_string(original)
    onnx.checker.check_model(model, full_check=True)
    ports = {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in [*model.graph.input, *model.graph.output]
        for tensor in [value.type.tensor_type]
    }
    assert [entry.version for entry in model.opset_import] == [OPSET]
    assert ports == {
        "image": (onnx.TensorProto.UINT8, [1, SIZE, SIZE, 3]),
        "anomaly_map": (onnx.TensorProto.FLOAT, [1, SIZE // 4, SIZE // 4]),
        "score": (onnx.TensorProto.FLOAT, [1]),
    }


def test_no_trace_is_left_of_what_can_be_folded(original: bytes) -> None:
    nodes = onnx.load_model_from_string(original).graph.node
    kinds = {node.op_type for node in nodes}
    assert not kinds & {
        "BatchNormalization",
        "Constant",
        "Identity",
        "Shape",
        "Div",
        "GatherElements",
        "Expand",
    }


def test_topk_takes_its_count_from_an_initializer(original: bytes) -> None:
    graph = onnx.load_model_from_string(original).graph
    constants = {tensor.name for tensor in graph.initializer}
    found = [node for node in graph.node if node.op_type == "TopK"]
    assert len(found) == 2
    assert all(node.input[1] in constants for node in found)
    assert all(a.i == 1 for node in found for a in node.attribute if a.name == "sorted")


def test_answers_are_those_of_torch(standin: StandIn, original: bytes, images: ImageSets) -> None:
    generator = np.random.default_rng(3)
    probes = [*generator.integers(0, 256, (4, SIZE, SIZE, 3), np.uint8), *[i.image for i in images.gate[:4]]]
    parity = compare_answers(torch_answers(standin, probes), answers_of_onnx(original, probes))
    assert parity.map_difference < 1e-5
    assert parity.score_difference < 1e-5


def test_equal_weights_give_equal_bytes(original: bytes) -> None:
    assert onnx_from_model(StandIn(), height=SIZE, width=SIZE) == original
    assert onnx_from_model(StandIn(seed=1), height=SIZE, width=SIZE) != original


def test_exporting_leaves_the_model_as_it_was(standin: StandIn) -> None:
    model = StandIn().train()
    onnx_from_model(model, height=SIZE, width=SIZE)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value: float) -> None:
    model = StandIn()
    with torch.no_grad():
        model.head[1].weight.view(-1)[0] = value
    with pytest.raises(CompileError, match=r"'head\.1\.weight' holds NaN or infinity"):
        onnx_from_model(model, height=SIZE, width=SIZE)


def test_more_weights_than_a_file_holds_are_refused_before_the_minutes() -> None:
    model = StandIn()
    model.register_buffer("huge", torch.empty(2**29, device="meta"))
    with pytest.raises(
        CompileError, match=r"537 M weights take 2\.1 GB; an ONNX file holds 2\.1\. .*--channels"
    ):
        onnx_from_model(model, height=SIZE, width=SIZE)


class _WrongAnswer(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.float(), images.float().mean()


def test_an_answer_of_another_shape_is_refused() -> None:
    with pytest.raises(CompileError, match=r"found a map of \(1, 64, 64, 3\) and scores of \(\)"):
        onnx_from_model(_WrongAnswer(), height=SIZE, width=SIZE)


@pytest.mark.parametrize("spoil", [0.01, float("nan"), float("inf")])
def test_a_difference_beyond_tolerance_fails_with_the_numbers(spoil: float) -> None:
    first = [(np.ones((4, 4), np.float32), 1.0)]
    second = [(np.full((4, 4), 1 + spoil, np.float32), 1.0)]
    with pytest.raises(CompileError, match=r"within 1\.0e-03 of the largest; found map within"):
        check_parity(first, second, stage="the ONNX graph", tolerance=1e-3)


def test_one_image_in_four_may_differ_as_much_as_a_tie_can() -> None:
    first = [(np.ones((4, 4), np.float32), 1.0)] * 4
    tied = [*first[:3], (np.full((4, 4), 1.01, np.float32), 1.0)]
    check_parity(first, tied, stage="the ONNX graph", tolerance=1e-3)
    broken = [*first[:3], (np.full((4, 4), 1.1, np.float32), 1.0)]
    with pytest.raises(CompileError, match="1 of them further off"):
        check_parity(first, broken, stage="the ONNX graph", tolerance=1e-3)
