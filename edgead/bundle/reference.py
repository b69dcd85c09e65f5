"""Inputs and the answers expected of them, by which an engine proves itself on a device."""

from __future__ import annotations

import io
import math
import re
import struct
from dataclasses import dataclass

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from edgead.bundle.archive import decode_archive, encode_archive
from edgead.errors import BundleError

MAX_REFERENCE_BYTES = 2**28
LOOSEST_MAP, LOOSEST_SCORE = 0.05, 0.1  # of the largest expected value: tolerances beyond prove nothing
_ROUNDING = 1.001
_ARRAYS = ("inputs", "anomaly_maps", "scores")
_TOLERANCES = ("map_tolerance", "score_tolerance")
_TYPES = (b"|u1", b"<f4", b"<f8")


@dataclass(frozen=True)
class Reference:
    """`inputs` uint8 N H W 3, `anomaly_maps` float32 N h w, `scores` float32 N; N >= 1.

    The tolerances are the largest `map_difference` and the largest absolute difference of a score that are
    allowed. Raises BundleError for other types or shapes, and for values that are not finite.
    """

    inputs: NDArray[np.uint8]
    anomaly_maps: NDArray[np.float32]
    scores: NDArray[np.float32]
    map_tolerance: float
    score_tolerance: float

    def __post_init__(self) -> None:
        for name, dtype, ndim in (
            ("inputs", "uint8", 4),
            ("anomaly_maps", "float32", 3),
            ("scores", "float32", 1),
        ):
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != ndim or array.size == 0:
                raise _unusable(
                    f"{name}: expected {dtype} in {ndim} dimensions, found {array.dtype} {array.shape}"
                )
        if not len(self.inputs) == len(self.anomaly_maps) == len(self.scores) or self.inputs.shape[3] != 3:
            raise _unusable(
                f"{len(self.inputs)} inputs of {self.inputs.shape[3]} channels, {len(self.scores)} scores"
            )
        if not (np.isfinite(self.anomaly_maps).all() and np.isfinite(self.scores).all()):
            raise _unusable("an expected answer is NaN or infinite")
        for name in _TOLERANCES:
            tolerance = getattr(self, name)
            if not (math.isfinite(tolerance) and tolerance >= 0):
                raise _unusable(f"{name}: expected a finite number from 0, found {tolerance}")


def map_difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest root mean square difference of a map, over maps N h w; NaN where a value is.

    Not the largest difference of a pixel: between two engines that run the same INT8 graph, rounding moves a
    few cells several times as far as the rest, and a tolerance for those would pass an engine that is wrong
    everywhere.
    """
    squares = np.square(found.astype(np.float64) - expected)
    return float(np.sqrt(squares.mean(axis=(1, 2))).max())


def _unusable(found: str) -> BundleError:
    return BundleError(f"reference answers: {found}. Compile the bundle again.")


def npz_from_reference(reference: Reference) -> bytes:
    """The bytes of reference.npz, which numpy.load reads; equal contents give equal bytes."""
    files = {f"{name}.npy": _npy(getattr(reference, name)) for name in _ARRAYS}
    files |= {f"{name}.npy": _npy(np.float64(getattr(reference, name))) for name in _TOLERANCES}
    return b"".join(encode_archive(files, origin="reference.npz"))


def _npy(array: np.ndarray | np.float64) -> bytes:
    buffer = io.BytesIO()
    npy_format.write_array(
        buffer, np.ascontiguousarray(array).reshape(np.shape(array)), version=(1, 0), allow_pickle=False
    )
    return buffer.getvalue()


def reference_from_npz(data: bytes | memoryview, *, origin: str) -> Reference:
    """Read reference.npz without unpickling; raises BundleError naming `origin` for anything unexpected."""
    if len(data) > MAX_REFERENCE_BYTES:
        raise BundleError(
            f"{origin}: {len(data)} bytes, expected at most {MAX_REFERENCE_BYTES}. Compile it again."
        )
    files = decode_archive(data, origin=origin)
    expected = {f"{name}.npy" for name in (*_ARRAYS, *_TOLERANCES)}
    if set(files) != expected:
        raise BundleError(
            f"{origin}: expected {sorted(expected)}, found {sorted(files)}. Compile the bundle again."
        )
    arrays = {name[:-4]: _array(content, f"{origin}: {name}") for name, content in files.items()}
    for name in _TOLERANCES:
        if arrays[name].shape != () or arrays[name].dtype != np.float64:
            raise BundleError(
                f"{origin}: {name}: expected one float64, found {arrays[name].dtype}. Compile it again."
            )
    try:
        tolerances = {name: float(arrays[name]) for name in _TOLERANCES}
        reference = Reference(arrays["inputs"], arrays["anomaly_maps"], arrays["scores"], **tolerances)
        _check_bounds(reference)
    except BundleError as error:
        raise BundleError(f"{origin}: {error}") from error
    return reference


def _check_bounds(reference: Reference) -> None:
    """Refuse tolerances that would let any answer pass; those of a compiled bundle are within the bounds."""
    for name, expected, loosest in (
        ("map_tolerance", reference.anomaly_maps, LOOSEST_MAP),
        ("score_tolerance", reference.scores, LOOSEST_SCORE),
    ):
        bound = loosest * (float(np.abs(expected).max()) or 1.0)
        if getattr(reference, name) > bound * _ROUNDING:
            raise _unusable(f"{name}: expected at most {bound:.4g}, found {getattr(reference, name):.4g}")


# The header that `_npy` writes, and nothing else: numpy's own reader evaluates it as Python.
_HEADER = re.compile(
    rb"\{'descr': '([<|][a-z]\d)', 'fortran_order': False, 'shape': \(([\d, ]{0,99})\), \} *\n"
)
_MAGIC = struct.Struct("<8sH")


def _array(content: memoryview, origin: str) -> np.ndarray:
    """A read-only view; the shape is checked against the bytes present before anything is allocated."""
    header, body = b"", content
    if len(content) >= _MAGIC.size:
        magic, size = _MAGIC.unpack_from(content)
        if magic == npy_format.magic(1, 0):
            header, body = bytes(content[_MAGIC.size : _MAGIC.size + size]), content[_MAGIC.size + size :]
    found = _HEADER.fullmatch(header)
    if found is None or found[1] not in _TYPES:
        raise BundleError(f"{origin}: not an .npy array of edgead's. Compile the bundle again.")
    shape = tuple(int(size) for size in found[2].replace(b",", b" ").split())
    dtype = np.dtype(found[1].decode())
    if math.prod(shape) * dtype.itemsize != len(body):
        raise BundleError(
            f"{origin}: {dtype} {shape} does not fit its {len(body)} bytes. Compile the bundle again."
        )
    return np.frombuffer(body, dtype).reshape(shape)
