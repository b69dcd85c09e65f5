"""The Python side of the line buffer."""

from __future__ import annotations

import enum
import math
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from edgead.errors import LineError, LineTimeoutError, UnknownNameError, UsageError
from edgead.runtime.line.block import LineBlock, LineStatistics

try:
    from edgead.runtime.line import _ring
except ImportError as error:
    raise ImportError(
        "The line buffer's C extension is not built for this Python. With a C compiler (Debian, Ubuntu: "
        "apt-get install gcc python3-dev), `pip install .` in the checkout builds it, and in place "
        f"`python setup.py build_ext --inplace`. ({error})",
        name=error.name,
        path=error.path,
    ) from error

__all__ = ["LineBlock", "LineBuffer", "LineStatistics", "PushStatus", "WhenFull"]

_OK, _DROPPED, _STOPPED, _END, _TIMEOUT, _FAILED = range(6)  # edgead_line_status in edgead_line.h
_FOREVER_NS = 2**63 - 1
_PIXELS = {"uint8": 1, "uint16": 2}


class WhenFull(enum.Enum):
    """What becomes of a line when the consumer is slower and every block is full."""

    WAIT = "wait"  # the push waits for the consumer, then gives the line up
    DROP_OLDEST = "drop_oldest"  # the oldest block that nobody holds is overwritten
    DROP_NEWEST = "drop_newest"  # the line itself is dropped


class PushStatus(enum.Enum):
    """What became of the lines of a push."""

    STORED = _OK
    DROPPED = _DROPPED  # some or all of them; the statistics count them
    STOPPED = _STOPPED  # the consumer has stopped: no more lines are wanted


class LineBuffer:
    """A ring of blocks of lines: one producer pushes lines, one consumer takes overlapping blocks.

        lines = edgead.LineBuffer(4096, block_lines=512, overlap=64)
        camera.start(lines.capsule)  # your driver, in C, on a thread of its own: see edgead_line.h
        with lines:  # leaving it, by an exception as well, stops the camera's side
            for block in lines:
                result = inspector.inspect(block.pixels)

    `width` in pixels; `channels` 1 (grey) or more (interleaved); `dtype` uint8 or uint16. Each block has
    `block_lines` lines, the first `overlap` of them repeated from the block before (at most half). The ring
    holds `blocks` of them, at least 4, and is allocated here, once. Under WhenFull.WAIT a push waits for at
    most `wait_s`. With `deadline_ms`, lines released later than that after they were pushed count as late.

    Pushing (`push`, `end_part`, `close`, `fail`) is one thread's, taking another's; `stop` and `statistics`
    are anybody's. Raises UsageError for a format that cannot be, MemoryError where memory is short.
    """

    def __init__(
        self,
        width: int,
        *,
        block_lines: int,
        overlap: int = 0,
        blocks: int = 8,
        channels: int = 1,
        dtype: DTypeLike = np.uint8,
        when_full: WhenFull | str = WhenFull.WAIT,
        wait_s: float = 5.0,
        deadline_ms: float | None = None,
    ) -> None:
        self.dtype = _pixel_type(dtype)
        self.when_full = _when_full(when_full)
        self.width = _whole("width", width, 1, 2**24)
        self.channels = _whole("channels", channels, 1, 16)
        self.block_lines = _whole("block_lines", block_lines, 1, 2**20)
        self.overlap = _whole("overlap", overlap, 0, self.block_lines // 2)
        self.blocks = _whole("blocks", blocks, 4, 2**16)
        self._check_memory()
        self._ring = _ring.Ring(
            self.width,
            self.channels,
            self.dtype.itemsize,
            self.block_lines,
            self.overlap,
            self.blocks,
            list(WhenFull).index(self.when_full),
            _nanoseconds("wait_s", wait_s, 1e9),
            0 if deadline_ms is None else max(1, _nanoseconds("deadline_ms", deadline_ms, 1e6)),
        )

    @property
    def line_shape(self) -> tuple[int, ...]:
        return (self.width,) if self.channels == 1 else (self.width, self.channels)

    @property
    def capsule(self) -> object:
        """What a C extension hands to edgead_line_from_capsule(); it keeps the ring alive."""
        return self._ring.capsule()

    @property
    def statistics(self) -> LineStatistics:
        return LineStatistics(**self._ring.statistics())

    # The producer's side.

    def push(
        self,
        pixels: NDArray[Any],
        *,
        number: ArrayLike | None = None,
        timestamp_ns: ArrayLike | None = None,
        encoder: ArrayLike | None = None,
    ) -> PushStatus:
        """Copy one line (width) or some (lines x width) into the buffer, x channels where it has them.

        `number` is that of the first line or of each; left out, they go on. Within a part they rise; those
        that are left out count as lost. `timestamp_ns` (left out: now, monotonic) and `encoder` are one for
        all or one for each line. Nothing is stored when a LineError or UsageError is raised.
        """
        array = self._as_lines(pixels)
        if number is not None and np.ndim(number) == 0:
            first = int(_words("number", number, 1)[0])
            if not 0 <= first < 2**63 - 1 - len(array):
                raise UsageError(f"a line number is 0 to 2^63 - 2, but the first is {first}.")
            number = np.arange(first, first + len(array), dtype=np.int64)
        per_line = [
            None if values is None else _words(name, values, len(array))
            for name, values in (("number", number), ("timestamp_ns", timestamp_ns), ("encoder", encoder))
        ]
        status = self._ring.push(array, *per_line)
        if status < 0:
            raise LineError(f"The lines were refused and none was stored: {_ring.message(status)}.")
        return PushStatus(status)

    def end_part(self) -> None:
        """The part ends here: its last block goes out, shorter than others; numbers may begin anew."""
        self._check(self._ring.end_part())

    def close(self) -> None:
        """No more lines will come; the loop over the blocks ends after the last. Once more does nothing."""
        self._check(self._ring.close())

    def fail(self, why: str) -> None:
        """Close because the camera failed; the loop over the blocks raises LineError with this reason."""
        self._check(self._ring.fail(why.replace("\0", " ")))

    # The consumer's side.

    def take(self, timeout_s: float | None = None) -> LineBlock | None:
        """The next block, or None after the last one and after `stop`. Release it, or use it in a `with`.

        Raises LineTimeoutError when none was completed in `timeout_s` (None: waits on), LineError when the
        producer failed.
        """
        timeout_ns = _FOREVER_NS if timeout_s is None else _nanoseconds("timeout_s", timeout_s, 1e9)
        taken = self._ring.take(timeout_ns)
        if not isinstance(taken, int):
            return LineBlock(taken)
        if taken in (_END, _STOPPED):
            return None
        if taken == _FAILED:
            why = self._ring.failure() or "it gave no reason"
            raise LineError(f"The producer of the lines failed: {why}.")
        if taken == _TIMEOUT:
            waiting = self.statistics.waiting
            raise LineTimeoutError(
                f"Expected a block of {self.block_lines} lines within {timeout_s} s; none was completed, "
                f"{waiting} lines wait. Is the camera triggered? end_part() sends what has come of a part."
            )
        raise LineError(f"No block was taken: {_ring.message(taken)}. A line buffer has one consumer.")

    def stream(self, timeout_s: float | None = None) -> Iterator[LineBlock]:
        """Each block until the end, released when the next is asked for; raises what `take` raises."""
        while (block := self.take(timeout_s)) is not None:
            with block:
                yield block
            del block  # its last reference here, while the next one is waited for

    def __iter__(self) -> Iterator[LineBlock]:
        return self.stream()

    def stop(self) -> None:
        """Want no more lines: the producer's pushes return STOPPED from now on, and a waiting `take` None."""
        self._ring.stop()

    def __enter__(self) -> LineBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _check(self, status: int) -> None:
        if status != _OK:
            raise LineError(f"Nothing was done: {_ring.message(status)}.")

    def _as_lines(self, pixels: NDArray[Any]) -> NDArray[Any]:
        array = np.asarray(pixels)
        single = array.ndim == len(self.line_shape)
        shape = array.shape if single else array.shape[1:]
        if array.dtype != self.dtype or shape != self.line_shape:
            expected = " x ".join(map(str, self.line_shape))
            raise UsageError(
                f"Expected lines of {expected} {self.dtype}, or some of them stacked; found an array of "
                f"{' x '.join(map(str, array.shape)) or 'one number'} {array.dtype}. Convert it, or make a "
                "LineBuffer of that format."
            )
        return np.ascontiguousarray(array[np.newaxis] if single else array)

    def _check_memory(self) -> None:
        line_bytes = self.width * self.channels * self.dtype.itemsize
        needed = self.blocks * self.block_lines * (line_bytes + 24)
        try:
            present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return
        if needed > present:
            raise UsageError(
                f"{self.blocks} blocks of {self.block_lines} lines of {line_bytes} bytes are "
                f"{needed / 2**30:.1f} GiB; this machine has {present / 2**30:.1f}. Ask for less."
            )


def _pixel_type(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found.name not in _PIXELS or not found.isnative:
        raise UsageError(f"dtype is one of {', '.join(_PIXELS)} in the machine's byte order, not {dtype!r}.")
    return found


def _when_full(policy: WhenFull | str) -> WhenFull:
    if isinstance(policy, WhenFull):
        return policy
    try:
        return WhenFull(policy)
    except ValueError:
        known = [member.value for member in WhenFull]
        raise UnknownNameError("policy of a full line buffer", str(policy), known) from None


def _whole(name: str, value: int, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise UsageError(f"{name} is a whole number from {least} to {most}, but is {value!r}.")
    return int(value)


def _nanoseconds(name: str, value: float, per_unit: float) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value) or value < 0:
        raise UsageError(f"{name} is a number from 0 on, but is {value!r}.")
    return int(min(value * per_unit, 2.0**62))


def _words(name: str, values: ArrayLike, lines: int) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.shape not in ((), (lines,)):
        raise UsageError(
            f"{name} is one whole number, or one for each of the {lines} lines; found "
            f"{array.dtype} of shape {array.shape}."
        )
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 2**63:
        raise UsageError(f"{name} fits into 63 bits and a sign, but {int(array.max())} does not.")
    return np.ascontiguousarray(np.broadcast_to(array.astype(np.int64), (lines,)))
