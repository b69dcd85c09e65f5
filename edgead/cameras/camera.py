"""A camera as its reader sees it: frames one after the other, through stalls and lost connections."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType

from edgead.cameras.base import CameraStatistics, Driver, Frame, FrameStatus
from edgead.errors import CameraError, CameraTimeoutError, UsageError

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0  # between attempts to reconnect, doubled each time
_NAP_S = 0.1  # how late a stop is noticed at most while nothing comes


@dataclass(frozen=True)
class CameraSettings:
    """How a live camera is read.

    `queue`: frames that wait for the reader at most; a newer one takes the place of the oldest. `timeout_s`
    without a frame is a stall, 0 for a camera that waits for its trigger; after `stalls` in a row it is
    opened again. Without a connection for `give_up_s`, reading fails; 0 tries for ever.
    """

    queue: int = 2
    timeout_s: float = 2.0
    stalls: int = 3
    give_up_s: float = 0.0

    def __post_init__(self) -> None:
        if self.queue < 1 or self.stalls < 1:
            raise UsageError("queue and stalls: expected whole numbers from 1.")
        if not (0 <= self.timeout_s < 1e6 and 0 <= self.give_up_s < 1e9):
            raise UsageError("timeout and give_up: expected seconds from 0.")


class Camera:
    """Frames of a driver, in order; a context manager and an iterator.

        with open_camera("gige://192.168.1.20") as camera:
            for frame in camera:
                if frame.is_whole: ...

    A live camera is read by a thread of its own, so that what waits is always the newest; others are read
    when asked. That thread calls `on_event` with the words of each stall, failure and reconnection. One
    reader; `stop` may be called by anybody, a signal handler included.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        name: str,
        settings: CameraSettings | None = None,
        on_event: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self.statistics = CameraStatistics()
        self._driver, self._settings = driver, settings or CameraSettings()
        self._on_event = on_event or (lambda words: None)
        self._stop = threading.Event()
        self._condition = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._offset = 0  # added to the driver's numbers, which begin anew when it is opened again
        self._last_number: int | None = None
        self._opened = False

    @property
    def is_live(self) -> bool:
        """Whether frames come by themselves; the others wait to be read."""
        return self._driver.is_live

    def open(self) -> None:
        """Connect; raises CameraError when that fails the first time. Reading does it when nobody has."""
        if self._opened or self._stop.is_set():
            return
        self._driver.open()
        self._opened = True
        if self._driver.is_live:
            self._thread = threading.Thread(target=self._run, name=f"camera {self.name}", daemon=True)
            self._thread.start()

    def read(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame; None after the last one, or after `stop`.

        Raises CameraTimeoutError when none came in time, CameraError when the camera is given up.
        """
        self.open()
        if not self._driver.is_live:
            return self._pull()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._condition:
            while not self._frames and not self._ended and not self._stop.is_set():
                left = _NAP_S if deadline is None else min(_NAP_S, deadline - time.monotonic())
                if left <= 0:
                    raise CameraTimeoutError(
                        f"{self.name}: expected a frame within {timeout_s} s, none came."
                    )
                self._condition.wait(left)  # naps: a signal handler may set the stop without the condition
            if self._stop.is_set() or not self._frames:
                if self._error is not None and not self._stop.is_set():
                    raise self._error
                return None
            self.statistics.delivered += 1
            self.statistics.waiting -= 1
            return self._frames.popleft()

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.read()) is not None:
            yield frame

    def stop(self) -> None:
        """Want no more frames: reading answers None from now on."""
        self._stop.set()

    def close(self) -> None:
        """Stop and disconnect; twice is allowed."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=max(10.0, 3 * self._settings.timeout_s))
            self._thread = None
        elif self._opened:
            self._driver.close()
        self._opened = False

    def __enter__(self) -> Camera:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _pull(self) -> Frame | None:
        if self._stop.is_set():
            return None
        frame = self._driver.grab(self._settings.timeout_s)
        if frame is None:
            return None
        self.statistics.delivered += 1
        return self._count(frame)

    def _run(self) -> None:
        """The thread: grab, queue, and reconnect, until it is stopped, the source ends or is given up."""
        try:
            while not self._stop.is_set():
                problem = self._grab_until_trouble()
                if problem is None:
                    break
                self.statistics.failures += 1
                self._on_event(f"{problem} Trying to connect again.")
                if not self._reconnect(problem):
                    break
        except BaseException as error:  # whatever a driver raises ends the reading, in the reader's thread
            self._error = error
        finally:
            self._driver.close()
            with self._condition:
                self._ended = True
                self._condition.notify_all()

    def _grab_until_trouble(self) -> CameraError | None:
        """Queue frames; the error that asks for a new connection, or None at the end."""
        stalls = 0
        timeout_s = self._settings.timeout_s
        waits_for_ever = timeout_s == 0
        since = time.monotonic()
        while not self._stop.is_set():
            try:
                # In slices, so that a stop is noticed soon.
                frame = self._driver.grab(min(_NAP_S * 5, timeout_s or _NAP_S * 5))
            except CameraTimeoutError:
                if waits_for_ever or time.monotonic() - since < timeout_s:
                    continue
                stalls += 1
                self.statistics.stalls += 1
                self._on_event(f"{self.name}: no frame for {timeout_s * stalls:g} s.")
                if stalls >= self._settings.stalls:
                    return CameraError(f"{self.name}: no frame for {timeout_s * stalls:g} s.")
                since = time.monotonic()
                continue
            except CameraError as error:
                return error
            if frame is None:
                return None
            stalls, since = 0, time.monotonic()
            self._queue(frame)
        return None

    def _queue(self, frame: Frame) -> None:
        with self._condition:
            self._frames.append(self._count(frame))
            self.statistics.waiting += 1
            if len(self._frames) > self._settings.queue:
                self._frames.popleft()
                self.statistics.overwritten += 1
                self.statistics.waiting -= 1
            self._condition.notify_all()

    def _count(self, frame: Frame) -> Frame:
        """Count a frame and those missing before it; with its number over all connections."""
        statistics = self.statistics
        number = frame.number + self._offset
        if self._last_number is not None:
            statistics.lost += max(0, number - self._last_number - 1)
            self._last_number = max(number, self._last_number)  # a straggler is no new beginning
        else:
            self._last_number = number
        statistics.received += 1
        statistics.incomplete += frame.status is FrameStatus.INCOMPLETE
        statistics.unreadable += frame.status is FrameStatus.UNREADABLE
        return replace(frame, number=number)

    def _reconnect(self, problem: CameraError) -> bool:
        """Open the driver again, however often it takes; False when stopped. Raises on giving up."""
        self._driver.close()
        left_at, wait_s = time.monotonic(), _FIRST_WAIT_S
        while not self._stop.wait(wait_s):
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            away_s = time.monotonic() - left_at
            try:
                self._driver.open()
            except CameraError as error:
                if self._settings.give_up_s and away_s > self._settings.give_up_s:
                    raise CameraError(f"{error} Given up after {away_s:.0f} s.") from problem
                continue
            self.statistics.reconnects += 1
            self.statistics.away_ns += round((time.monotonic() - left_at) * 1e9)
            self._offset = 0 if self._last_number is None else self._last_number + 1
            self._on_event(f"{self.name}: connected again after {time.monotonic() - left_at:.1f} s.")
            return True
        return False
