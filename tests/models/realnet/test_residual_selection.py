"""Residual selection: the published order, its two forms of gather, and what engines accept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgead.errors import UsageError
from edgead.models.realnet.parts.residual_selection import ResidualSelection


def _selection(*, by_max: int = 3, by_mean: int = 2, channels: int = 6) -> ResidualSelection:
    torch.manual_seed(1)
    selection = ResidualSelection(channels, by_max=by_max, by_mean=by_mean).eval()
    selection.norm.running_mean.uniform_(0, 2)
    selection.norm.running_var.uniform_(0.1, 4)
    return selection


def _reference(selection: ResidualSelection, residuals: torch.Tensor) -> torch.Tensor:
    """The definition, image by image and channel by channel."""
    normed = selection.norm(residuals)
    images = []
    for image, scaled in zip(residuals, normed, strict=True):
        by_max = sorted(range(len(image)), key=lambda c: -float(scaled[c].max()))[: selection.by_max]
        by_mean = sorted(range(len(image)), key=lambda c: -float(scaled[c].mean()))[: selection.by_mean]
        images.append(torch.stack([image[c] for c in by_max + by_mean]))
    return torch.stack(images)


@pytest.mark.parametrize(("by_max", "by_mean"), [(3, 2), (6, 6), (1, 0), (0, 4)])
@pytest.mark.parametrize("batch", [1, 3])
def test_follows_the_definition(batch: int, by_max: int, by_mean: int) -> None:
    selection = _selection(by_max=by_max, by_mean=by_mean)
    residuals = torch.rand(batch, 6, 5, 4)
    found = selection(residuals)
    assert found.shape == (batch, selection.outputs, 5, 4)
    assert torch.equal(found, _reference(selection, residuals))


def test_training_ranks_by_the_statistics_of_the_batch() -> None:
    selection, reference = _selection().train(), _selection().train()
    residuals = torch.rand(3, 6, 5, 4)
    assert torch.equal(selection(residuals), _reference(reference, residuals))


def test_one_image_and_a_batch_agree() -> None:
    """index_select at batch 1 and gather in a batch are the same choice."""
    selection = _selection()
    residuals = torch.rand(4, 6, 5, 4)
    singles = torch.cat([selection(residual[None]) for residual in residuals])
    assert torch.equal(selection(residuals), singles)


def test_running_statistics_follow_the_newest_batch() -> None:
    selection = ResidualSelection(2, by_max=1, by_mean=1).train()
    residuals = torch.rand(4, 2, 8, 8)
    selection(residuals)
    expected = 0.9 * residuals.mean(dim=(0, 2, 3))
    torch.testing.assert_close(selection.norm.running_mean, expected)


def test_gradient_reaches_the_chosen_residuals_only() -> None:
    selection = _selection(by_max=2, by_mean=0)
    residuals = torch.rand(2, 6, 5, 4, requires_grad=True)
    selection(residuals).sum().backward()
    assert residuals.grad is not None
    touched = residuals.grad.flatten(2).abs().sum(dim=2).ne(0).sum(dim=1)
    assert touched.tolist() == [2, 2]
    assert residuals.grad.unique().tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("channels", "by_max", "by_mean", "message"),
    [
        (4, 5, 1, "at most 4"),
        (4, 1, 5, "at most 4"),
        (4, 0, 0, "channels to keep"),
        (4, -1, 2, "channels to keep"),
        (5000, 3841, 1, "3840"),
    ],
)
def test_impossible_counts(channels: int, by_max: int, by_mean: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ResidualSelection(channels, by_max=by_max, by_mean=by_mean)


@pytest.mark.filterwarnings("ignore")
def test_export_uses_gather_and_constant_top_k(tmp_path: Path) -> None:
    """TensorRT takes TopK with a constant K, and Gather needs no index as large as the features."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    selection, residuals = _selection(), torch.rand(1, 6, 8, 8)
    path = tmp_path / "selection.onnx"
    torch.onnx.export(selection, (residuals,), path, opset_version=17, dynamo=False, input_names=["x"])
    graph = onnx.load(path).graph
    constants = {i.name for i in graph.initializer}
    constants |= {n.output[0] for n in graph.node if n.op_type == "Constant"}
    top_ks = [n for n in graph.node if n.op_type == "TopK"]
    assert len(top_ks) == 2
    assert all(n.input[1] in constants for n in top_ks)
    assert all(a.i == 1 for n in top_ks for a in n.attribute if a.name in ("axis", "sorted", "largest"))
    gathers = [n for n in graph.node if n.op_type == "Gather" and n.input[0] == "x"]
    assert [a.i for n in gathers for a in n.attribute if a.name == "axis"] == [1]
    assert not any(n.op_type in ("GatherElements", "GatherND") for n in graph.node)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": residuals.numpy()})
    assert torch.equal(torch.from_numpy(found), selection(residuals))
