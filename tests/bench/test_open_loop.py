"""The open loop by a clock that is turned by hand: waits, stalls, losses, nothing unaccounted for."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgead.bench.open_loop import Arrivals, OpenLoop, OpenRun, measure_open_loop
from edgead.errors import UsageError
from tests.bench.turned_clock import TurnedClock

MS = 1_000_000


def run(durations_ms: list[float], **settings: object) -> OpenRun:
    """One frame every 10 ms, the calls taking as long as said (the first, which warms up, nothing)."""
    clock = TurnedClock()
    scenario = OpenLoop(
        100,
        min_seconds=0,
        min_count=len(durations_ms),
        warm_up_seconds=0,
        **settings,  # type: ignore[arg-type]
    )
    pending = iter([0.0, *durations_ms])

    def call(index: int) -> dict[str, int]:
        taken = round(next(pending) * MS)
        clock.work(taken)
        return {"infer": taken}

    return measure_open_loop(call, scenario=scenario, clock=clock)


def in_ms(samples: np.ndarray) -> list[float]:
    return (samples / MS).tolist()


def test_without_a_wait():
    done = run([3, 4, 5])
    assert in_ms(done.samples["total"]) == [3, 4, 5]
    assert in_ms(done.samples["wait"]) == [0, 0, 0]
    assert done.is_sustained


def test_a_stall_is_seen_by_all_that_waited_behind_it():
    done = run([35, 1, 1, 1, 1])
    # Due at 0, 10, 20, 30, 40; a closed loop would have seen 35, 1, 1, 1, 1.
    assert in_ms(done.samples["total"]) == [35, 26, 17, 8, 1]
    assert in_ms(done.samples["infer"]) == [35, 1, 1, 1, 1]


def test_a_full_queue_keeps_the_newest_and_counts_the_others():
    done = run([45, 1, 1, 1, 1, 1, 1], queue=2, deadline_ms=40)
    # At 45 the frames due at 10, 20, 30, 40 wait: the two oldest are lost.
    assert (done.lost, done.served, done.unaccounted) == (2, 5, 0)
    assert in_ms(done.waits_ns) == [35, 25]
    assert done.missed == 3  # the first was late, and the lost ones
    assert not done.is_sustained


def test_too_slow_for_the_rate_ends_and_says_what_was_never_served():
    done = run([30] * 500, deadline_ms=20)
    assert done.unserved > 0
    assert done.served + done.unserved == 500
    assert len(done.latencies) == 500
    assert done.missed == 500
    assert "beyond what this device sustains" in " ".join(done.doubts())


def test_a_clock_that_leaps_is_a_stall():
    """A machine that slept, or a hypervisor that took the core away: all that was due meanwhile is late."""
    done = run([500.0, *[1.0] * 99], deadline_ms=50)
    assert done.missed == pytest.approx(50, abs=1)
    assert done.unaccounted == 0


def test_a_step_of_the_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    steps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: -3600.0 * next(steps))
    scenario = OpenLoop(1000, min_seconds=0, min_count=20, warm_up_seconds=0)
    done = measure_open_loop(lambda index: {"infer": 1}, scenario=scenario)
    assert (done.served, done.unaccounted) == (20, 0)
    assert done.samples["wait"].min() >= 0


@given(
    st.lists(st.floats(0, 60), min_size=1, max_size=60),
    st.none() | st.integers(1, 5),
    st.none() | st.floats(0.1, 100),
)
def test_every_frame_is_in_one_count(durations: list[float], queue: int | None, deadline: float | None):
    done = run(durations, queue=queue, deadline_ms=deadline)
    assert done.served + done.lost + done.unserved == len(durations)
    assert done.unaccounted == 0
    assert len(done.latencies) == len(durations)
    assert (done.samples["total"] >= done.samples["infer"]).all()
    assert done.missed <= len(durations)


def test_poisson_arrivals_have_the_rate_and_repeat_by_the_seed():
    scenario = OpenLoop(200, min_count=20_000, arrivals=Arrivals.POISSON)
    due = scenario.due_ns()
    assert (np.diff(due) >= 0).all()
    gaps = np.diff(due) / 1e9
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.05)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.05)  # exponential: as wide as its mean
    np.testing.assert_array_equal(due, scenario.due_ns())


@pytest.mark.parametrize(
    "settings",
    [
        {"rate_hz": 0.0},
        {"rate_hz": -1.0},
        {"rate_hz": math.nan},
        {"rate_hz": 1e9},
        {"min_seconds": -1.0},
        {"min_seconds": 1e9},
        {"min_count": 0},
        {"queue": 0},
        {"deadline_ms": 0.0},
        {"deadline_ms": math.nan},
        {"warm_up_seconds": math.inf},
    ],
)
def test_wrong_settings_are_told(settings: dict[str, float]):
    with pytest.raises(UsageError, match=f"{next(iter(settings))}: expected"):
        OpenLoop(**{"rate_hz": 10.0, **settings})  # type: ignore[arg-type]


def test_more_than_memory_holds_is_refused():
    with pytest.raises(UsageError, match="shorter run"):
        OpenLoop(1e6, min_seconds=1000)
