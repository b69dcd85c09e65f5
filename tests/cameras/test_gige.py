"""GigE Vision over the real protocol: Aravis' fake camera as a process of its own, on the loopback."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from edgead.cameras import FrameStatus, open_camera
from edgead.cameras.gige import GigeDriver
from edgead.errors import CameraError
from tests.cameras.fake_gige import Start, fake_cameras, why_not

ADDRESS = "gige://127.0.0.1?width=256&height=64&fps=50&timeout=0.5&stalls=1&queue=1000"

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it is there")


@pytest.fixture
def start() -> Iterator[Start]:
    with fake_cameras() as begin:
        yield begin


def test_frames_with_numbers_and_both_clocks(start: Start):
    start()
    with open_camera(ADDRESS) as camera:
        frames = [camera.read(timeout_s=5) for _ in range(20)]
    assert all(frame is not None and frame.is_whole for frame in frames)
    whole = [frame for frame in frames if frame is not None]
    assert [frame.number - whole[0].number for frame in whole] == list(range(20))
    assert whole[0].pixels.shape == (64, 256)
    assert whole[0].pixels.std() > 10  # its moving gradient
    device = [frame.device_ns for frame in whole if frame.device_ns]
    assert (device[-1] - device[0]) / 19 == pytest.approx(20e6, rel=0.3)
    assert whole[-1].host_ns > whole[0].host_ns
    assert camera.statistics.lost == 0


def test_lost_packets_are_counted_and_never_inspected(start: Start):
    """10 % of the packets; of the 13 of a frame, most frames lose one."""
    start("-r", "100")
    with open_camera(ADDRESS) as camera:
        frames = [camera.read(timeout_s=5) for _ in range(40)]
    statistics = camera.statistics
    broken = [frame for frame in frames if frame is not None and not frame.is_whole]
    assert broken
    assert all(frame.status is FrameStatus.INCOMPLETE and frame.pixels.size == 0 for frame in broken)
    assert "missing packets" in broken[0].problem
    assert statistics.incomplete >= len(broken)
    assert statistics.received == statistics.delivered + statistics.overwritten + statistics.waiting
    numbers = [frame.number for frame in frames if frame is not None]
    assert statistics.lost >= max(numbers) - min(numbers) + 1 - len(set(numbers))


def test_a_camera_that_is_killed_and_comes_back(start: Start):
    process = start()
    events: list[str] = []
    with open_camera(ADDRESS, on_event=events.append) as camera:
        before = camera.read(timeout_s=5)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 20
        while camera.statistics.failures == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        count = camera.statistics.received
        start()
        while camera.statistics.received < count + 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        numbers = []
        while len(numbers) < count:
            frame = camera.read(timeout_s=5)
            assert frame is not None
            numbers.append(frame.number)
    assert before is not None
    assert camera.statistics.reconnects == 1
    assert camera.statistics.away_ns > 0
    assert numbers == sorted(numbers)
    assert any("connected again" in event for event in events)


def test_a_camera_that_stalls_is_told_and_goes_on(start: Start):
    process = start()
    events: list[str] = []
    address = ADDRESS.replace("timeout=0.5&stalls=1", "timeout=0.3&stalls=50")
    with open_camera(address, on_event=events.append) as camera:
        assert camera.read(timeout_s=5) is not None
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.2)
        process.send_signal(signal.SIGCONT)
        count = camera.statistics.received
        deadline = time.monotonic() + 10
        while camera.statistics.received < count + 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert camera.statistics.received >= count + 5
    assert camera.statistics.stalls >= 2
    assert any("no frame for" in event for event in events)


def test_the_queue_keeps_the_newest(start: Start):
    start()
    with open_camera(ADDRESS.replace("queue=1000", "queue=1")) as camera:
        first = camera.read(timeout_s=5)
        time.sleep(0.5)
        second = camera.read(timeout_s=5)
    assert first is not None
    assert second is not None
    assert second.number - first.number > 10
    assert camera.statistics.overwritten > 8


def test_settings_that_the_camera_does_not_take(start: Start):
    start()
    with pytest.raises(CameraError, match=r"width is 99999, but this camera takes 1 to 2048"):
        open_camera("gige://127.0.0.1?width=99999").open()
    with pytest.raises(CameraError, match=r"cannot be opened .*Mono12p"):
        open_camera("gige://127.0.0.1?pixel_format=Mono12p").open()


def test_no_camera_there():
    with pytest.raises(CameraError, match=r"cannot be opened .*(No GigE Vision camera|Cameras that answer)"):
        open_camera("gige://127.0.0.2").open()


@pytest.mark.parametrize(
    ("ids", "numbers"),
    [
        ([65534, 65535, 1, 2], [0, 1, 2, 3]),
        ([65535, 2], [0, 2]),
        ([5, 6, 9, 8, 10], [0, 1, 4, 3, 5]),
        ([1, 65535, 2], [0, -1, 1]),  # a straggler across the border
        ([65535, 65536, 65537, 70000], [0, 1, 2, 4465]),  # 64 bits do not wrap
    ],
)
def test_frame_ids_that_wrap(ids: list[int], numbers: list[int]):
    driver = GigeDriver()
    assert [driver._unwrap(frame_id) for frame_id in ids] == numbers
