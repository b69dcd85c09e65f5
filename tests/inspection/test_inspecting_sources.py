"""From frames to verdicts: each frame has one, and what could not be inspected has not passed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edgead
from edgead.cameras import Camera, CameraSettings, Driver, Frame, FrameStatus
from edgead.cameras.base import NO_PIXELS
from edgead.errors import UsageError
from edgead.inspection.camera import blocks_from_frames, inspect_camera, inspect_web_camera
from edgead.runtime.inspector import Inspector
from tests.runtime.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="module")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspector]:
    with edgead.open(write_tiny_bundle(tmp_path_factory.mktemp("b") / "tiny.edgead"), threads=1) as opened:
        yield opened


class Fixed(Driver):
    """Gives the frames of a list."""

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = iter(frames)

    def open(self) -> None:
        pass

    def grab(self, timeout_s: float) -> Frame | None:
        return next(self._frames, None)

    def close(self) -> None:
        pass


def frame(number: int, height: int = 32, width: int = 64, level: int = 0) -> Frame:
    return Frame(np.full((height, width), level, np.uint8), number, time.monotonic_ns())


def broken(number: int) -> Frame:
    return Frame(NO_PIXELS, number, 0, status=FrameStatus.INCOMPLETE, problem="came incomplete")


def camera(*frames: Frame) -> Camera:
    return Camera(Fixed(list(frames)), name="line 3", settings=CameraSettings(queue=99))


def test_every_frame_has_a_verdict(inspector: Inspector):
    with camera(frame(0), frame(1, level=255), broken(2), frame(5), frame(6, width=40)) as source:
        verdicts = [answer.verdict for answer in inspect_camera(inspector, source)]
    assert [verdict.is_anomalous for verdict in verdicts] == [False, True, None, False, None]
    assert [verdict.sequence for verdict in verdicts] == list(range(5))
    assert [verdict.number for verdict in verdicts] == [0, 1, 2, 5, 6]
    assert [verdict.lost_before for verdict in verdicts] == [0, 0, 0, 2, 0]
    assert verdicts[2].problem == "came incomplete"
    assert "frame 6 is 40 x 32, those before were 64 x 32" in verdicts[4].problem
    assert verdicts[1].regions
    assert all(verdict.latency_ns > 0 for verdict in verdicts if verdict.is_anomalous is not None)
    assert {verdict.source for verdict in verdicts} == {"line 3"}


def test_lines_of_frames_keep_their_numbers():
    frames = [frame(3), frame(4), broken(5), frame(7, height=10), frame(6), frame(8)]
    blocks = list(blocks_from_frames(frames))
    assert [(block.first_number, len(block.pixels), block.missing_before) for block in blocks] == [
        (0, 32, 0), (32, 32, 0), (128, 10, 64), (138, 32, 0),
    ]  # fmt: skip


def test_a_web_over_frames_with_a_defect_on_their_border(inspector: Inspector):
    frames = [frame(number, height=20) for number in range(10)]
    frames[4].pixels[12:, 8:24] = 255
    frames[5].pixels[:8, 8:24] = 255
    with camera(*frames) as source:
        verdicts = [answer.verdict for answer in inspect_web_camera(inspector, source)]
    regions = [region for verdict in verdicts for region in verdict.regions]
    assert [(r["line"], r["lines"], r["column"], r["width"]) for r in regions] == [(92, 16, 8, 16)]
    assert sum(verdict.lines or 0 for verdict in verdicts) == 200
    assert [verdict.sequence for verdict in verdicts] == list(range(len(verdicts)))


def test_a_web_that_changes_its_width_ends(inspector: Inspector):
    with (
        camera(frame(0), frame(1, width=48)) as source,
        pytest.raises(UsageError, match="had 64 pixels, and line 32 has 48"),
    ):
        list(inspect_web_camera(inspector, source))


def test_no_latency_is_computed_from_the_wall_clock(inspector: Inspector, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    with camera(frame(0), frame(1)) as source:
        verdicts = [answer.verdict for answer in inspect_camera(inspector, source)]
    assert all(0 < verdict.latency_ns < 60e9 for verdict in verdicts)


def test_a_consumer_that_raises_leaves_a_camera_that_can_be_closed(inspector: Inspector, tmp_path: Path):
    source = camera(frame(0), frame(1))

    def fail() -> None:
        with source:
            for _ in inspect_camera(inspector, source):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert source.read() is None
