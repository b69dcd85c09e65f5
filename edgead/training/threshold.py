"""The threshold, from good images held out of training, and its rate of false alarms (false rejects)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import binomtest

from edgead.bundle import ThresholdSpec
from edgead.errors import TrainingError

_CONFIDENCE = 0.95


def threshold_of_products(
    scores: Sequence[float], map_peaks: Sequence[float], products: Sequence[str], *, false_alarm_rate: float
) -> ThresholdSpec:
    """One threshold for all products together; its text says what each of them alone would have.

    `products` names the product of each score. The joint false-alarm rate is that of a good part drawn from
    the products in their proportions; a product whose good parts score higher than the others' has more of
    the alarms, so on a line that knows which product it runs, set that product's own threshold.
    """
    joint = threshold_from_good(scores, map_peaks, false_alarm_rate=false_alarm_rate)
    names = list(dict.fromkeys(products))
    if len(names) < 2:
        return joint
    parts = []
    for name in names:
        own = [index for index, product in enumerate(products) if product == name]
        alone = threshold_from_good(
            [scores[i] for i in own], [map_peaks[i] for i in own], false_alarm_rate=false_alarm_rate
        )
        above = sum(scores[i] >= joint.score for i in own)
        parts.append(f"{name} {alone.score:.6g} (from {len(own)} images, {above} above the joint one)")
    return replace(joint, method=f"{joint.method}; of all products together, alone: {', '.join(parts)}")


def threshold_from_good(
    scores: Sequence[float], map_peaks: Sequence[float], *, false_alarm_rate: float
) -> ThresholdSpec:
    """Set the threshold so that at most about `false_alarm_rate` of good parts are called anomalous.

    With n held-out scores and the threshold just above the (n - k)-th smallest, a further good part exceeds
    it with probability (k + 1) / (n + 1) whatever the distribution (split conformal prediction): k is the
    largest for which that stays within the rate, and 0 where n is too small, which the text then says. The
    interval is Clopper and Pearson's for k exceedances among n.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    peaks = np.sort(np.asarray(map_peaks, dtype=np.float64))
    if not len(ordered) or not np.isfinite(ordered).all() or not np.isfinite(peaks).all():
        raise TrainingError(
            f"The threshold needs finite scores of held-out good images, got {len(ordered)}"
            f"{' with NaN or infinity' if len(ordered) else ''}. The training may have diverged: train again "
            "with a lower --learning-rate."
        )
    count = len(ordered)
    above = max(0, math.floor(false_alarm_rate * (count + 1)) - 1)
    expected = (above + 1) / (count + 1)
    interval = binomtest(above, count).proportion_ci(_CONFIDENCE, method="exact")
    method = f"just above score {count - above} of {count}, in rising order, of good images held out"
    if expected > false_alarm_rate:
        method += f"; a rate of {false_alarm_rate:.3g} needs {math.ceil(1 / false_alarm_rate) - 1} images"
    return ThresholdSpec(
        score=float(np.nextafter(np.float32(ordered[count - 1 - above]), np.float32(np.inf))),
        pixel=float(np.nextafter(np.float32(peaks[count - 1 - above]), np.float32(np.inf))),
        false_alarm_rate=expected,
        interval_low=float(interval.low),
        interval_high=float(interval.high),
        confidence=_CONFIDENCE,
        good_images=count,
        method=method,
    )
