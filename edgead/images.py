"""Pictures in and out of files, and the one resize that training and runtime share.

In memory a picture is always uint8, H W 3, RGB. The rules that bring a file to that form are fixed here, so
that a model sees on the line exactly what it saw in training:

- grey is repeated to three channels; 16 bits are divided by 257 and rounded (full scale stays full scale,
  whatever range the picture happens to use); an alpha channel is dropped, the colours stay as stored;
- the pixels are taken as stored: an EXIF orientation is ignored, because cameras of a line do not turn.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgead.errors import DataError, UnknownNameError, UsageError
from edgead.files import read_file, write_bytes
from edgead.image_headers import DamagedImageError, read_header

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "RESIZE_RULES",
    "decode_image",
    "read_bytes",
    "read_image",
    "read_stored",
    "resize_image",
    "write_image",
]

Image = npt.NDArray[np.uint8]

_WRITTEN = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp"})
IMAGE_SUFFIXES = _WRITTEN | {".jfif"}
MAX_PIXELS = 200_000_000  # beyond any camera; a header that asks for more is damaged or hostile
_MAX_FILE_BYTES = 8 * MAX_PIXELS  # four channels of 16 bits, uncompressed


def read_image(path: str | os.PathLike[str]) -> Image:
    """The picture in a file as uint8 H W 3 RGB, after the rules at the top of this module.

    Raises `DataError` naming the file when it is missing, empty, truncated, unreadable or too large.
    """
    path = Path(path)
    return decode_image(read_bytes(path), path)


def decode_image(data: bytes, name: str | os.PathLike[str] = "image") -> Image:
    """The picture in the bytes of a file as uint8 H W 3 RGB; `name` is for error messages alone."""
    stored = _decode(data, name)
    if stored.dtype == np.uint16:
        stored = ((stored.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if stored.ndim == 2:
        return np.asarray(cv2.cvtColor(stored, cv2.COLOR_GRAY2RGB), np.uint8)
    code = cv2.COLOR_BGRA2RGB if stored.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(stored, code), np.uint8)


def read_stored(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """The pixels of a file as they are stored: uint8 or uint16; H W, H W 3 BGR or H W 4 BGRA.

    Raises what `read_image` raises.
    """
    path = Path(path)
    return _decode(read_bytes(path), path)


def resize_image(image: Image, height: int, width: int, *, rule: str = "stretch-area") -> Image:
    """The picture at `height` x `width`, uint8 h w 3: the only resize, named `rule` in the bundle.

    Returns `image` itself, not a copy, where it already fits and is contiguous.
    Raises `UnknownNameError` for a rule that does not exist, `UsageError` for another dtype or shape.
    """
    resize = RESIZE_RULES.get(rule)
    if resize is None:
        raise UnknownNameError("resize rule", rule, RESIZE_RULES)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UsageError(
            f"An image must be uint8 of shape (height, width, 3), not {image.dtype} of shape "
            f"{image.shape}. Convert it first (grey: repeat it three times)."
        )
    if height < 1 or width < 1:
        raise UsageError(f"An image cannot be resized to {height} x {width}; give at least 1 x 1.")
    if image.shape[0] == height and image.shape[1] == width:
        return np.ascontiguousarray(image)
    return resize(image, height, width)


def _stretch_area(image: Image, height: int, width: int) -> Image:
    """Shrinks by averaging areas, grows bilinearly, each axis by its own rule, the shrinking one first.

    Bilinear shrinking would skip most rows of a tall line-scan picture, and thin scratches with them.
    """
    smaller = (min(width, image.shape[1]), min(height, image.shape[0]))
    if smaller != (image.shape[1], image.shape[0]):
        image = np.asarray(cv2.resize(image, smaller, interpolation=cv2.INTER_AREA), np.uint8)
    if smaller != (width, height):
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return image


RESIZE_RULES: dict[str, Callable[[Image, int, int], Image]] = {"stretch-area": _stretch_area}


def write_image(path: str | os.PathLike[str], rgb: npt.NDArray[Any]) -> None:
    """Writes uint8 H W 3 RGB or H W grey, whole or not at all; the format follows the suffix of `path`.

    Raises `UsageError` for an unknown suffix or array, `DataError` when the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITTEN:
        raise UnknownNameError("image suffix", path.suffix, _WRITTEN)
    if rgb.dtype != np.uint8 or not (rgb.ndim == 2 or (rgb.ndim == 3 and rgb.shape[2] == 3)) or not rgb.size:
        raise UsageError(f"{path}: can write uint8 H W 3 or H W, not {rgb.dtype} of shape {rgb.shape}.")
    stored = rgb if rgb.ndim == 2 else cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(path.suffix.lower(), stored)
    if not done:
        raise DataError(
            f"{path}: OpenCV cannot encode a {rgb.shape[1]} x {rgb.shape[0]} {path.suffix} image."
        )
    # Not synced: hundreds are written in a row, and each can be drawn again.
    write_bytes(path, encoded.tobytes(), error=DataError, make_folder=False, sync=False)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file of images or marks; DataError where it cannot be read or is too large."""
    try:
        return read_file(path, most=_MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist. Check the path, or copy the image again.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder, not an image. Name a file in it.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error


def _decode(data: bytes, name: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """The pixels as stored: uint8 or uint16; H W, H W 3 BGR or H W 4 BGRA."""
    label = os.fspath(name)
    if not data:
        raise DataError(f"{label} is empty (0 bytes); expected an image. Copy it again or remove it.")
    try:
        header = read_header(data)
    except DamagedImageError as error:
        raise DataError(f"{label} cannot be used: {error}. Copy it again or remove it.") from error
    if header.width * header.height > MAX_PIXELS:
        raise DataError(
            f"{label} claims {header.width} x {header.height} pixels; at most {MAX_PIXELS // 1_000_000} "
            "million are read. Crop or shrink it, or remove it if that size is wrong."
        )
    try:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise DataError(f"{label} cannot be decoded: {error.err}. Export it again as PNG.") from error
    if stored is None:
        raise DataError(f"{label} is a {header.format} file that cannot be decoded. Export it again as PNG.")
    channels = 1 if stored.ndim == 2 else stored.shape[2]
    if stored.dtype not in (np.uint8, np.uint16) or channels not in (1, 3, 4):
        raise DataError(
            f"{label} holds {channels} channel(s) of {stored.dtype}; expected grey, RGB or RGBA of 8 or 16 "
            "bits. Export it again as PNG."
        )
    return stored[..., 0] if stored.ndim == 3 and channels == 1 else stored
