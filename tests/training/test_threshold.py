"""The threshold from good images: table, and the promise that holds whatever the scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead.errors import TrainingError
from edgead.training.threshold import threshold_from_good, threshold_of_products

FINITE = st.floats(-1e6, 1e6, width=32)


@pytest.mark.parametrize(
    ("count", "rate", "above"),
    [
        (1, 0.02, 0),
        (9, 0.02, 0),
        (49, 0.02, 0),
        (98, 0.02, 0),
        (99, 0.02, 1),
        (9, 0.1, 0),
        (19, 0.1, 1),
        (29, 0.1, 2),
        (9, 0.999, 8),
    ],
)
def test_how_many_good_images_stay_above(count: int, rate: float, above: int):
    scores = np.random.default_rng(0).permutation(np.arange(count, dtype=float))
    found = threshold_from_good(scores, scores * 10, false_alarm_rate=rate)
    assert int((scores >= found.score).sum()) == above
    assert int((scores * 10 >= found.pixel).sum()) == above
    assert found.false_alarm_rate == pytest.approx((above + 1) / (count + 1))
    assert found.interval_low <= above / count <= found.interval_high
    assert found.good_images == count


def test_the_rate_is_kept_where_there_are_enough_images_and_said_where_not():
    few = threshold_from_good([1.0] * 5, [1.0] * 5, false_alarm_rate=0.02)
    assert few.false_alarm_rate > 0.02
    assert "a rate of 0.02 needs 49 images" in few.method
    enough = threshold_from_good([1.0] * 49, [1.0] * 49, false_alarm_rate=0.02)
    assert enough.false_alarm_rate <= 0.02
    assert "needs" not in enough.method


@pytest.mark.parametrize(
    "scores",
    [[], [math.nan], [1.0, math.nan, 2.0], [math.inf, 1.0], [-math.inf]],
    ids=["none", "NaN", "one NaN", "infinity", "-infinity"],
)
def test_scores_that_say_nothing_are_refused(scores: list[float]):
    with pytest.raises(TrainingError, match="finite scores"):
        threshold_from_good(scores, [1.0] * len(scores), false_alarm_rate=0.02)


def test_peaks_that_say_nothing_are_refused():
    with pytest.raises(TrainingError, match="finite"):
        threshold_from_good([1.0], [math.nan], false_alarm_rate=0.02)


@given(scores=st.lists(FINITE, min_size=1, max_size=60), rate=st.floats(0.001, 0.999))
def test_never_more_good_images_above_than_was_said(scores: list[float], rate: float):
    found = threshold_from_good(scores, scores, false_alarm_rate=rate)
    above = sum(score >= found.score for score in scores)
    assert above <= round(found.false_alarm_rate * (len(scores) + 1)) - 1  # fewer where scores are tied
    assert found.false_alarm_rate <= max(rate * (1 + 1e-9), 1 / (len(scores) + 1))
    assert 0 <= found.interval_low <= found.interval_high <= 1


@given(scores=st.lists(FINITE, min_size=1, max_size=30))
def test_the_order_of_the_images_does_not_count(scores: list[float]):
    one = threshold_from_good(scores, scores, false_alarm_rate=0.1)
    assert one == threshold_from_good(scores[::-1], scores[::-1], false_alarm_rate=0.1)


def test_doubles_just_above_a_float_are_not_called_anomalous():
    score = 1.0 + 1e-9  # rounds to 1 in the float32 of a deployed score
    assert threshold_from_good([score], [score], false_alarm_rate=0.5).score > score


def test_one_product_among_products_has_the_threshold_of_one():
    scores = [float(number) for number in range(60)]
    plain = threshold_from_good(scores, scores, false_alarm_rate=0.05)
    assert threshold_of_products(scores, scores, ["screw"] * 60, false_alarm_rate=0.05) == plain


def test_several_products_have_one_threshold_and_a_text_with_each_one_s_own():
    low, high = [0.1 * number for number in range(60)], [10 + 0.1 * number for number in range(60)]
    names = ["low"] * 60 + ["high"] * 60
    found = threshold_of_products(low + high, low + high, names, false_alarm_rate=0.05)
    joint = threshold_from_good(low + high, low + high, false_alarm_rate=0.05)
    own = [threshold_from_good(part, part, false_alarm_rate=0.05).score for part in (low, high)]
    assert (found.score, found.pixel, found.good_images) == (joint.score, joint.pixel, 120)
    above = sum(score >= joint.score for score in high)
    assert f"low {own[0]:.6g} (from 60 images, 0 above" in found.method
    assert f"high {own[1]:.6g} (from 60 images, {above} above" in found.method
    assert above > 0


def test_a_group_counts_once_whatever_its_number_of_images():
    scores = [float(n) for n in range(98)] + [200.0] * 40
    groups = list(range(98)) + ["many"] * 40
    found = threshold_from_good(scores, scores, groups=groups, false_alarm_rate=0.02)
    assert found.score > 97
    assert found.score < 98.5 or found.score > 200  # 99 groups allow one above
    assert (found.good_images, found.good_groups) == (138, 99)
    assert found.false_alarm_rate == pytest.approx(2 / 100)
    assert "99 groups of images" in found.method


def test_few_groups_promise_little_and_say_so():
    scores = np.random.default_rng(1).normal(size=100)
    found = threshold_from_good(scores, scores, groups=[n // 10 for n in range(100)], false_alarm_rate=0.02)
    assert found.score > scores.max()
    assert found.false_alarm_rate == pytest.approx(1 / 11)
    assert found.interval_high > 0.25  # ten groups exclude no less
    assert "a rate of 0.02 needs 49 groups" in found.method


def test_groups_of_one_image_are_as_none():
    scores = np.random.default_rng(2).normal(size=120)
    alone = threshold_from_good(scores, scores, false_alarm_rate=0.05)
    assert threshold_from_good(scores, scores, groups=list(range(120)), false_alarm_rate=0.05) == alone


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_the_promise_holds_on_other_groups_where_parts_differ(rate: float):
    """Scores that differ more between parts than within: by image the promise breaks, by group it holds."""
    random = np.random.default_rng(3)
    rejected: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(300):
        held = np.repeat(random.normal(size=25), 8) + 0.1 * random.normal(size=200)
        further = random.normal(size=50) + 0.1 * random.normal(size=50)
        for by_group in rejected:
            groups = [n // 8 for n in range(200)] if by_group else None
            found = threshold_from_good(held, held, groups=groups, false_alarm_rate=rate)
            rejected[by_group].append(float((further >= found.score).mean()))
    assert np.mean(rejected[True]) <= rate + 0.005
    assert np.mean(rejected[False]) > np.mean(rejected[True])
