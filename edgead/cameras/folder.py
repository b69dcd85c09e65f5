"""Pictures in files as a camera: all of them as fast as they are read, or replayed at a frame rate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgead.cameras.base import NO_PIXELS, Driver, Frame, FrameStatus
from edgead.errors import CameraTimeoutError, DataError
from edgead.images import read_image
from edgead.picture_files import nothing_found, pictures_in, pictures_of

_KEPT_BYTES = 2**29  # of decoded pictures: reading and decoding again would set the frame rate


def find_pictures(pattern: str) -> list[Path]:
    """The images of a folder (searched through) or of a pattern, sorted; raises DataError for none."""
    path = Path(pattern)
    found = pictures_in(path, below=True) if path.is_dir() else pictures_of(pattern)
    if not found.pictures:
        raise DataError(nothing_found(pattern, found))
    return list(found.pictures)


class FolderDriver(Driver):
    """The pictures of a folder or a pattern, each once, in the order of their names; all are read."""

    is_live = False

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._paths: Sequence[Path] = ()
        self._number = 0

    def open(self) -> None:
        """Raises DataError where there are no images."""
        self._paths, self._number = find_pictures(self._pattern), 0

    def grab(self, timeout_s: float) -> Frame | None:
        """The next picture; one that cannot be read is a frame as well, UNREADABLE."""
        if self._number >= len(self._paths):
            return None
        number, self._number = self._number, self._number + 1
        return _read(self._paths[number], number)

    def close(self) -> None:
        """Nothing is held."""


class ReplayDriver(Driver):
    """A folder played like a live camera: at `fps`, with faults that repeat for a `seed`.

    Frame n comes at n / fps, later by up to `jitter_ms` (evenly distributed). A share `drop` of the frames is
    lost, and seen in the numbers. Before a share `stall` of the frames, nothing comes for `stall_s`, and the
    frames of that time are lost. The folder is played `times` times, 0 for ever.
    """

    def __init__(
        self,
        pattern: str,
        *,
        fps: float = 30.0,
        jitter_ms: float = 0.0,
        drop: float = 0.0,
        stall: float = 0.0,
        stall_s: float = 5.0,
        seed: int = 0,
        times: int = 1,
    ) -> None:
        self._pattern, self._period_s, self._jitter_s = pattern, 1 / fps, jitter_ms / 1000
        self._drop, self._stall, self._stall_s = drop, stall, stall_s
        self._seed, self._times = seed, times
        self._paths: Sequence[Path] = ()
        self._kept: dict[Path, NDArray[np.uint8]] = {}
        self._kept_bytes = 0
        self._next = 0
        self._pending: tuple[int, float] | None = None  # a frame that is not due yet, and when it is

    def open(self) -> None:
        """Raises DataError where there are no images."""
        self._paths, self._next, self._pending = find_pictures(self._pattern), 0, None
        self._random = np.random.default_rng(self._seed)
        self._began = time.monotonic()

    def grab(self, timeout_s: float) -> Frame | None:
        """The next frame when it is due; late where reading it took longer than a period."""
        if self._pending is None:
            number = self._schedule()
            if number is None:
                return None
            jitter_s = float(self._random.random()) * self._jitter_s
            self._pending = (number, self._began + number * self._period_s + jitter_s)
        number, due = self._pending
        wait_s = due - time.monotonic()
        if wait_s > timeout_s:
            time.sleep(timeout_s)
            raise CameraTimeoutError(f"replay:{self._pattern}: no frame within {timeout_s:g} s.")
        frame = self._picture(self._paths[number % len(self._paths)], number)  # read before it is due
        time.sleep(max(0.0, due - time.monotonic()))
        self._pending = None
        return frame

    def _schedule(self) -> int | None:
        """The number of the next frame that is neither dropped nor lost in a stall; None at the end."""
        while not self._times or self._next < self._times * len(self._paths):
            if self._stall and self._random.random() < self._stall:
                self._next += max(1, round(self._stall_s / self._period_s))
                continue
            number, self._next = self._next, self._next + 1
            if not self._drop or self._random.random() >= self._drop:
                return number
        return None

    def _picture(self, path: Path, number: int) -> Frame:
        if path in self._kept:
            return Frame(self._kept[path], number, time.monotonic_ns(), origin=str(path))
        frame = _read(path, number)
        if frame.is_whole and self._kept_bytes + frame.pixels.nbytes <= _KEPT_BYTES:
            self._kept[path] = frame.pixels
            self._kept_bytes += frame.pixels.nbytes
        return frame

    def close(self) -> None:
        """Let the pictures go."""
        self._kept, self._kept_bytes = {}, 0


def _read(path: Path, number: int) -> Frame:
    try:
        pixels = read_image(path)
    except DataError as error:
        return Frame(
            NO_PIXELS,
            number,
            time.monotonic_ns(),
            status=FrameStatus.UNREADABLE,
            problem=str(error),
            origin=str(path),
        )
    return Frame(pixels, number, time.monotonic_ns(), origin=str(path))
