"""Where verdicts go: one contract, and the two ways that need nothing installed."""

from __future__ import annotations

import abc
import contextlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from edgead.errors import EdgeadError
from edgead.verdicts.verdict import Verdict

OnEvent = Callable[[str], None]


@dataclass
class SinkStatistics:
    """What became of the verdicts: `accepted + found == delivered + waiting + dropped`, at any time.

    A verdict that a broker received twice counts once.
    """

    accepted: int = 0
    found: int = 0  # in the spool, from an earlier run
    delivered: int = 0
    waiting: int = 0  # in memory and on disk
    dropped: int = 0  # lost: no room, or a disk that failed
    disconnects: int = 0

    def to_json(self) -> dict[str, int]:
        return asdict(self)


class Sink(abc.ABC):
    """Takes verdicts in order. `send` neither waits for anybody nor raises for what lies outside."""

    statistics: SinkStatistics

    @abc.abstractmethod
    def send(self, verdict: Verdict) -> None:
        """Take a verdict on its way."""

    def close(self) -> None:  # noqa: B027 - not every sink holds something
        """Send what can be sent, keep what can be kept, let go of the rest; twice is allowed."""

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class CallbackSink(Sink):
    """Calls a function of the host with each verdict, in the inspecting thread; what it raises goes on."""

    def __init__(self, function: Callable[[Verdict], None]) -> None:
        self.statistics = SinkStatistics()
        self._function = function

    def send(self, verdict: Verdict) -> None:
        """Call the function; a verdict on which it raises counts as dropped."""
        self.statistics.accepted += 1
        try:
            self._function(verdict)
        except BaseException:
            self.statistics.dropped += 1
            raise
        self.statistics.delivered += 1


class JsonLinesSink(Sink):
    """Appends one line of JSON per verdict to a file, each at once.

    When the disk is full, verdicts are dropped and counted, `on_event` is called, and writing is tried again
    with the next one; no half line stays in the file.
    """

    def __init__(self, path: str | Path, *, on_event: OnEvent | None = None) -> None:
        self.statistics = SinkStatistics()
        self._path, self._on_event = Path(path), on_event or (lambda words: None)
        self._is_failing = False
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise EdgeadError(
                f"{self._path}: cannot be written ({error.strerror}). Name another file."
            ) from error
        self._is_open = True

    def send(self, verdict: Verdict) -> None:
        """Append the verdict's line, whole or not at all."""
        self.statistics.accepted += 1
        try:
            append_whole(self._file, verdict.to_line())
        except OSError as error:
            self.statistics.dropped += 1
            if not self._is_failing:
                self._on_event(
                    f"{self._path}: cannot be written ({error.strerror}); verdicts are dropped there."
                )
            self._is_failing = True
            return
        self.statistics.delivered += 1
        if self._is_failing:
            self._on_event(
                f"{self._path}: can be written again; {self.statistics.dropped} verdicts were dropped."
            )
        self._is_failing = False

    def close(self) -> None:
        """Close the file."""
        if self._is_open:
            self._is_open = False
            os.close(self._file)


def append_whole(file: int, data: bytes) -> None:
    """Append to a file descriptor all of `data`, or raise OSError and leave the file as long as it was."""
    length = os.fstat(file).st_size
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(file, rest) :]
    except OSError:
        with contextlib.suppress(OSError):  # a pipe cannot be cut; the first error is the one to tell
            os.ftruncate(file, length)
        raise
