"""The highest line rate at which nothing is lost: searched by trials, then held for as long as was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgead.bench.open_loop import MAX_RATE_HZ
from edgead.errors import UsageError

Run = TypeVar("Run")


@dataclass(frozen=True)
class Trial(Generic[Run]):
    """One rate that was tried, and what came of it."""

    rate_hz: float
    passed: bool
    run: Run
    confirming: bool = False


@dataclass(frozen=True)
class Sustained(Generic[Run]):
    """`rate_hz` was held through the confirming run; None when no rate was. Trials in the order made."""

    rate_hz: float | None
    trials: tuple[Trial[Run], ...]

    @property
    def confirmed(self) -> Run | None:
        """The run at the rate that is the answer."""
        return self.trials[-1].run if self.rate_hz is not None else None

    @property
    def failed_above(self) -> float | None:
        """The lowest rate above the answer that failed; the limit lies between them."""
        return min(
            (
                trial.rate_hz
                for trial in self.trials
                if not trial.passed and trial.rate_hz > (self.rate_hz or 0)
            ),
            default=None,
        )


def find_sustained(
    trial: Callable[[float, bool], Run],
    *,
    passed: Callable[[Run], bool],
    first_rate_hz: float,
    resolution: float = 0.05,
    lowest: float = 0.01,
    highest_rate_hz: float = MAX_RATE_HZ,
) -> Sustained[Run]:
    """Halve the interval between a rate that holds and one that fails, to a `resolution` (a share).

    `trial(rate, confirming)` runs one; a confirming one is the long run. A rate that holds in short trials
    and not in the confirming one is lowered by the resolution, as often as it takes, down to `lowest` of the
    first.
    """
    if not (0 < first_rate_hz <= highest_rate_hz and 0 < resolution < 1):
        raise UsageError(
            f"Expected a first rate above 0 and up to {highest_rate_hz:g} and a resolution between 0 and 1, "
            f"found {first_rate_hz} and {resolution}."
        )
    trials: list[Trial[Run]] = []

    def holds(rate: float, *, confirming: bool = False) -> bool:
        run = trial(rate, confirming)
        trials.append(Trial(rate, passed(run), run, confirming))
        return trials[-1].passed

    low, high, rate = 0.0, float("inf"), first_rate_hz
    while rate >= first_rate_hz * lowest:
        if holds(rate):
            low = rate
        else:
            high = rate
        if low and (high / low <= 1 + resolution or low >= highest_rate_hz):
            break
        rate = min(low * 1.25, (low * high) ** 0.5, highest_rate_hz) if low else high * 0.75
    rate = low
    while rate and rate >= first_rate_hz * lowest:
        if holds(rate, confirming=True):
            return Sustained(rate, tuple(trials))
        rate *= 1 - resolution
    return Sustained(None, tuple(trials))
