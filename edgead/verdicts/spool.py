"""Verdicts that wait on disk for a broker: bounded, in order, and there again after a restart."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from edgead.errors import EdgeadError
from edgead.files import lock_file
from edgead.verdicts.sinks import append_whole

_SEGMENT_BYTES = 2**17
_FIRST = 10**9  # segments that are put before all others count down from here
_SUFFIX = ".jsonl"


class Spool:
    """A queue of lines in a folder, in segments `NUMBER.jsonl`; one process's and one thread's.

    A segment is read whole and removed once its lines are delivered: a crash before that delivers them twice,
    never not at all. Beyond `max_bytes` the oldest segment is dropped, and its lines are counted; not the one
    that `head` has given, whose lines are on their way: where it alone is left, the new line is dropped.
    """

    def __init__(self, folder: str | Path, *, max_bytes: int) -> None:
        self._folder, self._max_bytes = Path(folder), max_bytes
        self.dropped = 0
        self._on_its_way: int | None = None  # number of the segment that `head` gave
        self._tail: int | None = None  # file descriptor of the segment that is written
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock: int | None = _lock(self._folder / "lock")
            paths = [path for path in self._folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal()]
            segments = {int(path.stem): _read(path) for path in paths}
        except OSError as error:
            raise EdgeadError(
                f"{self._folder}: cannot be used to keep verdicts ({error.strerror}). Name another folder."
            ) from error
        self._counts = {number: len(lines) for number, lines in segments.items()}
        self._sizes = {number: sum(map(len, lines)) for number, lines in segments.items()}

    def __len__(self) -> int:
        return sum(self._counts.values())

    def append(self, line: bytes) -> None:
        """Add a line at the end; raises OSError, and nothing is written then."""
        if not self._make_room(len(line)):
            self.dropped += 1
            return
        if self._tail is None or self._sizes[max(self._sizes)] + len(line) > _SEGMENT_BYTES:
            self._begin_segment(max(self._sizes, default=_FIRST) + 1)
        tail = self._tail
        if tail is not None:
            append_whole(tail, line)
            number = max(self._sizes)
            self._sizes[number] += len(line)
            self._counts[number] += 1

    def prepend(self, lines: Sequence[bytes]) -> None:
        """Put lines before all others; raises OSError, and nothing is written then."""
        if not lines:
            return
        number = min(self._sizes, default=_FIRST) - 1
        path = self._path(number)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            append_whole(file, b"".join(lines))
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)
        self._sizes[number], self._counts[number] = sum(map(len, lines)), len(lines)

    def head(self) -> list[bytes]:
        """The oldest lines, a segment of them; they stay until `remove_head`."""
        while self._sizes and not self._counts[min(self._sizes)]:
            self._remove(min(self._sizes))
        if not self._sizes:
            return []
        number = min(self._sizes)
        if number == max(self._sizes):
            self._end_segment()  # what comes from now on goes to another
        lines = _read(self._path(number))
        self._on_its_way = number
        return lines

    def let_go(self) -> None:
        """What `head` gave stays, and may be dropped again like any other."""
        self._on_its_way = None

    def remove_head(self) -> None:
        """Remove what `head` gave."""
        if self._on_its_way is not None:
            self._remove(self._on_its_way)

    def replace_head(self, lines: Sequence[bytes]) -> None:
        """Put these in the place of what `head` gave; raises OSError, and nothing has changed then."""
        number = self._on_its_way
        self.prepend(lines)
        if number is not None:
            self._remove(number)

    def close(self) -> None:
        """Let the folder go; what is in it stays."""
        self._end_segment()
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def _make_room(self, more: int) -> bool:
        while self._sizes and sum(self._sizes.values()) + more > self._max_bytes:
            oldest = min((number for number in self._sizes if number != self._on_its_way), default=None)
            if oldest is None:
                return False
            self.dropped += self._counts[oldest]
            self._remove(oldest)
        return True

    def _begin_segment(self, number: int) -> None:
        self._end_segment()
        self._tail = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._sizes[number], self._counts[number] = 0, 0

    def _end_segment(self) -> None:
        if self._tail is not None:
            os.close(self._tail)
        self._tail = None

    def _remove(self, number: int) -> None:
        if number == max(self._sizes):
            self._end_segment()
        with contextlib.suppress(OSError):
            self._path(number).unlink(missing_ok=True)
        del self._sizes[number], self._counts[number]
        if number == self._on_its_way:
            self._on_its_way = None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:010}{_SUFFIX}"


def _lock(path: Path) -> int:
    """Hold the folder for this process, until closed; raises EdgeadError when another holds it.

    The system lets go of the lock when the process ends, however it ends.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock_file(file)
    except OSError as error:
        os.close(file)
        raise EdgeadError(
            f"{path.parent}: another process keeps its verdicts there. Name another folder, or end that one."
        ) from error
    return file


def _read(path: Path) -> list[bytes]:
    """The whole lines of a segment; a last one that a crash cut short is left out."""
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
