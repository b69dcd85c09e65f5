"""The threshold, from good images held out of training, and its rate of false alarms (false rejects)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from edgead.bundle import ThresholdSpec
from edgead.errors import TrainingError

_CONFIDENCE = 0.95
_ROUNDING = 1e-9  # of a sum of weights


def threshold_of_products(
    scores: Sequence[float],
    map_peaks: Sequence[float],
    products: Sequence[str],
    *,
    false_alarm_rate: float,
    groups: Sequence[Hashable] | None = None,
    folds: int = 1,
) -> ThresholdSpec:
    """One threshold for all products together; its text says what each of them alone would have.

    `products` names the product of each score. The joint false-alarm rate is that of a good part drawn from
    the products in their proportions; a product whose good parts score higher than the others' has more of
    the alarms, so on a line that knows which product it runs, set that product's own threshold.
    """
    joint = threshold_from_good(
        scores, map_peaks, groups=groups, false_alarm_rate=false_alarm_rate, folds=folds
    )
    names = list(dict.fromkeys(products))
    if len(names) < 2:
        return joint
    parts = []
    for name in names:
        own = [index for index, product in enumerate(products) if product == name]
        alone = threshold_from_good(
            [scores[i] for i in own],
            [map_peaks[i] for i in own],
            groups=None if groups is None else [groups[i] for i in own],
            false_alarm_rate=false_alarm_rate,
        )
        above = sum(scores[i] >= joint.score for i in own)
        parts.append(f"{name} {alone.score:.6g} (from {len(own)} images, {above} above the joint one)")
    return replace(joint, method=f"{joint.method}; of all products together, alone: {', '.join(parts)}")


def threshold_from_good(
    scores: Sequence[float],
    map_peaks: Sequence[float],
    *,
    false_alarm_rate: float,
    groups: Sequence[Hashable] | None = None,
    folds: int = 1,
) -> ThresholdSpec:
    """Set the threshold so that at most about `false_alarm_rate` of good parts are called anomalous.

    `groups` names the part, tile or lot of each score; without it each is of its own. Images of one group are
    no independent evidence: with K groups, each of which counts as one whatever its number of images, and a
    weight w of images above the threshold, an image of a further group exceeds it with probability
    (w + 1) / (K + 1) at most, whatever the distribution (hierarchical conformal prediction: Lee, Barber and
    Willett 2023; split conformal prediction where each image is its own group). The threshold is the lowest
    for which that stays within the rate, and just above all scores where K is too small, which the text then
    says. With `folds` from 2 up each score is of one of as many trainings, that which did not see its group
    (cross-conformal prediction: Vovk 2015): the probability then supposes that the trainings score a new part
    alike, as the deviations that scores are measured in make them. The interval is Clopper and Pearson's for
    w exceedances among K.
    """
    values, peaks = np.asarray(scores, dtype=np.float64), np.asarray(map_peaks, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all() or not np.isfinite(peaks).all():
        raise TrainingError(
            f"The threshold needs finite scores of held-out good images, got {len(values)}"
            f"{' with NaN or infinity' if len(values) else ''}. The training may have diverged: train again "
            "with a lower --learning-rate."
        )
    names = list(range(len(values))) if groups is None else list(groups)
    images_of = Counter(names)
    weights = np.array([1.0 / images_of[name] for name in names])
    count = len(images_of)
    allowed = max(0.0, false_alarm_rate * (count + 1) - 1)
    score, above = _least_above(values, weights, allowed)
    pixel, _ = _least_above(peaks, weights, allowed)
    number = int((values >= score).sum())
    expected = (above + 1) / (count + 1)
    parts = "" if count == len(values) else f", {count} group{'s' * (count > 1)} of images"
    rank = f"{len(values) - number} of {len(values)}"
    held_out = "held out" if folds == 1 else f"each held out by one of {folds} trainings"
    method = f"just above score {rank}, in rising order, of good images {held_out}{parts}"
    if expected > false_alarm_rate + _ROUNDING:
        needed = math.ceil(1 / false_alarm_rate) - 1
        method += f"; a rate of {false_alarm_rate:.3g} needs {needed} {'groups' if parts else 'images'}"
    low, high = _interval(above, count)
    return ThresholdSpec(
        score=score,
        pixel=pixel,
        false_alarm_rate=expected,
        interval_low=low,
        interval_high=high,
        confidence=_CONFIDENCE,
        good_images=len(values),
        method=method,
        good_groups=count,
    )


def _least_above(
    values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], allowed: float
) -> tuple[float, float]:
    """The lowest threshold, just above a value, with a weight of `allowed` at most above it; that weight."""
    order = np.argsort(values, kind="stable")[::-1]
    cumulated = np.cumsum(weights[order])
    left_out = min(int(np.searchsorted(cumulated, allowed + _ROUNDING, side="right")), len(values) - 1)
    threshold = float(np.nextafter(np.float32(values[order[left_out]]), np.float32(np.inf)))
    return threshold, float(weights[values >= threshold].sum())


def _interval(above: float, count: int) -> tuple[float, float]:
    """Clopper and Pearson's interval of the rate; `above` need not be a whole number."""
    tail = (1 - _CONFIDENCE) / 2
    low = 0.0 if above <= 0 else float(beta.ppf(tail, above, count - above + 1))
    high = 1.0 if above >= count else float(beta.ppf(1 - tail, above + 1, count - above))
    return low, high
