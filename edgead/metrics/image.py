"""Metrics of one score per image, by scikit-learn's definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgead.errors import DataError

_FALSE_REJECTS = (0.02, 0.001)  # shares of good images
_ROUNDING = 1e-9
_NAMED = 5  # bad scores listed in a message before it says how many more


@dataclass(frozen=True)
class ImageMetrics:
    """How well scores separate good from anomalous images; every field is in 0..1 but the threshold.

    `caught_at_2_percent` and `caught_at_0_1_percent` are the shares of anomalous images at or above the
    lowest score that at most 2 % and 0.1 % of the good ones reach: what is left of them escapes. With fewer
    than 50 or 1000 good images no good one may reach it.

    All are nan when only one class is present: a curve needs both, and a number such as 1.0 for the precision
    of images that are all anomalous would praise any model.
    """

    auroc: float
    ap: float
    f1_max: float
    threshold_at_f1_max: float
    caught_at_2_percent: float = math.nan
    caught_at_0_1_percent: float = math.nan


def image_metrics(scores: npt.ArrayLike, labels: npt.ArrayLike) -> ImageMetrics:
    """Return area under ROC, average precision and the best F1 over every distinct score, and what is
    caught at fixed rates of false rejects.

    `scores` has one finite number per image, larger for more anomalous; `labels` is true for anomalous.
    `threshold_at_f1_max` is chosen on these very labels: it describes the curve and sets no verdict.
    Raises DataError for lengths that differ or scores that are not finite.
    """
    score, label = _checked(scores, labels)
    if label.all() or not label.any():
        return ImageMetrics(math.nan, math.nan, math.nan, math.nan)
    from sklearn import metrics  # 0.5 s to import, of use to nobody who only reads the dataclass

    precision, recall, thresholds = metrics.precision_recall_curve(label, score)
    best, f1 = _best_f1(precision, recall)
    return ImageMetrics(
        auroc=float(metrics.roc_auc_score(label, score)),
        ap=float(metrics.average_precision_score(label, score)),
        f1_max=f1,
        threshold_at_f1_max=float(thresholds[best]),
        caught_at_2_percent=_caught(score, label, _FALSE_REJECTS[0]),
        caught_at_0_1_percent=_caught(score, label, _FALSE_REJECTS[1]),
    )


def _caught(score: np.ndarray, label: np.ndarray, false_rejects: float) -> float:
    """The highest true-positive rate of a threshold that so many good images reach at most."""
    good = np.sort(score[~label])[::-1]
    allowed = math.floor(false_rejects * len(good) + _ROUNDING)  # always fewer than all
    return float((score[label] > good[allowed]).mean())


def _checked(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    score = np.asarray(scores, dtype=np.float64).ravel()
    label = np.asarray(labels).ravel().astype(bool)
    if score.size != label.size:
        raise DataError(f"Expected one label per score, found {score.size} scores and {label.size} labels.")
    bad = np.flatnonzero(~np.isfinite(score))
    if bad.size:
        raise DataError(
            f"Expected finite scores, found nan or infinity at {_listed(bad.tolist())} of {score.size}. "
            "A model that was trained to nan or an engine that overflows gives such scores."
        )
    return score, label


def _best_f1(precision: np.ndarray, recall: np.ndarray) -> tuple[int, float]:
    total = precision + recall
    f1 = 2 * precision * recall / np.where(total > 0, total, 1)
    best = int(np.argmax(f1[:-1]))  # the last point has no threshold: nothing is called anomalous there
    return best, float(f1[best])


def _listed(indices: Sequence[int]) -> str:
    more = f" and {len(indices) - _NAMED} more" if len(indices) > _NAMED else ""
    return ", ".join(str(i) for i in indices[:_NAMED]) + more
