"""The table of inference engines: the one place where their names stand.

An engine is a file in edgead/runtime/engines with a class of two methods, and an entry here; or a class in
another package, named by an entry point of the group "edgead.engines" (edgead/plugins.py). How a graph is
prepared for one is in edgead/compiler/preparation.py, where it needs anything.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from edgead.errors import UnknownNameError
from edgead.installation import how_to_install
from edgead.plugins import entries

GROUP = "edgead.engines"


@dataclass(frozen=True)
class EngineEntry:
    """Where an engine's class is, the packages that it needs, and how to install them."""

    module: str
    class_name: str
    packages: tuple[str, ...] = ()
    install: str = ""
    needs_nvidia: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether the packages can be found; they are not imported."""
        return all(importlib.util.find_spec(name) is not None for name in self.packages)


BUILT_IN = {
    "openvino": EngineEntry(
        "edgead.runtime.engines.openvino", "OpenVinoEngine", ("openvino",), how_to_install("openvino")
    ),
    "onnxruntime": EngineEntry(
        "edgead.runtime.engines.onnxruntime",
        "OnnxRuntimeEngine",
        ("onnxruntime",),
        how_to_install("onnxruntime"),
    ),
    "tensorrt": EngineEntry(
        "edgead.runtime.engines.tensorrt.engine",
        "TensorRtEngine",
        ("tensorrt", "pycuda"),
        f"sudo apt install python3-libnvinfer, then {how_to_install('tensorrt')}",
        needs_nvidia=True,
    ),
}


def engines() -> dict[str, EngineEntry]:
    """Every engine by name: edgead's own, then those of plugins."""
    plugins = entries(GROUP, built_in=BUILT_IN)
    others = {name: EngineEntry(point.module, point.attr) for name, point in plugins.items()}
    return {**BUILT_IN, **others}


def engine_entry(name: str) -> EngineEntry:
    """The entry of an engine; UnknownNameError lists near matches."""
    if name in BUILT_IN:
        return BUILT_IN[name]  # without a look at what else is installed
    known = engines()
    if name not in known:
        raise UnknownNameError("engine", name, known)
    return known[name]
