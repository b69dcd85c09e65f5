"""An external sort: values appended in any order, read back by ranges, in bounded memory.

Values are collected to a run, sorted and written to an unlinked temporary file, so that nothing is left
behind even by a kill -9. Of each run every 1024th value stays in memory as an index.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from edgead.errors import DataError

RUN_LENGTH = 1 << 23  # values sorted at once: 32 MB of uint32
INDEX_STEP = 1 << 10


@dataclass(frozen=True)
class Run:
    """Sorted values, in memory or at `offset` bytes of `file`, with every INDEX_STEP-th one in `index`."""

    length: int
    index: np.ndarray
    values: np.ndarray | None = None
    file: IO[bytes] | None = None
    offset: int = 0

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return values[start:stop]."""
        if self.values is not None:
            return self.values[start:stop]
        if self.file is None:
            raise ValueError("A run needs values or a file.")
        self.file.seek(self.offset + start * self.index.itemsize)
        return np.fromfile(self.file, dtype=self.index.dtype, count=stop - start)

    def rank(self, value: int) -> int:
        """Return how many values are smaller than `value`, by the index and one block of the file."""
        if value > np.iinfo(self.index.dtype).max:
            return self.length
        wanted = self.index.dtype.type(value)
        block = int(np.searchsorted(self.index, wanted, side="left"))
        if block == 0:
            return 0
        start = (block - 1) * INDEX_STEP
        stop = min(start + INDEX_STEP, self.length)
        return start + int(np.searchsorted(self.read(start, stop), wanted, side="left"))


class SortedRuns:
    """Unsigned integers of one dtype, as sorted runs of at most `run_length` values."""

    def __init__(
        self, dtype: type[np.unsignedinteger], *, run_length: int = RUN_LENGTH, folder: Path | None = None
    ) -> None:
        self.dtype = np.dtype(dtype)
        self._run_length = run_length
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._runs: list[Run] = []
        self._pending: list[np.ndarray] = []
        self._pending_length = 0

    def append(self, values: np.ndarray) -> None:
        """Add a one-dimensional array; it is kept, not copied, until its run is full."""
        for start in range(0, len(values), self._run_length):
            piece = values[start : start + self._run_length]
            if self._pending_length + len(piece) > self._run_length:
                self._spill()
            self._pending.append(piece)
            self._pending_length += len(piece)

    def runs(self) -> tuple[Run, ...]:
        """Return all runs; the values not yet written make one in memory."""
        if not self._pending:
            return tuple(self._runs)
        values = self._sorted_pending()
        self._pending = [values]  # so that a second call sorts what is sorted, and memory holds it once
        return (*self._runs, Run(len(values), values[::INDEX_STEP].copy(), values=values))

    def close(self) -> None:
        """Give back memory and disk."""
        self._runs, self._pending, self._pending_length = [], [], 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _sorted_pending(self) -> np.ndarray:
        values = np.concatenate(self._pending)
        values.sort()
        return values

    def _spill(self) -> None:
        values = self._sorted_pending()
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, prefix="edgead-metrics-")  # noqa: SIM115
            offset = self._file.seek(0, 2)
            self._file.write(values.data)
            self._file.flush()
        except OSError as error:
            folder = self._folder or tempfile.gettempdir()
            raise DataError(
                f"Expected room for pixel scores in {folder}, found: {error.strerror or error}. "
                "Free 4 bytes per normal and 8 per anomalous pixel, or set TMPDIR to a larger disk."
            ) from error
        index = values[::INDEX_STEP].copy()
        self._runs.append(Run(len(values), index, file=self._file, offset=offset))
        self._pending, self._pending_length = [], 0


def read_range(runs: Sequence[Run], low: int, high: int) -> np.ndarray:
    """Return the values in [low, high) of all runs, sorted."""
    values = np.concatenate([run.read(run.rank(low), run.rank(high)) for run in runs])
    values.sort()
    return values


def read_unsorted(runs: Sequence[Run], low: int, high: int, *, chunk: int = 1 << 20) -> Iterator[np.ndarray]:
    """Yield the values in [low, high) in pieces of at most `chunk`, run by run."""
    for run in runs:
        stop = run.rank(high)
        for start in range(run.rank(low), stop, chunk):
            yield run.read(start, min(start + chunk, stop))


def count_range(runs: Sequence[Run], low: int, high: int) -> int:
    """Return how many values of all runs are in [low, high), without loading them."""
    return sum(run.rank(high) - run.rank(low) for run in runs)
