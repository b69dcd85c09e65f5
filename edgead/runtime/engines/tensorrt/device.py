"""The GPU through pycuda: what it is, its memory, and its context."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pycuda.driver as cuda

from edgead.errors import EngineError

MEGABYTE = 10**6


class CudaDevice:
    """One GPU and the context that TensorRT shares: CUDA's primary one.

    A context belongs to a thread while it is active: `active` makes it so for a block, in any thread.
    """

    def __init__(self, index: int = 0) -> None:
        try:
            cuda.init()
            if cuda.Device.count() <= index:
                raise EngineError("tensorrt: CUDA finds no GPU. " + ADVICE)
            self._device = cuda.Device(index)
            self._context = self._device.retain_primary_context()
        except cuda.Error as error:
            raise EngineError(f"tensorrt: the GPU does not open: {error}. {ADVICE}") from error
        self.index = index

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Make the context this thread's for the block."""
        self.push()
        try:
            yield
        finally:
            self.pop()

    def push(self) -> None:
        """As `active` begins; for the loop, where a generator would cost more than the call."""
        try:
            self._context.push()
        except cuda.Error as error:
            raise EngineError(f"tensorrt: the GPU is gone: {error}. Open the bundle again.") from error

    def pop(self) -> None:
        """As `active` ends."""
        cuda.Context.pop()

    def close(self) -> None:
        """Give the context back; what lives in it must have been freed."""
        self._context.detach()

    @property
    def name(self) -> str:
        """The GPU's name as the driver reports it."""
        return str(self._device.name())

    @property
    def compute_capability(self) -> str:
        """ "8.7" for any Orin."""
        major, minor = self._device.compute_capability()
        return f"{major}.{minor}"

    @property
    def multiprocessors(self) -> int:
        """Streaming multiprocessors that are on: on a Jetson the power mode decides."""
        return self._attribute(cuda.device_attribute.MULTIPROCESSOR_COUNT)

    @property
    def shares_memory(self) -> bool:
        """Whether the GPU works in the host's memory, as a Jetson's does: no copy is needed then."""
        return bool(
            self._attribute(cuda.device_attribute.INTEGRATED)
            and self._attribute(cuda.device_attribute.CAN_MAP_HOST_MEMORY)
        )

    @property
    def memory_mb(self) -> int:
        """Memory of the GPU, or that which it shares, MB of 10^6 bytes."""
        return int(self._device.total_memory()) // MEGABYTE

    def free_memory_mb(self) -> int:
        """What is free of it now; the context must be active."""
        free, _ = cuda.mem_get_info()
        return int(free) // MEGABYTE

    def describe(self) -> str:
        """Name, compute capability, multiprocessors and memory in a line."""
        shared = "shared with the CPU" if self.shares_memory else "of its own"
        return (
            f"{self.name} (compute capability {self.compute_capability}, {self.multiprocessors} "
            f"multiprocessors, {self.memory_mb} MB {shared})"
        )

    def _attribute(self, attribute: Any) -> int:
        return int(self._device.get_attribute(attribute))


ADVICE = (
    "Check that this user may open the device files (`edgead doctor` lists them; on a Jetson: sudo usermod "
    "-aG video,render $USER, then log in again; in a container: --runtime nvidia)."
)


def cuda_versions() -> dict[str, str]:
    """CUDA as pycuda was built with it, and as the driver provides it."""
    driver = int(cuda.get_driver_version())
    return {
        "cuda_of_pycuda": ".".join(str(part) for part in cuda.get_version()),
        "cuda_of_driver": f"{driver // 1000}.{driver % 1000 // 10}",
    }
