"""How many steps fit into a time, which settings are refused, and how threads and workers get along."""

from __future__ import annotations

import math
import os
from typing import Any

import cv2
import numpy as np
import pytest

from edgead.errors import DataError, UsageError
from edgead.learning import pace
from edgead.learning.pace import Pace
from edgead.synthesis import Synthesizer
from edgead.training.batches import BatchStream
from edgead.training.settings import TrainSettings
from tests.training.small_training import settings


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


def timed(clock: list[float], seconds: float, steps: list[float]) -> Pace:
    found = Pace(seconds)
    for step in steps:
        clock[0] += step
        found.add_step()
    return found


@pytest.mark.parametrize(
    ("seconds", "steps", "wanted"),
    [
        (1000.0, [30.0, 10.0] + [1.0] * 10, 900),  # the slow first ones count as spent, not as pace
        (100.0, [1.0] * 5, 90),
        (10.0, [5.0] * 5, pace.LEAST_STEPS),
        (-5.0, [1.0] * 3, pace.LEAST_STEPS),
    ],
)
def test_steps_that_fit(clock: list[float], seconds: float, steps: list[float], wanted: int):
    assert timed(clock, seconds, steps).steps_that_fit() == wanted


@pytest.mark.parametrize(
    ("seconds", "steps", "known"),
    [(100.0, [20.0, 20.0], False), (100.0, [4.0] * 3, True), (1000.0, [1.0] * 10, False)],
    ids=["only slow first ones", "a tenth spent", "time enough"],
)
def test_timing_ends_early_where_steps_are_slow(
    clock: list[float], seconds: float, steps: list[float], known: bool
):
    assert timed(clock, seconds, steps).is_known == known


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("no steps", {"steps": 0}),
    ("an odd batch", {"batch": 5}),
    ("no batch", {"batch": 0}),
    ("a rate of 0", {"learning_rate": 0.0}),
    ("a rate that is NaN", {"learning_rate": math.nan}),
    ("a rate above 1", {"learning_rate": 2.0}),
    ("no false alarms at all", {"false_alarm_rate": 0.0}),
    ("nothing held out", {"validation_fraction": 0.0}),
    ("no cells", {"top_share": 0.0}),
    ("no checkpoints", {"checkpoint_steps": 0}),
]


@pytest.mark.parametrize("changed", [row[1] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_settings_that_cannot_be(changed: dict[str, Any]):
    with pytest.raises(UsageError, match=next(iter(changed))):
        settings(**changed)


def test_settings_survive_json():
    wanted = settings(seed=3, synthesis={"subtle": 1.0})
    assert TrainSettings.from_json(wanted.to_json()) == wanted
    with pytest.raises(DataError, match="colour"):
        TrainSettings.from_json({**wanted.to_json(), "colour": 1})


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    rng = np.random.default_rng(0)
    return Synthesizer([rng.integers(60, 190, (64, 64, 3), np.uint8) for _ in range(3)])


def test_a_batch_depends_on_the_seed_and_the_step_alone(synthesizer: Synthesizer):
    stream = BatchStream(synthesizer, half=2, seed=4)
    whole = list(stream.batches(0, 4, workers=0))
    late = list(stream.batches(2, 4, workers=1))
    for one, two in zip(whole[2:], late, strict=True):
        assert bool((one.anomalous == two.anomalous).all())
        assert bool((one.masks == two.masks).all())
        assert one.good.tolist() == two.good.tolist()
    other = next(BatchStream(synthesizer, half=2, seed=5).batches(0, 1, workers=0))
    assert not bool((other.anomalous == whole[0].anomalous).all())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked on POSIX alone")
def test_workers_start_after_opencv_has_used_its_threads(synthesizer: Synthesizer):
    """A forked worker that inherits OpenCV's pool without its threads would wait for ever."""
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(4)
        cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (1000, 1000), interpolation=cv2.INTER_AREA)
        assert len(list(BatchStream(synthesizer, half=1, seed=0).batches(0, 2, workers=1))) == 2
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)
