"""What an image file says about itself before any pixel of it is decoded: format, size, completeness.

Two reasons to look first. A header of a few bytes can demand gigabytes of memory, so the size must be known
before decoding. And a decoder's success proves nothing: libjpeg fills the missing part of a cut file with
grey and OpenCV passes that on as an image, which an anomaly detector would then learn or judge.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ImageHeader:
    """Format name, width and height in pixels, as the file's own header states them."""

    format: str
    width: int
    height: int


class DamagedImageError(ValueError):
    """The bytes are of a known format and end early or contradict themselves; the text is the reason."""


_JPEG_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_START_OF_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
# Inside a scan, FF 00 is a data byte, FF D0..D7 a restart and FF FF padding; anything else ends the scan.
_JPEG_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_TIFF_UNSIGNED = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_DATA_TAGS = ((273, 279), (324, 325))  # offsets and byte counts of strips; of tiles


def read_header(data: bytes) -> ImageHeader:
    """The header of a whole image file, after checking that nothing of the file is missing.

    Knows PNG, JPEG, BMP, TIFF (also BigTIFF) and WebP, distinguished by content and never by file name.
    Raises `DamagedImageError` with the reason when the format is unknown, the file cut or its header absurd.
    """
    for signature, read in _READERS:
        if re.match(signature, data, re.DOTALL):
            try:
                header = read(data)
            except (struct.error, IndexError, OverflowError) as error:
                raise DamagedImageError("its header points beyond the end of the file") from error
            if header.width < 1 or header.height < 1:
                raise DamagedImageError(f"its header states a size of {header.width} x {header.height}")
            return header
    raise DamagedImageError("its content is not PNG, JPEG, BMP, TIFF or WebP")


def _png(data: bytes) -> ImageHeader:
    width, height = struct.unpack_from(">II", data, 16)
    position = 8
    while position < len(data):
        if position + 12 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise DamagedImageError(f"the checksum of its {kind.decode('latin-1')} block is wrong")
        if kind == b"IEND":
            return ImageHeader("PNG", width, height)
        position = end
    raise DamagedImageError("it is truncated: the PNG end block is missing")


def _jpeg(data: bytes) -> ImageHeader:
    """Walks the segments: the end marker of an embedded thumbnail must not pass for the image's own."""
    size: tuple[int, int] | None = None
    position = 2
    while position + 1 < len(data):
        if data[position] != 0xFF:
            raise DamagedImageError(f"byte {position} should start a JPEG marker")
        marker = data[position + 1]
        if marker == _JPEG_END and size:
            return ImageHeader("JPEG", *size)
        if marker == 0xFF:
            position += 1
            continue
        if marker in _JPEG_WITHOUT_LENGTH:
            position += 2
            continue
        if marker in _JPEG_START_OF_FRAME and size is None:
            height, width = struct.unpack_from(">HH", data, position + 5)
            size = width, height
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
        if marker == _JPEG_START_OF_SCAN:
            found = _JPEG_SCAN_END.search(data, position)
            if not found:
                break
            position = found.start()
    raise DamagedImageError("it is truncated: the JPEG end marker is missing")


def _bmp(data: bytes) -> ImageHeader:
    pixels, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes < 40:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)
    # Only the uncompressed kinds (0, and 3 with bit masks) have a size that can be computed.
    if compression in (0, 3) and pixels + (width * bits + 31) // 32 * 4 * height > len(data):
        raise DamagedImageError("it is truncated: rows of pixels are missing")
    return ImageHeader("BMP", width, height)


def _tiff(data: bytes) -> ImageHeader:
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    directory = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count_code, entry_bytes = ("Q", 20) if big else ("H", 12)
    count = struct.unpack_from(order + count_code, data, directory)[0]
    if count > 4096:  # a damaged count would have us read for minutes; real files have some twenty tags
        raise DamagedImageError(f"its directory claims {count} tags")
    start = directory + struct.calcsize(count_code)
    tags: dict[int, tuple[int, ...]] = {}
    for index in range(count):
        tag, values = _tiff_entry(data, start + index * entry_bytes, order, big)
        tags[tag] = values
    if not tags.get(_TIFF_WIDTH) or not tags.get(_TIFF_HEIGHT):
        raise DamagedImageError("its directory states no size")
    for offsets, sizes in _TIFF_DATA_TAGS:
        ends = [o + s for o, s in zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False)]
        if ends and max(ends) > len(data):
            raise DamagedImageError("it is truncated: strips of pixels are missing")
    return ImageHeader("TIFF", tags[_TIFF_WIDTH][0], tags[_TIFF_HEIGHT][0])


def _tiff_entry(data: bytes, at: int, order: str, big: bool) -> tuple[int, tuple[int, ...]]:
    tag, kind = struct.unpack_from(order + "HH", data, at)
    count = struct.unpack_from(order + ("Q" if big else "I"), data, at + 4)[0]
    code = _TIFF_UNSIGNED.get(kind)
    if code is None:
        return tag, ()
    value_at, room = (at + 12, 8) if big else (at + 8, 4)
    needed = count * struct.calcsize(code)
    if needed > room:
        value_at = struct.unpack_from(order + ("Q" if big else "I"), data, value_at)[0]
    if value_at + needed > len(data):
        raise DamagedImageError("it is truncated: values of its directory are missing")
    return tag, struct.unpack_from(f"{order}{count}{code}", data, value_at)


def _webp(data: bytes) -> ImageHeader:
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise DamagedImageError("it is truncated: the file is shorter than its header states")
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return ImageHeader("WebP", width, height)


_READERS: tuple[tuple[bytes, Callable[[bytes], ImageHeader]], ...] = (
    (rb"\x89PNG\r\n\x1a\n", _png),
    (rb"\xff\xd8", _jpeg),
    (rb"BM", _bmp),
    (rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]", _tiff),
    (rb"RIFF....WEBP", _webp),
)
