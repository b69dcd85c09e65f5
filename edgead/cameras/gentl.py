"""Cameras behind a vendor's GenTL producer (a .cti file), through harvesters: CoaXPress, USB3 and others."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgead.cameras.base import Driver, Frame
from edgead.cameras.pixel_formats import image_from_bytes
from edgead.errors import CameraError, CameraTimeoutError
from edgead.installation import how_to_install

_LOG = logging.getLogger("edgead.cameras")


class GenTlDriver(Driver):
    """The camera `device` (serial number or name; empty: the first) of the producer file `producer`."""

    def __init__(self, producer: str, *, device: str = "") -> None:
        self._producer, self._device = producer, device
        self._harvester: Any = None
        self._acquirer: Any = None

    def open(self) -> None:
        """Load the producer, find the camera, start it; raises CameraError with what there is."""
        if not Path(self._producer).is_file():
            raise CameraError(
                f"gentl:{self._producer}: no such file. Name the .cti file of the camera's software "
                "(its folder is in GENICAM_GENTL64_PATH)."
            )
        try:
            from harvesters.core import Harvester
        except ImportError as error:
            raise CameraError(
                f"GenTL needs harvesters ({error}). Install it with: {how_to_install('gentl')}"
            ) from error
        try:
            self._harvester = Harvester()
            self._harvester.add_file(self._producer, check_existence=True)
            self._harvester.update()
            self._acquirer = self._harvester.create(self._find())
            self._acquirer.start()
        except CameraError:
            self.close()
            raise
        except Exception as error:  # its producers' exceptions share no base class
            self.close()
            raise CameraError(
                f"gentl:{self._producer}: cannot be opened ({error}). Try it in the vendor's viewer first."
            ) from error

    def _find(self) -> int:
        found = [(str(info.serial_number), str(info.id_)) for info in self._harvester.device_info_list]
        for index, names in enumerate(found):
            if not self._device or self._device in names:
                return index
        raise CameraError(
            f"gentl:{self._producer}: no camera '{self._device}'. It finds "
            f"{', '.join(serial for serial, _ in found) or 'none: check power and cable'}."
        )

    def grab(self, timeout_s: float) -> Frame | None:
        """See `Driver.grab`."""
        try:
            buffer = self._acquirer.try_fetch(timeout=timeout_s)
        except Exception as error:  # as above
            raise CameraError(f"gentl:{self._producer}: fails to give a frame ({error}).") from error
        if buffer is None:
            raise CameraTimeoutError(f"gentl:{self._producer}: no frame within {timeout_s:g} s.")
        with buffer:
            return self._frame(buffer)

    def _frame(self, buffer: Any) -> Frame:
        """Harvesters keeps incomplete buffers to itself: they are seen as lost, in the numbers."""
        number, arrived = int(buffer.frame_id), time.monotonic_ns()
        device_ns = int(buffer.timestamp_ns) if buffer.timestamp_ns else None
        part = buffer.payload.components[0]
        if part.x_padding:
            raise CameraError(
                f"gentl:{self._producer}: the camera pads its lines by {part.x_padding} bytes, which is not "
                "undone here. Set a width without padding."
            )
        # As it came: `part.data` has been unpacked already for some formats, and not for others.
        data = np.frombuffer(buffer.raw_buffer, np.uint8, offset=int(part.data_offset))
        pixels = image_from_bytes(data.data, int(part.height), int(part.width), str(part.data_format))
        return Frame(pixels, number, arrived, device_ns)

    def close(self) -> None:
        """Stop the camera and let the producer go."""
        acquirer, harvester, self._acquirer, self._harvester = self._acquirer, self._harvester, None, None
        for thing, method in ((acquirer, "destroy"), (harvester, "reset")):
            try:
                if thing is not None:
                    getattr(thing, method)()
            except Exception as error:  # a producer may raise anything; the other one is let go all the same
                _LOG.warning("gentl:%s: %s failed on closing: %s", self._producer, method, error)
