"""The inference engines by name. Adding one is a file with a class of two methods, and a line here."""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple

from edgead.errors import EngineError, UnknownNameError
from edgead.runtime.engines.base import Engine


class EngineEntry(NamedTuple):
    """Where an engine's class is, the packages that it needs (space between), and how to install them."""

    module: str
    class_name: str
    package: str
    install: str
    needs_nvidia: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether the packages can be found; they are not imported."""
        return all(importlib.util.find_spec(name) is not None for name in self.package.split())


ENGINES = {
    "openvino": EngineEntry(
        "edgead.runtime.engines.openvino", "OpenVinoEngine", "openvino", "pip install 'edgead[openvino]'"
    ),
    "onnxruntime": EngineEntry(
        "edgead.runtime.engines.onnxruntime",
        "OnnxRuntimeEngine",
        "onnxruntime",
        "pip install 'edgead[onnxruntime]'",
    ),
    "tensorrt": EngineEntry(
        "edgead.runtime.engines.tensorrt.engine",
        "TensorRtEngine",
        "tensorrt pycuda",
        "sudo apt install python3-libnvinfer, then pip install 'edgead[tensorrt]'",
        needs_nvidia=True,
    ),
}


def create_engine(name: str, *, threads: int | None = None) -> Engine:
    """An engine without a model yet; raises UnknownNameError, or EngineError when its package is missing."""
    if name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES)
    entry = ENGINES[name]
    if not entry.is_installed:
        raise EngineError(f"The engine '{name}' is not installed here. Install it with: {entry.install}")
    try:
        module = importlib.import_module(entry.module)
    except (ImportError, OSError) as error:  # installed, but broken: a missing shared library, for instance
        raise EngineError(
            f"The engine '{name}' does not start: {error}. Reinstall it: {entry.install}"
        ) from error
    engine: Engine = getattr(module, entry.class_name)(threads=threads)
    return engine
