"""From a bundle's files to a plan that runs: out of the cache, or built, proven, timed and kept."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from edgead.bundle import Manifest, Reference
from edgead.runtime.engines.base import ModelFiles
from edgead.runtime.engines.tensorrt.builder import (
    Built,
    Recipe,
    build_plan,
    is_strongly_typed,
    tensorrt_version,
)
from edgead.runtime.engines.tensorrt.cache import CachedEngine, EngineCache, EngineKey
from edgead.runtime.engines.tensorrt.device import CudaDevice
from edgead.runtime.engines.tensorrt.execution import Executor, UnusablePlanError
from edgead.runtime.engines.tensorrt.logger import MessageLog
from edgead.runtime.engines.tensorrt.selection import Trial, fastest_proven, recipes, try_plan
from edgead.runtime.engines.tensorrt.workspace import build_within_memory, workspace_limit_mb

_RULES = 1  # counted up when the recipes change: plans of before are then built again
_LOG = logging.getLogger("edgead.tensorrt")


@dataclass(frozen=True)
class Prepared:
    """A plan that runs, what is known of it, and whether it was built just now."""

    executor: Executor
    engine: CachedEngine
    path: Path
    is_new: bool


@dataclass(frozen=True)
class Preparation:
    """Everything that decides on a plan. The device's context must be active for `prepare`."""

    files: ModelFiles
    manifest: Manifest
    reference: Reference | None
    device: CudaDevice
    power_mode: str
    log: MessageLog
    cache: EngineCache

    @property
    def key(self) -> EngineKey:
        """What the plan is for."""
        return EngineKey(
            tensorrt=tensorrt_version(),
            compute_capability=self.device.compute_capability,
            multiprocessors=self.device.multiprocessors,
            power_mode=self.power_mode,
            model=_model_hash(self.files, self.manifest),
        )

    def prepare(self) -> Prepared:
        """The plan of the cache; else one built now, while other processes that want it wait.

        Raises EngineError.
        """
        recipes(self.files, self.manifest, strongly_typed=False)  # refuses what is no model for TensorRT
        key = self.key
        if (found := self._from_cache(key)) is not None:
            return found
        with self.cache.lock(key):
            if (found := self._from_cache(key)) is not None:  # built by another process while this one waited
                return found
            engine = self._build(key)
            path = self.cache.write(key, engine)
        executor = Executor(engine.plan, self.manifest, device=self.device, log=self.log)
        return Prepared(executor, engine, path, is_new=True)

    def _from_cache(self, key: EngineKey) -> Prepared | None:
        engine = self.cache.read(key)
        if engine is None:
            return None
        try:
            executor = Executor(engine.plan, self.manifest, device=self.device, log=self.log)
        except UnusablePlanError as error:
            _LOG.info("The engine kept for this model is built again: %s", error)
            return None
        return Prepared(executor, engine, self.cache.folder / key.file_name, is_new=False)

    def _build(self, key: EngineKey) -> CachedEngine:
        _LOG.info(
            "Building the engine of '%s' with TensorRT %s for %s. It takes minutes, once.",
            self.manifest.name,
            key.tensorrt,
            self.device.describe(),
        )
        limit = workspace_limit_mb(
            self.manifest.target, memory_mb=self.device.memory_mb, free_mb=self.device.free_memory_mb()
        )
        started = time.monotonic()
        used: list[int] = []

        def build_all(workspace_mb: int) -> tuple[Trial, list[str]]:
            used.append(workspace_mb)
            return self._best(key, workspace_mb)

        best, notes = build_within_memory(build_all, limit_mb=limit, marker=self.cache.marker(key))
        report = {
            "tried": notes,
            "gpu_ms": best.gpu_ns / 1e6,
            "is_proven": best.is_proven if best.proof is not None else None,
            "seconds": round(time.monotonic() - started, 3),
            "workspace_mb": used[-1],
        }
        return CachedEngine(best.plan, best.recipe.name, report)

    def _best(self, key: EngineKey, workspace_mb: int) -> tuple[Trial, list[str]]:
        contenders, stricter = recipes(
            self.files, self.manifest, strongly_typed=is_strongly_typed(key.tensorrt)
        )

        def build(recipe: Recipe) -> bytes:
            built = self._build_one(key, recipe, workspace_mb)
            self.cache.write_timings(key, built.timing_cache)
            return built.plan

        def attempt(recipe: Recipe, plan: bytes) -> Trial:
            return try_plan(
                recipe,
                plan,
                manifest=self.manifest,
                reference=self.reference,
                device=self.device,
                log=self.log,
            )

        return fastest_proven(contenders, stricter, build=build, try_plan=attempt)

    def _build_one(self, key: EngineKey, recipe: Recipe, workspace_mb: int) -> Built:
        return build_plan(
            bytes(self.files[recipe.model]),
            recipe,
            workspace_mb=workspace_mb,
            timing_cache=self.cache.read_timings(key),
            log=self.log,
        )


def _model_hash(files: ModelFiles, manifest: Manifest) -> str:
    """Of all that a plan is made from; the reference is left out, which the opening checks every time."""
    digest = hashlib.sha256(f"edgead {_RULES} {manifest.precision} {manifest.target}\n".encode())
    for name in sorted(name for name in files if name.endswith(".onnx")):
        digest.update(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return digest.hexdigest()
