"""pycuda in memory: addresses must be known, streams run when synchronised, a context must be active."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import world
from .signatures import module_from_stub

STUB = Path(__file__).resolve().parents[1] / "pycuda_stub" / "pycuda" / "driver.pyi"
_addresses = itertools.count(0x10000, 0x1000000)
_handles = itertools.count(0x5000, 0x10)
_memory: dict[int, np.ndarray] = {}  # address -> bytes
streams: dict[int, Any] = {}
_thread = threading.local()
_module: dict[str, Any] = {}


def memory_at(address: int) -> np.ndarray:
    """The bytes of an allocation; raises the library's error for an address that is none."""
    if address not in _memory:
        raise _module["LogicError"](f"cuMemcpy failed: invalid argument ({address:#x})")
    return _memory[address]


def require_context() -> None:
    """As the driver does for every call that works in a context."""
    if not getattr(_thread, "stack", []):
        raise _module["LogicError"]("cuCtx failed: invalid device context")


def enqueue(stream: Any, work: Callable[[], None]) -> None:
    """Put work on a stream, or into the graph that is captured from it."""
    state = vars(stream)
    (state["captured"] if state["captured"] is not None else state["pending"]).append(work)


def _push(context: Any) -> None:
    if vars(context)["detached"]:
        raise _module["LogicError"]("cuCtxPushCurrent failed: invalid device context")
    _thread.stack = [*getattr(_thread, "stack", []), context]


def _pop() -> None:
    require_context()
    _thread.stack = _thread.stack[:-1]


def _detach(context: Any) -> None:
    vars(context)["detached"] = True
    world.current.contexts -= 1


def _retain(device: Any) -> Any:
    world.current.contexts += 1
    context = _module["Context"].__new__(_module["Context"])
    vars(context)["detached"] = False
    return context


def _make_device(device: Any, index: Any) -> None:
    if not isinstance(index, int) or index >= world.current.devices:
        raise _module["LogicError"]("cuDeviceGet failed: invalid device ordinal")


def _init(flags: int) -> None:
    if world.current.devices == 0:
        raise _module["RuntimeError"]("cuInit failed: no CUDA-capable device is detected")


def _attribute(device: Any, attribute: Any) -> int:
    here = world.current
    return {
        "MULTIPROCESSOR_COUNT": here.multiprocessors,
        "INTEGRATED": int(here.is_integrated),
        "CAN_MAP_HOST_MEMORY": 1,
    }[attribute.name]


def _allocate(size: int) -> int:
    require_context()
    world.current.live_allocations += 1
    world.current.allocations += 1
    address = next(_addresses)
    _memory[address] = np.full(size, 0xAB, np.uint8)  # whatever was there before
    return address


def _free(allocation: Any) -> None:
    require_context()
    if vars(allocation).pop("address_live", None) is None:
        raise _module["LogicError"]("cuMemFree failed: invalid argument")
    world.current.live_allocations -= 1
    del _memory[vars(allocation)["address"]]


def _mem_alloc(size: int) -> Any:
    allocation = _module["DeviceAllocation"].__new__(_module["DeviceAllocation"])
    vars(allocation).update(address=_allocate(size), address_live=True)
    return allocation


def _pagelocked_empty(shape: Any, dtype: Any, order: str, mem_flags: int) -> np.ndarray:
    owner = _module["PagelockedHostAllocation"].__new__(_module["PagelockedHostAllocation"])
    dtype = np.dtype(dtype)
    address = _allocate(int(np.prod(shape)) * dtype.itemsize)
    content = _memory[address]
    vars(owner).update(address=address, flags=mem_flags, content=content)
    world.current.live_allocations -= 1  # freed with its last view, as numpy's own memory is
    vars(owner)["__array_interface__"] = {
        "shape": tuple(shape),
        "typestr": dtype.str,
        "data": (content.ctypes.data, False),
        "version": 3,
    }
    made = np.asarray(owner)
    assert made.base is owner
    return made


def _device_pointer(owner: Any) -> int:
    if not vars(owner)["flags"] & int(_module["host_alloc_flags"].DEVICEMAP):
        raise _module["LogicError"]("cuMemHostGetDevicePointer failed: invalid argument")
    return int(vars(owner)["address"])


def _make_stream(stream: Any, flags: int) -> None:
    require_context()
    vars(stream).update(number=next(_handles), pending=[], captured=None, clock_ms=0.0)
    streams[vars(stream)["number"]] = stream


def _synchronize(stream: Any) -> None:
    require_context()
    state = vars(stream)
    if state["captured"] is not None:
        raise _module["LogicError"](
            "cuStreamSynchronize failed: operation not permitted when stream is capturing"
        )
    work, state["pending"] = state["pending"], []
    for item in work:
        item()


def _make_event(event: Any, flags: Any) -> None:
    require_context()
    vars(event)["at_ms"] = None


def _record(event: Any, stream: Any) -> Any:
    require_context()
    enqueue(stream, lambda: vars(event).update(at_ms=vars(stream)["clock_ms"]))
    return event


def _time_since(event: Any, earlier: Any) -> float:
    until, since = vars(event)["at_ms"], vars(earlier)["at_ms"]
    if until is None or since is None:
        raise _module["LogicError"]("cuEventElapsedTime failed: device not ready")
    return float(until - since)


def _copy(stream: Any, target: Callable[[], np.ndarray], source: Callable[[], np.ndarray]) -> None:
    require_context()
    time.sleep(world.current.enqueue_seconds)
    enqueue(stream, lambda: np.copyto(target(), source()))


def _bytes_of(array: np.ndarray) -> np.ndarray:
    assert isinstance(array.base, _module["PagelockedHostAllocation"]), (
        "an asynchronous copy wants locked pages"
    )
    return array.reshape(-1).view(np.uint8)


@functools.cache
def build() -> dict[str, Any]:
    """What the module pycuda.driver holds."""
    behaviours: dict[str, Callable[..., Any]] = {
        "init": _init,
        "get_version": lambda: (12, 6, 0),
        "get_driver_version": lambda: 12060,
        "mem_get_info": lambda: (
            require_context(),
            (world.current.memory_mb * 500_000, world.current.memory_mb * 10**6),
        )[1],
        "mem_alloc": _mem_alloc,
        "pagelocked_empty": _pagelocked_empty,
        "memcpy_htod_async": lambda dest, src, stream: _copy(
            stream, lambda: memory_at(int(dest)), lambda: _bytes_of(src)
        ),
        "memcpy_dtoh_async": lambda dest, src, stream: _copy(
            stream, lambda: _bytes_of(dest), lambda: memory_at(int(src))
        ),
        "Device.__init__": _make_device,
        "Device.count": lambda: world.current.devices,
        "Device.name": lambda device: world.current.name,
        "Device.compute_capability": lambda device: world.current.compute_capability,
        "Device.total_memory": lambda device: world.current.memory_mb * 10**6,
        "Device.get_attribute": _attribute,
        "Device.retain_primary_context": _retain,
        "Context.push": _push,
        "Context.pop": _pop,
        "Context.detach": _detach,
        "Stream.__init__": _make_stream,
        "Stream.handle": lambda stream: vars(stream)["number"],
        "Stream.synchronize": _synchronize,
        "Event.__init__": _make_event,
        "Event.record": _record,
        "Event.time_since": _time_since,
        "DeviceAllocation.__int__": lambda allocation: vars(allocation)["address"],
        "DeviceAllocation.free": _free,
        "PagelockedHostAllocation.get_device_pointer": _device_pointer,
    }
    _module.update(module_from_stub(STUB, behaviours))
    return _module


class GraphDriver:
    """The driver's functions for CUDA graphs, with the arguments that ctypes would pass."""

    def __init__(self) -> None:
        self.graphs: dict[int, tuple[list[Any], int]] = {}
        self.launches = 0
        self.refuse_capture = False

    def cuStreamBeginCapture_v2(self, stream: int, mode: int) -> int:  # noqa: N802
        require_context()
        vars(streams[stream])["captured"] = []
        return 0

    def cuStreamEndCapture(self, stream: int, graph: Any) -> int:  # noqa: N802
        state = vars(streams[stream])
        work, state["captured"] = state["captured"], None
        if self.refuse_capture:
            return 901
        graph._obj.value = next(_handles)
        self.graphs[graph._obj.value] = (work, stream)
        return 0

    def cuGraphInstantiateWithFlags(self, launchable: Any, graph: Any, flags: int) -> int:  # noqa: N802
        launchable._obj.value = next(_handles)
        self.graphs[launchable._obj.value] = self.graphs[graph.value]
        return 0

    def cuGraphLaunch(self, launchable: Any, stream: int) -> int:  # noqa: N802
        require_context()
        self.launches += 1
        for work in self.graphs[launchable.value][0]:
            enqueue(streams[stream], work)
        return 0

    def cuGraphExecDestroy(self, launchable: Any) -> int:  # noqa: N802
        del self.graphs[launchable.value]
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:  # noqa: N802
        del self.graphs[graph.value]
        return 0
