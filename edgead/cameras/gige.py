"""GigE Vision cameras, area or line, through Aravis: `gige://192.168.1.20`, `gige://SERIAL`, `gige://`."""

from __future__ import annotations

import time
from typing import Any

from edgead.cameras.base import NO_PIXELS, Driver, Frame, FrameStatus
from edgead.cameras.pixel_formats import find_format, image_from_bytes
from edgead.errors import CameraError, CameraTimeoutError, EdgeadError
from edgead.installation import how_to_install

_BUFFERS = 16  # frames that Aravis may fill ahead; its underruns are lost frames
_WRAP = 65535  # a frame id of 16 bits goes from 65535 to 1; 0 is not valid


class GigeDriver(Driver):
    """A camera on the network, or Aravis' own fake one (`arv-fake-gv-camera-0.8 -i 127.0.0.1`).

    `device` is its address, serial number or name, empty for the first one found. `width`, `height` (for a
    line camera: lines per frame), `fps`, `exposure_us`, `gain`, `pixel_format` and `packet_size` are set
    where given. A frame with missing packets is INCOMPLETE and has no pixels: gaps would look like defects.
    """

    def __init__(
        self,
        device: str = "",
        *,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        exposure_us: float | None = None,
        gain: float | None = None,
        pixel_format: str | None = None,
        packet_size: int | None = None,
    ) -> None:
        self._device, self._width, self._height = device, width, height
        self._floats = {"FrameRate": fps, "ExposureTime": exposure_us, "Gain": gain}
        self._pixel_format, self._packet_size = pixel_format, packet_size
        self._camera: Any = None
        self._stream: Any = None
        self._is_gone = False
        self._last_id, self._number = 0, 0
        if pixel_format is not None:
            find_format(pixel_format)

    def open(self) -> None:
        """Find it, set it, start it; raises CameraError with the cameras that there are."""
        aravis = load_aravis()
        glib_error = _glib_error()
        self._is_gone, self._last_id, self._number = False, 0, 0
        try:
            self._camera = aravis.Camera.new(self._device or None)
            self._set()
            self._stream = self._camera.create_stream(None, None)
            payload = self._camera.get_payload()
            for _ in range(_BUFFERS):
                self._stream.push_buffer(aravis.Buffer.new_allocate(payload))
            self._camera.get_device().connect("control-lost", self._lose)
            self._camera.start_acquisition()
        except (glib_error, TypeError, AttributeError) as error:
            self.close()
            raise CameraError(
                f"gige://{self._device}: cannot be opened ({_gist(error)}). {self._neighbours(aravis)}"
            ) from error
        except EdgeadError:
            self.close()
            raise

    def _set(self) -> None:
        camera = self._camera
        if self._pixel_format is not None:
            camera.set_pixel_format_from_string(self._pixel_format)
        find_format(int(camera.get_pixel_format()))  # refused now, not with the first frame
        if self._width is not None or self._height is not None:
            self._set_size()
        if self._packet_size is not None:
            camera.gv_set_packet_size(self._packet_size)
        setters = {
            "FrameRate": camera.set_frame_rate,
            "ExposureTime": camera.set_exposure_time,
            "Gain": camera.set_gain,
        }
        for feature, value in self._floats.items():
            if value is not None:
                setters[feature](value)

    def _set_size(self) -> None:
        region, camera = self._camera.get_region(), self._camera
        width, height = self._width or region.width, self._height or region.height
        limits = (camera.get_width_bounds(), camera.get_height_bounds())
        for name, value, (low, high) in zip(("width", "height"), (width, height), limits, strict=True):
            if not low <= value <= high:
                raise CameraError(
                    f"gige://{self._device}: {name} is {value}, but this camera takes {low} to {high}."
                )
        camera.set_region(0, 0, width, height)
        taken = camera.get_region()
        if (taken.width, taken.height) != (width, height):
            raise CameraError(
                f"gige://{self._device}: asked for {width} x {height}, the camera took {taken.width} x "
                f"{taken.height}. Ask for a size that it has (steps of its Width and Height)."
            )

    def _lose(self, device: Any) -> None:
        """Aravis calls this from its heartbeat thread when the camera answers no more."""
        self._is_gone = True

    def grab(self, timeout_s: float) -> Frame | None:
        """See `Driver.grab`."""
        if self._stream is None:
            raise CameraError(f"gige://{self._device}: is not open.")
        buffer = self._stream.timeout_pop_buffer(round(timeout_s * 1e6))
        if buffer is None:
            if self._is_gone:
                raise CameraError(f"gige://{self._device}: the camera answers no more.")
            raise CameraTimeoutError(f"gige://{self._device}: no frame within {timeout_s:g} s.")
        try:
            return self._frame(buffer)
        finally:
            self._stream.push_buffer(buffer)

    def _frame(self, buffer: Any) -> Frame:
        number, arrived = self._unwrap(int(buffer.get_frame_id())), time.monotonic_ns()
        device_ns = int(buffer.get_timestamp()) or None
        status = buffer.get_status().value_nick
        if status != "success":
            problem = f"frame {number} came incomplete ({status.replace('-', ' ')})"
            return Frame(NO_PIXELS, number, arrived, device_ns, FrameStatus.INCOMPLETE, problem)
        pixels = image_from_bytes(
            buffer.get_data(),
            buffer.get_image_height(),
            buffer.get_image_width(),
            int(buffer.get_image_pixel_format()),
        )
        return Frame(pixels, number, arrived, device_ns)

    def _unwrap(self, frame_id: int) -> int:
        """The camera's frame id, of 16 bits or of 64, as a count from 0 that does not wrap."""
        if self._last_id:
            step = frame_id - self._last_id
            if max(frame_id, self._last_id) <= _WRAP and abs(step) > _WRAP // 2:
                step += _WRAP if step < 0 else -_WRAP
            self._number += step
        self._last_id = frame_id
        return self._number

    def close(self) -> None:
        """Stop the camera if it still listens, and let it go."""
        camera, self._camera, self._stream = self._camera, None, None
        if camera is not None and not self._is_gone:
            try:
                camera.stop_acquisition()
            except _glib_error():
                return  # it went meanwhile; what is to be closed is closed with its last reference

    def _neighbours(self, aravis: Any) -> str:
        aravis.update_device_list()
        count = aravis.get_n_devices()
        found = [f"{aravis.get_device_id(i)} at {aravis.get_device_address(i)}" for i in range(count)]
        if found:
            return f"Cameras that answer: {', '.join(found)}."
        return (
            "No GigE Vision camera answers here. Check its power and cable, that this machine's address "
            "is in its network, and that no firewall drops UDP (port 3956); `arv-tool-0.8` lists them."
        )


def load_aravis() -> Any:
    """Aravis through PyGObject; raises CameraError with the commands that install what is missing."""
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis
    except (ImportError, ValueError) as error:
        raise CameraError(
            f"GigE Vision needs Aravis and PyGObject ({error}). On Debian and Ubuntu: apt-get install "
            "gir1.2-aravis-0.8 libgirepository1.0-dev libcairo2-dev pkg-config gcc python3-dev, then "
            f"{how_to_install('gige')}."
        ) from error
    return Aravis


def _glib_error() -> type[Exception]:
    from gi.repository import GLib

    error: type[Exception] = GLib.Error
    return error


def _gist(error: Exception) -> str:
    return str(getattr(error, "message", None) or error)
