"""A line camera's load: lines at a rate into the line buffer, streaming inspection behind it.

The lines are pushed by a thread of its own, by the clock, whether the inspection keeps up or not; what the
ring cannot hold is dropped and counted. A strip's latency counts from the moment at which its last line was
due.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bench.clock import Clock, MonotonicClock
from edgead.bench.latency import drift_doubts
from edgead.bench.latency_samples import Samples, SampleStore
from edgead.bench.open_loop import check_deadline, check_duration, check_rate
from edgead.errors import EdgeadError, UsageError
from edgead.runtime.inspector import Inspector
from edgead.runtime.line.block import LineBlock, LineStatistics
from edgead.runtime.line.buffer import LineBuffer, PushStatus, WhenFull
from edgead.web.stream import ArrayBlock, StreamSettings, StreamStatistics, WebStream
from edgead.web.tiling import axes_of

STAGES = ("total", "fill", "wait", "inspect")

_TICK_NS = 1_000_000  # the producer wakes up this often at most, as a driver does for a buffer of lines
_TAKE_TIMEOUT_S = 60.0
_WARM_UP_BANDS = 3


@dataclass(frozen=True)
class LineLoad:
    """A scenario: grey lines of `width` pixels at a rate, until both minima are reached (strips are counted).

    The ring holds `buffer_lines` in blocks of `block_lines`; `web` says how it is tiled. A strip is a miss
    when its verdict comes later than `deadline_ms` after its last line was due.
    """

    line_rate_hz: float
    width: int
    web: StreamSettings = field(default_factory=StreamSettings)
    min_seconds: float = 5.0
    min_count: int = 1000
    warm_up_seconds: float = 1.0
    block_lines: int = 128
    buffer_lines: int = 8192
    deadline_ms: float | None = None

    def __post_init__(self) -> None:
        check_rate("line_rate_hz", self.line_rate_hz)
        check_duration(self.min_seconds, self.min_count, self.warm_up_seconds)
        check_deadline(self.deadline_ms)
        if not 1 <= self.block_lines <= self.buffer_lines // 4:
            raise UsageError(
                f"block_lines: expected 1 to a quarter of the {self.buffer_lines} lines of the buffer, found "
                f"{self.block_lines}."
            )

    def at(self, line_rate_hz: float, *, min_seconds: float, min_count: int) -> LineLoad:
        """The same at another rate and for as long as said."""
        return replace(self, line_rate_hz=line_rate_hz, min_seconds=min_seconds, min_count=min_count)

    def lines(self, step_lines: int) -> int:
        """Lines that are pushed; `step_lines` from one row of tiles to the next."""
        return max(math.ceil(self.line_rate_hz * self.min_seconds), self.min_count * step_lines)


@dataclass(frozen=True, eq=False)
class LineRun:
    """What became of every line, and the latencies of the strips, ns by stage.

    `total` = `fill` (the strip's last line due -> the last line due of the block that completed it: what the
    tiles and blocks cost) + `wait` (-> block taken) + `inspect` (-> strip out).
    """

    scenario: LineLoad
    samples: Mapping[str, Samples]
    buffer: LineStatistics
    stream: StreamStatistics
    scheduled: int
    drain_ns: int  # from the moment at which the last line was due to the last block's end
    band_ns: int  # the time of the lines from one row of tiles to the next
    producer_lag_ns: int  # the most that a push was behind the clock
    engine_ns: int
    seconds: float

    @property
    def lost(self) -> int:
        """Lines that were due and that no strip shows."""
        return self.buffer.missing

    @property
    def unaccounted(self) -> int:
        """Lines of which nothing is known; anything but 0 is a fault of this program."""
        buffer, stream = self.buffer, self.stream
        return (
            abs(self.scheduled - buffer.pushed - buffer.lost)
            + abs(buffer.pushed - buffer.consumed - buffer.overwritten - buffer.dropped - buffer.waiting)
            + buffer.waiting
            + abs(buffer.consumed - stream.received)
            + abs(stream.received + stream.filled - stream.inspected)
        )

    @property
    def missed(self) -> int:
        """Strips later than the deadline; 0 without one. Lost lines are counted apart."""
        if self.scenario.deadline_ms is None:
            return 0
        return int(np.count_nonzero(self.samples["total"] > self.scenario.deadline_ms * 1e6))

    @property
    def is_sustained(self) -> bool:
        """Whether nothing was lost, and at the end no more was left than two rows of tiles take."""
        return self.lost == self.unaccounted == 0 and self.drain_ns <= 2 * self.band_ns

    def doubts(self) -> tuple[str, ...]:
        """Why the figures should not be quoted; empty for a valid run."""
        found = []
        strips = len(self.samples["total"])
        if strips < 1000:
            found.append(f"{strips} strips do not reach p99.9: ask for a count of at least 1000")
        hold_ns = (self.scenario.buffer_lines / self.scenario.line_rate_hz) * 1e9
        if self.producer_lag_ns > max(hold_ns / 2, _TICK_NS):
            found.append(
                f"the lines were pushed up to {self.producer_lag_ns / 1e6:.0f} ms after they were due, "
                "half of what the buffer holds: this machine has no core left for the camera's side"
            )
        if self.is_sustained:
            found += drift_doubts(self.samples["total"])
        else:
            found.append(
                "the rate is beyond what this device sustains: latencies grow for as long as it runs"
            )
        if self.unaccounted:
            found.append(f"{self.unaccounted} lines are unaccounted for: please report this")
        return tuple(found)


def measure_lines(
    inspector: Inspector,
    material: NDArray[np.uint8],
    *,
    scenario: LineLoad,
    clock: Clock | None = None,
    on_progress: Callable[[float], None] | None = None,
    inspect: Callable[[WebStream, LineBlock], list[Any]] = WebStream.push,
) -> LineRun:
    """Push the lines of `material` (uint8 lines x width, repeated for as long as it takes) and inspect them.

    `inspect` is what is done with a block. Raises UsageError for a web that does not fit the bundle, and what
    the engine raises; the camera's side has ended then.
    """
    check_material(material, scenario.width)
    clock = clock or MonotonicClock()
    down, _ = axes_of(inspector.manifest, scenario.web)
    step_lines = down.step * down.per_pixel
    stream = warmed_stream(inspector, material, scenario, clock)
    buffer = LineBuffer(
        scenario.width,
        block_lines=scenario.block_lines,
        blocks=scenario.buffer_lines // scenario.block_lines,
        when_full=WhenFull.DROP_NEWEST,
    )
    producer = _Producer(buffer, material, scenario, scenario.lines(step_lines), clock)
    # At most: one strip for each row of tiles, and two more for each block after which a web was cut.
    store = SampleStore(
        STAGES, producer.lines // step_lines + 2 * (producer.lines // scenario.block_lines) + 8
    )
    producer.start()
    ended = began = clock.now_ns()
    with buffer:
        for block in buffer.stream(_TAKE_TIMEOUT_S):
            taken, last = clock.now_ns(), producer.due_ns(block.first_number + len(block) - 1)
            strips = inspect(stream, block)
            ended = clock.now_ns()
            _keep(store, strips, producer, last=last, taken=taken, ended=ended)
            if on_progress is not None:
                on_progress(block.first_number / producer.lines)
            del block, strips
        rest = stream.finish()
        last = producer.due_ns(producer.lines - 1)
        _keep(store, rest, producer, last=last, taken=max(last, ended), ended=clock.now_ns())
    producer.finish()
    return LineRun(
        scenario=scenario,
        samples=store.arrays(),
        buffer=buffer.statistics,
        stream=stream.statistics,
        scheduled=producer.lines,
        drain_ns=max(0, ended - last),
        band_ns=round(step_lines * 1e9 / scenario.line_rate_hz),
        producer_lag_ns=producer.lag_ns,
        engine_ns=stream.statistics.infer_ns,
        seconds=(clock.now_ns() - began) / 1e9,
    )


def warmed_stream(
    inspector: Inspector, material: NDArray[np.uint8], scenario: LineLoad, clock: Clock
) -> WebStream:
    """A stream at its beginning, after as much inspection as warms up the engine; and its code."""
    until, bands = clock.now_ns() + round(scenario.warm_up_seconds * 1e9), 0
    down, _ = axes_of(inspector.manifest, scenario.web)
    height = down.tile * down.per_pixel
    lines = _repeated(material, height)
    while bands < _WARM_UP_BANDS or clock.now_ns() < until:
        warm = WebStream(inspector, settings=scenario.web)
        warm.push(ArrayBlock(lines))
        warm.finish()
        bands += 1
    return WebStream(inspector, settings=scenario.web)


def lines_per_second(inspector: Inspector, material: NDArray[np.uint8], scenario: LineLoad) -> float:
    """Lines inspected in a second when all are there already: no rate beyond is sustained."""
    clock = MonotonicClock()
    stream = warmed_stream(inspector, material, scenario, clock)
    block = _repeated(material, scenario.block_lines)
    began, done = clock.now_ns(), 0
    down, _ = axes_of(inspector.manifest, scenario.web)
    enough = (down.tile + 2 * down.step) * down.per_pixel
    while done < enough or clock.now_ns() - began < scenario.warm_up_seconds * 1e9:
        stream.push(ArrayBlock(block, done))
        done += len(block)
    stream.finish()
    return done / ((clock.now_ns() - began) / 1e9)


def check_material(material: NDArray[np.uint8], width: int) -> None:
    """Refuse what is not grey lines of that width; raises UsageError."""
    if material.dtype != np.uint8 or material.ndim != 2 or not len(material) or material.shape[1] != width:
        raise UsageError(
            f"Expected grey lines of {width} pixels, uint8, found {material.dtype} of shape {material.shape}."
        )


def _repeated(material: NDArray[np.uint8], lines: int) -> NDArray[np.uint8]:
    return np.tile(material, (-(-lines // len(material)), 1))[:lines]


def _keep(
    store: SampleStore, strips: list[Any], producer: _Producer, *, last: int, taken: int, ended: int
) -> None:
    for strip in strips:
        due = producer.due_ns(strip.first_line + strip.lines - 1)
        store.add({"total": ended - due, "fill": last - due, "wait": taken - last, "inspect": ended - taken})


class _Producer:
    """The camera's side: a thread that pushes what is due, tick by tick, and closes the buffer at the end."""

    def __init__(
        self, buffer: LineBuffer, material: NDArray[np.uint8], scenario: LineLoad, lines: int, clock: Clock
    ) -> None:
        self.lines = lines
        self.lag_ns = 0
        self._buffer, self._clock = buffer, clock
        self._period_ns = 1e9 / scenario.line_rate_hz
        self._most = scenario.block_lines
        # Once around and the longest push more, so that each push is one piece.
        self._around = len(material)
        self._material = np.concatenate([material, _repeated(material, self._most)])
        self._start_ns = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)

    def start(self) -> None:
        self._start_ns = self._clock.now_ns()
        self._thread.start()

    def finish(self) -> None:
        """Wait for its end; raises what ended it."""
        self._thread.join()
        if self._error is not None:
            raise EdgeadError(f"The lines could not be pushed: {self._error}") from self._error

    def due_ns(self, number: int) -> int:
        """When a line is complete: at the end of its period."""
        return self._start_ns + round((number + 1) * self._period_ns)

    def _run(self) -> None:
        try:
            self._push_all()
        except BaseException as error:  # raised in the consumer's thread, by finish()
            self._error = error
        finally:
            self._buffer.close()

    def _push_all(self) -> None:
        sent = 0
        while sent < self.lines:
            now = self._clock.now_ns()
            due = min(int((now - self._start_ns) / self._period_ns), self.lines)
            if due <= sent:
                self._clock.sleep_until(max(self.due_ns(sent), now + _TICK_NS))
                continue
            self.lag_ns = max(self.lag_ns, now - self.due_ns(sent))
            count = min(due - sent, self._most)
            first = sent % self._around
            status = self._buffer.push(
                self._material[first : first + count], number=sent, timestamp_ns=self.due_ns(sent)
            )
            if status is PushStatus.STOPPED:
                return
            sent += count
