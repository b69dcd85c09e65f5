"""Cameras and films that OpenCV reads: V4L2, network streams, GStreamer pipelines, video files."""

from __future__ import annotations

import time
from typing import Any

import cv2

from edgead.cameras.base import Driver, Frame
from edgead.errors import CameraError


class OpenCvDriver(Driver):
    """One `cv2.VideoCapture`. OpenCV does not number frames: what these sources lose before it is unseen.

    A read that fails is a lost connection, or for a film (`is_film`) its end.
    """

    def __init__(
        self,
        source: str | int,
        *,
        backend: int,
        label: str,
        advice: str,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        is_film: bool = False,
        timeout_s: float = 5.0,
    ) -> None:
        self._source, self._backend, self._label, self._advice = source, backend, label, advice
        self._wanted: dict[int, float | None] = {
            cv2.CAP_PROP_FRAME_WIDTH: width,
            cv2.CAP_PROP_FRAME_HEIGHT: height,
            cv2.CAP_PROP_FPS: fps,
        }
        self.is_live = not is_film
        self._timeout_ms = round(timeout_s * 1000)
        self._capture: Any = None
        self._number = 0

    def open(self) -> None:
        """Raises CameraError, with what this OpenCV lacks where that is why."""
        if not cv2.videoio_registry.hasBackend(self._backend):
            name = cv2.videoio_registry.getBackendName(self._backend)
            raise CameraError(
                f"{self._label}: this OpenCV ({cv2.__version__}) is built without {name}. "
                "Use the system's (Debian, Ubuntu, JetPack: apt-get install python3-opencv)."
            )
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, self._timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
        parameters = [*limits, self._timeout_ms] if self._backend == cv2.CAP_FFMPEG else []
        self._number = 0
        try:
            self._capture = cv2.VideoCapture(self._source, self._backend, parameters)
            is_open = self._capture.isOpened()
        except cv2.error as error:
            is_open, self._advice = False, f"{error.err}. {self._advice}"
        if not is_open:
            self.close()
            raise CameraError(f"{self._label}: cannot be opened. {self._advice}")
        for feature, value in self._wanted.items():
            if value is not None and not self._set(feature, value):
                self.close()
                raise CameraError(
                    f"{self._label}: does not take {value:g} for its width, height or frame rate. Leave it "
                    "out, or choose one that the camera has."
                )

    def _set(self, feature: int, value: float) -> bool:
        self._capture.set(feature, value)
        return bool(abs(self._capture.get(feature) - value) < 0.5)

    def grab(self, timeout_s: float) -> Frame | None:
        """See `Driver.grab`; waits for as long as OpenCV does, some seconds at most."""
        if self._capture is None:
            raise CameraError(f"{self._label}: is not open.")
        done, pixels = self._capture.read()
        arrived = time.monotonic_ns()
        if not done or pixels is None:
            if not self.is_live:
                return None
            raise CameraError(f"{self._label}: gives no more frames.")
        if pixels.ndim == 3 and pixels.shape[2] == 3:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        self._number += 1
        return Frame(pixels, self._number - 1, arrived)

    def close(self) -> None:
        """Release the device."""
        if self._capture is not None:
            self._capture.release()
        self._capture = None


def csi_pipeline(sensor: int, *, width: int, height: int, fps: int) -> str:
    """GStreamer's pipeline for a CSI camera of a Jetson, to BGR in memory; it keeps the newest frame."""
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM),width={width},height={height},"
        f"framerate={fps}/1 ! nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )
