"""From the scores of single images to one per part, where several views show the same part."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgead.errors import DataError


def part_scores(
    scores: npt.ArrayLike, labels: npt.ArrayLike, parts: Sequence[Hashable]
) -> tuple[np.ndarray, np.ndarray]:
    """Return one score and label per part: the highest of its views, and whether any view is anomalous.

    That is the sample level of Real-IAD and MVAD (arXiv 2407.11935). `parts` names the part of each image, in
    any order; parts come back in the order of their first view. Raises DataError where lengths differ.
    """
    score = np.asarray(scores, dtype=np.float64).ravel()
    label = np.asarray(labels).ravel().astype(bool)
    if not score.size == label.size == len(parts):
        raise DataError(
            f"Expected a label and a part for each score, found {score.size} scores, {label.size} labels and "
            f"{len(parts)} parts."
        )
    numbers: dict[Hashable, int] = {}
    place = np.array([numbers.setdefault(part, len(numbers)) for part in parts], dtype=np.intp)
    highest = np.full(len(numbers), -math.inf)
    is_anomalous = np.zeros(len(numbers), dtype=bool)
    np.maximum.at(highest, place, score)  # nan stays nan, for image_metrics to refuse
    np.logical_or.at(is_anomalous, place, label)
    return highest, is_anomalous


def mean_over_classes(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the plain mean of each figure over classes; None where a class does not have it.

    A mean over the classes that happen to have a figure could not be compared with one over all of them.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    means: dict[str, float | None] = {}
    for name in names:
        values = [row.get(name) for row in rows]
        known = [value for value in values if value is not None and math.isfinite(value)]
        means[name] = sum(known) / len(known) if len(known) == len(values) else None
    return means
