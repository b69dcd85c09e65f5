"""Inspect an endless web: lines in, overlapping tiles through the model, one seamless map and defects out.

    with edgead.open("fabric.edgead") as inspector:
        for strip in inspect_web(inspector, line_buffer):
            for defect in strip.defects:
                print(defect.line, defect.column, defect.lines, defect.width)

What comes out depends on the lines alone, not on how they were cut into blocks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgead.errors import UsageError
from edgead.map_and_score import MapAndScore
from edgead.runtime.inspector import Inspector, check_image
from edgead.web.map import MapRows, WebMap
from edgead.web.regions import ClosedPart, OpenRegions, WebRegion
from edgead.web.rows import WebRows
from edgead.web.tiling import FloatMap, StreamSettings, axes_of, check_width

__all__ = ["ArrayBlock", "Block", "StreamSettings", "WebRegion", "WebStream", "WebStrip", "inspect_web"]

_TRIAL_TILES = 8  # to find out whether several at once are faster


class Block(Protocol):
    """Consecutive lines, as a line buffer gives them; `ArrayBlock` makes one of any array."""

    @property
    def pixels(self) -> NDArray[Any]:
        """uint8 lines x width (x 1 or 3, RGB); it need not outlast the step of the loop."""

    @property
    def first_number(self) -> int:
        """Number of the first line."""

    @property
    def repeated(self) -> int:
        """Lines at the head that the block before has shown as well."""

    @property
    def missing_before(self) -> int:
        """Lines that are missing between the block before and this one."""

    @property
    def part(self) -> int:
        """Counts parts; where it changes, a new web begins."""

    @property
    def ends_part(self) -> bool:
        """No more lines of this part will come."""


@dataclass(frozen=True, eq=False)
class ArrayBlock:
    """A block of lines from an array: a frame of a camera, a piece of a picture."""

    pixels: NDArray[Any]
    first_number: int = 0
    repeated: int = 0
    missing_before: int = 0
    part: int = 0
    ends_part: bool = False


@dataclass(frozen=True, eq=False)
class WebStrip:
    """Finished lines of a web, in order: every line is in one strip.

    `anomaly_map` is float32 rows x cells, each cell `lines_per_cell` lines x `columns_per_cell` columns (the
    last of a web may reach beyond it); `score` is the highest of the tiles that show these lines. A region
    comes with the strip in which it ends. `missing_before` lines were lost before this strip and are in none;
    `filled` are in it as copies of the line before them. `waited_ns`: from the arrival of the block that
    completed the strip to the strip.
    """

    part: int
    first_line: int
    lines: int
    anomaly_map: FloatMap = field(repr=False)
    lines_per_cell: int
    columns_per_cell: int
    score: float
    is_anomalous: bool
    regions: tuple[WebRegion, ...]
    missing_before: int
    filled: int
    waited_ns: int

    @property
    def defects(self) -> tuple[WebRegion, ...]:
        """The regions that tiles at or above the score threshold show."""
        return tuple(region for region in self.regions if region.is_anomalous)


@dataclass
class StreamStatistics:
    """What became of the lines: `inspected == received + filled`, once the web has ended."""

    received: int = 0  # each line once, repeated ones apart
    repeated: int = 0  # shown again by overlapping blocks, and left out
    missing: int = 0  # never came
    filled: int = 0  # of the missing, those filled with copies
    inspected: int = 0  # lines in strips
    tiles: int = 0
    webs: int = 0  # pieces between cuts and ends of parts
    infer_ns: int = 0  # time in the engine

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def inspect_web(
    inspector: Inspector, blocks: Iterable[Block], *, settings: StreamSettings | None = None
) -> Iterator[WebStrip]:
    """Strip after strip of the web that the blocks show; the inspector belongs to it until it ends.

    Raises UsageError for a web that does not fit the bundle or changes its width, and what `blocks` raises.
    """
    stream = WebStream(inspector, settings=settings)
    for block in blocks:
        yield from stream.push(block)
    yield from stream.finish()


class WebStream:
    """The same, for a host that pushes: `push` a block, take its strips; `finish` at the end.

    One thread's; it holds two tiles' height of lines and nothing of what lies behind.
    """

    def __init__(self, inspector: Inspector, *, settings: StreamSettings | None = None) -> None:
        self._inspector = inspector
        self._settings = settings or StreamSettings()
        self._down, self._across = axes_of(inspector.manifest, self._settings)
        size = inspector.manifest.input
        trial = np.random.default_rng(0).integers(
            0, 256, (_TRIAL_TILES, size.height, size.width, 3), np.uint8
        )
        inspector.engine.tune_many(list(trial))
        self._line_shape: tuple[int, ...] | None = None
        self._web: _Web | None = None  # None between two webs
        self._next_number: int | None = None
        self._missing_before = 0
        self.statistics = StreamStatistics()

    def push(self, block: Block) -> list[WebStrip]:
        """The strips that these lines complete.

        Raises UsageError for lines that do not fit the bundle or those before; the stream is as it was then.
        """
        arrived = time.monotonic_ns()
        pixels = block.pixels
        self._check(block, pixels)
        strips: list[WebStrip] = []
        if self._web is not None and block.part != self._web.part:
            strips += self._end(arrived)
        first, fresh = block.first_number + block.repeated, pixels[block.repeated :]
        strips += self._bridge(self._missing(block, first), arrived)
        self.statistics.repeated += block.repeated
        if len(fresh):
            if self._web is None:
                self._begin(block.part, first)
            self.statistics.received += len(fresh)
            strips += self._add(fresh, arrived)
            self._next_number = first + len(fresh)
        if block.ends_part:
            strips += self._end(arrived)
        return strips

    def finish(self) -> list[WebStrip]:
        """End the web: the rest of its strips. Lines that are pushed later begin another."""
        return self._end(time.monotonic_ns())

    def _check(self, block: Block, pixels: NDArray[Any]) -> None:
        if isinstance(pixels, np.ndarray) and pixels.ndim >= 2 and not len(pixels):
            return  # a part may end on the border of two blocks
        check_image(pixels)
        if not 0 <= block.repeated <= len(pixels):
            raise UsageError(f"A block of {len(pixels)} lines cannot repeat {block.repeated} of another.")
        if self._line_shape is None:
            check_width(pixels.shape[1], self._across)
            self._line_shape = pixels.shape[1:]
        if pixels.shape[1:] != self._line_shape:
            raise UsageError(
                f"The web's lines had {_words(self._line_shape)}, and line {block.first_number} has "
                f"{_words(pixels.shape[1:])}: the camera was set otherwise in mid-stream. Set it back, or "
                "end this stream and begin another."
            )

    def _missing(self, block: Block, first: int) -> int:
        """Lines lost before this block: what the numbers leave out, or what it says of a new web."""
        if self._next_number is None or first == block.first_number + len(block.pixels):
            return block.missing_before
        if first < self._next_number:
            raise UsageError(
                f"Line {first} came after line {self._next_number - 1}, but the numbers of a part rise. Give "
                "a new part its own `part`, or say how many lines are `repeated`."
            )
        return first - self._next_number

    def _bridge(self, missing: int, arrived: int) -> list[WebStrip]:
        """Fill a small gap with the line before it; cut the web at a large one."""
        self.statistics.missing += missing
        if missing and self._web is not None and missing <= self._settings.bridge_lines:
            self.statistics.filled += missing
            return self._add(np.repeat(self._web.rows.last_line, missing, axis=0), arrived, are_copies=True)
        strips = self._end(arrived) if missing else []
        self._missing_before += missing
        return strips

    def _begin(self, part: int, first_line: int) -> None:
        if self._line_shape is None:
            raise UsageError("A web begins with its first line.")
        rows = WebRows(self._line_shape, self._down, self._across, rule=self._inspector.manifest.input.resize)
        cells = rows.width // self._across.cell
        web_map = WebMap(
            cells,
            self._down,
            self._across,
            threshold=self._inspector.threshold,
            pixel_threshold=self._inspector.pixel_threshold,
        )
        max_rows = -(-self._settings.max_region_lines // self._down.per_cell)
        regions = OpenRegions(cells, max_rows=max_rows)
        self._web = _Web(part, first_line, self._missing_before, rows, web_map, regions)
        self._missing_before = 0
        self.statistics.webs += 1

    def _add(self, lines: NDArray[np.uint8], arrived: int, *, are_copies: bool = False) -> list[WebStrip]:
        web = self._web
        if web is None:
            return []
        if are_copies:
            web.copies.append((web.rows.lines, web.rows.lines + len(lines)))
        return [
            self._strip(web, web.map.add(self._infer(web, band)), arrived) for band in web.rows.add(lines)
        ]

    def _end(self, arrived: int) -> list[WebStrip]:
        web, self._web, self._next_number = self._web, None, None
        if web is None:
            return []
        last = web.rows.finish()
        if last is None:
            rows = web.map.finish(None)
        else:
            band, seen, true = last
            cell = self._down.cell
            rows = web.map.finish(self._infer(web, band), seen=seen // cell, rows=-(-true // cell))
        return [self._strip(web, rows, arrived, last=True)]

    def _infer(self, web: _Web, band: NDArray[np.uint8]) -> list[MapAndScore]:
        tile, cell = self._across.tile, self._across.cell
        tiles = [band[:, start * cell : start * cell + tile] for start in web.map.starts]
        started = time.perf_counter_ns()
        answers = self._inspector.engine.infer_many(tiles)
        self.statistics.infer_ns += time.perf_counter_ns() - started
        self.statistics.tiles += len(tiles)
        return [MapAndScore(*answer) for answer in answers]

    def _strip(self, web: _Web, rows: MapRows, arrived: int, *, last: bool = False) -> WebStrip:
        per_cell, first_row = self._down.per_cell, web.done_rows
        web.done_rows += len(rows.values)
        begin, end = first_row * per_cell, min(web.done_rows * per_cell, web.rows.lines)
        parts = web.regions.add(rows.above, rows.values, rows.scores, first_row=first_row, last=last)
        score = float(rows.scores.max())
        filled = sum(max(0, min(end, stop) - max(begin, start)) for start, stop in web.copies)
        web.copies = [copy for copy in web.copies if copy[1] > end]
        self.statistics.inspected += end - begin
        return WebStrip(
            part=web.part,
            first_line=web.first_line + begin,
            lines=end - begin,
            anomaly_map=rows.values,
            lines_per_cell=per_cell,
            columns_per_cell=self._across.per_cell,
            score=score,
            is_anomalous=not score < self._inspector.threshold,
            regions=tuple(self._region(web, part) for part in parts),
            missing_before=web.missing_before if first_row == 0 else 0,
            filled=filled,
            waited_ns=time.monotonic_ns() - arrived,
        )

    def _region(self, web: _Web, part: ClosedPart) -> WebRegion:
        """Cells to columns and lines, cut to the web that there is."""
        lines, columns = self._down.per_cell, self._across.per_cell
        width = self._line_shape[0] if self._line_shape else 0
        left, right = part.left * columns, min((part.right + 1) * columns, width)
        top, bottom = part.top * lines, min((part.bottom + 1) * lines, web.rows.lines)
        return WebRegion(
            column=left,
            line=web.first_line + top,
            width=right - left,
            lines=bottom - top,
            area=min(part.area * lines * columns, (right - left) * (bottom - top)),
            peak=part.peak,
            score=part.score,
            is_anomalous=not part.score < self._inspector.threshold,
            is_continued=part.is_continued,
        )


@dataclass
class _Web:
    """A piece of web between two cuts: its rows, map and open regions."""

    part: int
    first_line: int
    missing_before: int
    rows: WebRows
    map: WebMap
    regions: OpenRegions
    done_rows: int = 0  # of the map, given in strips
    copies: list[tuple[int, int]] = field(default_factory=list)  # lines filled, [first, end), from 0


def _words(line_shape: tuple[int, ...]) -> str:
    return f"{line_shape[0]} pixels" + (" in colour" if line_shape[1:] == (3,) else "")
