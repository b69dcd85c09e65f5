"""tensorrt in memory: builds what ONNX Runtime can run, and runs it, on the streams of pycuda's double."""

from __future__ import annotations

import functools
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from . import pycuda_double, world
from .signatures import module_from_stub

_TYPES = {"tensor(uint8)": "UINT8", "tensor(float)": "FLOAT"}
_SEPARATOR = b"\n--plan--\n"
_module: dict[str, Any] = {}


def stub_of(version: str) -> Path:
    """The signatures of a version, which lie beside the repository."""
    return (
        Path(__file__).resolve().parents[6]
        / "shared"
        / "typings"
        / f"tensorrt-{version}"
        / "tensorrt"
        / "__init__.pyi"
    )


def build(version: str) -> dict[str, Any]:
    """What the module tensorrt of a version holds; the doubles of other versions are forgotten."""
    _module.clear()
    _module.update(_build_once(version))
    return {**_module, "__version__": f"{version}.30"}


@functools.cache
def _build_once(version: str) -> dict[str, Any]:
    behaviours = {
        "Builder.__init__": lambda builder, logger: vars(builder).update(log=logger),
        "Builder.create_network": _create_network,
        "Builder.create_builder_config": lambda builder: _new(
            "IBuilderConfig", flags={"TF32"}, pools={}, timings=None
        ),
        "Builder.build_serialized_network": _build,
        "OnnxParser.__init__": lambda parser, network, logger: vars(parser).update(
            network=network, errors=[]
        ),
        "OnnxParser.parse": _parse,
        "OnnxParser.num_errors": lambda parser: len(vars(parser)["errors"]),
        "OnnxParser.get_error": lambda parser, index: _new("ParserError", text=vars(parser)["errors"][index]),
        "ParserError.desc": lambda error: vars(error)["text"],
        "IBuilderConfig.set_memory_pool_limit": lambda config, pool, size: vars(config)["pools"].update(
            {pool.name: size}
        ),
        "IBuilderConfig.set_flag": lambda config, flag: vars(config)["flags"].add(flag.name),
        "IBuilderConfig.clear_flag": lambda config, flag: vars(config)["flags"].discard(flag.name),
        "IBuilderConfig.create_timing_cache": _create_timing_cache,
        "IBuilderConfig.set_timing_cache": _set_timing_cache,
        "IBuilderConfig.get_timing_cache": lambda config: vars(config)["timings"],
        "ITimingCache.serialize": lambda cache: _memory(b"timings of " + vars(cache)["device"].encode()),
        "ILogger.__init__": lambda logger: None,
        "Runtime.__init__": lambda runtime, logger: vars(runtime).update(log=logger),
        "Runtime.deserialize_cuda_engine": _deserialize,
        "ICudaEngine.num_io_tensors": lambda engine: len(vars(engine)["ports"]),
        "ICudaEngine.get_tensor_name": lambda engine, index: list(vars(engine)["ports"])[index],
        "ICudaEngine.get_tensor_dtype": lambda engine, name: getattr(
            _module["DataType"], vars(engine)["ports"][name][0]
        ),
        "ICudaEngine.get_tensor_shape": lambda engine, name: _new(
            "Dims", sizes=vars(engine)["ports"][name][1]
        ),
        "ICudaEngine.create_execution_context": lambda engine, *_: _new(
            "IExecutionContext", engine=engine, addresses={}
        ),
        "Dims.__len__": lambda dims: len(vars(dims)["sizes"]),
        "Dims.__getitem__": lambda dims, index: vars(dims)["sizes"][index],
        "IExecutionContext.set_tensor_address": _set_address,
        "IExecutionContext.execute_async_v3": _execute,
    }
    made = module_from_stub(stub_of(version), behaviours)
    made["IHostMemory"].__bytes__ = lambda self: vars(self)["content"]
    return made


def _new(name: str, **state: Any) -> Any:
    made = _module[name].__new__(_module[name])
    vars(made).update(state)
    return made


def _memory(content: bytes) -> Any:
    return _new("IHostMemory", content=content)


def _is_strong() -> bool:
    return not hasattr(_module["BuilderFlag"], "FP16")


def _device() -> str:
    here = world.current
    return f"{here.compute_capability} {here.multiprocessors} {here.tensorrt}"


def _create_network(builder: Any, flags: int) -> Any:
    pycuda_double.require_context()
    kinds = _module["NetworkDefinitionCreationFlag"]
    if hasattr(kinds, "EXPLICIT_BATCH"):
        assert flags == 1 << int(kinds.EXPLICIT_BATCH), "8.x parses ONNX with an explicit batch alone"
    else:
        assert flags == 0
    return _new("INetworkDefinition", model=None)


def _parse(parser: Any, model: Any, path: Any) -> bool:
    try:
        _session(bytes(model))
    except Exception as error:
        vars(parser)["errors"].append(f"In node 0: {str(error)[:80]}")
        return False
    vars(vars(parser)["network"])["model"] = bytes(model)
    return True


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _create_timing_cache(config: Any, serialized: Any) -> Any:
    text = bytes(serialized).decode("ascii", errors="replace")
    if text and not text.startswith("timings of "):
        return None
    return _new("ITimingCache", device=text.removeprefix("timings of ") or _device())


def _set_timing_cache(config: Any, cache: Any, ignore_mismatch: bool) -> bool:
    if vars(cache)["device"] != _device() and not ignore_mismatch:
        return False
    vars(config)["timings"] = cache
    return True


def _precisions(config: Any, model: bytes) -> str:
    """As the recipes name them; TensorRT 11 takes them from the model."""
    names = {"INT8": "int8", "FP16": "f16", "TF32": "tf32"}
    found = {names[flag] for flag in vars(config)["flags"]}
    if _is_strong() and b"QuantizeLinear" in model:
        found.add("int8")
    return "+".join(sorted(found))


def _build(builder: Any, network: Any, config: Any, *_: Any) -> Any:
    pycuda_double.require_context()
    here, log = world.current, vars(builder)["log"]
    error = _module["ILogger"].ERROR
    model = vars(network)["model"]
    precisions = _precisions(config, model)
    workspace_mb = vars(config)["pools"]["WORKSPACE"] // 2**20
    here.builds.append(
        {"precisions": precisions, "workspace_mb": workspace_mb, "timings": vars(config)["timings"]}
    )
    time.sleep(here.build_seconds)
    if workspace_mb > here.killed_above_mb:
        os.kill(os.getpid(), signal.SIGKILL)
    if workspace_mb > here.out_of_memory_above_mb or precisions in here.starved:
        log.log(error, "[defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime (out of memory)")
        return None
    if precisions in here.unbuildable:
        log.log(error, "Error Code 10: Could not find any implementation for node {ForeignNode}.")
        return None
    if not _is_strong() and b"QuantizeLinear" in model and "int8" not in precisions:
        log.log(error, "Q/DQ layers need the INT8 flag")
        return None
    header = {"device": _device(), "precisions": precisions}
    return _memory(json.dumps(header).encode() + _SEPARATOR + model)


def _deserialize(runtime: Any, serialized: Any) -> Any:
    pycuda_double.require_context()
    header, _, model = bytes(serialized).partition(_SEPARATOR)
    error = _module["ILogger"].ERROR
    try:
        stated = json.loads(header)
    except ValueError:
        vars(runtime)["log"].log(error, "Serialization assertion magicTagRead == kMAGIC_TAG failed.")
        return None
    if stated["device"] != _device():
        vars(runtime)["log"].log(error, "The engine plan file is not compatible with this version or device.")
        return None
    session = _session(model)
    ports = {
        port.name: (_TYPES[port.type], port.shape) for port in (*session.get_inputs(), *session.get_outputs())
    }
    return _new("ICudaEngine", session=session, ports=ports, precisions=stated["precisions"])


def _set_address(context: Any, name: str, memory: int) -> bool:
    vars(context)["addresses"][name] = int(memory)
    return name in vars(vars(context)["engine"])["ports"]


def _execute(context: Any, stream_handle: int) -> bool:
    pycuda_double.require_context()
    stream = pycuda_double.streams[stream_handle]
    time.sleep(world.current.enqueue_seconds)
    pycuda_double.enqueue(stream, lambda: _compute(context, stream))
    return True


def _compute(context: Any, stream: Any) -> None:
    engine, addresses = vars(vars(context)["engine"]), vars(context)["addresses"]
    session = engine["session"]
    feed = {}
    for port in session.get_inputs():
        dtype = np.uint8 if engine["ports"][port.name][0] == "UINT8" else np.float32
        feed[port.name] = pycuda_double.memory_at(addresses[port.name]).view(dtype).reshape(port.shape)
    names = [port.name for port in session.get_outputs()]
    for name, answer in zip(names, session.run(names, feed), strict=True):
        off = np.float32(0.1 if engine["precisions"] in world.current.wrong else 0)
        target = pycuda_double.memory_at(addresses[name])
        np.copyto(target, np.ascontiguousarray(answer + off).reshape(-1).view(np.uint8))
    vars(stream)["clock_ms"] += world.current.gpu_ms.get(engine["precisions"], 1.0)
