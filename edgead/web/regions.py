"""Regions on an endless map: connected parts, each reported once, however many strips it runs through."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.web.tiling import FloatMap


@dataclass(frozen=True)
class WebRegion:
    """A connected part (8 neighbours) of a web's map; in columns and line numbers of the web.

    `area` in columns x lines; to the precision of a cell. `score` is the highest of the tiles that show it,
    `peak` the highest value of the map in it. `is_continued`: it was too long, and its next piece follows.
    """

    column: int
    line: int
    width: int
    lines: int
    area: int
    peak: float
    score: float
    is_anomalous: bool
    is_continued: bool = False


@dataclass
class _Part:
    """A connected part so far, in cells: columns left to right, rows top to bottom, both ends included."""

    left: int
    top: int
    right: int
    bottom: int
    area: int
    peak: float
    score: float

    def join(self, other: _Part) -> None:
        self.left, self.right = min(self.left, other.left), max(self.right, other.right)
        self.top, self.bottom = min(self.top, other.top), max(self.bottom, other.bottom)
        self.area += other.area
        self.peak = float(np.maximum(self.peak, other.peak))
        self.score = float(np.maximum(self.score, other.score))  # a NaN stays


@dataclass(frozen=True)
class ClosedPart:
    """A connected part in cells that is complete, or cut because it had become too long."""

    left: int
    top: int
    right: int
    bottom: int
    area: int
    peak: float
    score: float
    is_continued: bool


class OpenRegions:
    """The parts that reach the last row, kept until they end; rows are counted from the web's first."""

    def __init__(self, cells: int, *, max_rows: int) -> None:
        self._border = np.zeros(
            cells, np.int32
        )  # which open part each cell of the last row belongs to, 0 none
        self._open: dict[int, _Part] = {}
        self._max_rows = max_rows

    def add(
        self, above: NDArray[np.bool_], values: FloatMap, scores: FloatMap, *, first_row: int, last: bool
    ) -> list[ClosedPart]:
        """The parts that end in these rows (bool, float32, float32: rows x cells), from the top.

        With `last`, nothing follows and every part ends.
        """
        if not self._open and not above.any():
            return []
        parts, labels = _parts(above, values, scores, first_row)
        owners = self._join(parts, labels)
        bottom = labels[-1]
        closed = []
        reaching = {} if last else {int(owners[label]) for label in np.unique(bottom[bottom > 0])}
        open_parts: dict[int, _Part] = {}
        for number, part in self._open.items():
            is_long = number in reaching and part.bottom - part.top + 1 >= self._max_rows
            if number in reaching and not is_long:
                open_parts[number] = part
            else:
                closed.append(ClosedPart(**vars(part), is_continued=is_long))
        self._renumber(open_parts, owners[bottom])
        return sorted(closed, key=lambda part: (part.top, part.left))

    def _join(self, parts: list[_Part], labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Join the new parts to the open ones that they touch; which open part each label now belongs to."""
        base = len(self._open)
        parent = list(range(base + len(parts) + 1))  # 0 none, then the open parts, then the new ones

        def root(node: int) -> int:
            while parent[node] != node:
                parent[node] = parent[parent[node]]
                node = parent[node]
            return node

        for old, label in _touching(self._border, labels[0]):
            first, second = sorted((root(old), root(base + label)))
            parent[second] = first
        for label, part in enumerate(parts, start=1):
            self._open[base + label] = part
        for node in range(1, len(parent)):
            if (top := root(node)) != node:
                self._open[top].join(self._open.pop(node))
        return np.array([0, *(root(base + label) for label in range(1, len(parts) + 1))], np.int32)

    def _renumber(self, open_parts: dict[int, _Part], border: NDArray[np.int32]) -> None:
        numbers = {old: new for new, old in enumerate(open_parts, start=1)}
        self._open = {numbers[old]: part for old, part in open_parts.items()}
        self._border = np.zeros_like(self._border)
        for old, new in numbers.items():
            self._border[border == old] = new


def _parts(
    above: NDArray[np.bool_], values: FloatMap, scores: FloatMap, first_row: int
) -> tuple[list[_Part], NDArray[np.int32]]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above.astype(np.uint8), connectivity=8)
    peaks, highest = np.full((2, count), -np.inf, np.float32)
    inside = np.asarray(labels, np.int32)[above]
    np.maximum.at(peaks, inside, values[above])
    np.maximum.at(highest, inside, scores[above])
    parts = []
    for label in range(1, count):
        x, y, width, height, area = map(int, stats[label])
        top = first_row + y
        box = (x, top, x + width - 1, top + height - 1)
        parts.append(_Part(*box, area, float(peaks[label]), float(highest[label])))
    return parts, np.asarray(labels, np.int32)


def _touching(border: NDArray[np.int32], row: NDArray[np.int32]) -> set[tuple[int, int]]:
    """(open part, label) for each pair of neighbouring cells, diagonals included, across two rows."""
    pairs: set[tuple[int, int]] = set()
    for above, below in ((border, row), (border[1:], row[:-1]), (border[:-1], row[1:])):
        both = (above > 0) & (below > 0)
        pairs.update(zip(above[both].tolist(), below[both].tolist(), strict=True))
    return pairs
