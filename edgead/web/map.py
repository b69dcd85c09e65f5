"""The answers of overlapping tiles, joined to one map without a seam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.map_and_score import MapAndScore
from edgead.runtime.result import half_height
from edgead.web.tiling import Axis, FloatMap, tile_starts, tile_weights


class MapRows(NamedTuple):
    """Rows x cells of the web: the map, where regions are, the highest score of the tiles on a cell."""

    values: FloatMap
    above: NDArray[np.bool_]
    scores: FloatMap

    def cut(self, start: int, end: int | None = None) -> MapRows:
        """Some of the rows; views."""
        return MapRows(self.values[start:end], self.above[start:end], self.scores[start:end])


class WebMap:
    """Takes the answers of one band of tiles after the other, gives the rows that no later band changes.

    Across the web every tile counts most in its middle. Down the web a band hands over to the next along the
    overlap. A score is not averaged: a cell has the highest of the tiles that show it.
    """

    def __init__(
        self, cells: int, down: Axis, across: Axis, *, threshold: float, pixel_threshold: float
    ) -> None:
        self._down, self._across, self._cells = down, across, cells
        self._threshold, self._pixel_threshold = threshold, pixel_threshold
        self.starts = tile_starts(cells, across)
        self._weights = tile_weights(cells, self.starts, across.tile_cells)
        self._tail: MapRows | None = None

    def add(self, answers: Sequence[MapAndScore]) -> MapRows:
        """The rows down to the next band's first, from the answers of a band, left to right."""
        band = self._join_tail(self._band(answers))
        step = self._down.step // self._down.cell
        self._tail = band.cut(step)
        return self._finished(band.cut(0, step))

    def finish(self, answers: Sequence[MapAndScore] | None, *, seen: int = 0, rows: int = 0) -> MapRows:
        """The last rows. Of the last band's (`answers`) the first `seen` were given, and `rows` are true."""
        if answers is not None:
            self._tail = self._join_tail(self._band(answers).cut(seen, rows))
        if self._tail is None:
            raise ValueError("a web without a band of tiles has no map")
        return self._finished(self._tail)

    def _band(self, answers: Sequence[MapAndScore]) -> MapRows:
        shape = (self._down.tile_cells, self._cells)
        values, forced = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
        scores = np.full(shape, -np.inf, np.float32)
        for start, weights, (tile, score) in zip(self.starts, self._weights, answers, strict=True):
            place = np.s_[:, start : start + self._across.tile_cells]
            values[place] += tile * weights
            np.maximum(scores[place], np.float32(score), out=scores[place])
            if not score < self._threshold and tile.max() < self._pixel_threshold:
                forced[place] |= surroundings_of_peak(tile)
        return MapRows(values, forced, scores)

    def _join_tail(self, band: MapRows) -> MapRows:
        if self._tail is None:
            return band
        tail, ramp, rows = self._tail, self._down.ramp()[:, None], self._down.overlap_cells
        band.values[:rows] = tail.values * (1 - ramp) + band.values[:rows] * ramp
        band.above[:rows] |= tail.above
        np.maximum(band.scores[:rows], tail.scores, out=band.scores[:rows])
        return band

    def _finished(self, rows: MapRows) -> MapRows:
        return rows._replace(above=rows.above | (rows.values >= self._pixel_threshold))


def surroundings_of_peak(tile: FloatMap) -> NDArray[np.bool_]:
    """Where a tile's map is above half the height of its highest peak, around that peak: bool, of its shape.

    As `Result.regions` shows the place of a verdict whose whole map is below the pixel threshold.
    """
    level = half_height(tile)
    if level is None:
        return np.zeros(tile.shape, np.bool_)
    _, labels = cv2.connectedComponents((tile >= level).astype(np.uint8), connectivity=8)
    return np.asarray(labels == labels.flat[int(tile.argmax())], np.bool_)
