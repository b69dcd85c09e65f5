"""What a verdict says, as a record of JSON."""

from __future__ import annotations

import datetime
import json
import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgead.cameras.base import Frame
from edgead.runtime.result import Result
from edgead.web.stream import WebStrip

SCHEMA = "edgead.verdict/1"
_RUN = secrets.token_hex(8)  # of this process


@dataclass(frozen=True)
class Verdict:
    """The answer on one frame, or on one strip of a web.

    `sequence` counts the verdicts of a `source` in a `run` from 0 without a gap, so that a receiver sees what
    it misses and what came twice. `is_anomalous` and `score` are None where nothing could be inspected, and
    `problem` says why: such a part has not passed. `latency_ns` is from the arrival of the frame to the
    verdict. `time` is the wall clock's, for people; nothing is computed from it.
    """

    source: str
    sequence: int
    number: int
    is_anomalous: bool | None
    score: float | None
    threshold: float
    pixel_threshold: float
    regions: tuple[Mapping[str, Any], ...] = ()
    problem: str = ""
    path: str | None = None
    lost_before: int = 0
    device_ns: int | None = None
    latency_ns: int = 0
    timings_ns: Mapping[str, int] = field(default_factory=dict)
    lines: int | None = None  # of a strip; `number` is then its first line
    filled: int = 0  # of them, copies in the place of missing ones
    time: str = field(default_factory=lambda: _now())
    run: str = field(default_factory=lambda: _RUN)

    def to_json(self) -> dict[str, Any]:
        """The record; a score that is not finite is None."""
        record = {"schema": SCHEMA, **asdict(self)}
        if self.score is not None and not math.isfinite(self.score):
            record["score"] = None
        return record

    def to_line(self) -> bytes:
        """The record as one line of JSON."""
        return line_of_json(self.to_json())


def verdict_from_result(
    result: Result, frame: Frame, *, source: str, sequence: int, lost_before: int
) -> Verdict:
    """The verdict on an inspected frame."""
    return Verdict(
        source=source,
        sequence=sequence,
        number=frame.number,
        is_anomalous=result.is_anomalous,
        score=result.score,
        threshold=result.threshold,
        pixel_threshold=result.pixel_threshold,
        regions=tuple(asdict(region) for region in result.regions),
        path=frame.origin or None,
        lost_before=lost_before,
        device_ns=frame.device_ns,
        latency_ns=time.monotonic_ns() - frame.host_ns,
        timings_ns=dict(result.timings_ns),
    )


def verdict_from_strip(
    strip: WebStrip, *, source: str, sequence: int, threshold: float, pixel_threshold: float
) -> Verdict:
    """The verdict on a strip of a web: `number` its first line, regions in columns and lines of the web."""
    return Verdict(
        source=source,
        sequence=sequence,
        number=strip.first_line,
        is_anomalous=strip.is_anomalous,
        score=strip.score,
        threshold=threshold,
        pixel_threshold=pixel_threshold,
        regions=tuple(asdict(region) for region in strip.regions),
        lost_before=strip.missing_before,
        latency_ns=strip.waited_ns,
        lines=strip.lines,
        filled=strip.filled,
    )


def line_of_json(record: Mapping[str, Any]) -> bytes:
    """One record, one line."""
    return (json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n").encode()


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
