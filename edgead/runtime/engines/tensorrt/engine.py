"""The TensorRT engine: built on the device on its first opening, taken from the cache after that."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Manifest, Reference
from edgead.device.jetson import Jetson, power_note, read_jetson
from edgead.errors import EngineError
from edgead.runtime.engines.base import Engine, ModelFiles
from edgead.runtime.engines.tensorrt.builder import tensorrt_version
from edgead.runtime.engines.tensorrt.cache import EngineCache
from edgead.runtime.engines.tensorrt.device import CudaDevice, cuda_versions
from edgead.runtime.engines.tensorrt.execution import Executor
from edgead.runtime.engines.tensorrt.logger import message_log
from edgead.runtime.engines.tensorrt.preparation import Preparation, Prepared
from edgead.runtime.engines.tensorrt.workspace import profile_of

_LOG = logging.getLogger("edgead.tensorrt")


class TensorRtEngine(Engine):
    """One plan on the first GPU. `threads` has no meaning here: a GPU's are not ours to set."""

    name = "tensorrt"

    def __init__(self, *, threads: int | None = None, root: Path = Path("/")) -> None:
        super().__init__(threads=threads)
        self._root = root
        self._device: CudaDevice | None = None
        self._executor: Executor | None = None
        self._reference: Reference | None = None
        self._description: dict[str, str] = {}

    def prove_with(self, reference: Reference) -> None:
        """See `Engine.prove_with`: a precision is kept only if it gives these answers."""
        self._reference = reference

    def load(self, files: ModelFiles, manifest: Manifest) -> None:
        """Take the plan from the cache, or build it: minutes, once per device, power mode and version."""
        self.close()
        version, jetson = tensorrt_version(), read_jetson(self._root)
        self._device = device = CudaDevice()
        try:
            with device.active():
                prepared = Preparation(
                    files=files,
                    manifest=manifest,
                    reference=self._reference,
                    device=device,
                    power_mode=_power_mode(jetson),
                    log=message_log(),
                    cache=EngineCache(),
                ).prepare()
        except BaseException:
            self.close()
            raise
        self._executor = prepared.executor
        self._description = {
            "engine": self.name,
            "version": version,
            "device": device.describe(),
            **cuda_versions(),
            **_describe(prepared, jetson, manifest),
        }
        if note := self._description.get("note"):
            _LOG.info("%s", note)

    def infer(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """See `Engine.infer`; raises EngineError when the device fails."""
        if self._executor is None:
            raise EngineError("tensorrt: no model is loaded. Open the bundle again.")
        return self._executor.infer(image)

    @property
    def gpu_ns(self) -> int | None:
        """See `Engine.gpu_ns`: by CUDA events, from the copy of the image to that of the answer."""
        return self._executor.gpu_ns if self._executor is not None else None

    def close(self) -> None:
        """Free the GPU's memory and give its context back."""
        device, executor = self._device, self._executor
        self._device = self._executor = None
        if device is None:
            return
        if executor is not None:
            with device.active():
                executor.close()
        device.close()

    def describe(self) -> dict[str, str]:
        """Versions, device and power mode; which precision was kept and why; a note where one is due."""
        return dict(self._description)

    def devices(self) -> dict[str, str]:
        """The GPU; raises EngineError where none opens, or TensorRT is too old."""
        tensorrt_version()
        device = CudaDevice()
        with contextlib.closing(device):
            return {f"cuda:{device.index}": device.describe()}


def _power_mode(jetson: Jetson | None) -> str:
    if jetson is None:
        return "none"  # not a Jetson: nothing of the kind
    return "unknown" if jetson.power_mode is None else jetson.power_mode.name


def _describe(prepared: Prepared, jetson: Jetson | None, manifest: Manifest) -> dict[str, str]:
    report, executor = prepared.engine.report, prepared.executor
    facts = {
        "precision": prepared.engine.recipe,
        "tried": "; ".join(str(line) for line in report.get("tried", ())),
        "launch": executor.launch_report,
        "memory": executor.memory,
        "built": f"now, in {report.get('seconds')} s" if prepared.is_new else "before, from the cache",
        "workspace_mb": str(report.get("workspace_mb")),
        "engine_file": str(prepared.path),
    }
    if jetson is not None:
        facts["jetpack"] = f"{jetson.jetpack or 'unknown'} (L4T {jetson.l4t or 'unknown'})"
        facts["power_mode"] = _power_mode(jetson)
        facts["gpu_clock"] = jetson.gpu_clock.describe() if jetson.gpu_clock else "unknown"
        if note := power_note(jetson, profile_of(manifest.target)):
            facts["note"] = note
    return facts
