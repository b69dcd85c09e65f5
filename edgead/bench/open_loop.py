"""Open loop: work arrives by the clock, whether the last is done or not, and the wait is part of the latency.

A closed loop that is held up for a second measures one slow call; on the line, everything that arrived in
that second was late. Here each latency counts from the moment at which the frame was due, so that no stall
hides the frames behind it (coordinated omission).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead.bench.clock import Clock, MonotonicClock
from edgead.bench.latency import drift_doubts
from edgead.bench.latency_samples import Samples, SampleStore
from edgead.errors import UsageError

MAX_RATE_HZ = 1e6
_GRACE = 0.1  # of the run's length, and a second at least: so long is a backlog worked off
_LARGEST_RUN = 50_000_000  # samples kept


class Arrivals(enum.Enum):
    """When frames arrive."""

    PERIODIC = "periodic"  # one every period: a camera, a line's clock
    POISSON = "poisson"  # at random, independent of each other: parts that nobody spaces; MLPerf's Server


@dataclass(frozen=True)
class OpenLoop:
    """A scenario: frames at a rate, until both minima are reached.

    At most `queue` frames wait; a newer one then takes the place of the oldest, which is lost and counted.
    None: all wait. A frame later than `deadline_ms` after it was due is a miss.
    """

    rate_hz: float
    min_seconds: float = 5.0
    min_count: int = 1000
    warm_up_seconds: float = 1.0
    arrivals: Arrivals = Arrivals.PERIODIC
    queue: int | None = None
    deadline_ms: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_rate("rate_hz", self.rate_hz)
        check_duration(self.min_seconds, self.min_count, self.warm_up_seconds)
        check_deadline(self.deadline_ms)
        if self.queue is not None and self.queue < 1:
            raise UsageError(f"queue: expected a whole number from 1, found {self.queue}.")
        if self.count > _LARGEST_RUN:
            raise UsageError(
                f"{self.count} frames are more than are kept ({_LARGEST_RUN}). Ask for a shorter run."
            )

    @property
    def count(self) -> int:
        """Frames that arrive."""
        return max(self.min_count, math.ceil(self.rate_hz * self.min_seconds))

    def due_ns(self) -> NDArray[np.int64]:
        """When each frame is due, in ns from the start; int64, never falling."""
        if self.arrivals is Arrivals.PERIODIC:
            return np.round(np.arange(self.count) * (1e9 / self.rate_hz)).astype(np.int64)
        gaps = np.random.default_rng(self.seed).exponential(1e9 / self.rate_hz, self.count)
        return np.round(np.cumsum(gaps)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class OpenRun:
    """Every frame that arrived is in one of: served, lost (overwritten in the queue), unserved (at the end).

    `samples`: ns by stage of the served; `total` counts from the moment at which the frame was due.
    `waits_ns` has those that were never served, as long as they had waited when they were given up.
    """

    scenario: OpenLoop
    samples: Mapping[str, Samples]
    waits_ns: Samples
    lost: int
    unserved: int
    seconds: float
    warm_up_calls: int

    @property
    def arrived(self) -> int:
        return self.scenario.count

    @property
    def served(self) -> int:
        return len(self.samples["total"])

    @property
    def unaccounted(self) -> int:
        """Frames of which nothing is known; anything but 0 is a fault of this program."""
        return self.arrived - self.served - self.lost - self.unserved

    @property
    def latencies(self) -> Samples:
        """Of all that arrived; for those that were never served, the least that it can have been."""
        return np.concatenate([self.samples["total"], self.waits_ns])

    @property
    def missed(self) -> int:
        """Frames later than the deadline, those never served included; 0 without a deadline."""
        if self.scenario.deadline_ms is None:
            return 0
        late = self.samples["total"] > self.scenario.deadline_ms * 1e6
        return int(np.count_nonzero(late)) + self.lost + self.unserved

    @property
    def is_sustained(self) -> bool:
        """Whether nothing was lost and no backlog was left that could not be worked off."""
        return self.lost == self.unserved == 0

    def doubts(self) -> tuple[str, ...]:
        """Why the figures should not be quoted; empty for a valid run."""
        found = []
        if self.arrived < 1000:
            found.append(f"{self.arrived} samples do not reach p99.9: ask for a count of at least 1000")
        if self.is_sustained:
            found += drift_doubts(self.samples["total"])
        if self.unserved:
            found.append(
                f"{self.unserved} frames were never served and their latencies are at least what is stated: "
                "the rate is beyond what this device sustains"
            )
        if self.unaccounted:
            found.append(f"{self.unaccounted} frames are unaccounted for: please report this")
        return tuple(found)


def measure_open_loop(
    call: Callable[[int], Mapping[str, int]],
    *,
    scenario: OpenLoop,
    clock: Clock | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> OpenRun:
    """Call `call(index)` for each frame that arrives; it returns the ns of each stage, always the same.

    One worker, in order of arrival. `total` (due -> done) and `wait` (due -> begun) are added to its stages.
    What waits when the run's time and a tenth more (a second at least) are over is given up and counted.
    """
    clock = clock or MonotonicClock()
    warm_up_calls, stages = _warm_up(call, scenario.warm_up_seconds, clock)
    due = scenario.due_ns()
    store = SampleStore(("total", "wait", *stages), len(due))
    waits = np.full(len(due), -1, np.int64)
    lost = at = 0
    start = reported = clock.now_ns()
    limit = start + int(due[-1]) + max(1_000_000_000, round(_GRACE * float(due[-1])))
    while at < len(due):
        clock.sleep_until(start + int(due[at]))
        begun = clock.now_ns()
        if begun > limit:
            break
        over = _overwritten(due, at, begun - start, scenario.queue)
        waits[lost : lost + over] = begun - start - due[at : at + over]
        lost, at = lost + over, at + over
        found = call(at)
        done = clock.now_ns()
        arrived = start + int(due[at])
        store.add({"total": done - arrived, "wait": begun - arrived, **found})
        at += 1
        if on_progress is not None and done - reported > 100_000_000:
            on_progress(at / len(due))
            reported = done
    ended = clock.now_ns()
    unserved = len(due) - at
    waits[lost : lost + unserved] = np.maximum(ended - start - due[at:], 0)
    waits = waits[: lost + unserved]
    return OpenRun(scenario, store.arrays(), waits, lost, unserved, (ended - start) / 1e9, warm_up_calls)


def _overwritten(due: NDArray[np.int64], at: int, now: int, queue: int | None) -> int:
    """How many of the oldest waiting frames newer ones have taken the place of."""
    if queue is None:
        return 0
    waiting = int(np.searchsorted(due, now, side="right")) - at
    return max(0, waiting - queue)


def _warm_up(
    call: Callable[[int], Mapping[str, int]], seconds: float, clock: Clock
) -> tuple[int, tuple[str, ...]]:
    """Calls made, one at least, and the stages that they have."""
    until, calls = clock.now_ns() + round(seconds * 1e9), 0
    while True:
        stages = tuple(call(calls))
        calls += 1
        if clock.now_ns() >= until:
            return calls, stages


def check_rate(name: str, value: float) -> None:
    """Refuse a rate that cannot be; raises UsageError."""
    if not (math.isfinite(value) and 0 < value <= MAX_RATE_HZ):
        raise UsageError(
            f"{name}: expected a rate above 0 and up to {MAX_RATE_HZ:.0f} per second, found {value}."
        )


def check_duration(min_seconds: float, min_count: int, warm_up_seconds: float) -> None:
    """Refuse minima that cannot be reached; raises UsageError."""
    for name, value in (("min_seconds", min_seconds), ("warm_up_seconds", warm_up_seconds)):
        if not (math.isfinite(value) and 0 <= value <= 1e7):
            raise UsageError(f"{name}: expected a number of seconds from 0 to 10 million, found {value}.")
    if min_count < 1:
        raise UsageError(f"min_count: expected at least 1, found {min_count}.")


def check_deadline(deadline_ms: float | None) -> None:
    """Refuse a deadline that is none; raises UsageError."""
    if deadline_ms is not None and not (math.isfinite(deadline_ms) and deadline_ms > 0):
        raise UsageError(f"deadline_ms: expected milliseconds above 0, found {deadline_ms}.")
