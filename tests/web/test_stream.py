"""Streaming inspection: what comes out depends on the lines alone; each defect is told once, in its place."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import edgead
from edgead.errors import UsageError
from edgead.images import resize_image
from edgead.runtime.inspector import Inspector
from edgead.web.stream import ArrayBlock, StreamSettings, WebStream, WebStrip, inspect_web
from edgead.web.tiling import Axis, tile_starts, tile_weights
from tests.runtime.tiny_bundle import STRIDE, write_tiny_bundle

TILE = 32
few = hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspector]:
    path = write_tiny_bundle(tmp_path_factory.mktemp("web") / "tiny.edgead", TILE, TILE)
    with edgead.open(path, threads=1) as opened:
        yield opened


class PlaceDependent:
    """An engine whose map differs with the place in the tile, as that of a network with a border does.

    Wraps the real one: the tiny model's map is the same whichever tile shows a cell, which hides wrong joins.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        cells = np.arange(TILE // STRIDE, dtype=np.float32)
        self._shade = 0.01 * cells[:, None] + 0.003 * cells[None, :] ** 2

    def infer_many(self, images: Sequence[np.ndarray]) -> list[tuple[np.ndarray, float]]:
        return [(anomaly_map + self._shade, score) for anomaly_map, score in self._inner.infer_many(images)]

    def tune_many(self, images: Sequence[np.ndarray]) -> None:
        pass

    def close(self) -> None:
        self._inner.close()


def blocks_of(web: np.ndarray, cuts: Sequence[int], *, first: int = 0, **more: Any) -> list[ArrayBlock]:
    edges = [0, *sorted(cuts), len(web)]
    pairs = itertools.pairwise(edges)
    return [ArrayBlock(web[a:b], first + a, **more) for a, b in pairs if b > a]


def whole_map(strips: Sequence[WebStrip]) -> np.ndarray:
    return np.concatenate([strip.anomaly_map for strip in strips])


def regions_of(strips: Sequence[WebStrip]) -> list[Any]:
    return [region for strip in strips for region in strip.regions]


def dark(lines: int, columns: int) -> np.ndarray:
    return np.zeros((lines, columns), np.uint8)


@st.composite
def webs(draw: st.DrawFn) -> tuple[np.ndarray, list[int], StreamSettings]:
    """A web of noise with bright spots, where it is cut into blocks, and how it is tiled."""
    per_line, per_column = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    lines = draw(st.integers(1, 260))
    columns = draw(st.integers(TILE * per_column, 3 * TILE * per_column))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    web = random.integers(0, 120, (lines, columns, *draw(st.sampled_from([(), (1,), (3,)]))), np.uint8)
    for _ in range(draw(st.integers(0, 4))):
        y, x = random.integers(0, lines), random.integers(0, columns)
        web[y : y + random.integers(4, 40), x : x + random.integers(4, 40)] = 255
    cuts = draw(st.lists(st.integers(0, lines), max_size=12))
    overlap = draw(st.sampled_from([0.0, 0.125, 0.25, 0.5]))
    return web, cuts, StreamSettings(per_column, per_line, overlap)


@few
@given(case=webs(), is_place_dependent=st.booleans())
def test_blocks_leave_no_trace(
    inspector: Inspector, case: tuple[np.ndarray, list[int], StreamSettings], is_place_dependent: bool
):
    web, cuts, settings = case
    inner = inspector.engine
    try:
        if is_place_dependent:
            inspector._engine = PlaceDependent(inner)  # type: ignore[assignment]
        whole = list(inspect_web(inspector, [ArrayBlock(web)], settings=settings))
        pieces = list(inspect_web(inspector, blocks_of(web, cuts), settings=settings))
    finally:
        inspector._engine = inner
    np.testing.assert_allclose(whole_map(pieces), whole_map(whole), atol=1e-6)
    assert regions_of(pieces) == regions_of(whole)
    assert [(s.first_line, s.lines, s.score) for s in pieces] == [
        (s.first_line, s.lines, s.score) for s in whole
    ]


@few
@given(case=webs())
def test_the_map_is_that_of_the_whole_picture(
    inspector: Inspector, case: tuple[np.ndarray, list[int], StreamSettings]
):
    """The tiny model's map of the whole web, worked out in numpy without a tile."""
    web, cuts, settings = case
    strips = list(inspect_web(inspector, blocks_of(web, cuts), settings=settings))
    lines, columns = web.shape[0] // settings.lines_per_pixel, web.shape[1] // settings.columns_per_pixel
    rows, cells = (
        lines // STRIDE,
        columns // STRIDE,
    )  # the whole ones: what lies beyond is continued by mirroring
    if rows:
        lines, columns = rows * STRIDE, cells * STRIDE
        colour = (
            web if web.ndim == 3 and web.shape[2] == 3 else np.repeat(web.reshape(*web.shape[:2], 1), 3, 2)
        )
        cut = colour[: lines * settings.lines_per_pixel, : columns * settings.columns_per_pixel]
        pixels = resize_image(np.ascontiguousarray(cut), lines, columns).astype(np.float64)
        expected = pixels.reshape(rows, STRIDE, cells, STRIDE, 3).mean(axis=(1, 3, 4)) / 255
        np.testing.assert_allclose(whole_map(strips)[:rows, :cells], expected, atol=1e-5)
    assert sum(strip.lines for strip in strips) == len(web)
    assert [strip.first_line for strip in strips] == [
        int(total) for total in np.cumsum([0, *(strip.lines for strip in strips)])[:-1]
    ]


@pytest.mark.parametrize("line", range(0, 200, 4))
def test_a_defect_on_any_border_is_found_once(inspector: Inspector, line: int):
    web = dark(256, 96)
    web[line : line + 20, 24:44] = 255
    strips = list(inspect_web(inspector, blocks_of(web, range(0, 256, 10), first=1000)))
    (defect,) = [defect for strip in strips for defect in strip.defects]
    assert (defect.line, defect.lines, defect.column, defect.width) == (1000 + line, 20, 24, 20)
    assert defect.area == 400
    assert defect.peak == pytest.approx(1.0, abs=1e-5)


def test_two_defects_are_two_and_one_of_odd_shape_is_one(inspector: Inspector):
    web = dark(200, 64)
    web[10:20, 4:12] = web[60:70, 4:12] = 255
    web[100:180, 40:44] = web[100:180, 56:60] = web[176:180, 40:60] = 255  # a U: two arms until its end
    regions = regions_of(list(inspect_web(inspector, blocks_of(web, range(0, 200, 7)))))
    boxes = [(region.column, region.line, region.width, region.lines) for region in regions]
    assert boxes == [(4, 8, 8, 12), (4, 60, 8, 12), (40, 100, 20, 80)]


def test_an_endless_defect_comes_in_pieces(inspector: Inspector):
    web = dark(400, 32)
    web[:, 8:16] = 255
    settings = StreamSettings(max_region_lines=100)
    regions = regions_of(list(inspect_web(inspector, blocks_of(web, range(0, 400, 30)), settings=settings)))
    assert [region.is_continued for region in regions] == [True] * (len(regions) - 1) + [False]
    assert len(regions) > 2
    assert sum(region.lines for region in regions) == 400


def test_a_rejected_tile_below_the_pixel_threshold_has_a_place_once(tmp_path: Path):
    web = dark(128, 64)
    web[50:62, 22:34] = 90
    path = write_tiny_bundle(tmp_path / "weak.edgead")
    with edgead.open(path, threshold=0.2, pixel_threshold=0.9) as weak:
        strips = list(inspect_web(weak, blocks_of(web, [55])))
    (defect,) = [defect for strip in strips for defect in strip.defects]
    assert defect.line <= 52 < defect.line + defect.lines
    assert defect.column <= 24 < defect.column + defect.width


def test_repeated_lines_are_seen_once(inspector: Inspector):
    web = np.random.default_rng(1).integers(0, 255, (150, 64), np.uint8)
    overlapping = [
        ArrayBlock(web[max(0, at - 16) : at + 30], max(0, at - 16), repeated=min(at, 16))
        for at in range(0, 150, 30)
    ]
    stream = WebStream(inspector)
    strips = [strip for block in overlapping for strip in stream.push(block)] + stream.finish()
    plain = list(inspect_web(inspector, [ArrayBlock(web)]))
    np.testing.assert_array_equal(whole_map(strips), whole_map(plain))
    assert (stream.statistics.received, stream.statistics.repeated) == (150, 64)


def test_a_small_gap_is_filled_and_a_large_one_cuts_the_web(inspector: Inspector):
    web = dark(200, 32)
    web[90:110, 8:16] = 255
    stream = WebStream(inspector, settings=StreamSettings(bridge_lines=8))
    blocks = [ArrayBlock(web[:40]), ArrayBlock(web[44:100], 44), ArrayBlock(web[120:], 120)]
    strips = [strip for block in blocks for strip in stream.push(block)] + stream.finish()
    statistics = stream.statistics
    assert (statistics.missing, statistics.filled, statistics.webs) == (24, 4, 2)
    assert statistics.inspected == statistics.received + statistics.filled == 180
    assert sum(strip.filled for strip in strips) == 4
    assert [(s.first_line, s.missing_before) for s in strips if s.missing_before] == [(120, 20)]
    (defect,) = [defect for strip in strips for defect in strip.defects]
    assert (defect.line, defect.lines) == (88, 12)  # cut where the lines are missing, to the cell


def test_parts_are_webs_of_their_own(inspector: Inspector):
    web = dark(50, 32)
    stream = WebStream(inspector)
    blocks = [
        ArrayBlock(web, 0, part=0),
        ArrayBlock(web, 0, part=1, ends_part=True),
        ArrayBlock(web, 7, part=2),
    ]
    strips = [strip for block in blocks for strip in stream.push(block)] + stream.finish()
    assert [strip.part for strip in strips if strip.lines] == sorted(strip.part for strip in strips)
    assert {part: sum(s.lines for s in strips if s.part == part) for part in range(3)} == {
        0: 50,
        1: 50,
        2: 50,
    }
    assert min(strip.first_line for strip in strips if strip.part == 2) == 7
    assert stream.push(ArrayBlock(web[:0], 57, part=2, ends_part=True)) == []
    assert stream.statistics.webs == 3


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (ArrayBlock(dark(9, 40)), "had 64 pixels, and line 0 has 40 pixels"),
        (ArrayBlock(np.zeros((9, 64, 3), np.uint8)), "in colour"),
        (ArrayBlock(dark(9, 64).astype(np.uint16)), "found uint16"),
        (ArrayBlock(dark(9, 64), 5), "came after line 19"),
        (ArrayBlock(dark(9, 64), 20, repeated=10), "cannot repeat 10"),
        (ArrayBlock(None), "found NoneType"),  # type: ignore[arg-type]
    ],
)
def test_lines_that_do_not_fit_are_refused_and_the_stream_goes_on(
    inspector: Inspector, block: ArrayBlock, words: str
):
    stream = WebStream(inspector)
    strips = stream.push(ArrayBlock(dark(20, 64)))
    with pytest.raises(UsageError, match=words):
        stream.push(block)
    strips += stream.push(ArrayBlock(dark(20, 64), 20)) + stream.finish()
    assert sum(strip.lines for strip in strips) == 40


def test_a_bundle_of_another_width(inspector: Inspector):
    with pytest.raises(UsageError, match=r"20 columns .* covers 32 .* compile a bundle for narrower"):
        list(inspect_web(inspector, [ArrayBlock(dark(9, 20))]))
    with pytest.raises(UsageError, match="columns_per_pixel=2 it would fit"):
        list(inspect_web(inspector, [ArrayBlock(dark(9, 70))], settings=StreamSettings(columns_per_pixel=4)))


@pytest.mark.parametrize(
    "wrong",
    [{"overlap": 0.6}, {"overlap": float("nan")}, {"lines_per_pixel": 0}, {"columns_per_pixel": 1.5},
     {"max_region_lines": 0}, {"bridge_lines": -1}],
)  # fmt: skip
def test_settings_that_cannot_be(wrong: dict[str, Any]):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        StreamSettings(**wrong)


@given(st.integers(2, 16), st.integers(0, 100), st.data())
def test_tiles_cover_every_cell_with_the_overlap_asked_for(tile: int, more: int, data: st.DataObject):
    overlap = data.draw(st.integers(1, tile // 2))
    axis, cells = Axis(tile, 1, overlap, 1), tile + more
    starts = tile_starts(cells, axis)
    assert (starts[0], starts[-1]) == (0, more)
    assert all(0 < second - first <= axis.step for first, second in itertools.pairwise(starts))
    total = np.zeros(cells)
    for start, weights in zip(starts, tile_weights(cells, starts, tile), strict=True):
        total[start : start + tile] += weights
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_memory_does_not_grow_with_the_web(inspector: Inspector):
    """Ten times the lines, with a defect now and then, an endless scratch and a gap: the same memory."""
    stream = WebStream(inspector, settings=StreamSettings(max_region_lines=500))
    # OpenVINO keeps some 250 of its last answers (31 kB): they are not the web's, nor are the snapshots.
    others = [tracemalloc.Filter(False, f"*{name}*") for name in ("openvino", "tracemalloc")]
    held = []
    block = dark(100, 64)
    block[:, 60:] = 255
    block[10:20, 10:20] = 255
    tracemalloc.start()
    try:
        for number in range(100):
            stream.push(ArrayBlock(block, number * 103))
            if number in (9, 99):
                gc.collect()
                held.append(sum(t.size for t in tracemalloc.take_snapshot().filter_traces(others).traces))
    finally:
        tracemalloc.stop()
    assert stream.statistics.filled == 99 * 3
    assert held[1] - held[0] < 20_000


def test_nothing_in_nothing_out(inspector: Inspector):
    assert list(inspect_web(inspector, [])) == []
    assert WebStream(inspector).finish() == []


class TestLineBuffer:
    """The blocks of the line buffer, read in place."""

    @pytest.fixture(autouse=True)
    def _needs_the_ring(self) -> None:
        pytest.importorskip("edgead.runtime.line._ring", reason="the C extension is not built here")

    @pytest.mark.parametrize("overlap", [0, 16])
    def test_as_if_the_web_were_one_picture(self, inspector: Inspector, overlap: int):
        web = np.random.default_rng(3).integers(0, 200, (330, 80), np.uint8)
        web[150:170, 30:60] = 255
        lines = edgead.LineBuffer(80, block_lines=50, overlap=overlap, blocks=16)
        lines.push(web, number=0)
        lines.close()
        strips = list(inspect_web(inspector, lines))
        whole = list(inspect_web(inspector, [ArrayBlock(web)]))
        np.testing.assert_allclose(whole_map(strips), whole_map(whole), atol=1e-6)
        assert regions_of(strips) == regions_of(whole)
        assert lines.statistics.consumed == 330

    def test_lines_that_were_overwritten_cut_the_web(self, inspector: Inspector):
        """A consumer that begins late: what was overwritten is missing, and the numbers stay true."""
        web = dark(600, 64)
        web[560:580, 8:24] = 255
        lines = edgead.LineBuffer(64, block_lines=50, blocks=4, when_full="drop_oldest")
        lines.push(web, number=1000)
        lines.close()
        strips = list(inspect_web(inspector, lines))
        assert sum(strip.lines for strip in strips) + lines.statistics.missing == 600
        (defect,) = [defect for strip in strips for defect in strip.defects]
        assert defect.line <= 1560 < 1580 <= defect.line + defect.lines

    def test_parts_that_end_early(self, inspector: Inspector):
        lines = edgead.LineBuffer(64, block_lines=50, overlap=10, blocks=16)
        for height in (70, 120, 50):
            lines.push(dark(height, 64), number=0)
            lines.end_part()
        lines.close()
        strips = list(inspect_web(inspector, lines))
        parts = sorted({strip.part for strip in strips})
        assert [sum(s.lines for s in strips if s.part == part) for part in parts] == [70, 120, 50]
        assert all(min(s.first_line for s in strips if s.part == part) == 0 for part in parts)
