"""ONNX from a torch model: one static, single-file graph, checked against torch."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn
from torch.onnx import symbolic_helper
from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

from edgead.compiler.simplify import simplify
from edgead.errors import CompileError

OPSET = 17
LARGEST_FILE = 2**31  # bytes, a limit of protobuf
_TIE_TOLERANCE = 0.05  # of the largest answer: what another order of two channels may change
INPUT = "image"
OUTPUTS = ("anomaly_map", "score")


@dataclass(frozen=True)
class Parity:
    """The largest difference of a map and a score between two engines, relative to the largest answer."""

    map_difference: float
    score_difference: float
    images: int

    def __str__(self) -> str:
        return (
            f"map within {self.map_difference:.1e}, score within {self.score_difference:.1e}"
            f" of the largest answer, on {self.images} images"
        )


def onnx_from_model(model: nn.Module, *, height: int, width: int) -> bytes:
    """Export an inspection model (uint8 B H W 3 -> map, score) as ONNX opset 17, batch 1, static shapes.

    The same weights give the same bytes. Raises CompileError where the model answers other shapes than
    agreed, holds weights that are not finite, or more of them than an ONNX file can.
    """
    _check_size(model)
    _check_weights(model)
    example = torch.zeros((1, height, width, 3), dtype=torch.uint8)
    was_training, state = model.training, [p.requires_grad for p in model.parameters()]
    model.eval().requires_grad_(False)
    try:
        _check_answer(model, example)
        proto = onnx.load_model_from_string(_export(model, example))
    finally:
        model.train(was_training)
        for parameter, flag in zip(model.parameters(), state, strict=True):
            parameter.requires_grad_(flag)
    simplify(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def _export(model: nn.Module, example: torch.Tensor) -> bytes:
    """Trace the model.

    The TorchScript exporter, because it writes opset 17 itself, folds batch norm, names nodes after modules
    and turns `x[:, kept]` into one Gather. Measured on torch 2.13: the exporter of `torch.export` stays at
    opset 18 (its conversion down fails on ReduceMax), writes GatherND between two transposes, takes 20 times
    as long.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad(), _constant_padding():
        warnings.simplefilter("ignore")
        _trace_to(buffer, model, example)
    return buffer.getvalue()


def _trace_to(buffer: io.BytesIO, model: nn.Module, example: torch.Tensor) -> None:
    try:
        torch.onnx.export(
            model,
            (example,),
            buffer,  # type: ignore[arg-type]  # a stream is accepted; the annotation is narrower
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamo=False,
        )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError) as error:
        gist = str(error).strip().splitlines()[0][:300]
        raise CompileError(
            f"torch cannot export the model to ONNX opset {OPSET}: {gist}. Write that operation with ones "
            "that ONNX has, at fixed sizes."
        ) from error


@contextlib.contextmanager
def _constant_padding() -> Iterator[None]:
    """Export paddings with their sizes as one constant.

    torch computes the sizes by a chain of nodes, behind which it no longer knows the shape of anything, and
    operations that need one (adaptive pooling) fail.
    """

    @symbolic_helper.parse_args("v", "is", "s", "v")
    def pad(graph: Any, tensor: Any, sizes: list[int], mode: str, filling: Any) -> Any:
        value = (
            0.0 if symbolic_helper._is_none(filling) else symbolic_helper._get_const(filling, "f", "value")
        )
        ends = [*zip(sizes[::2], sizes[1::2], strict=True)][::-1]
        ends = [(0, 0)] * (4 - len(ends)) + ends
        order = torch.tensor([begin for begin, _ in ends] + [end for _, end in ends])
        constants = [graph.op("Constant", value_t=order), graph.op("Constant", value_t=torch.tensor(value))]
        padded = graph.op("Pad", tensor, *constants, mode_s={"replicate": "edge"}.get(mode, mode))
        shape = symbolic_helper._get_tensor_sizes(tensor)
        if shape is not None and None not in shape:
            known = [size + sum(end) for size, end in zip(shape, ends, strict=True)]
            padded.setType(tensor.type().with_sizes(known))
        return padded

    register_custom_op_symbolic("aten::pad", pad, OPSET)
    try:
        yield
    finally:
        unregister_custom_op_symbolic("aten::pad", OPSET)


def _check_size(model: nn.Module) -> None:
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size >= LARGEST_FILE:
        millions = sum(tensor.numel() for tensor in tensors) / 1e6
        raise CompileError(
            f"The model's {millions:.0f} M weights take {size / 1e9:.1f} GB; an ONNX file holds "
            f"{LARGEST_FILE / 1e9:.1f}. Train with fewer channels: --channels, another --preset, or --target "
            "with --latency-ms."
        )


def _check_weights(model: nn.Module) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CompileError(
                f"Weights must be finite numbers; '{name}' holds NaN or infinity. "
                "The training has diverged or the file is damaged: train again or choose another run."
            )


def _check_answer(model: nn.Module, example: torch.Tensor) -> None:
    with torch.no_grad():
        anomaly_map, score = model(example)
    if anomaly_map.ndim != 3 or anomaly_map.shape[0] != 1 or tuple(score.shape) != (1,):
        raise CompileError(
            "A model must answer a map of 1 x h x w and one score for one image; "
            f"found a map of {tuple(anomaly_map.shape)} and scores of {tuple(score.shape)}."
        )


def compare_answers(
    expected: Sequence[tuple[np.ndarray, float]], found: Sequence[tuple[np.ndarray, float]]
) -> Parity:
    """Largest absolute differences, divided by the largest expected value over all images."""
    each = _differences(expected, found)
    return Parity(
        map_difference=max(of_map for of_map, _ in each),
        score_difference=max(of_score for _, of_score in each),
        images=len(each),
    )


def _differences(
    expected: Sequence[tuple[np.ndarray, float]], found: Sequence[tuple[np.ndarray, float]]
) -> list[tuple[float, float]]:
    """Of each image the largest of the map and that of the score, over the largest of all images."""
    map_scale = max((float(np.abs(a).max()) for a, _ in expected), default=0.0) or 1.0
    score_scale = max((abs(s) for _, s in expected), default=0.0) or 1.0
    return [
        (float(np.abs(a - b).max()) / map_scale, abs(s - t) / score_scale)
        for (a, s), (b, t) in zip(expected, found, strict=True)
    ]


def torch_answers(model: nn.Module, images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, float]]:
    """The map (h w float32) and the score of each image, from torch in float32."""
    training = model.training
    model.eval()
    answers = []
    with torch.inference_mode():
        for image in images:
            anomaly_map, score = model(torch.from_numpy(np.ascontiguousarray(image))[None])
            answers.append((anomaly_map[0].float().cpu().numpy(), float(score[0])))
    model.train(training)
    return answers


def check_parity(
    expected: Sequence[tuple[np.ndarray, float]],
    found: Sequence[tuple[np.ndarray, float]],
    *,
    stage: str,
    tolerance: float,
) -> Parity:
    """Compare two stages; raises CompileError with the numbers where they differ by more than `tolerance`.

    The tolerance is relative to the largest answer. A selection of channels by rank turns on rounding where
    two channels nearly tie, so one image in four may differ by up to `_TIE_TOLERANCE`. A NaN fails.
    """
    parity = compare_answers(expected, found)
    worst = [max(differences) for differences in _differences(expected, found)]
    beyond = sum(not value <= tolerance for value in worst)
    tied = all(value <= _TIE_TOLERANCE for value in worst) and beyond <= len(worst) // 4
    if (beyond and not tied) or not np.isfinite([parity.map_difference, parity.score_difference]).all():
        raise CompileError(
            f"{stage} must give the answers of the stage before within {tolerance:.1e} of the largest; found "
            f"{parity}, {beyond} of them further off. An operation is exported wrongly, or the model's "
            "answer hangs on rounding (near ties in a selection of channels do that in a model that has "
            "learnt little: train longer)."
        )
    return parity
