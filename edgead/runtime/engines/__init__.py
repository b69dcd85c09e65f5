"""The inference engines by name. Adding one is a file with a class of two methods, and a line here."""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple

from edgead.errors import EngineError, UnknownNameError
from edgead.runtime.engines.base import Engine


class EngineEntry(NamedTuple):
    """Where an engine's class is, the package that it needs, and the command that installs that."""

    module: str
    class_name: str
    package: str
    install: str

    @property
    def is_installed(self) -> bool:
        """Whether the package can be found; it is not imported."""
        return importlib.util.find_spec(self.package) is not None


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
