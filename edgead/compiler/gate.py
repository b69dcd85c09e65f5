"""The accuracy gate: what INT8 costs, which layers cost it, and the refusal when it is too much.

A drop of image AUROC on a few hundred images is uncertain by a multiple of what a recipe allows. A model is
refused where the drop is above the limit by more than that, not where chance can have made it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from edgead.compiler.calibration import PreparedImage
from edgead.compiler.distances import distance_operations
from edgead.compiler.quantize import quantized_operations, revert_operations
from edgead.compiler.recipe import GateSpec
from edgead.errors import AccuracyGateError, CompileError
from edgead.evaluation import evaluator
from edgead.map_and_score import MapAndScore
from edgead.metrics import GATED, IMAGE_AUROC, Figures

Answering: TypeAlias = "Callable[[bytes, Sequence[PreparedImage]], list[MapAndScore]]"
# Metric -> the limit of its drop in a recipe.
_LIMITED = {metric.key: f"max_drop_{metric.key}" for metric in GATED}
_NAMED_LAYERS = 5
_STANDARD_ERRORS = 1.645  # standard errors that a drop may be above its limit by chance: 95 % of one side
_MOST_BY_CHANCE = 0.05  # above its limit; a larger drop is refused, however few the images
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
    standard_errors: Mapping[str, float] = field(default_factory=dict)  # of drops, by metric, where known

    @property
    def drops(self) -> dict[str, float]:
        """Float minus INT8 of each limited metric."""
        return drops(self.float_figures, self.figures)

    def excess(self, spec: GateSpec) -> float:
        """By how much its worst drop is over the limit, beyond chance."""
        return excess(self.drops, spec, self.standard_errors)


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


def excess(
    found: Mapping[str, float], spec: GateSpec, standard_errors: Mapping[str, float] | None = None
) -> float:
    """By how much the worst drop is over its limit, beyond chance; zero or less is accepted."""
    room = {
        name: min(_STANDARD_ERRORS * error, _MOST_BY_CHANCE)
        for name, error in (standard_errors or {}).items()
    }
    over = (drop - getattr(spec, _LIMITED[name]) - room.get(name, 0.0) for name, drop in found.items())
    return max(over, default=-math.inf)


def auroc_drop_error(before: Sequence[float], after: Sequence[float], is_anomalous: Sequence[bool]) -> float:
    """The standard error of the difference of two image AUROC on the same images (DeLong et al. 1988).

    before, after: the scores of two models. The images vary, and what both models get wrong alike cancels.
    Several anomalies on one good image are counted as so many images: they may be uncertain by more.
    """
    labels = np.asarray(is_anomalous, bool)
    wins = [_wins(np.asarray(scores, np.float64), labels) for scores in (before, after)]
    variance = 0.0
    for axis in (1, 0):  # over the anomalous images, over the good ones
        gaps = wins[0].mean(axis=axis) - wins[1].mean(axis=axis)
        variance += float(gaps.var(ddof=1)) / len(gaps) if len(gaps) > 1 else math.inf
    return math.sqrt(variance)


def _wins(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Anomalous x good: 1 where the anomalous image has the higher score, 1/2 where they tie."""
    gaps = scores[labels][:, None] - scores[~labels][None]
    return np.asarray((np.sign(gaps) + 1) / 2)


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
    result = _judged(quantized, before, images, float_answers, answer)
    if result.excess(spec) <= 0:
        return result
    costs = layer_costs(quantized, original, images=images, float_answers=float_answers, answer=answer)
    best = result
    for attempt in range(1, spec.tries + 1):
        chosen = costs[: 2 ** (attempt - 1)]
        model = revert_operations(quantized, original, [cost.name for cost in chosen])
        found = _judged(model, before, images, float_answers, answer)
        found = replace(found, reverted=tuple(chosen), tries=attempt)
        if found.excess(spec) <= 0:
            return found
        best = min(best, found, key=lambda item: item.excess(spec))
        if len(chosen) == len(costs):
            break
    raise AccuracyGateError(_refusal(result, best, costs, spec))


def _judged(
    model: bytes,
    before: Figures,
    images: Sequence[PreparedImage],
    float_answers: Sequence[MapAndScore],
    answer: Answering,
) -> GateResult:
    answers = answer(model, images)
    figures = measure(answers, images) | {"map_correlation": map_correlation(float_answers, answers)}
    error = auroc_drop_error(
        [one.score for one in float_answers],
        [one.score for one in answers],
        [item.is_anomalous for item in images],
    )
    return GateResult(model, before, figures, standard_errors={IMAGE_AUROC.key: error})


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


def drops_text(result: GateResult) -> str:
    """The drop of each limited metric, and by how much chance can have changed it."""
    return ", ".join(
        f"{name} {drop:+.4f}{_uncertain(result.standard_errors.get(name))}"
        for name, drop in result.drops.items()
    )


def _losses(result: GateResult) -> str:
    found = result.drops
    return " and ".join(
        f"{name} loses {drop:.4f}{_uncertain(result.standard_errors.get(name))} "
        f"({_text(result.float_figures[name])} to {_text(result.figures[name])})"
        for name, drop in found.items()
    )


def _uncertain(error: float | None) -> str:
    return "" if error is None else f" +- {_STANDARD_ERRORS * error:.4f}"


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
