"""Streaming inspection of a web over bare inference of the same tiles: what cutting and joining cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import Row
from numpy.typing import NDArray

from edgead.bundle import read_bundle
from edgead.runtime.inspector import Inspector
from edgead.web.rows import WebRows
from edgead.web.stream import ArrayBlock, StreamSettings, WebStream
from edgead.web.tiling import axes_of, tile_starts

WIDTH = 4096
BLOCK_LINES = 512
Tiles = list[NDArray[np.uint8]]


def streaming(bundle: Path, *, quick: bool, threads: int | None = None) -> list[Row]:
    """A row for a web at full resolution, and one for a web averaged 2 x 2."""
    opened = read_bundle(bundle)
    with Inspector(opened, engine="openvino", threads=threads) as inspector:
        return [
            _overhead(
                inspector,
                StreamSettings(per_pixel, per_pixel),
                picture=opened.reference.inputs[0],
                rounds=2 if quick else 12,
            )
            for per_pixel in (1, 2)
        ]


def _overhead(
    inspector: Inspector, settings: StreamSettings, *, picture: NDArray[np.uint8], rounds: int
) -> Row:
    web = _material(inspector, settings, picture)
    tiles = _tiles_of(inspector, settings, web)
    calls = {"stream": lambda: _stream(inspector, settings, web), "bare": lambda: _infer(inspector, tiles)}
    counts = {name: call() for name, call in calls.items()}  # warms up
    if counts["stream"] != counts["bare"]:
        raise AssertionError(f"{counts}: not the same tiles")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls) if number % 2 else list(calls)[::-1]:
            taken[name].append(_time(calls[name]))
    ratios = [s[0] / b[0] for s, b in zip(taken["stream"], taken["bare"], strict=True)]
    used = {name: sum(turn[1] for turn in turns) / rounds for name, turns in taken.items()}
    lines = len(web)
    how = (
        f"{lines} lines of {WIDTH} grey pixels in blocks of {BLOCK_LINES}, {settings.columns_per_pixel} x "
        f"{settings.lines_per_pixel} averaged to a pixel, tiles overlapping by {settings.overlap:g}; "
        f"{len(tiles)} tiles, {rounds} turns of each; processor time, which a busy machine does not change"
    )
    details: dict[str, Any] = {
        "overhead_percent_by_the_clock": [100 * (ratio - 1) for ratio in sorted(ratios)],
        "lines_per_processor_second": lines / used["stream"],
        "processor_ms_per_tile": 1e3 * used["bare"] / len(tiles),
        "lines_per_s_by_the_clock": lines / statistics.median(s[0] for s in taken["stream"]),
        "engine": inspector.engine.describe(),
    }
    alone = _without_inference(inspector, settings, web)
    details["stream_alone_us_per_tile"] = 1e6 * alone / len(tiles)
    claim = (
        f"streaming over bare inference, {settings.lines_per_pixel} x {settings.columns_per_pixel} to a pixel"
    )
    value = 100 * (used["stream"] / used["bare"] - 1)
    return Row(claim, value, "%", 10, 3, False, how, details)


def _material(
    inspector: Inspector, settings: StreamSettings, picture: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """A web as the bundle knows it: its first reference picture, repeated; three rows of tiles."""
    grey = np.repeat(np.repeat(picture[..., 1], settings.lines_per_pixel, 0), settings.columns_per_pixel, 1)
    down, _ = axes_of(inspector.manifest, settings)
    lines = (down.tile + 2 * down.step) * settings.lines_per_pixel
    repeats = (-(-lines // grey.shape[0]), -(-WIDTH // grey.shape[1]))
    return np.ascontiguousarray(np.tile(grey, repeats)[:lines, :WIDTH])


def _tiles_of(inspector: Inspector, settings: StreamSettings, web: NDArray[np.uint8]) -> Tiles:
    down, across = axes_of(inspector.manifest, settings)
    rows = WebRows(web.shape[1:], down, across, rule=inspector.manifest.input.resize)
    starts = [start * across.cell for start in tile_starts(rows.width // across.cell, across)]
    return [band[:, start : start + across.tile].copy() for band in rows.add(web) for start in starts]


def _stream(inspector: Inspector, settings: StreamSettings, web: NDArray[np.uint8]) -> int:
    stream = WebStream(inspector, settings=settings)
    for start in range(0, len(web), BLOCK_LINES):
        stream.push(ArrayBlock(web[start : start + BLOCK_LINES], start))
    stream.finish()
    return stream.statistics.tiles


def _infer(inspector: Inspector, tiles: Tiles) -> int:
    return len(inspector.engine.infer_many(tiles))  # the same way as the stream has found to be faster


def _without_inference(inspector: Inspector, settings: StreamSettings, web: NDArray[np.uint8]) -> float:
    """Processor seconds of a stream whose engine answers at once with what it has answered before."""
    engine = inspector.engine
    answer = engine.infer(
        np.zeros((inspector.manifest.input.height, inspector.manifest.input.width, 3), np.uint8)
    )
    original = engine.infer_many
    engine.infer_many = lambda images: [answer] * len(images)  # type: ignore[method-assign]
    try:
        return statistics.median(_time(lambda: _stream(inspector, settings, web))[1] for _ in range(9))
    finally:
        engine.infer_many = original  # type: ignore[method-assign]


def _time(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds on the clock and of the processor."""
    began, used = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began, time.process_time() - used
