"""A clock that a test turns by hand: sleeping takes it to the moment, work takes as long as it is told to."""

from __future__ import annotations


class TurnedClock:
    def __init__(self, now_ns: int = 1_000_000_000) -> None:
        self.now = now_ns

    def now_ns(self) -> int:
        return self.now

    def sleep_until(self, moment_ns: int) -> None:
        self.now = max(self.now, moment_ns)

    def work(self, nanoseconds: int) -> None:
        self.now += nanoseconds
