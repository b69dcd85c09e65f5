"""What `edgead bench` is asked for: its options, checked together, and the scenario that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgead.errors import UsageError

if TYPE_CHECKING:
    from edgead.bench.latency import ClosedLoop
    from edgead.bench.line_load import LineLoad
    from edgead.bench.open_loop import OpenLoop


@dataclass(frozen=True)
class BenchOptions:
    """The command's options."""

    seconds: float
    minutes: float | None
    count: int
    warm_up: float
    fps: float | None
    poisson: bool
    queue: int | None
    line_rate: float | None
    sustained: bool
    width: int | None
    columns_per_pixel: int
    lines_per_pixel: int
    overlap: float
    block_lines: int
    buffer_lines: int
    deadline_ms: float | None
    gate: bool
    allow_late: float
    cpus: tuple[int, ...] | None
    target: str | None
    engine: str | None
    threads: int | None

    def __post_init__(self) -> None:
        loads = {"--fps": self.fps, "--line-rate": self.line_rate, "--sustained": self.sustained or None}
        if len(given := [name for name, value in loads.items() if value is not None]) > 1:
            raise UsageError(f"{' and '.join(given)} are different loads. Give one of them.")
        if self.needs_lines and self.width is None:
            raise UsageError(f"{given[0]} needs the web's width: --width 4096.")
        if self.fps is None and (self.poisson or self.queue is not None):
            raise UsageError("--poisson and --queue say how frames arrive; give their rate: --fps 30.")
        if self.gate and not given and self.deadline_ms is None:
            raise UsageError(
                "--gate needs something to hold the run to: --deadline-ms, --fps or --line-rate."
            )
        if self.minutes is not None and not 0 < self.minutes <= 100_000:
            raise UsageError(f"--minutes: expected minutes above 0, found {self.minutes}.")

    @property
    def needs_lines(self) -> bool:
        return self.line_rate is not None or self.sustained

    @property
    def minima(self) -> dict[str, Any]:
        """The least duration and count, and the warm-up."""
        if self.minutes is not None:
            return {"min_seconds": 60 * self.minutes, "min_count": 1, "warm_up_seconds": self.warm_up}
        return {"min_seconds": self.seconds, "min_count": self.count, "warm_up_seconds": self.warm_up}

    def scenario(self) -> ClosedLoop | OpenLoop | LineLoad:
        """What these options ask for; raises UsageError for settings that cannot be."""
        from edgead.bench.latency import ClosedLoop
        from edgead.bench.open_loop import Arrivals, OpenLoop, check_deadline
        from edgead.web.tiling import StreamSettings

        check_deadline(self.deadline_ms)
        if self.fps is not None:
            arrivals = Arrivals.POISSON if self.poisson else Arrivals.PERIODIC
            return OpenLoop(
                self.fps, **self.minima, arrivals=arrivals, queue=self.queue, deadline_ms=self.deadline_ms
            )
        if not self.needs_lines or self.width is None:
            return ClosedLoop(**self.minima)
        from edgead.bench.line_load import LineLoad

        web = StreamSettings(self.columns_per_pixel, self.lines_per_pixel, self.overlap)
        names = ("width", "block_lines", "buffer_lines", "deadline_ms")
        more = {name: getattr(self, name) for name in names}
        return LineLoad(self.line_rate or 1.0, web=web, **self.minima, **more)
