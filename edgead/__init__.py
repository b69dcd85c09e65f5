"""Visual anomaly detection on the edge devices of production lines.

The names are loaded on first use, so that `import edgead` costs next to nothing in a host process.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "open": "edgead.runtime.inspector",
    "Inspector": "edgead.runtime.inspector",
    "Result": "edgead.runtime.result",
    "Region": "edgead.runtime.result",
    "LineBuffer": "edgead.runtime.line.buffer",
    "get_include": "edgead.runtime.line",
    "EdgeadError": "edgead.errors",
}

__all__ = [
    "EdgeadError",
    "Inspector",
    "LineBuffer",
    "Region",
    "Result",
    "__version__",
    "get_include",
    "open",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgead' has no attribute '{name}'; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
