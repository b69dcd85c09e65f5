"""The highest line rate that a bundle sustains here, then a soak at 80 % of it: memory, and every line."""

from __future__ import annotations

from pathlib import Path

from common import Row

from edgead.bench.line_load import LineLoad
from edgead.bench.loads import find_line_rate, measure_line_rate
from edgead.bundle import read_bundle
from edgead.runtime.inspector import Inspector
from edgead.web.stream import StreamSettings

WIDTH = 4096
SCALE = 4  # lines and columns averaged to a pixel
SHARE = 0.8  # of the sustained rate


def soak(bundle: Path, *, quick: bool, minutes: float, threads: int | None = None) -> list[Row]:
    """A row for the rate, one for the lines unaccounted for and one for the growth of memory."""
    opened = read_bundle(bundle)
    images = list(opened.reference.inputs)
    web = StreamSettings(SCALE, SCALE)
    search = LineLoad(1.0, WIDTH, web=web, min_seconds=3.0 if quick else 20.0, min_count=1)
    with Inspector(opened, engine="openvino", threads=threads) as inspector:
        found = find_line_rate(inspector, images, scenario=search, allow_late=0).facts
        rate = found["highest"]["line_rate_hz"]
        seconds = 20.0 if quick else 60 * minutes
        load = search.at(SHARE * rate, min_seconds=seconds, min_count=1)
        soaked = measure_line_rate(inspector, images, scenario=load, allow_late=0).facts
    web_words = (
        f"{WIDTH} grey pixels, {SCALE} x {SCALE} averaged to a pixel, tiles overlapping by {web.overlap:g}"
    )
    how = (
        f"{web_words}; {soaked['seconds'] / 60:.1f} min at {load.line_rate_hz:.0f} lines/s, {SHARE:.0%} of "
        "the highest"
    )
    memory = soaked["memory"]
    lines = soaked["lines"]
    return [
        Row(
            "highest line rate without loss",
            rate,
            "1/s",
            higher_is_better=True,
            how=f"{web_words}; held for {found['seconds']:.0f} s",
            details=found["highest"],
        ),
        Row("soak: lines unaccounted for", lines["unaccounted"], "lines", 0, 0, False, how, lines),
        Row("soak: lines lost", lines["lost"], "lines", 0, 0, False, how),
        Row(
            "soak: growth of memory", memory["growth_mb"] if memory else None, "MB", 1, 0, False,
            f"{how}; resident, median of the last tenth less that of the first",
            {**soaked["telemetry"], "memory": memory},
        ),
    ]  # fmt: skip
