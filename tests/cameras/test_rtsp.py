"""RTSP over the real protocol: GStreamer's server as a process of its own, killed and started again."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgead.cameras import open_camera
from edgead.errors import CameraError

SERVER = Path(__file__).with_name("rtsp_server.py")
Start = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(port: int) -> Iterator[Start]:
    """Starts the server; skips where GStreamer's is not installed."""
    gi = pytest.importorskip("gi", reason="PyGObject is not installed")
    try:
        gi.require_version("GstRtspServer", "1.0")
    except ValueError:
        pytest.skip("GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0)")
    started: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, str(SERVER), str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started.append(process)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            pytest.skip("GStreamer's RTSP server does not start (gstreamer1.0-plugins-good)")
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_frames_and_a_camera_that_is_killed_and_comes_back(start: Start, port: int):
    process = start()
    events: list[str] = []
    with open_camera(f"rtsp://127.0.0.1:{port}/stream", on_event=events.append) as camera:
        frame = camera.read(timeout_s=20)
        assert frame is not None
        assert frame.pixels.shape == (120, 160, 3)
        red, green, blue = frame.pixels[60, 80].tolist()
        assert red > 200 > 60 > max(green, blue)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 30
        while not camera.statistics.failures and time.monotonic() < deadline:
            time.sleep(0.02)
        start()
        while not camera.statistics.reconnects and time.monotonic() < deadline:
            time.sleep(0.02)
        following = camera.read(timeout_s=20)
    assert following is not None
    assert following.number > frame.number
    statistics = camera.statistics
    assert (statistics.failures, statistics.reconnects) == (1, 1)
    assert statistics.received == statistics.delivered + statistics.overwritten + statistics.waiting
    assert any("gives no more frames" in event for event in events)


def test_a_stream_that_the_server_does_not_have(start: Start, port: int):
    start()
    with pytest.raises(CameraError, match="cannot be opened"):
        open_camera(f"rtsp://127.0.0.1:{port}/other").open()
