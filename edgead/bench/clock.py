"""The clock that drives a load: the machine's own, or one that a test turns by hand."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic nanoseconds, and waiting by them."""

    def now_ns(self) -> int:
        """Nanoseconds since some moment; they never go back."""

    def sleep_until(self, moment_ns: int) -> None:
        """Return at that moment or after it; at once when it has passed."""


class MonotonicClock:
    """The system's monotonic clock: a step of the wall clock, by hand or by NTP, does not move it.

    Waiting sleeps, as a camera's thread does, and does not spin: what the system takes to wake up is part of
    the latency, and the core is left to the inspection.
    """

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def sleep_until(self, moment_ns: int) -> None:
        while (left := moment_ns - time.monotonic_ns()) > 0:
            time.sleep(min(left / 1e9, threading.TIMEOUT_MAX))
