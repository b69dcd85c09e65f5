"""Image metrics against scikit-learn, and their answers where no curve exists."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from edgead.errors import DataError
from edgead.metrics import image_metrics


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_equals_scikit_learn_and_a_search_over_every_threshold(pairs):
    scores, labels = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    found = image_metrics(scores, labels)
    if labels.all() or not labels.any():
        assert all(math.isnan(v) for v in (found.auroc, found.ap, found.f1_max, found.threshold_at_f1_max))
        return
    assert found.auroc == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert found.ap == pytest.approx(metrics.average_precision_score(labels, scores))
    by_threshold = {t: metrics.f1_score(labels, scores >= t) for t in np.unique(scores)}
    assert found.f1_max == pytest.approx(max(by_threshold.values()))
    assert by_threshold[found.threshold_at_f1_max] == pytest.approx(found.f1_max)


def test_constant_scores_are_a_coin_toss():
    found = image_metrics([1, 1, 1, 1], [0, 1, 0, 0])
    assert (found.auroc, found.ap, found.f1_max) == pytest.approx((0.5, 0.25, 0.4))


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        pytest.param([], [], None, id="empty"),
        pytest.param([0.1, 0.2], [1], "2 scores and 1 labels", id="lengths"),
        pytest.param([0.1, math.nan], [0, 1], "at 1 of 2", id="nan"),
        pytest.param([math.inf] * 9, [0, 1] * 4 + [0], "0, 1, 2, 3, 4 and 4 more of 9", id="infinity"),
    ],
)
def test_bad_input(scores, labels, message):
    if message is None:
        assert math.isnan(image_metrics(scores, labels).auroc)
        return
    with pytest.raises(DataError, match=message):
        image_metrics(scores, labels)


@pytest.mark.parametrize(
    ("good", "bad", "at_2", "at_01"),
    [
        (range(100), [98, 99, 98.5, 97, 200], 4 / 5, 1 / 5),  # two of a hundred may be reached
        (range(10), [8, 9, 9.5, 10], 0.5, 0.5),  # none of ten
        (range(2000), [1997.5, 1998, 1990, 1500], 3 / 4, 2 / 4),
        ([1, 1, 1], [1, 1], 0.0, 0.0),  # a tie is no catch
    ],
    ids=["a hundred", "few", "many", "ties"],
)
def test_what_is_caught_at_a_rate_of_false_rejects(good, bad, at_2: float, at_01: float):
    scores = [*good, *bad]
    found = image_metrics(scores, [False] * len(list(good)) + [True] * len(bad))
    assert found.caught_at_2_percent == pytest.approx(at_2)
    assert found.caught_at_0_1_percent == pytest.approx(at_01)


def test_what_is_caught_is_the_roc_curve_at_that_rate():
    from sklearn.metrics import roc_curve

    random = np.random.default_rng(5)
    labels = random.random(700) < 0.3
    scores = np.round(random.normal(size=700) + labels, 1)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    found = image_metrics(scores, labels)
    assert found.caught_at_2_percent == pytest.approx(true[false <= 0.02].max())
    assert found.caught_at_0_1_percent == pytest.approx(true[false <= 0.001].max())
