"""A plan that runs: buffers made once, one stream, GPU time by events, a CUDA graph where that pays."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycuda.driver as cuda
import tensorrt as trt
from numpy.typing import NDArray

from edgead.bundle import Manifest
from edgead.errors import EngineError
from edgead.runtime.engines.base import IMAGE_INPUT, MAP_OUTPUT, SCORE_OUTPUT, check_graph
from edgead.runtime.engines.tensorrt.cuda_graph import CudaGraph
from edgead.runtime.engines.tensorrt.device import CudaDevice
from edgead.runtime.engines.tensorrt.logger import MessageLog

_NUMPY_NAMES = {"UINT8": "uint8", "FLOAT": "float32"}
_LAUNCHES = 25  # of each kind when stream and graph are compared
_TIMED_SECONDS, _TIMED_MOST = 0.3, 500  # answers behind the GPU time of a recipe; ten at least
# In the order in which they are let go: each lives by those after it.
_IN_THE_CONTEXT = (
    "_image",
    "_map",
    "_score",
    "_begun",
    "_done",
    "_stream",
    "_context",
    "_engine",
    "_runtime",
)
_PAYS = 0.98  # a graph is kept when it takes less than this share of the time


class UnusablePlanError(EngineError):
    """TensorRT refuses a plan: made by another version or for another device, or damaged."""


@dataclass(frozen=True)
class _Buffer:
    """Page-locked memory of the host, and where the GPU finds it or its copy of it."""

    host: NDArray[Any]
    address: int
    copy: Any  # the GPU's own memory where it does not share the host's, else None


class Executor:
    """One plan on one GPU, in the context that is active now; `infer` makes it active by itself."""

    def __init__(self, plan: bytes, manifest: Manifest, *, device: CudaDevice, log: MessageLog) -> None:
        self._device = device
        self._graph: CudaGraph | None = None
        self._buffers: dict[str, _Buffer] = {}
        self.gpu_ns = 0  # of the last answer, copies included
        try:
            self._load(plan, manifest, log)
            self.launch_report = self._choose_launch()
        except cuda.Error as error:
            self.close()
            raise EngineError(f"tensorrt: the model does not run: {error}. Stop other programs.") from error
        except BaseException:
            self.close()
            raise

    def _load(self, plan: bytes, manifest: Manifest, log: MessageLog) -> None:
        log.clear()
        self._runtime = trt.Runtime(log)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise UnusablePlanError(f"tensorrt: the plan is not for this device and version: {log.gist()}.")
        check_graph("tensorrt", manifest, _ports(self._engine))
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"tensorrt: no memory to run the model: {log.gist()}. Stop other programs.")
        self._stream = cuda.Stream()
        self._begun, self._done = cuda.Event(), cuda.Event()
        for name in (IMAGE_INPUT, MAP_OUTPUT, SCORE_OUTPUT):
            self._buffers[name] = self._buffer(name)
        self._image = self._buffers[IMAGE_INPUT]
        self._map, self._score = self._buffers[MAP_OUTPUT], self._buffers[SCORE_OUTPUT]

    @property
    def memory(self) -> str:
        """How an image reaches the GPU."""
        return "mapped, no copy" if self._image.copy is None else "page-locked, copied"

    def infer(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """As `Engine.infer`; raises EngineError. Nothing is allocated but the answer."""
        self._device.push()
        try:
            np.copyto(self._image.host[0], image)
            self._run(self._graph.launch if self._graph is not None else self._enqueue)
            return self._map.host[0].copy(), float(self._score.host[0])
        except cuda.Error as error:
            raise EngineError(f"tensorrt failed on an image: {error}. Open the bundle again.") from error
        finally:
            self._device.pop()

    def median_gpu_ns(self, image: NDArray[np.uint8]) -> int:
        """The median GPU time of repeated answers to an image."""
        times: list[int] = []
        until = time.perf_counter() + _TIMED_SECONDS
        while len(times) < 10 or (len(times) < _TIMED_MOST and time.perf_counter() < until):
            self.infer(image)
            times.append(self.gpu_ns)
        return round(statistics.median(times))

    def close(self) -> None:
        """Free everything that lives in the context, which must be active; closing twice is allowed."""
        if self._graph is not None:
            self._graph.close()
        self._graph = None
        for buffer in self._buffers.values():
            if buffer.copy is not None:
                buffer.copy.free()
        self._buffers.clear()
        for name in _IN_THE_CONTEXT:
            vars(self).pop(name, None)

    def _buffer(self, name: str) -> _Buffer:
        shape = _shape(self._engine, name)
        dtype = _NUMPY_NAMES[self._engine.get_tensor_dtype(name).name]
        shared = self._device.shares_memory
        flags = cuda.host_alloc_flags.DEVICEMAP if shared else 0
        host = cuda.pagelocked_empty(shape, np.dtype(dtype), mem_flags=flags)
        copy = None if shared else cuda.mem_alloc(host.nbytes)
        address = int(host.base.get_device_pointer()) if copy is None else int(copy)
        if not self._context.set_tensor_address(name, address):
            raise EngineError(f"tensorrt: the address of '{name}' is refused. Compile the bundle again.")
        return _Buffer(host, address, copy)

    def _enqueue(self) -> None:
        if self._image.copy is not None:
            cuda.memcpy_htod_async(self._image.copy, self._image.host, self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            raise EngineError("tensorrt failed on an image: it was not enqueued. Open the bundle again.")
        for buffer in (self._map, self._score):
            if buffer.copy is not None:
                cuda.memcpy_dtoh_async(buffer.host, buffer.copy, self._stream)

    def _run(self, launch: Callable[[], None]) -> None:
        self._begun.record(self._stream)
        launch()
        self._done.record(self._stream)
        self._stream.synchronize()
        self.gpu_ns = round(self._done.time_since(self._begun) * 1e6)

    def _choose_launch(self) -> str:
        """Capture a graph and keep it if it is faster; a sentence on what was found."""
        self._image.host.fill(0)
        self._run(self._enqueue)  # TensorRT sets itself up in the first: that must not be captured
        try:
            graph = CudaGraph(self._stream.handle, self._enqueue)
        except (EngineError, cuda.Error) as error:
            return f"stream ({str(error)[:120]})"
        try:
            plain, graphed = self._call_ns(self._enqueue), self._call_ns(graph.launch)
        except (EngineError, cuda.Error):
            graph.close()
            raise
        figures = f"{graphed / 1e6:.3f} ms a call with a CUDA graph, {plain / 1e6:.3f} without"
        if graphed < _PAYS * plain:
            self._graph = graph
            return f"CUDA graph ({figures})"
        graph.close()
        return f"stream ({figures})"

    def _call_ns(self, launch: Callable[[], None]) -> float:
        times = []
        for _ in range(_LAUNCHES):
            started = time.perf_counter_ns()
            self._run(launch)
            times.append(time.perf_counter_ns() - started)
        return statistics.median(times)


def _ports(engine: trt.ICudaEngine) -> dict[str, tuple[str, list[int]]]:
    ports = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        kind = engine.get_tensor_dtype(name).name
        ports[name] = (_NUMPY_NAMES.get(kind, kind.lower()), _shape(engine, name))
    return ports


def _shape(engine: trt.ICudaEngine, name: str) -> list[int]:
    dimensions = engine.get_tensor_shape(name)
    return [int(dimensions[axis]) for axis in range(len(dimensions))]
