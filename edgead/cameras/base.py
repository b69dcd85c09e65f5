"""What a camera gives, whichever it is: numbered frames, times, status, and counts of what is missing."""

from __future__ import annotations

import abc
import enum
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

NO_PIXELS: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)


class FrameStatus(enum.Enum):
    """Whether a frame may be inspected."""

    WHOLE = "whole"
    INCOMPLETE = "incomplete"  # packets of it were lost on the way; what came is in `pixels`
    UNREADABLE = "unreadable"  # it came and could not be decoded


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a camera.

    `pixels` uint8 H W, or H W 3 RGB. `number` is the camera's own count and rises by one; what it leaves out
    was lost. `host_ns` is time.monotonic_ns() on arrival, which no change of the wall clock touches;
    `device_ns` is the camera's clock, where it has one. `problem` says why a frame is not whole.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    number: int
    host_ns: int
    device_ns: int | None = None
    status: FrameStatus = FrameStatus.WHOLE
    problem: str = ""
    origin: str = ""  # the file, where it came from one

    @property
    def is_whole(self) -> bool:
        return self.status is FrameStatus.WHOLE


@dataclass
class CameraStatistics:
    """What became of a camera's frames: `received == delivered + overwritten + waiting`, at any time."""

    received: int = 0
    delivered: int = 0  # to whoever reads
    overwritten: int = 0  # by newer ones, because the reader was slower
    waiting: int = 0
    lost: int = 0  # missing in the camera's numbers: they never came
    incomplete: int = 0  # of the received ones
    unreadable: int = 0  # of the received ones
    stalls: int = 0  # no frame came in time
    failures: int = 0  # the camera or the way to it failed
    reconnects: int = 0
    away_ns: int = 0  # time without a connection; frames of that time are in no count

    def to_json(self) -> dict[str, int]:
        return asdict(self)


class Driver(abc.ABC):
    """One kind of camera. Opened, asked for frames and closed by one thread; may be opened again.

    `is_live`: frames come whether somebody reads or not. The others wait, and nothing of them is lost.
    """

    is_live: bool = True

    @abc.abstractmethod
    def open(self) -> None:
        """Connect and start; raises CameraError saying what to do. Nothing stays open then."""

    @abc.abstractmethod
    def grab(self, timeout_s: float) -> Frame | None:
        """The next frame, or None after the last one of a source that ends.

        Raises CameraTimeoutError when none came in time, CameraError when the camera has to be opened again.
        Numbers begin anew with each opening.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Stop and disconnect; whatever happened before, and twice."""
