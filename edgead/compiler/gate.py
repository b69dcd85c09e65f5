"""The accuracy gate: what INT8 costs, which layers cost it, and the refusal when it is too much."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx

from edgead.compiler.calibration import PreparedImage
from edgead.compiler.distances import distance_operations
from edgead.compiler.quantize import quantized_operations, revert_operations
from edgead.compiler.recipe import GateSpec
from edgead.errors import AccuracyGateError, CompileError
from edgead.evaluation import evaluator
from edgead.map_and_score import MapAndScore
from edgead.metrics import GATED, Figures

Answering: TypeAlias = "Callable[[bytes, Sequence[PreparedImage]], list[MapAndScore]]"
# Metric -> the limit of its drop in a recipe.
_LIMITED = {metric.key: f"max_drop_{metric.key}" for metric in GATED}
_NAMED_LAYERS = 5
_IMAGES_PER_LAYER = (
    12  # a rough ranking: on a network of 108 operations the errors of the first twelve were 9 to 15 %
)


@dataclass(frozen=True)
class LayerCost:
    """What one operation costs alone: the error of the maps when it is the only one in INT8.

    `error` is the root mean square over all pixels, relative to that of the float maps.
    """

    name: str
    error: float


@dataclass(frozen=True)
class GateResult:
    """The accepted model, its figures, and the operations that went back to float, costliest first."""

    model: bytes
    float_figures: Figures
    figures: Figures
    reverted: tuple[LayerCost, ...] = ()
    tries: int = 0

    @property
    def drops(self) -> dict[str, float]:
        """Float minus INT8 of each limited metric."""
        return drops(self.float_figures, self.figures)


def measure(answers: Sequence[MapAndScore], images: Sequence[PreparedImage]) -> Figures:
    """The figures of answers by the one evaluation, with maps resized to the image; None where undefined."""
    return evaluator.measure(answers, [item.mask for item in images]).summary()


def map_correlation(expected: Sequence[MapAndScore], found: Sequence[MapAndScore]) -> float:
    """Pearson correlation of all map pixels of two models; a constant map correlates with its equal alone."""
    first = np.concatenate([a.ravel() for a, _ in expected]).astype(np.float64)
    second = np.concatenate([a.ravel() for a, _ in found]).astype(np.float64)
    if np.array_equal(first, second):
        return 1.0
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def drops(before: Figures, after: Figures) -> dict[str, float]:
    """Before minus after of each limited metric; a metric that is undefined in both has no drop."""
    result = {}
    for name in _LIMITED:
        first, second = before.get(name), after.get(name)
        if first is not None:
            result[name] = math.inf if second is None else first - second
    return result


def excess(found: dict[str, float], spec: GateSpec) -> float:
    """By how much the worst drop is over its limit; zero or less is accepted."""
    return max((drop - getattr(spec, _LIMITED[name]) for name, drop in found.items()), default=-math.inf)


def pass_gate(
    quantized: bytes,
    original: bytes,
    *,
    images: Sequence[PreparedImage],
    float_answers: Sequence[MapAndScore],
    answer: Answering,
    spec: GateSpec,
) -> GateResult:
    """Accept the INT8 graph, or one with its costliest operations back in float, or raise AccuracyGateError.

    `answer` runs a graph in the engine it is meant for. Operations go back in doubling numbers (1, 2, 4,
    ...), at most `spec.tries` times: every try is a run over all images.
    """
    _check_judges(images)
    before = measure(float_answers, images)
    result = GateResult(quantized, before, _judged(quantized, images, float_answers, answer))
    if excess(result.drops, spec) <= 0:
        return result
    costs = layer_costs(quantized, original, images=images, float_answers=float_answers, answer=answer)
    best = result
    for attempt in range(1, spec.tries + 1):
        chosen = costs[: 2 ** (attempt - 1)]
        model = revert_operations(quantized, original, [cost.name for cost in chosen])
        figures = _judged(model, images, float_answers, answer)
        found = GateResult(model, before, figures, tuple(chosen), attempt)
        if excess(found.drops, spec) <= 0:
            return found
        best = min(best, found, key=lambda item: excess(item.drops, spec))
        if len(chosen) == len(costs):
            break
    raise AccuracyGateError(_refusal(result, best, costs, spec))


def _judged(
    model: bytes, images: Sequence[PreparedImage], float_answers: Sequence[MapAndScore], answer: Answering
) -> Figures:
    answers = answer(model, images)
    return measure(answers, images) | {"map_correlation": map_correlation(float_answers, answers)}


def _check_judges(images: Sequence[PreparedImage]) -> None:
    anomalous = sum(item.is_anomalous for item in images)
    if not anomalous or anomalous == len(images):
        raise CompileError(
            f"The accuracy gate needs good and anomalous images; found {len(images) - anomalous} good "
            f"and {anomalous} anomalous. Hold more good images out of training, or raise gate.images."
        )


def layer_costs(
    quantized: bytes,
    original: bytes,
    *,
    images: Sequence[PreparedImage],
    float_answers: Sequence[MapAndScore],
    answer: Answering,
) -> list[LayerCost]:
    """Measure each quantized operation alone in INT8 and sort by the error of the maps, costliest first."""
    exact = distance_operations(onnx.load_model_from_string(original))  # they only make sense together
    names = [n for n in quantized_operations(onnx.load_model_from_string(quantized)) if n not in exact]
    chosen = _spread(images, _IMAGES_PER_LAYER)
    judges = [images[i] for i in chosen]
    expected = np.concatenate([float_answers[i][0].ravel() for i in chosen]).astype(np.float64)
    scale = float(np.sqrt(np.mean(expected**2))) or 1.0
    costs = []
    for name in names:
        others = [other for other in names if other != name]
        answers = answer(revert_operations(quantized, original, others), judges)
        found = np.concatenate([a.ravel() for a, _ in answers]).astype(np.float64)
        costs.append(LayerCost(name, float(np.sqrt(np.mean((found - expected) ** 2))) / scale))
    return sorted(costs, key=lambda cost: -cost.error)


def _spread(images: Sequence[PreparedImage], count: int) -> list[int]:
    """Indices of at most `count` images, half of them anomalous where there are as many."""
    good = [i for i, item in enumerate(images) if not item.is_anomalous]
    anomalous = [i for i, item in enumerate(images) if item.is_anomalous]
    return sorted(good[: count // 2] + anomalous[: count - count // 2])


def _refusal(first: GateResult, best: GateResult, costs: Sequence[LayerCost], spec: GateSpec) -> str:
    limits = ", ".join(f"{name} {getattr(spec, key)}" for name, key in _LIMITED.items())
    worst = ", ".join(f"{cost.name} ({cost.error:.1%})" for cost in costs[:_NAMED_LAYERS])
    return (
        f"INT8 costs more accuracy than the recipe allows (limits: {limits}). With everything in INT8 "
        f"{_losses(first)}; at best, with {len(best.reverted)} of {len(costs)} operations back in float, "
        f"{_losses(best)}. Error of the maps that each operation causes alone, costliest first: {worst}. "
        "Nothing was written. Keep these layers in float (quantization.keep_layers of the recipe), calibrate "
        "with more images, raise gate.tries, or compile with --precision f32."
    )


def _losses(result: GateResult) -> str:
    found = result.drops
    return " and ".join(
        f"{name} loses {drop:.4f} ({_text(result.float_figures[name])} to {_text(result.figures[name])})"
        for name, drop in found.items()
    )


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
