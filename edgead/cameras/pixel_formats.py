"""Pixel formats of industrial cameras, to uint8 H W or H W 3 RGB: the formats of PFNC, by name and number.

More than 8 bits are scaled so that full scale stays full scale and rounded, as for images from files. A
format that is not in the table is refused by name, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import CameraError, UnknownNameError

Bytes = NDArray[np.uint8]


class PixelFormat(NamedTuple):
    """A format of the Pixel Format Naming Convention (PFNC) that is converted here."""

    name: str
    number: int  # as GigE Vision sends it
    bits_per_pixel: int  # in memory, all colours together
    convert: Callable[[Bytes, int, int], NDArray[np.uint8]]  # bytes, height, width


def image_from_bytes(
    data: bytes | memoryview, height: int, width: int, pixel_format: str | int
) -> NDArray[np.uint8]:
    """An image of a camera as uint8 H W, or H W 3 RGB; the caller's own.

    Raises CameraError for a format or a number of bytes that cannot be used.
    """
    layout = find_format(pixel_format)
    needed = -(-height * width * layout.bits_per_pixel // 8)
    if height < 1 or width < 1 or len(data) < needed:
        raise CameraError(
            f"An image of {width} x {height} pixels in {layout.name} has {needed} bytes, and {len(data)} "
            "came. Set width, height and pixel format of the camera again."
        )
    return layout.convert(np.frombuffer(data, np.uint8, needed), height, width)


def find_format(pixel_format: str | int) -> PixelFormat:
    """A format by PFNC name or number; raises CameraError (number) or UnknownNameError (name)."""
    if isinstance(pixel_format, str):
        if pixel_format not in PIXEL_FORMATS:
            raise UnknownNameError("pixel format", pixel_format, PIXEL_FORMATS)
        return PIXEL_FORMATS[pixel_format]
    for layout in PIXEL_FORMATS.values():
        if layout.number == pixel_format:
            return layout
    raise CameraError(
        f"The camera sends the pixel format 0x{pixel_format:08X}, which is not converted here. Set it to one "
        f"of {', '.join(PIXEL_FORMATS)} (PixelFormat; in a gige:// address, ?pixel_format=Mono8)."
    )


def _grey(data: Bytes, height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(data.reshape(height, width).copy())


def _unpacked(bits: int) -> Callable[[Bytes, int, int], NDArray[np.uint8]]:
    """One pixel in two bytes, the lower first; unused bits are zero."""
    return lambda data, height, width: _scale(data.view("<u2").reshape(height, width), bits)


def _packed(
    bits: int, bytes_per_group: int, unpack: Callable[[NDArray[np.uint16]], list[NDArray[np.uint16]]]
) -> Callable[[Bytes, int, int], NDArray[np.uint8]]:
    """Groups of pixels in some bytes; no padding between lines; the last group may be short."""

    def convert(data: Bytes, height: int, width: int) -> NDArray[np.uint8]:
        groups = -(-len(data) // bytes_per_group)
        whole = np.zeros(groups * bytes_per_group, np.uint8)
        whole[: len(data)] = data
        pixels = unpack(whole.reshape(groups, bytes_per_group).T.astype(np.uint16))
        return _scale(np.stack(pixels, axis=1).reshape(-1)[: height * width].reshape(height, width), bits)

    return convert


def _mono10p(b: NDArray[np.uint16]) -> list[NDArray[np.uint16]]:
    return [
        b[0] | (b[1] & 0x03) << 8,
        b[1] >> 2 | (b[2] & 0x0F) << 6,
        b[2] >> 4 | (b[3] & 0x3F) << 4,
        b[3] >> 6 | b[4] << 2,
    ]


def _mono12p(b: NDArray[np.uint16]) -> list[NDArray[np.uint16]]:
    return [b[0] | (b[1] & 0x0F) << 8, b[1] >> 4 | b[2] << 4]


def _mono10_packed(b: NDArray[np.uint16]) -> list[NDArray[np.uint16]]:
    return [b[0] << 2 | b[1] & 0x03, b[2] << 2 | b[1] >> 4 & 0x03]


def _mono12_packed(b: NDArray[np.uint16]) -> list[NDArray[np.uint16]]:
    return [b[0] << 4 | b[1] & 0x0F, b[2] << 4 | b[1] >> 4]


def _scale(values: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """Full scale of `bits` to 255, rounded."""
    full = (1 << bits) - 1
    table = ((np.arange(full + 1, dtype=np.uint32) * 255 + full // 2) // full).astype(np.uint8)
    return table[np.minimum(values, full)]


def _bayer(code: int) -> Callable[[Bytes, int, int], NDArray[np.uint8]]:
    def convert(data: Bytes, height: int, width: int) -> NDArray[np.uint8]:
        return np.asarray(cv2.cvtColor(data.reshape(height, width), code), np.uint8)

    return convert


def _rgb(data: Bytes, height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(data.reshape(height, width, 3).copy())


def _bgr(data: Bytes, height: int, width: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(data.reshape(height, width, 3)[..., ::-1])


# "p" packs the bits one after the other, the lowest first; "Packed" is GigE Vision's older way, with the high
# bits in bytes of their own.
PIXEL_FORMATS = {
    entry.name: entry
    for entry in (
        PixelFormat("Mono8", 0x01080001, 8, _grey),
        PixelFormat("Mono10", 0x01100003, 16, _unpacked(10)),
        PixelFormat("Mono10p", 0x010A0046, 10, _packed(10, 5, _mono10p)),
        PixelFormat("Mono10Packed", 0x010C0004, 12, _packed(10, 3, _mono10_packed)),
        PixelFormat("Mono12", 0x01100005, 16, _unpacked(12)),
        PixelFormat("Mono12p", 0x010C0047, 12, _packed(12, 3, _mono12p)),
        PixelFormat("Mono12Packed", 0x010C0006, 12, _packed(12, 3, _mono12_packed)),
        PixelFormat("Mono14", 0x01100025, 16, _unpacked(14)),
        PixelFormat("Mono16", 0x01100007, 16, _unpacked(16)),
        PixelFormat("BayerGR8", 0x01080008, 8, _bayer(cv2.COLOR_BayerGRBG2RGB)),
        PixelFormat("BayerRG8", 0x01080009, 8, _bayer(cv2.COLOR_BayerRGGB2RGB)),
        PixelFormat("BayerGB8", 0x0108000A, 8, _bayer(cv2.COLOR_BayerGBRG2RGB)),
        PixelFormat("BayerBG8", 0x0108000B, 8, _bayer(cv2.COLOR_BayerBGGR2RGB)),
        PixelFormat("RGB8", 0x02180014, 24, _rgb),
        PixelFormat("BGR8", 0x02180015, 24, _bgr),
    )
}
