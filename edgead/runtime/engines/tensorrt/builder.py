"""ONNX -> TensorRT plan: one path for every version, but for how a network's precisions are stated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import ModuleType

import tensorrt as trt

from edgead.errors import EngineError
from edgead.runtime.engines.tensorrt.logger import MessageLog

_OLDEST, _STRONGLY_TYPED_FROM = (8, 5), (11, 0)


class OutOfMemoryError(EngineError):
    """A build found less memory than its workspace allowed it to take."""


@dataclass(frozen=True)
class Recipe:
    """A way to build: which of the bundle's models, and the precisions allowed beside float32."""

    name: str
    model: str
    precisions: frozenset[str]


@dataclass(frozen=True)
class Built:
    """A serialized plan, and the timing cache that the build leaves for the next."""

    plan: bytes
    timing_cache: bytes


def tensorrt_version() -> str:
    """TensorRT's version; raises EngineError for one that is too old."""
    version = str(getattr(trt, "__version__", ""))  # set in the package's own __init__, not by the binding
    if _numbers(version) < _OLDEST:
        raise EngineError(
            f"tensorrt: expected version 8.5 or newer, found {version or 'none'}. Install JetPack 5.1 or "
            "newer; older Jetsons can run the bundle with another engine (`edgead doctor`)."
        )
    return version


def is_strongly_typed(version: str) -> bool:
    """Whether precisions are the model's types alone."""
    return _numbers(version) >= _STRONGLY_TYPED_FROM


def build_plan(
    model: bytes, recipe: Recipe, *, workspace_mb: int, timing_cache: bytes | None, log: MessageLog
) -> Built:
    """Parse and build, minutes on a small device; raises OutOfMemoryError or EngineError.

    The context of the GPU must be active.
    """
    log.clear()
    typing = _typing_rules(tensorrt_version())
    builder = trt.Builder(log)
    network = typing.create_network(builder)
    _parse(network, model, recipe, log)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb * 2**20)
    typing.set_precisions(config, recipe.precisions)
    cache = config.create_timing_cache(timing_cache or b"") or config.create_timing_cache(b"")
    if not config.set_timing_cache(cache, False):  # one of another device: begin with an empty one
        config.set_timing_cache(config.create_timing_cache(b""), False)
    plan = _build(builder, network, config, recipe, workspace_mb, log)
    kept = config.get_timing_cache()
    return Built(bytes(plan), bytes(kept.serialize()) if kept is not None else b"")


def _parse(network: trt.INetworkDefinition, model: bytes, recipe: Recipe, log: MessageLog) -> None:
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        problems = "; ".join(str(parser.get_error(index).desc()) for index in range(parser.num_errors))
        raise EngineError(
            f"tensorrt {tensorrt_version()} cannot load the model ({recipe.model}): "
            f"{(problems or log.gist())[:500]}. Compile the bundle again for this device's version."
        )


def _build(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    recipe: Recipe,
    workspace_mb: int,
    log: MessageLog,
) -> trt.IHostMemory:
    try:
        plan = builder.build_serialized_network(network, config)
    except MemoryError as error:
        raise OutOfMemoryError(f"tensorrt: out of memory with a workspace of {workspace_mb} MB.") from error
    if plan is None and log.tells_of_memory:
        raise OutOfMemoryError(
            f"tensorrt: out of memory with a workspace of {workspace_mb} MB: {log.gist()}."
        )
    if plan is None:
        raise EngineError(
            f"tensorrt {tensorrt_version()} cannot build the model as {recipe.name}: {log.gist()}. "
            "Compile the bundle for this device and version, or run it with another engine."
        )
    return plan


def _typing_rules(version: str) -> ModuleType:
    if is_strongly_typed(version):
        from edgead.runtime.engines.tensorrt import strongly_typed

        return strongly_typed
    from edgead.runtime.engines.tensorrt import weakly_typed

    return weakly_typed


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
