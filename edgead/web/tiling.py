"""Where the tiles of a web lie, and how their maps are joined to one without a seam.

Three grids: the web's columns and lines; the model's pixels, each `columns_per_pixel` x `lines_per_pixel`
of them; the cells of the map, each of some model pixels. Tiles lie on the grid of cells, so that a cell means
the same place whichever tile shows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Manifest
from edgead.errors import UsageError

FloatMap = NDArray[np.float32]

MAX_PER_PIXEL = 64  # lines or columns averaged to one pixel of the model; beyond it something is mistaken


@dataclass(frozen=True)
class StreamSettings:
    """How a web is cut into tiles.

    `columns_per_pixel` and `lines_per_pixel` say how much of the web one pixel of the model shows: as much as
    in the pictures that it was trained on. `overlap` is the share of a tile that the next one repeats, 0 to
    0.5, and a cell of the map at least; a defect up to that size lies whole in one tile. Up to `bridge_lines`
    missing lines are filled with copies of the line before them; where more are missing, the web is cut. A
    region longer than `max_region_lines` is reported in pieces.
    """

    columns_per_pixel: int = 1
    lines_per_pixel: int = 1
    overlap: float = 0.25
    bridge_lines: int = 8
    max_region_lines: int = 100_000

    def __post_init__(self) -> None:
        for name, low, high in (
            ("columns_per_pixel", 1, MAX_PER_PIXEL),
            ("lines_per_pixel", 1, MAX_PER_PIXEL),
            ("bridge_lines", 0, 2**20),
            ("max_region_lines", 1, 2**40),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise UsageError(f"{name}: expected a whole number from {low} to {high}, found {value!r}.")
        if not (isinstance(self.overlap, (int, float)) and 0 <= self.overlap <= 0.5):
            raise UsageError(f"overlap: expected a share of the tile from 0 to 0.5, found {self.overlap!r}.")


@dataclass(frozen=True)
class Axis:
    """One direction of the tiling: sizes in model pixels (tile, overlap) and in cells.

    `per_pixel` columns (or lines) are one model pixel, `cell` model pixels one cell of the map.
    """

    tile: int
    cell: int
    overlap: int
    per_pixel: int

    @property
    def step(self) -> int:
        """Model pixels from one tile to the next."""
        return self.tile - self.overlap

    @property
    def tile_cells(self) -> int:
        return self.tile // self.cell

    @property
    def overlap_cells(self) -> int:
        return self.overlap // self.cell

    @property
    def per_cell(self) -> int:
        """Columns (or lines) of the web that one cell shows."""
        return self.per_pixel * self.cell

    def ramp(self) -> FloatMap:
        """The later tile's weight over the overlap, float32 (cells): from near 0 to near 1."""
        cells = self.overlap_cells
        return ((np.arange(cells) + 0.5) / max(cells, 1)).astype(np.float32)


def axes_of(manifest: Manifest, settings: StreamSettings) -> tuple[Axis, Axis]:
    """The tiling down the web and across it; raises UsageError for a bundle that cannot be tiled."""
    size, answer = manifest.input, manifest.output
    return (
        _axis("height", size.height, answer.map_height, settings.overlap, settings.lines_per_pixel),
        _axis("width", size.width, answer.map_width, settings.overlap, settings.columns_per_pixel),
    )


def _axis(name: str, tile: int, cells: int, overlap: float, per_pixel: int) -> Axis:
    if tile % cells:
        raise UsageError(
            f"The bundle's map has {cells} cells over a {name} of {tile} pixels; a web can be tiled where a "
            "cell is a whole number of pixels. Compile the bundle at another size."
        )
    if cells < 2:
        raise UsageError(
            f"The bundle's map has one cell over its {name}; tiles overlap by a cell, so it needs two. "
            "Compile the bundle at a larger size."
        )
    cell = tile // cells
    return Axis(tile, cell, min(max(math.ceil(overlap * cells), 1), cells // 2) * cell, per_pixel)


def check_width(columns: int, across: Axis) -> None:
    """Refuse a web that is narrower than a tile; raises UsageError with what would fit."""
    needed = across.tile * across.per_pixel
    if columns >= needed:
        return
    fitting = columns // across.tile
    advice = (
        f"With columns_per_pixel={fitting} it would fit" if fitting else "No columns_per_pixel makes it fit"
    )
    raise UsageError(
        f"The web has {columns} columns and a tile of this bundle covers {needed} ({across.tile} pixels of "
        f"{across.per_pixel} columns). {advice}; or compile a bundle for narrower pictures."
    )


def tile_starts(cells: int, across: Axis) -> tuple[int, ...]:
    """First cell of each tile across a web of `cells` cells: evenly spread, overlapping as asked or more."""
    last = cells - across.tile_cells
    count = 1 + math.ceil(last / (across.step // across.cell))
    return tuple(round(last * number / max(count - 1, 1)) for number in range(count))


def tile_weights(cells: int, starts: tuple[int, ...], tile_cells: int) -> tuple[FloatMap, ...]:
    """What each tile of a row counts in each of its cells: float32 (tile_cells); over a cell they sum to 1.

    A tile counts most in its middle; where only one shows a cell, it counts alone.
    """
    from_edge = np.minimum(np.arange(tile_cells), np.arange(tile_cells)[::-1]) + 0.5
    total = np.zeros(cells)
    for start in starts:
        total[start : start + tile_cells] += from_edge
    return tuple((from_edge / total[start : start + tile_cells]).astype(np.float32) for start in starts)
