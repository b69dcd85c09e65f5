"""Lines of a web, brought to the model's pixels and gathered to bands as high as a tile."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.images import RESIZE_RULES
from edgead.web.tiling import Axis

Lines = NDArray[np.uint8]


class WebRows:
    """Takes lines (lines x columns, x 1, x 3 RGB), gives bands (uint8 tile x width x 3 RGB); memory is fixed.

    A pixel of the model is the mean of its lines and columns, by the bundle's own rule; lines that do not
    fill one wait for the next. The web is widened to whole cells of the map by its mirror image.
    """

    def __init__(self, line_shape: tuple[int, ...], down: Axis, across: Axis, *, rule: str) -> None:
        self._down, self._resize = down, RESIZE_RULES[rule]
        self._widening = -line_shape[0] % across.per_cell
        self.width = (line_shape[0] + self._widening) // across.per_pixel
        self._rows = np.zeros((down.tile + down.step, self.width, 3), np.uint8)
        self._filled = 0  # rows in the buffer
        self._bands = 0
        self._waiting: list[Lines] = []  # less lines than a pixel has
        self.lines = 0
        self.last_line: Lines = np.zeros((1, *line_shape), np.uint8)

    def add(self, lines: Lines) -> Iterator[Lines]:
        """Each band that these lines complete; it is valid until the next is asked for."""
        per_pixel = self._down.per_pixel
        if len(lines):
            self.last_line = lines[-1:].copy()
            self.lines += len(lines)
        if self._waiting:
            lines = np.concatenate([*self._waiting, lines])
        whole = len(lines) // per_pixel * per_pixel
        self._waiting = [lines[whole:].copy()] if whole < len(lines) else []
        done = 0
        while done < whole:
            taken = min(whole - done, (self._until_band() - self._filled) * per_pixel)
            self._append(self._pixels(lines[done : done + taken], taken // per_pixel))
            done += taken
            if self._filled == self._until_band():
                yield self._take_band()

    def finish(self) -> tuple[Lines, int, int] | None:
        """The last band, the rows of it that earlier ones have given already, and its true rows.

        It reaches back to be whole; a web shorter than a tile is continued by its mirror image. None when the
        last band that was given ended with the web.
        """
        if self._waiting:
            (rest,) = self._waiting
            self._append(self._pixels(rest, 1))
            self._waiting = []
        fresh = self._filled - self._down.tile if self._bands else self._filled
        if fresh <= 0:
            return None
        wanted = max(self._filled + -self._filled % self._down.cell, self._down.tile)
        rows = np.pad(
            self._rows[: self._filled], ((0, wanted - self._filled), (0, 0), (0, 0)), mode="symmetric"
        )
        start = wanted - self._down.tile
        seen = self._down.step - start if self._bands else 0
        return rows[start:], seen, self._filled - start

    def _until_band(self) -> int:
        return self._down.tile + (self._down.step if self._bands else 0)

    def _take_band(self) -> Lines:
        if self._bands:  # the last band's rows stay, for the end of the web to reach back to
            self._rows[: self._down.tile] = self._rows[self._down.step :].copy()
            self._filled = self._down.tile
        self._bands += 1
        return self._rows[: self._down.tile]

    def _append(self, rows: Lines) -> None:
        self._rows[self._filled : self._filled + len(rows)] = rows
        self._filled += len(rows)

    def _pixels(self, lines: Lines, rows: int) -> Lines:
        """Lines as `rows` x width x 3 of the model's pixels; grey becomes colour last, being the same."""
        grey = lines.ndim == 2 or lines.shape[2] == 1
        pixels = np.ascontiguousarray(lines[..., 0] if grey and lines.ndim == 3 else lines)
        if self._widening:
            widened = cv2.copyMakeBorder(pixels, 0, 0, 0, self._widening, cv2.BORDER_REFLECT)
            pixels = np.asarray(widened, np.uint8)
        if pixels.shape[:2] != (rows, self.width):
            pixels = self._resize(pixels, rows, self.width)
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8) if grey else pixels
