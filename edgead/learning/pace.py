"""How many steps fit into a time, from the first ones."""

from __future__ import annotations

import time

TIMED_STEPS = 20  # at most
_UNTIMED_STEPS = 2  # the first wait for the workers and for kernels to be chosen
_LEAST_TIMED = 1
_TIMING_SHARE = 0.1  # of the time, after which timing ends early
_CONCLUDING_SHARE = 0.05  # of the time, kept for the held-out images at the end
LEAST_STEPS = 50  # a training must be longer than its own warm-up, even if the given time is exceeded


class Pace:
    """Times steps as they come; `seconds` is what is left for them and for all that follows."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started = self._first_timed = self._last = time.monotonic()
        self._count = 0

    def add_step(self) -> None:
        """A step has just ended."""
        self._last = time.monotonic()
        self._count += 1
        if self._count == _UNTIMED_STEPS:
            self._first_timed = self._last

    @property
    def is_known(self) -> bool:
        """Whether enough steps were timed for the time that there is."""
        spent = self._last - self._started
        return self._count >= _UNTIMED_STEPS + _LEAST_TIMED and spent > _TIMING_SHARE * self._seconds

    def steps_that_fit(self) -> int:
        """Steps in the time that is left after those timed, `LEAST_STEPS` at least."""
        timed = max(1, self._count - _UNTIMED_STEPS)
        seconds_per_step = max((self._last - self._first_timed) / timed, 1e-6)
        left = (1 - _CONCLUDING_SHARE) * self._seconds - (self._last - self._started)
        return max(LEAST_STEPS, int(left / seconds_per_step))
