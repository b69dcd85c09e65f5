"""What comes out of a line buffer: blocks, and counts of what became of every line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ENDS_PART, _CUT = 1, 2  # edgead_line.h


@dataclass(frozen=True)
class LineStatistics:
    """What became of the lines since the buffer was made.

    At any time `pushed == consumed + overwritten + dropped + waiting`; `lost` ones never came to a push.
    """

    pushed: int  # offered to the buffer
    consumed: int  # taken and released; each line once, however often blocks overlap
    overwritten: int  # stored, then overwritten before they were taken (drop_oldest)
    dropped: int  # not stored: full, waited in vain, or the consumer had stopped
    waiting: int  # stored and not yet released, the block that is being filled included
    lost: int  # missing in the numbers of a part: lost before they came here
    late: int  # consumed later than the deadline after they were pushed
    high_water: int  # the most that ever waited
    refused: int  # calls (not lines) refused for their arguments
    parts: int  # parts ended
    waited_ns: int  # time that pushes spent waiting for the consumer

    @property
    def missing(self) -> int:
        """Lines that the camera saw and no block will ever show."""
        return self.lost + self.overwritten + self.dropped

    def to_json(self) -> dict[str, int]:
        return asdict(self)


class LineBlock:
    """Consecutive lines, read in place: lines x width (x channels), and what belongs to each line.

    The arrays are read-only views into the ring. The block goes back to the camera's side once it is released
    (the loop over a buffer does that) and no array on it is left, so that what is looked at is never written
    to; an array that is kept keeps a block from the camera. Copy what you keep.
    """

    __slots__ = ("_block",)

    def __init__(self, block: Any) -> None:
        self._block = block

    @property
    def pixels(self) -> NDArray[Any]:
        """lines x width, or lines x width x channels; uint8 or uint16."""
        return np.asarray(self._block.view("pixels"))

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The number of each line; always consecutive."""
        return np.arange(self.first_number, self.first_number + self.lines, dtype=np.int64)

    @property
    def timestamps_ns(self) -> NDArray[np.int64]:
        """When each line was taken, by the clock of whoever pushed it."""
        return np.asarray(self._block.view("timestamps_ns"))

    @property
    def encoders(self) -> NDArray[np.int64]:
        """The encoder's count at each line."""
        return np.asarray(self._block.view("encoders"))

    @property
    def arrived_ns(self) -> NDArray[np.int64]:
        """When each line was pushed, by time.monotonic_ns()."""
        return np.asarray(self._block.view("arrived_ns"))

    @property
    def lines(self) -> int:
        """Lines in this block; 0 only for a part that ended on the border of two blocks."""
        return int(self._block.lines)

    def __len__(self) -> int:
        return self.lines

    @property
    def first_number(self) -> int:
        return int(self._block.first_number)

    @property
    def repeated(self) -> int:
        """Lines at the head that the last block has shown as well (the overlap)."""
        return int(self._block.repeated)

    @property
    def missing_before(self) -> int:
        """Lines of this part between the last block and this one that no block has shown."""
        return int(self._block.missing_before)

    @property
    def sequence(self) -> int:
        """Counts blocks; where it jumps, blocks were overwritten."""
        return int(self._block.sequence)

    @property
    def part(self) -> int:
        """Counts parts; another number than the last block's says that that part has ended."""
        return int(self._block.part)

    @property
    def ends_part(self) -> bool:
        """No more lines of this part will come."""
        return bool(self._block.flags & _ENDS_PART)

    @property
    def is_cut(self) -> bool:
        """Ended early because lines are missing after it; the next block does not overlap it."""
        return bool(self._block.flags & _CUT)

    def release(self) -> None:
        """Give the block back; its arrays cannot be asked for any more. Doing so again does nothing."""
        self._block.release()

    def __enter__(self) -> LineBlock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        last = self.first_number + self.lines - 1
        end = ", ends its part" if self.ends_part else ", cut" if self.is_cut else ""
        return f"<LineBlock {self.sequence}: part {self.part}, lines {self.first_number} to {last}{end}>"
