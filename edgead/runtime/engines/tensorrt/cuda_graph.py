"""CUDA graphs: everything that an inference enqueues, recorded once and launched in one call.

A small network on a Jetson can take longer to enqueue than to compute. pycuda does not bind stream capture,
so the driver's own functions are called; their signatures are those of cuda.h, from CUDA 11.4 (JetPack 5) on.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from edgead.errors import EngineError

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads of a host may go on using CUDA
_HANDLE, _HANDLE_OUT = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
SIGNATURES: dict[str, list[Any]] = {
    "cuStreamBeginCapture_v2": [_HANDLE, ctypes.c_int],
    "cuStreamEndCapture": [_HANDLE, _HANDLE_OUT],
    "cuGraphInstantiateWithFlags": [_HANDLE_OUT, _HANDLE, ctypes.c_ulonglong],
    "cuGraphLaunch": [_HANDLE, _HANDLE],
    "cuGraphExecDestroy": [_HANDLE],
    "cuGraphDestroy": [_HANDLE],
}


def load_driver() -> Any:
    """The functions of SIGNATURES from the CUDA driver; raises EngineError where it is missing or too old."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
        for name, arguments in SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, ctypes.c_int
    except (OSError, AttributeError) as error:
        raise EngineError(f"CUDA graphs are not available: {error}") from error
    return library


class CudaGraph:
    """What `enqueue` puts on a stream, ready to launch again; the GPU's context must be active throughout.

    Raises EngineError where something cannot be captured: the stream is usable all the same.
    """

    def __init__(self, stream: int, enqueue: Callable[[], None], *, driver: Any = None) -> None:
        self._driver = load_driver() if driver is None else driver
        self._stream = stream
        self._graph, self._launchable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", stream, _THREAD_LOCAL)
        try:
            enqueue()
        finally:  # also when it failed: the stream would stay in capture
            ended = self._driver.cuStreamEndCapture(stream, ctypes.byref(self._graph))
        self._check("cuStreamEndCapture", ended)
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(self._launchable), self._graph, 0)
        except EngineError:
            self.close()
            raise

    def launch(self) -> None:
        """Put the whole on the stream; raises EngineError."""
        self._check("cuGraphLaunch", self._driver.cuGraphLaunch(self._launchable, self._stream))

    def close(self) -> None:
        """Free both halves; closing twice is allowed."""
        if self._launchable:
            self._driver.cuGraphExecDestroy(self._launchable)
        if self._graph:
            self._driver.cuGraphDestroy(self._graph)
        self._graph, self._launchable = ctypes.c_void_p(), ctypes.c_void_p()

    def _call(self, name: str, *arguments: Any) -> None:
        self._check(name, getattr(self._driver, name)(*arguments))

    @staticmethod
    def _check(name: str, status: int) -> None:
        if status != 0:
            raise EngineError(f"tensorrt: {name} failed with CUDA error {status}. Open the bundle again.")
