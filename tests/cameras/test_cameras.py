"""The contract of cameras, over sources that need no hardware: files, replay, a network stream."""

from __future__ import annotations

import http.server
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.cameras import Camera, CameraSettings, Driver, Frame, FrameStatus, open_camera
from edgead.errors import CameraError, CameraTimeoutError
from edgead.images import write_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten pictures, each as bright as its number."""
    (tmp_path / "parts").mkdir()
    for number in range(10):
        write_image(tmp_path / "parts" / f"{number}.png", np.full((8, 12, 3), number, np.uint8))
    return tmp_path / "parts"


def balance(camera: Camera) -> None:
    """Every frame is accounted for."""
    statistics = camera.statistics
    assert statistics.received == statistics.delivered + statistics.overwritten + statistics.waiting


class TestFiles:
    @pytest.mark.parametrize("pattern", ["{}", "{}/*.png"])
    def test_all_of_a_folder_in_order(self, folder: Path, pattern: str):
        camera = open_camera(f"folder:{pattern.format(folder)}")
        frames = list(camera)
        assert [frame.number for frame in frames] == list(range(10))
        assert [int(frame.pixels[0, 0, 0]) for frame in frames] == list(range(10))
        assert [Path(frame.origin).name for frame in frames] == [f"{number}.png" for number in range(10)]
        assert camera.statistics.delivered == 10
        balance(camera)

    def test_a_broken_picture_is_a_frame_that_is_not_whole(self, folder: Path):
        (folder / "3.png").write_bytes(b"\x89PNG")
        camera = open_camera(f"folder:{folder}")
        broken = [frame for frame in camera if not frame.is_whole]
        assert [(frame.number, frame.status) for frame in broken] == [(3, FrameStatus.UNREADABLE)]
        assert "3.png" in broken[0].problem
        assert camera.statistics.unreadable == 1

    def test_a_film(self, tmp_path: Path):
        path = tmp_path / "film.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
        for number in range(5):
            red = np.zeros((48, 64, 3), np.uint8)
            red[..., 2] = 50 * number  # BGR
            writer.write(red)
        writer.release()
        with open_camera(f"video:{path}") as camera:
            frames = list(camera)
        assert [frame.number for frame in frames] == list(range(5))
        assert frames[-1].pixels.shape == (48, 64, 3)
        assert frames[-1].pixels[..., 0].mean() == pytest.approx(200, abs=4)  # RGB
        balance(camera)


class TestReplay:
    def test_the_rate_and_the_end(self, folder: Path):
        with open_camera(f"replay:{folder}?fps=100&times=2&queue=100") as camera:
            frames = list(camera)
        assert [frame.number for frame in frames] == list(range(20))
        assert int(frames[13].pixels[0, 0, 0]) == 3
        assert (
            frames[-1].host_ns - frames[0].host_ns >= 0.15e9
        )  # nominally 0.19 s; never faster than the rate
        balance(camera)

    def test_faults_repeat_for_a_seed(self, folder: Path):
        query = "fps=2000&times=10&drop=0.3&stall=0.05&stall_s=0.005&jitter_ms=1&queue=1000"
        numbers = []
        for seed in (1, 1, 2):
            with open_camera(f"replay:{folder}?{query}&seed={seed}") as camera:
                numbers.append([frame.number for frame in camera])
            last = numbers[-1][-1]
            assert camera.statistics.lost == last - numbers[-1][0] + 1 - len(numbers[-1]) > 10
            balance(camera)
        assert numbers[0] == numbers[1] != numbers[2]
        assert sorted(numbers[0]) == numbers[0]

    def test_a_slow_reader_gets_the_newest_and_the_rest_is_counted(self, folder: Path):
        with open_camera(f"replay:{folder}?fps=500&times=10&queue=2") as camera:
            first = camera.read()
            time.sleep(0.15)
            second = camera.read()
            assert first is not None
            assert second is not None
            assert second.number - first.number > 20
            assert camera.statistics.overwritten >= 20
            assert camera.statistics.lost == 0
            for _ in camera:
                pass
        assert camera.statistics.received == 100
        balance(camera)

    def test_a_stall_is_told_and_passes(self, folder: Path):
        events: list[str] = []
        # A stall lasts three timeouts; given up after three, a late thread would replay it for ever.
        query = "fps=200&times=20&stall=0.02&stall_s=0.3&timeout=0.1&stalls=99&seed=3&queue=999"
        with open_camera(f"replay:{folder}?{query}", on_event=events.append) as camera:
            frames = list(camera)
        assert camera.statistics.stalls >= 1
        assert any("no frame for 0.1 s" in event for event in events)
        gaps = np.diff([frame.number for frame in frames])
        assert gaps.max() == 61
        balance(camera)

    def test_a_read_that_does_not_wait_for_ever(self, folder: Path):
        with open_camera(f"replay:{folder}?fps=0.01") as camera:
            assert camera.read() is not None
            with pytest.raises(CameraTimeoutError, match=r"within 0\.05 s"):
                camera.read(timeout_s=0.05)

    def test_stop_ends_a_read_that_waits(self, folder: Path):
        with open_camera(f"replay:{folder}?fps=0.01&timeout=0") as camera:
            camera.read()
            threading.Timer(0.05, camera.stop).start()
            assert camera.read() is None
        assert camera.read() is None


class Scripted(Driver):
    """A driver that does what a list says: a number is a frame, an exception is raised, None ends."""

    def __init__(self, script: list[int | Exception | None], *, opens: list[Exception | None] | None = None):
        self._script, self._opens = iter(script), iter(opens or [])

    def open(self) -> None:
        if (error := next(self._opens, None)) is not None:
            raise error

    def grab(self, timeout_s: float) -> Frame | None:
        step = next(self._script, None)
        if isinstance(step, Exception):
            raise step
        return None if step is None else Frame(np.zeros((2, 2), np.uint8), step, time.monotonic_ns())

    def close(self) -> None:
        pass


class TestTrouble:
    def test_lost_connections_are_mended_and_numbers_go_on(self):
        script: list[int | Exception | None] = [0, 1, CameraError("gone."), 0, 3, None]
        driver = Scripted(script, opens=[None, CameraError("not yet"), None])
        events: list[str] = []
        camera = Camera(driver, name="c", settings=CameraSettings(queue=9), on_event=events.append)
        with camera:
            numbers = [frame.number for frame in camera]
        assert numbers == [0, 1, 2, 5]
        statistics = camera.statistics
        assert (statistics.failures, statistics.reconnects, statistics.lost) == (1, 1, 2)
        assert statistics.away_ns >= 0.4e9  # two attempts
        assert events[0].startswith("gone.")
        assert "connected again" in events[-1]

    def test_a_camera_that_does_not_come_back_is_given_up(self):
        driver = Scripted([0, CameraError("gone.")], opens=[None, *[CameraError("still dark.")] * 50])
        camera = Camera(driver, name="c", settings=CameraSettings(give_up_s=0.3))
        with camera, pytest.raises(CameraError, match=r"still dark\. Given up after"):
            for _ in camera:
                pass
        assert camera.statistics.delivered == 1

    def test_one_that_is_not_there_at_first_is_told_at_once(self):
        with pytest.raises(CameraError, match="no such"):
            Camera(Scripted([], opens=[CameraError("no such camera")]), name="c").open()

    def test_any_error_of_a_driver_reaches_the_reader(self):
        with Camera(Scripted([0, ZeroDivisionError("a bug")]), name="c") as camera:
            assert camera.read() is not None
            with pytest.raises(ZeroDivisionError, match="a bug"):
                camera.read()

    def test_stragglers_are_not_counted_as_losses(self):
        with Camera(Scripted([0, 1, 5, 2, 6, None]), name="c", settings=CameraSettings(queue=9)) as camera:
            assert len(list(camera)) == 5
        assert camera.statistics.lost == 3

    def test_a_clock_that_is_set_back_changes_nothing(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        true_time = time.time
        with open_camera(f"replay:{folder}?fps=200&queue=100") as camera:
            camera.read()
            monkeypatch.setattr(time, "time", lambda: true_time() - 86_400)
            frames = list(camera)
        assert len(frames) == 9
        assert all(b.host_ns > a.host_ns for a, b in itertools.pairwise(frames))
        assert camera.statistics.stalls == 0


class _Mjpeg(http.server.BaseHTTPRequestHandler):
    """A network camera's stream of JPEG pictures."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), (0, 0, 200), np.uint8))
        part = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg.tobytes() + b"\r\n"
        try:
            while not self.server.is_dead:  # type: ignore[attr-defined]
                self.wfile.write(part)
                time.sleep(0.02)
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    is_dead = False
    daemon_threads = True


def serve(port: int = 0) -> _Server:
    server = _Server(("127.0.0.1", port), _Mjpeg)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def kill(server: _Server) -> None:
    server.is_dead = True
    server.shutdown()
    server.server_close()


@pytest.fixture
def stream() -> Iterator[_Server]:
    server = serve()
    yield server
    kill(server)


def test_a_network_stream_that_dies_and_comes_back(stream: _Server):
    port = stream.server_address[1]
    events: list[str] = []
    with open_camera(f"http://127.0.0.1:{port}/a.mjpg", on_event=events.append) as camera:
        frame = camera.read(timeout_s=20)
        assert frame is not None
        assert frame.pixels[0, 0].tolist() == pytest.approx([200, 0, 0], abs=6)
        kill(stream)
        again: _Server | None = None
        deadline = time.monotonic() + 20
        while camera.statistics.reconnects == 0 and time.monotonic() < deadline:
            if camera.statistics.failures and again is None:
                again = serve(port)
            time.sleep(0.02)
        following = camera.read(timeout_s=20)
        assert following is not None
        assert following.number > frame.number
    assert camera.statistics.reconnects == 1
    assert any("gives no more frames" in event for event in events)
    assert again is not None
    kill(again)
    balance(camera)
