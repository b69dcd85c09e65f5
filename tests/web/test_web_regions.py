"""Connected parts on an endless map are those of the whole map, however it is cut into strips."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgead.runtime.result import find_regions
from edgead.web.regions import OpenRegions


@given(
    seed=st.integers(0, 2**32),
    density=st.sampled_from([0.1, 0.3, 0.45, 0.6]),
    rows=st.integers(1, 40),
    cells=st.integers(1, 30),
    cuts=st.lists(st.integers(1, 39), max_size=10),
)
def test_as_if_the_map_were_whole(seed: int, density: float, rows: int, cells: int, cuts: list[int]):
    values = np.random.default_rng(seed).random((rows, cells), np.float32)
    level = 1 - density
    edges = [0, *sorted({cut for cut in cuts if cut < rows}), rows]
    regions = OpenRegions(cells, max_rows=rows + 1)
    found = []
    for a, b in itertools.pairwise(edges):
        strip = values[a:b]
        found += regions.add(strip >= level, strip, strip, first_row=a, last=b == rows)
    expected = {(r.x, r.y, r.width, r.height, r.area, r.peak) for r in find_regions(values, level)}
    parts = [(p.left, p.top, p.right - p.left + 1, p.bottom - p.top + 1, p.area, p.peak) for p in found]
    assert len(parts) == len(expected)
    assert set(parts) == expected
